"""What has come already is received without a wait, within a callback, if the stream can tell; and not for ever."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import ClassVar

import pytest
import trio
import trio.testing
from sockets import NotingSocket, Streams, close_at_once, noting_pair, over_each_kind, tcp_pair, unix_pair
from support import RecordingChat, receive_all

from trio_chat import SocketStream, Terminator

# ---------------------------------------------------------------------- streams


@over_each_kind
async def test_what_has_come_is_received_at_once(make_pair: Callable[[], Awaitable[Streams]]) -> None:
    stream, peer = await make_pair()
    async with stream:
        with pytest.raises(trio.WouldBlock):
            stream.receive_nowait()
        await peer.send_all(b"12345")
        await trio.lowlevel.wait_readable(stream.socket)
        assert [stream.receive_nowait(2), stream.receive_nowait(), await took(stream)] == [b"12", b"345", None]
        close_at_once(peer)
        await trio.lowlevel.wait_readable(stream.socket)
        assert [stream.receive_nowait(), stream.receive_nowait()] == [b"", b""]
    with pytest.raises(trio.ClosedResourceError):
        stream.receive_nowait()


async def took(stream: SocketStream) -> bytes | None:
    try:
        return stream.receive_nowait()
    except trio.WouldBlock:
        return None


@pytest.mark.parametrize(("max_bytes", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError)])
async def test_a_wrong_count_is_refused_and_nothing_is_read(max_bytes: int, error: type[Exception]) -> None:
    stream, peer = await unix_pair()
    async with stream, peer:
        await peer.send_all(b"x")
        with pytest.raises(error, match="max_bytes"):
            stream.receive_nowait(max_bytes)
        assert stream.receive_nowait() == b"x"


async def test_a_reset_breaks_the_connection() -> None:
    stream, peer = await unix_pair()
    async with stream:
        await stream.send_all(b"unread")
        close_at_once(peer)
        with pytest.raises(trio.BrokenResourceError):
            stream.receive_nowait()


async def test_who_waits_goes_on_waiting(nursery: trio.Nursery) -> None:
    stream, peer = await unix_pair()
    received: list[bytes | bytearray] = []

    async def receive() -> None:
        received.append(await stream.receive_some())

    nursery.start_soon(receive)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(trio.WouldBlock):
        stream.receive_nowait()
    await peer.send_all(b"x")
    await trio.testing.wait_all_tasks_blocked()
    assert received == [b"x"]
    close_at_once(stream)
    close_at_once(peer)


# ---------------------------------------------------------------------- conversations


class Taking(RecordingChat):
    """At a line it takes what follows, with `receive_more`, and notes how often it had been scheduled by then."""

    ac_in_buffer_size = 1
    linger_timeout = 0
    patience = math.inf

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.steps: list[int] = []
        self.taken = b""

    def collect_incoming_data(self, data: bytes) -> None:
        self.taken += data

    async def found_terminator(self) -> None:
        if self.get_terminator() == b"\n":
            self.set_terminator(None)
            self.taken = b""
            steps = Steps(trio.lowlevel.current_task())
            while await self.receive_more(self.patience):
                self.steps.append(steps.count)
            trio.lowlevel.remove_instrument(steps)

    @property
    def groups(self) -> list[int]:
        """How many pieces came in each step."""
        return [self.steps.count(step) for step in sorted(set(self.steps))]


class Steps(trio.abc.Instrument):
    """Counts how often a task is scheduled."""

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.task = task
        self.count = 0
        trio.lowlevel.add_instrument(self)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task is self.task


async def conversed(
    data: bytes, kind: Callable[[NotingSocket], SocketStream] = SocketStream, patience: float = math.inf
) -> Taking:
    """A conversation in which the peer has sent all of `data`, and its end, before the first of it is received."""
    sock, client = noting_pair()
    await client.send_all(data)
    await client.send_eof()
    chat = Taking(kind(sock))
    chat.patience = patience
    with trio.fail_after(5):
        async with client:
            await chat.run()
    return chat


async def test_nothing_is_waited_for_that_is_there_but_others_have_their_turns() -> None:
    chat = await conversed(b"\n" + b"x" * 500)
    assert chat.taken == b"x" * 500
    assert max(chat.groups) == 5
    assert len(chat.groups) > 20


async def test_what_ends_the_input_is_taken_at_once_too() -> None:
    for size in range(10):
        chat = await conversed(b"\n" + b"x" * size)
        assert chat.taken == b"x" * size
        assert chat.names == ["connect", "eof", "close"]


@pytest.mark.parametrize("patience", [0, -1])
async def test_without_patience_every_receive_is_a_wait(patience: float) -> None:
    chat = await conversed(b"\n" + b"x" * 20, patience=patience)
    assert max(chat.groups) == 1


class Loud(SocketStream):
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return (await super().receive_some(max_bytes)).upper()


class LoudBothWays(Loud):
    def receive_nowait(self, max_bytes: int | None = None) -> bytes:
        return super().receive_nowait(max_bytes).upper()


@pytest.mark.parametrize("kind", [Loud, LoudBothWays])
async def test_a_stream_that_receives_in_its_own_way_is_not_passed_by(
    kind: Callable[[NotingSocket], SocketStream],
) -> None:
    chat = await conversed(b"\n" + b"x" * 50, kind)
    assert chat.taken == b"X" * 50
    assert (max(chat.groups) == 1) is (kind is Loud)


async def test_a_connection_that_breaks_ends_the_conversation() -> None:
    server, client = await tcp_pair()
    chat = Taking(server)
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chat.run)
            await client.send_all(b"\nxx")
            await trio.testing.wait_all_tasks_blocked()
            chat.push(b"not read")
            await trio.testing.wait_all_tasks_blocked()
            close_at_once(client)
    assert chat.names == ["connect", "close"]


class Looking(Taking):
    """Looks out for the end meanwhile."""

    uses_nursery: ClassVar[bool] = True
    terminator: ClassVar[Terminator] = b"\n"

    def handle_connect(self) -> None:
        assert self.nursery is not None
        self.nursery.start_soon(self.look)

    async def look(self) -> None:
        await self.wait_eof()
        self.calls.append(("end seen", None))
        await self.drain()


async def test_a_lookout_that_receives_is_not_disturbed() -> None:
    sock, client = noting_pair()
    chat = Looking(SocketStream(sock))
    with trio.fail_after(5):
        async with client, trio.open_nursery() as nursery:
            nursery.start_soon(chat.run)
            for part in (b"\n", b"a", b"bcd", b"e" * 40):
                await client.send_all(part)
                await trio.testing.wait_all_tasks_blocked()
            await client.send_eof()
            assert await receive_all(client) == b""
    assert chat.taken == b"abcd" + b"e" * 40
    assert sorted(chat.names) == ["close", "end seen", "eof"]
