"""What the tests of old channels share: one that records, and a conversation with it in memory."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
from support import MemoryStream
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from trio_chat.compat import asynchat


class LineChannel(asynchat.async_chat):
    """Records the lines that it gets, and its end; does what it is told by `then(channel, line)`."""

    def __init__(self, sock: Any, then: Callable[[Any, bytes], object] = lambda channel, line: None) -> None:
        asynchat.async_chat.__init__(self, sock=sock)
        self.set_terminator(b"\r\n")
        self.then = then
        self.calls: list[object] = []

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        line = self._get_data()
        self.calls.append(line)
        self.then(self, line)

    def handle_close(self) -> None:
        self.calls.append("close")
        asynchat.async_chat.handle_close(self)


def answering(sock: Any) -> LineChannel:
    return LineChannel(sock, lambda channel, line: channel.push(line + b"\r\n"))


class Client:
    """The other end of a channel: takes whatever comes."""

    def __init__(self, stream: MemoryStream) -> None:
        self.stream = stream
        self.ended = False  # by the channel
        self._heard = b""

    async def take_all(self) -> None:
        async for data in self.stream:
            self._heard += data
        self.ended = True

    async def say(self, *chunks: bytes) -> None:
        """Send each chunk, to be received alone, and wait until nothing more happens."""
        for chunk in chunks:
            await self.stream.send_all(chunk)
            await wait_all_tasks_blocked()

    async def end(self) -> None:
        """End our side."""
        await self.stream.send_eof()
        await wait_all_tasks_blocked()

    def heard(self) -> bytes:
        """What has come since the last time."""
        heard, self._heard = self._heard, b""
        return heard


@asynccontextmanager
async def running(make: Callable[[Any], Any]) -> AsyncGenerator[tuple[Any, Client], None]:
    """Run the channel that `make(sock)` makes; gives it and its client, whose stream is closed at the end.

    What `run()` raises comes out of the block as it is.
    """
    made: list[Any] = []
    stream, server = memory_stream_pair()
    client = Client(stream)
    loop = asynchat.handler_factory(lambda sock, addr: made.append(make(sock)))(server)
    failures: list[Exception] = []

    async def run() -> None:
        try:
            await loop.run()
        except Exception as exc:
            failures.append(exc)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        nursery.start_soon(client.take_all)
        await wait_all_tasks_blocked()
        yield made[0], client
        await client.end()
        await trio.aclose_forcefully(stream.send_stream)
    if failures:
        raise failures[0]


LockstepClient = trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]


def over_lockstep(make: Callable[[Any], Any]) -> tuple[LockstepClient, Any, Any]:
    """A client that takes only what it receives, the loop to be run, and the channel that `make(sock)` made for it."""
    client, server = trio.testing.lockstep_stream_pair()
    made: list[Any] = []
    loop = asynchat.handler_factory(lambda sock, addr: made.append(make(sock)))(server)
    return client, loop, made[0]


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
