"""What several test files need: a handler that records, a conversation over memory streams, streams that misbehave."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ClassVar, TypeVar

import trio
import trio.testing

from trio_chat import AsyncChat, Terminator, TimeoutKind

ChatT = TypeVar("ChatT", bound=AsyncChat)
MemoryStream = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


class RecordingChat(AsyncChat):
    """Records every callback in `calls`, as (name, argument)."""

    terminator: ClassVar[Terminator] = b"\n"

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.calls: list[tuple[str, object]] = []

    def handle_connect(self) -> None:
        self.calls.append(("connect", None))

    def collect_incoming_data(self, data: bytes) -> None:
        self.calls.append(("data", data))
        super().collect_incoming_data(data)

    def found_terminator(self) -> Awaitable[None] | None:
        self.calls.append(("found", self._get_data()))
        return None

    def handle_oversize(self) -> None:
        self.calls.append(("oversize", self._get_data()))

    def handle_eof(self) -> None:
        self.calls.append(("eof", self._get_data()))
        super().handle_eof()

    def handle_timeout(self, kind: TimeoutKind) -> None:
        self.calls.append(("timeout", kind))
        super().handle_timeout(kind)

    def handle_close(self) -> None:
        self.calls.append(("close", None))

    @property
    def frames(self) -> list[object]:
        return [argument for name, argument in self.calls if name == "found"]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


class Echo(RecordingChat):
    """Answers each line with the same."""

    def found_terminator(self) -> None:
        line = self._get_data()
        self.calls.append(("found", line))
        self.push(line + b"\n")


@asynccontextmanager
async def talk(factory: Callable[[trio.abc.Stream], ChatT]) -> AsyncGenerator[tuple[ChatT, MemoryStream], None]:
    """Run a handler over memory streams; gives it and the client's end, which is closed at the end of the block.

    What `run()` raises comes out of the block as it is.
    """
    client, server = trio.testing.memory_stream_pair()
    chat = factory(server)
    failure: list[Exception] = []

    async def run() -> None:
        try:
            await chat.run()
        except Exception as exc:
            failure.append(exc)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield chat, client
        await trio.aclose_forcefully(client)
    if failure:
        raise failure[0]


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Everything up to end of file."""
    received = b""
    while data := await stream.receive_some():
        received += data
    return received


async def receive_exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        data = await stream.receive_some(count - len(received))
        assert data, f"end of file after {received!r}"
        received += data
    return received


async def ask(client: trio.abc.Stream, line: bytes) -> None:
    """Send a line to a server that answers with the same."""
    await client.send_all(line + b"\n")
    assert await receive_exactly(client, len(line) + 1) == line + b"\n"


async def converse(factory: Callable[[trio.abc.Stream], ChatT], chunks: list[bytes]) -> tuple[ChatT, bytes]:
    """Send the chunks, each to be received alone, then end of file; the handler and what it sent."""
    async with talk(factory) as (chat, client):
        for chunk in chunks:
            await client.send_all(chunk)
            await trio.testing.wait_all_tasks_blocked()
            if chat.closing:
                break
        else:
            await client.send_eof()
        return chat, await receive_all(client)


def splits(data: bytes) -> list[list[bytes]]:
    """Whole, byte by byte, and cut at every single place."""
    single_bytes = [data[i : i + 1] for i in range(len(data))]
    return [[data], single_bytes, *([data[:i], data[i:]] for i in range(1, len(data)))]


class CountingStream(trio.abc.HalfCloseableStream):
    """Passes everything on, and notes what each send was given."""

    def __init__(self, inner: trio.abc.HalfCloseableStream) -> None:
        self.inner = inner
        self.sends: list[bytes] = []

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sends.append(bytes(data))
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self) -> None:
        await self.inner.aclose()


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts what `connect` makes; `faults` are raised first, one at each accept."""

    def __init__(self, faults: list[OSError] | None = None) -> None:
        self.faults = faults or []
        self._waiting, self._accepted = trio.open_memory_channel[trio.abc.Stream](100)

    async def connect(self) -> MemoryStream:
        client, server = trio.testing.memory_stream_pair()
        await self._waiting.send(server)
        return client

    @property
    def backlog(self) -> int:
        return self._waiting.statistics().current_buffer_used

    async def accept(self) -> trio.abc.Stream:
        if self.faults:
            await trio.lowlevel.checkpoint()
            raise self.faults.pop(0)
        return await self._accepted.receive()

    async def aclose(self) -> None:
        self._accepted.close()
        await trio.lowlevel.checkpoint()


class Turns:
    """Takes every turn that the scheduler gives it, and counts them. To be run as a task, until it is cancelled."""

    count = 0

    async def take(self) -> None:
        while True:
            self.count += 1
            await trio.lowlevel.checkpoint()
