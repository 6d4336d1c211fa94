"""Callbacks that wait and callbacks that do not: what they push leaves together, and is never held back by a wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeAlias

import pytest
import trio
import trio.testing
from sockets import NotingSocket, noting_pair, talk_over_sockets
from support import RecordingChat, receive_all, receive_exactly

from trio_chat import SocketStream


class Plain(RecordingChat):
    def found_terminator(self) -> None:
        self.push(self._get_data() + b"!")


class Async(RecordingChat):
    async def found_terminator(self) -> None:
        self.push(self._get_data() + b"!")


class Deep(RecordingChat):
    """Awaits, but nothing that waits."""

    async def found_terminator(self) -> None:
        await self.answer()

    async def answer(self) -> None:
        self.push(self._get_data() + b"!")


class Collecting(RecordingChat):
    async def collect_incoming_data(self, data: bytes) -> None:  # type: ignore[override]
        self.push(data + b"!")


class Returning(RecordingChat):
    """As callbacks of the old days might."""

    def found_terminator(self) -> int:  # type: ignore[override]
        self.push(self._get_data() + b"!")
        return 5


@pytest.mark.parametrize("factory", [Plain, Async, Deep, Collecting, Returning])
@pytest.mark.parametrize("count", [1, 2, 16, 1000])
async def test_what_one_chunk_brings_leaves_in_one_send(factory: type[RecordingChat], count: int) -> None:
    async with talk_over_sockets(factory) as (_, client, sock):
        for turn in (1, 2):
            await client.send_all(b"line\n" * count)
            assert await receive_exactly(client, 5 * count) == b"line!" * count
            assert sock.sends == [b"line!" * count] * turn


class Boom(Exception):
    pass


class Waiting(RecordingChat):
    """Pushes each line; but for the line "wait" its callback does what it is told."""

    def __init__(self, script: Script, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.script = script
        self.lot = trio.lowlevel.ParkingLot()
        self.scope = trio.CancelScope()

    async def found_terminator(self) -> None:
        line = self._get_data()
        if line == b"wait":
            await self.script(self)
        else:
            self.push(line)

    def handle_error(self, exc: Exception) -> None:
        assert isinstance(exc, Boom)
        self.push(b"sorry")

    async def wait(self) -> None:
        await self.lot.park()

    async def go_on(self) -> None:
        self.lot.unpark()
        await trio.testing.wait_all_tasks_blocked()


Script: TypeAlias = Callable[[Waiting], Awaitable[None]]


def talk(script: Script) -> AbstractAsyncContextManager[tuple[Waiting, SocketStream, NotingSocket]]:
    return talk_over_sockets(partial(Waiting, script))


async def say(client: SocketStream, data: bytes) -> None:
    await client.send_all(data)
    await trio.testing.wait_all_tasks_blocked()


async def test_whenever_a_callback_begins_to_wait_what_was_pushed_leaves() -> None:
    async def script(chat: Waiting) -> None:
        chat.push(b"1")
        await chat.wait()
        chat.push(b"2")
        chat.push(b"3")
        await chat.wait()
        chat.push(b"4")

    async with talk(script) as (chat, client, sock):
        await say(client, b"a\nb\nwait\nc\nd\n")
        assert sock.sends == [b"ab1"]
        await chat.go_on()
        assert sock.sends[1:] == [b"23"]
        await chat.go_on()
        assert sock.sends[2:] == [b"4cd"]
        await say(client, b"e\nf\n")
        assert sock.sends[3:] == [b"ef"]


async def test_a_checkpoint_is_a_wait_too() -> None:
    async def script(chat: Waiting) -> None:
        for data in (b"1", b"2", b"3"):
            chat.push(data)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.cancel_shielded_checkpoint()

    async with talk(script) as (_, client, sock):
        await say(client, b"a\nwait\nb\n")
        assert sock.sends == [b"a1", b"2", b"3", b"b"]


async def test_collecting_may_wait_as_well() -> None:
    class Collecting(RecordingChat):
        async def collect_incoming_data(self, data: bytes) -> None:  # type: ignore[override]
            self.push(data)
            if data == b"wait":
                await trio.lowlevel.checkpoint()

        def found_terminator(self) -> None:
            self.push(b";")

    async with talk_over_sockets(Collecting) as (_, client, sock):
        await say(client, b"a\nwait\nb\nc\n")
        assert sock.sends == [b"a;wait", b";b;c;"]


async def test_while_a_callback_waits_others_are_not_held_back() -> None:
    async with talk(Waiting.wait) as (chat, client, sock):
        await say(client, b"a\nwait\nb\n")
        chat.push(b"another task's")
        await trio.testing.wait_all_tasks_blocked()
        assert sock.sends == [b"a", b"another task's"]
        await chat.go_on()
        chat.push(b"once more")
        await trio.testing.wait_all_tasks_blocked()
        assert sock.sends[2:] == [b"b", b"once more"]


async def test_whatever_can_be_awaited_is() -> None:
    class Later:
        def __init__(self, chat: Waiting) -> None:
            self.chat = chat

        def __await__(self) -> Generator[Any, Any, None]:
            self.chat.push(b"1")
            yield from self.chat.wait().__await__()
            self.chat.push(b"2")

    class Lazy(Waiting):
        def found_terminator(self) -> Later:  # type: ignore[override]
            self._get_data()
            return Later(self)

    async with talk_over_sockets(partial(Lazy, Waiting.wait)) as (chat, client, sock):
        await say(client, b"a\nb\n")
        assert sock.sends == [b"1"]
        await chat.go_on()
        assert sock.sends[1:] == [b"21"]
        await chat.go_on()
        assert sock.sends[2:] == [b"2"]


async def test_what_is_asked_in_the_middle_of_a_callback_leaves_before_the_answer_is_waited_for() -> None:
    async def script(chat: Waiting) -> None:
        chat.push(b"more?")
        assert await chat.receive_more()
        chat.push(b"thanks")

    async with talk(script) as (_, client, sock):
        await say(client, b"a\nwait\n")
        assert sock.sends == [b"amore?"]
        await say(client, b"more\nb\n")
        assert sock.sends[1:] == [b"morethanksb"]


# ---------------------------------------------------------------------- exceptions


async def test_an_exception_after_a_wait_is_handled_as_any_other() -> None:
    async def script(chat: Waiting) -> None:
        chat.push(b"1")
        await chat.wait()
        chat.push(b"2")
        raise Boom

    async with talk(script) as (chat, client, sock):
        await say(client, b"a\nwait\nb\n")
        assert sock.sends == [b"a1"]
        await chat.go_on()
        assert sock.sends[1:] == [b"2sorryb"]
        chat.push(b"another task's")
        await trio.testing.wait_all_tasks_blocked()
        assert sock.sends[2:] == [b"another task's"]


async def test_an_exception_after_a_wait_leaves_run_and_what_was_pushed_is_sent() -> None:
    class Failing(Waiting):
        def handle_error(self, exc: Exception) -> None:
            raise exc

    async def script(chat: Waiting) -> None:
        chat.push(b"1")
        await trio.lowlevel.checkpoint()
        chat.push(b"2")
        raise Boom

    sock, client = noting_pair()
    async with client:
        await client.send_all(b"a\nwait\nb\n")
        with pytest.raises(Boom):
            await Failing(script, SocketStream(sock)).run()
        assert sock.sends == [b"a1", b"2"]
        assert await receive_all(client) == b"a12"


async def test_handling_an_error_may_wait_as_well() -> None:
    class Patient(Waiting):
        async def handle_error(self, exc: Exception) -> None:  # type: ignore[override]
            self.push(b"wait a moment")
            await self.wait()
            self.push(b"sorry")

    async def script(chat: Waiting) -> None:
        raise Boom

    async with talk_over_sockets(partial(Patient, script)) as (chat, client, sock):
        await say(client, b"a\nwait\nb\n")
        assert sock.sends == [b"await a moment"]
        await chat.go_on()
        assert sock.sends[1:] == [b"sorryb"]


async def test_a_callback_that_was_cancelled_within_itself_goes_on() -> None:
    async def script(chat: Waiting) -> None:
        with chat.scope:
            try:
                await chat.wait()
            finally:
                chat.push(b"1")
                with trio.CancelScope(shield=True):
                    await chat.wait()
                chat.push(b"2")
        chat.push(b"3")
        await chat.wait()
        chat.push(b"4")

    async with talk(script) as (chat, client, sock):
        await say(client, b"a\nwait\nb\n")
        chat.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert sock.sends == [b"a", b"1"]
        await chat.go_on()
        assert sock.sends[2:] == [b"23"]
        await chat.go_on()
        assert sock.sends[3:] == [b"4b"]
        assert chat.scope.cancelled_caught


async def test_when_the_conversation_is_cancelled_so_is_the_callback() -> None:
    left: list[str] = []

    async def script(chat: Waiting) -> None:
        try:
            await chat.wait()
        except trio.Cancelled:
            left.append("callback")
            raise

    sock, client = noting_pair()
    chat = Waiting(script, SocketStream(sock))
    async with client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chat.run)
            await say(client, b"a\nwait\nb\n")
            nursery.cancel_scope.cancel()
        assert await receive_all(client) == b"a"
    assert left == ["callback"]
    assert chat.names[-1] == "close"
    assert len(chat.lot) == 0
