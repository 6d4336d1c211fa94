"""What others do to channels: tasks, threads, servers that stop, programs that refuse a client or forget one."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
import trio
import trio.testing
from old_channels import LineChannel, answering, over_lockstep, reset, running
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trio_chat.compat import asynchat
from trio_chat.compat._dispatcher import socket_map


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
    factory = asynchat.handler_factory(lambda sock, addr: accepted.append(answering(sock)))
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


# ---------------------------------------------------------------------- what programs do


async def test_a_program_that_exits_in_a_callback() -> None:
    class Exiting(LineChannel):
        def handle_close(self) -> None:
            super().handle_close()
            raise SystemExit(3)

    def then(channel: Any, line: bytes) -> None:
        channel.push(b"x" * 1_000_000)

    client, server = trio.testing.lockstep_stream_pair()
    loop = asynchat.handler_factory(lambda sock, addr: Exiting(sock, then))(server)
    caught: list[BaseException] = []

    async def run() -> None:
        try:
            await loop.run()
        except BaseException as exc:
            caught.append(exc)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await client.send_all(b"get\r\n")
        await wait_all_tasks_blocked()
        await client.receive_stream.aclose()
    assert [repr(exc) for exc in caught] == ["SystemExit(3)"]


@pytest.mark.parametrize("empty", [lambda queue: queue.clear(), lambda queue: [queue.pop() for _ in range(len(queue))]])
async def test_a_program_that_empties_the_queue_by_itself(empty: Any, mock_clock: MockClock) -> None:
    def then(channel: Any, line: bytes) -> None:
        if line == b"big":
            channel.push(b"x" * 1_000_000)

    client, loop, channel = over_lockstep(lambda sock: LineChannel(sock, then))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"big\r\n")
        await wait_all_tasks_blocked()
        empty(channel.producer_fifo)

        async def receive() -> None:
            async for _ in client:
                pass

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        await client.send_all(b"hello\r\n")
        await wait_all_tasks_blocked()
        assert channel.calls == [b"big", b"hello"]
        nursery.cancel_scope.cancel()


async def test_a_program_that_queues_by_itself(mock_clock: MockClock) -> None:
    async with running(LineChannel) as (channel, client):
        channel.producer_fifo.append(b"behind its back")
        mock_clock.jump(30)
        await wait_all_tasks_blocked()
        assert client.heard() == b"behind its back"


async def test_a_program_that_tries_until_all_is_sent() -> None:
    def then(channel: Any, line: bytes) -> None:
        channel.push(line * 500_000)
        while channel.producer_fifo:
            channel.initiate_send()
        channel.push(b"|")
        channel.close_when_done()

    client, server = trio.testing.lockstep_stream_pair()
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asynchat.handler_factory(lambda sock, addr: LineChannel(sock, then))(server).run)
        await client.send_all(b"ab\r\n")
        while data := await client.receive_some():
            received += data
        await client.aclose()
    assert received == b"ab" * 500_000 + b"|"


async def test_what_is_sent_at_once_is_not_overtaken() -> None:
    def then(channel: Any, line: bytes) -> None:
        channel.push(b"x" * 500_000)

    client, loop, channel = over_lockstep(lambda sock: LineChannel(sock, then))
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"get\r\n")
        while len(received) < 200_000:
            received += await client.receive_some()
        await wait_all_tasks_blocked()
        channel.socket.sendall(b"1")
        channel.push(b"2")
        channel.close_when_done()
        while data := await client.receive_some():
            received += data
        await client.aclose()
    assert received.replace(b"x", b"") == b"12"


async def test_a_channel_that_does_not_want_to_read_ends_like_others(autojump_clock: MockClock) -> None:
    class Shut(LineChannel):
        def readable(self) -> Any:
            return False

    async with running(Shut) as (channel, client):
        await client.say(b"x\r\n")
        channel.socket._wire.close_when_idle()
        await wait_all_tasks_blocked()
        assert channel.calls == ["close"]
    peer, server = memory_stream_pair()
    made: list[LineChannel] = []
    factory = asynchat.handler_factory(lambda sock, addr: made.append(Shut(sock)), idle_timeout=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(factory(server).run)
        await peer.send_all(b"x\r\n")
        await trio.sleep(4)
        assert made[0].calls == []
        await trio.sleep(2)
        assert made[0].calls == ["close"]
        await peer.aclose()


async def test_a_thread_that_closes_before_the_conversation_begins() -> None:
    class Closing(LineChannel):
        def __init__(self, sock: Any) -> None:
            super().__init__(sock)
            thread = threading.Thread(target=self.close)
            thread.start()
            thread.join()

    async with running(Closing) as (channel, client):
        assert (client.ended, channel.calls) == (True, [])


async def test_what_threads_push_is_not_mixed() -> None:
    def push_lines(channel: Any, letter: bytes) -> None:
        for _ in range(50):
            channel.push(letter * 200_000 + b"|")

    async with running(LineChannel) as (channel, client):
        async with trio.open_nursery() as nursery:
            for letter in (b"a", b"b", b"c"):
                nursery.start_soon(trio.to_thread.run_sync, push_lines, channel, letter)
        while channel.producer_fifo:
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        lines = client.heard().split(b"|")
        assert len(lines) == 151
        assert all(len(set(line)) == 1 for line in lines[:-1])
