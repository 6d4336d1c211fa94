"""Channels whose peers do not read, or break off; that have a mind of their own; and that others push to."""

from __future__ import annotations

import socket
import struct
import threading
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from old_channels import LineChannel, running
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trio_chat import serve_tcp
from trio_chat.compat import asynchat
from trio_chat.compat._dispatcher import socket_map


class Endless:
    def more(self) -> bytes:
        return b"x" * 1000


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# ---------------------------------------------------------------------- peers that do not read, or break off


@pytest.mark.parametrize("what", ["bytes", "producer"])
async def test_a_peer_that_breaks_off_before_all_is_sent(what: str) -> None:
    def then(channel: Any, line: bytes) -> None:
        channel.push(b"x" * 1_000_000)
        if what == "producer":
            channel.push_with_producer(Endless())

    client, server = trio.testing.lockstep_stream_pair()
    made: list[LineChannel] = []
    loop = asynchat.handler_factory(lambda sock, addr: made.append(LineChannel(sock, then)))(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"get\r\n")
        await wait_all_tasks_blocked()
        client.receive_stream.close()
        await wait_all_tasks_blocked()
        await client.send_stream.aclose()
    assert made[0].calls == [b"get", "close"]
    assert not made[0].connected
    assert socket_map == {}


async def test_a_channel_that_does_not_read_is_told_by_its_sends() -> None:
    class Shut(LineChannel):
        is_open = True

        def readable(self) -> Any:
            return self.is_open

    def then(channel: Any, line: bytes) -> None:
        channel.is_open = False
        channel.push_with_producer(Endless())

    client, server = trio.testing.lockstep_stream_pair()
    made: list[LineChannel] = []
    loop = asynchat.handler_factory(lambda sock, addr: made.append(Shut(sock, then)))(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"get\r\n")
        await wait_all_tasks_blocked()
        client.receive_stream.close()
    assert made[0].calls == [b"get", "close"]


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


def answering(sock: Any) -> LineChannel:
    return LineChannel(sock, lambda channel, line: channel.push(line + b"\r\n"))


async def test_channels_that_wait_for_their_own_peers_are_left_alone_by_others() -> None:
    class Asked(LineChannel):
        times = 0

        def readable(self) -> Any:
            self.times += 1
            return True

    def then(channel: Any, line: bytes) -> None:
        for _ in range(200_000):
            channel.push(b"ok")

    client, server = trio.testing.lockstep_stream_pair()
    made: list[Any] = []
    loop = asynchat.handler_factory(lambda sock, addr: made.append(LineChannel(sock, then)))(server)
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
    loop = asynchat.handler_factory(lambda sock, addr: LineChannel(sock, then))(server)
    received: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"get\r\n")
        while sum(received) < 400_000:
            received.append(len(await client.receive_some()))
        assert len(received) < 20
        nursery.cancel_scope.cancel()


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
    loop = asynchat.handler_factory(lambda sock, addr: made.append(push(sock)))(server)
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

    def fail(self: Any) -> None:
        if self.calls:
            raise ZeroDivisionError

    setattr(Failing, question, lambda self: fail(self) or True)

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

        _collect = _found = _ask = _advance = _refuse = _hand_over = None

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


# ---------------------------------------------------------------------- others


async def test_another_thread_pushes() -> None:
    def work(channel: Any) -> None:
        channel.push(b"1")
        channel.push_with_producer(asynchat.simple_producer(b"23", 1))
        channel.push(b"4")

    async with running(LineChannel) as (channel, client):
        thread = threading.Thread(target=work, args=(channel,))
        thread.start()
        thread.join()
        while not client.ended and len(channel.producer_fifo):
            await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        assert client.heard() == b"1234"
        thread = threading.Thread(target=lambda: (channel.push(b"bye"), channel.close_when_done()))
        thread.start()
        thread.join()
        while not client.ended:
            await trio.lowlevel.checkpoint()
        assert (client.heard(), channel.calls) == (b"bye", ["close"])


async def test_another_thread_closes() -> None:
    async with running(LineChannel) as (channel, client):
        thread = threading.Thread(target=channel.close)
        thread.start()
        thread.join()
        while not client.ended:
            await trio.lowlevel.checkpoint()
        assert (channel.calls, channel.connected) == ([], False)


def test_a_channel_outlives_its_loop() -> None:
    made: list[LineChannel] = []

    async def converse() -> None:
        async with running(LineChannel) as (channel, _):
            made.append(channel)

    trio.run(converse)
    made[0].push(b"nobody hears that")
    made[0].close_when_done()
    made[0].close()
    assert made[0].calls == ["close"]


async def test_members_of_a_room_who_all_leave_at_once() -> None:
    room: set[Any] = set()

    class Member(LineChannel):
        def __init__(self, sock: Any) -> None:
            super().__init__(sock)
            room.add(self)

        def handle_close(self) -> None:
            super().handle_close()
            room.discard(self)
            for member in room.copy():
                member.push(b"somebody has left\r\n")

    members: list[Member] = []
    clients = []
    async with trio.open_nursery() as nursery:
        for _ in range(200):
            client, server = memory_stream_pair()
            clients.append(client)
            nursery.start_soon(asynchat.handler_factory(lambda sock, addr: members.append(Member(sock)))(server).run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [member.calls for member in members] == [["close"]] * 200
    assert room == set()


async def test_a_shutdown_when_all_is_over_is_an_error_of_the_system() -> None:
    class Thorough(LineChannel):
        def handle_close(self) -> None:
            with pytest.raises(OSError, match="not connected"):
                self.socket.shutdown(socket.SHUT_RDWR)
            super().handle_close()

    async with running(Thorough) as (channel, _):
        channel.socket._wire.close_when_idle()
        await wait_all_tasks_blocked()
        assert channel.calls == ["close"]


async def test_a_constructor_that_fails_leaves_nothing() -> None:
    class Failing(LineChannel):
        def __init__(self, sock: Any) -> None:
            super().__init__(sock)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asynchat.handler_factory(lambda sock, addr: Failing(sock))(memory_stream_pair()[1])
    assert socket_map == {}


async def test_a_client_that_was_gone_before_it_was_accepted() -> None:
    accepted: list[Any] = []
    factory = asynchat.handler_factory(lambda sock, addr: (accepted.append(addr), answering(sock)))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        reset(socket.create_connection(listening.getsockname()))
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(listening.accept()[0]))
    await factory(stream).run()
    assert accepted == []


async def test_a_client_that_is_refused_with_a_word() -> None:
    def refuse(sock: Any, addr: Any) -> None:
        sock.settimeout(0)
        assert (sock.gettimeout(), sock.type) == (0.0, socket.SOCK_STREAM)
        sock.sendall(b"421 too busy\r\n")
        sock.close()

    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asynchat.handler_factory(refuse)(server).run)
        assert await client.receive_some() == b"421 too busy\r\n"
        assert await client.receive_some() == b""
        await client.aclose()


async def test_a_frame_that_is_too_long_closes_whatever_handle_error_does() -> None:
    class Stubborn(LineChannel):
        max_frame_bytes = 1000

        def handle_error(self) -> None:
            self.calls.append("error")

    async with running(Stubborn) as (channel, client):
        await client.say(b"x" * 5000)
        assert (channel.calls, client.ended) == (["error", "close"], True)


async def test_an_idle_channel_keeps_nothing_of_what_it_has_read() -> None:
    async with running(answering) as (channel, client):
        await client.say(b"x" * 100_000 + b"\r\n")
        assert channel.ac_in_buffer == channel._async_chat__input == channel.socket._unread == b""


async def test_timeouts_can_be_set(autojump_clock: MockClock) -> None:
    client, server = trio.testing.lockstep_stream_pair()
    made: list[LineChannel] = []
    factory = asynchat.handler_factory(
        lambda sock, addr: made.append(answering(sock)), idle_timeout=5.0, write_timeout=7.0
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(factory(server).run)
        await trio.sleep(4.5)
        await client.send_all(b"get\r\n")
        assert await client.receive_some() == b"get\r\n"
        await trio.sleep(4.5)
        assert made[0].connected
        await trio.sleep(1)
        assert made[0].calls == [b"get", "close"]
        client, server = trio.testing.lockstep_stream_pair()
        nursery.start_soon(factory(server).run)
        await client.send_all(b"get\r\n")  # and does not read
        await trio.sleep(6.5)
        assert made[1].connected
        await trio.sleep(1)
        assert made[1].calls == [b"get", "close"]
        nursery.cancel_scope.cancel()
