"""Channels whose peers do not read, or break off; that have a mind of their own; and that others push to."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from old_channels import LineChannel, answering, over_lockstep, reset, running
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat import serve_tcp
from trio_chat.compat import asynchat
from trio_chat.compat._dispatcher import socket_map


class Endless:
    def more(self) -> bytes:
        return b"x" * 1000


# ---------------------------------------------------------------------- peers that do not read, or break off


@pytest.mark.parametrize("what", ["bytes", "producer"])
async def test_a_peer_that_breaks_off_before_all_is_sent(what: str) -> None:
    def then(channel: Any, line: bytes) -> None:
        channel.push(b"x" * 1_000_000)
        if what == "producer":
            channel.push_with_producer(Endless())

    client, loop, channel = over_lockstep(lambda sock: LineChannel(sock, then))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"get\r\n")
        await wait_all_tasks_blocked()
        await client.receive_stream.aclose()
        await wait_all_tasks_blocked()
        await client.send_stream.aclose()
    assert channel.calls == [b"get", "close"]
    assert not channel.connected
    assert socket_map == {}


async def test_a_channel_that_does_not_read_is_told_by_its_sends() -> None:
    class Shut(LineChannel):
        is_open = True

        def readable(self) -> Any:
            return self.is_open

    def then(channel: Any, line: bytes) -> None:
        channel.is_open = False
        channel.push_with_producer(Endless())

    client, loop, channel = over_lockstep(lambda sock: Shut(sock, then))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"get\r\n")
        await wait_all_tasks_blocked()
        await client.receive_stream.aclose()
    assert channel.calls == [b"get", "close"]


async def test_clients_that_come_and_go_take_nothing_with_them() -> None:
    """The descriptor of one that is gone is soon another's."""
    made: list[LineChannel] = []
    serve = partial(serve_tcp, asynchat.handler_factory(lambda sock, addr: made.append(answering(sock))), 0)
    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(partial(serve, host="127.0.0.1"))
        address = listener.socket.getsockname()
        before = [socket.create_connection(address) for _ in range(10)]
        while len(made) < 10:
            await trio.lowlevel.checkpoint()
        after: list[socket.socket] = []
        for sock in before:
            reset(sock)
            await trio.lowlevel.checkpoint()
            after.append(socket.create_connection(address))
            await trio.lowlevel.checkpoint()
        while len(made) < 20 or not all("close" in channel.calls for channel in made[:10]):
            await trio.lowlevel.checkpoint()
        for channel in made[:10]:
            channel.close()
        for sock in after:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            await stream.send_all(b"hello\r\n")
            assert await stream.receive_some() == b"hello\r\n"
            await stream.aclose()
        while socket_map:
            await trio.lowlevel.checkpoint()
        assert [channel.calls.count("close") for channel in made] == [1] * 20
        nursery.cancel_scope.cancel()


async def test_channels_that_wait_for_their_own_peers_are_left_alone_by_others() -> None:
    def then(channel: Any, line: bytes) -> None:
        for _ in range(200_000):
            channel.push(b"ok")

    client, loop, _ = over_lockstep(lambda sock: LineChannel(sock, then))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"get\r\n")
        nursery.start_soon(client.send_all, b"more\r\n")
        await wait_all_tasks_blocked()
        turns = loop._turn
        async with running(answering) as (_, other):
            await other.say(*[b"hi\r\n"] * 20)
            assert other.heard() == b"hi\r\n" * 20
        assert loop._turn == turns
        nursery.cancel_scope.cancel()


async def test_many_small_pushes_leave_in_few_sends() -> None:
    def then(channel: Any, line: bytes) -> None:
        for _ in range(200_000):
            channel.push(b"ok")

    client, server = trio.testing.lockstep_stream_pair()
    loop: Any = asynchat.handler_factory(lambda sock, addr: LineChannel(sock, then))(server)
    received: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"get\r\n")
        while sum(received) < 400_000:
            received.append(len(await client.receive_some()))
        assert len(received) < 20
        nursery.cancel_scope.cancel()


async def test_many_small_answers_to_a_peer_that_does_not_read_are_bounded() -> None:
    def then(channel: Any, line: bytes) -> None:
        if line == b"first":
            channel.push(b"x" * 150_000)  # more than there is room for
        for _ in range(20_000):
            channel.push(b"x" * 10)

    client, output = trio.testing.memory_stream_one_way_pair()
    sending, answers = trio.testing.lockstep_stream_one_way_pair()
    made: list[LineChannel] = []
    loop = asynchat.handler_factory(lambda sock, addr: made.append(LineChannel(sock, then)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop(trio.StapledStream(sending, output)).run)
        for line in (b"first\r\n", *[b"more\r\n"] * 20):
            await client.send_all(line)
            await wait_all_tasks_blocked()
        assert 1 <= len(made[0].calls) <= 4
        nursery.cancel_scope.cancel()
    await answers.aclose()


async def test_one_piece_that_is_longer_than_all_room() -> None:
    def then(channel: Any, line: bytes) -> None:
        channel.ac_out_buffer_size = 1_000_000
        channel.push(b"x" * 900_000)

    async with running(lambda sock: LineChannel(sock, then)) as (channel, client):
        await client.say(b"get\r\n")
        assert client.heard() == b"x" * 900_000
        await client.say(b"")
        assert channel.calls == [b"get"]


async def test_a_stop_while_output_is_queued_waits_for_that_and_no_longer(mock_clock: MockClock) -> None:
    client, server = trio.testing.lockstep_stream_pair()
    made: list[LineChannel] = []
    push = partial(LineChannel, then=lambda channel, line: channel.push(b"x" * 1_000_000))
    loop: Any = asynchat.handler_factory(lambda sock, addr: made.append(push(sock)))(server)
    received = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"get\r\n")
        received += len(await client.receive_some())
        loop.close_when_idle()
        while data := await client.receive_some():
            received += len(data)
        await client.aclose()
    assert received == 1_000_000
    assert made[0].calls == [b"get", "close"]
    assert trio.current_time() == 0


# ---------------------------------------------------------------------- a mind of their own


class Forwarder(asynchat.async_chat):
    """Has a queue of its own, into which another channel puts something."""

    def __init__(self, sock: Any) -> None:
        asynchat.async_chat.__init__(self, sock)
        self.set_terminator(None)
        self.out = b""
        self.other: Any = None

    def collect_incoming_data(self, data: bytes) -> None:
        self.other.out += data

    def found_terminator(self) -> None:
        raise AssertionError

    def writable(self) -> Any:
        return bool(self.out)

    def handle_write(self) -> None:
        self.out = self.out[self.send(self.out) :]


async def test_a_channel_that_is_writable_when_another_one_has_read() -> None:
    async with running(Forwarder) as (one, client), running(Forwarder) as (other, peer):
        one.other, other.other = other, one
        await client.say(b"hello")
        assert peer.heard() == b"hello"
        await peer.say(b"and back", b" again")
        assert client.heard() == b"and back again"


async def test_a_channel_that_is_writable_after_some_time(mock_clock: MockClock) -> None:
    class Throttled(LineChannel):
        until = 0.0

        def writable(self) -> Any:
            return trio.current_time() >= self.until and super().writable()

    async with running(lambda sock: Throttled(sock, lambda channel, line: None)) as (channel, client):
        channel.push(b"1")
        channel.until = 20.0
        channel.push_with_producer(asynchat.simple_producer(b"23", 1))
        await wait_all_tasks_blocked()
        assert client.heard() == b"12"  # the first step is made at once, whatever writable() says
        mock_clock.jump(30)
        await wait_all_tasks_blocked()
        assert client.heard() == b"3"


async def test_a_channel_that_declines_to_read_is_asked_again(mock_clock: MockClock) -> None:
    class Declining(LineChannel):
        declines = 1

        def handle_read(self) -> None:
            if self.declines:
                self.declines -= 1
            else:
                super().handle_read()

    async with running(Declining) as (channel, client):
        await client.say(b"one\r\n")
        assert channel.calls == []
        mock_clock.jump(30)
        await wait_all_tasks_blocked()
        assert channel.calls == [b"one"]


async def test_a_channel_that_is_always_writable_does_not_keep_the_others_from_work() -> None:
    class Busy(LineChannel):
        def writable(self) -> Any:
            return True

    async with running(Busy) as (channel, client), running(Busy) as (_, other):
        await client.say(b"one\r\n")
        await other.say(b"two\r\n")
        assert channel.calls == [b"one"]


@pytest.mark.parametrize("question", ["readable", "writable"])
async def test_a_question_that_fails_ends_the_connection(question: str) -> None:
    class Failing(LineChannel):
        pass

    def answer(self: Any) -> bool:
        if self.calls:
            raise ZeroDivisionError
        return True

    setattr(Failing, question, answer)

    async def converse(push: bool) -> None:
        async with running(Failing) as (channel, client):
            channel.calls.append("now")
            if push:
                channel.push_with_producer(asynchat.simple_producer(b"ab", 1))
                await wait_all_tasks_blocked()
            else:
                await client.say(b"one\r\n")
            assert channel.calls[-1] == "close"

    with pytest.raises(ZeroDivisionError):
        await converse(push=False)
    if question == "writable":
        with pytest.raises(ZeroDivisionError):
            await converse(push=True)


async def test_a_channel_that_counts_for_false() -> None:
    class Sized(LineChannel):
        def __len__(self) -> int:
            return 0

    async with running(lambda sock: Sized(sock, lambda channel, line: channel.push(line))) as (channel, client):
        await client.say(b"one\r\n")
        await client.end()
        assert (client.heard(), channel.calls, channel.connected) == (b"one", [b"one", "close"], False)


async def test_a_channel_may_use_any_names() -> None:
    class Names(LineChannel):
        ac_in_buffer = b""
        incoming: Any = ()
        producer_fifo: Any = None

        def __init__(self, sock: Any) -> None:
            super().__init__(sock)
            self._input = self._at = self._queue = None

        def _send(self, line: bytes) -> None:
            self.push(line)

        _collect: Any = None
        _hand_over: Any = None
        _ask: Any = None

        def found_terminator(self) -> None:
            self._send(self._get_data() + b"|")
            assert not hasattr(self, "channel")

    async with running(Names) as (_, client):
        await client.say(b"one\r\nt", b"wo\r\n")
        assert client.heard() == b"one|two|"


async def test_a_queue_that_is_taken_away() -> None:
    class Careless(LineChannel):
        def handle_close(self) -> None:
            super().handle_close()
            self.producer_fifo = None

    async with running(Careless) as (channel, client):
        await client.end()
        assert channel.calls == ["close"]
