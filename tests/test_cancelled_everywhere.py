"""Conversations and streams that are cancelled at each of their checkpoints."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import pytest
import trio
import trio.testing
from support import Echo, RecordingChat, receive_all, receive_exactly

from trio_chat import SocketStream
from trio_chat.testing import ShortPiecesStream, cancel_at_every_checkpoint

Pair = Callable[[], tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]]


def socket_pair() -> tuple[SocketStream, SocketStream]:
    one, other = socket.socketpair()
    return SocketStream(one), SocketStream(other)


#: Over sockets each part of an answer is sent at once, over the others by a task of its own; in lockstep, everything
#: waits for the peer.
PAIRS: list[Pair] = [trio.testing.memory_stream_pair, trio.testing.lockstep_stream_pair, socket_pair]


class AsyncEcho(Echo):
    async def found_terminator(self) -> None:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        super().found_terminator()
        await self.drain()


class Asking(Echo):
    """Takes the rest of the input within the first callback."""

    async def found_terminator(self) -> None:  # type: ignore[override]
        super().found_terminator()
        if len(self.frames) == 1:
            while await self.receive_more():
                pass


class WithBackground(Echo):
    def handle_connect(self) -> None:
        super().handle_connect()
        self.nursery.start_soon(self.tick)

    async def tick(self) -> None:
        for _ in range(2):
            await trio.sleep(0)
            self.push(b"tick\n")
            await self.drain()


class Detaching(RecordingChat):
    """Echoes what follows the first line without a conversation."""

    async def found_terminator(self) -> None:
        super().found_terminator()
        self.push(b"go on\n")
        stream = await self.detach()
        while data := await stream.receive_some():
            await stream.send_all(data)


@pytest.mark.parametrize("make_pair", PAIRS)
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("kind", [Echo, AsyncEcho, Asking, WithBackground, Detaching])
async def test_a_conversation_ends_tidily_wherever_it_is_cancelled(
    autojump_clock: trio.testing.MockClock, make_pair: Pair, kind: type[RecordingChat], *, short: bool
) -> None:
    chats: list[RecordingChat] = []

    async def talk(client: trio.abc.HalfCloseableStream) -> None:
        with suppress(trio.BrokenResourceError):  # so it goes if the other end is cancelled
            await client.send_all(b"one\ntwo\nthree\n")
            await client.send_eof()
            await receive_all(client)
        await client.aclose()

    async def scenario() -> None:
        client, server = make_pair()
        chats.append(kind(ShortPiecesStream(server, receive_bytes=5, send_bytes=3) if short else server))
        outside.start_soon(talk, client)
        await chats[-1].run()

    async def check() -> None:
        chat = chats[-1]
        with pytest.raises(trio.ClosedResourceError):
            await chat.stream.receive_some()
        assert chat.closing
        assert chat.names.count("close") == 1
        assert chat.names[-1] == "close"
        assert chat.frames == [b"one", b"two", b"three"][: len(chat.frames)]

    async with trio.open_nursery() as outside:
        assert await cancel_at_every_checkpoint(scenario, check=check) >= 5


@pytest.mark.parametrize("make_pair", PAIRS)
async def test_receive_more_loses_nothing(autojump_clock: trio.testing.MockClock, make_pair: Pair) -> None:
    """Cancelled or not, each question has its answer, in order."""

    class Questions(RecordingChat):
        asked = 0
        cancelled_at = 0

        async def handle_connect(self) -> None:  # type: ignore[override]
            self.cancelled_at = await cancel_at_every_checkpoint(self.ask)
            while len(self.frames) < self.asked:
                assert await self.receive_more()
            self.close_when_done()

        async def ask(self) -> None:
            self.asked += 1
            self.push(b"?")
            await self.receive_more()
            await self.receive_more()

    async def answer(client: trio.abc.HalfCloseableStream) -> None:
        count = 0
        while questions := await client.receive_some():
            for _ in range(len(questions)):
                await client.send_all(b"%d" % count)
                await trio.lowlevel.checkpoint()
                await client.send_all(b"\n")
                count += 1
        await client.aclose()

    client, server = make_pair()
    chat = Questions(server)
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, client)
            await chat.run()
    assert chat.frames == [b"%d" % number for number in range(chat.asked)]
    assert chat.cancelled_at >= 1


@pytest.mark.parametrize("make_pair", PAIRS)
async def test_what_is_queued_is_sent_though_drain_is_cancelled(
    autojump_clock: trio.testing.MockClock, make_pair: Pair
) -> None:
    class Draining(RecordingChat):
        low_water_bytes = 0

    data = bytes(1_000_000)  # more than a socket takes at once

    async def scenario() -> None:
        client, server = make_pair()
        clients.append(client)
        chat = Draining(server)
        chats.append(chat)
        outside.start_soon(chat.run)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_all_but_the_end, client)
            chat.push(data)
            await chat.drain()

    async def read_all_but_the_end(client: trio.abc.HalfCloseableStream) -> None:
        received[0] = 0
        while received[0] < len(data):
            received[0] += len(await client.receive_some(200_000))

    async def check() -> None:
        assert not chats[-1].closing
        await receive_exactly(clients[-1], len(data) - received[0])
        await clients[-1].send_eof()
        assert await receive_all(clients[-1]) == b""
        await clients[-1].aclose()

    received = [0]
    chats: list[Draining] = []
    clients: list[trio.abc.HalfCloseableStream] = []
    async with trio.open_nursery() as outside:
        assert await cancel_at_every_checkpoint(scenario, check=check) >= 2


async def test_a_socket_stream_loses_nothing_that_it_received() -> None:
    received: list[bytes] = []
    pairs: list[tuple[SocketStream, SocketStream]] = []

    async def scenario() -> None:
        received.clear()
        pairs.append(socket_pair())
        client, server = pairs[-1]
        client.send_nowait(b"one two three ")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive, server)
            await client.send_all(b"four")

    async def receive(server: SocketStream) -> None:
        while sum(map(len, received)) < 18:
            received.append(await server.receive_some(4))

    async def check() -> None:
        client, server = pairs[-1]
        await client.send_eof()
        rest = await receive_all(server)
        assert (b"".join(received) + rest) in (b"one two three ", b"one two three four")
        await client.aclose()
        await server.aclose()

    assert await cancel_at_every_checkpoint(scenario, check=check) >= 5
    assert b"".join(received) == b"one two three four"
    with pytest.raises(trio.ClosedResourceError):
        await pairs[0][1].receive_some()
