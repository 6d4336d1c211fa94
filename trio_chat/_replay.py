"""A stream that begins with bytes which were received already: what a protocol hands over to the next one."""

from __future__ import annotations

import trio


class ReplayStream(trio.abc.Stream):
    """`transport_stream`, with `received` before everything that it will still receive."""

    def __init__(self, transport_stream: trio.abc.Stream, received: bytes) -> None:
        self.transport_stream: trio.abc.Stream = transport_stream
        self._received = received
        self._replaying = False
        self._closed = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As of `transport_stream`; the bytes that were received already come first, and are not lost if cancelled."""
        if self._replaying:
            raise trio.BusyResourceError("another task is receiving data on this stream")
        if self._received and not self._closed:
            if max_bytes is not None and max_bytes < 1:
                raise ValueError("max_bytes must be >= 1")
            self._replaying = True
            try:
                await trio.lowlevel.checkpoint()
            finally:
                self._replaying = False
            if not self._closed:
                data, self._received = self._received[:max_bytes], self._received[max_bytes or len(self._received) :]
                return data
        return await self.transport_stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.transport_stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.transport_stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self._closed = True
        await self.transport_stream.aclose()


class _HalfCloseableReplayStream(ReplayStream, trio.abc.HalfCloseableStream):
    def __init__(self, transport_stream: trio.abc.HalfCloseableStream, received: bytes) -> None:
        super().__init__(transport_stream, received)
        self._send_eof = transport_stream.send_eof

    async def send_eof(self) -> None:
        await self._send_eof()


def replaying(stream: trio.abc.Stream, received: bytes) -> ReplayStream:
    """The stream, half-closeable if `stream` is."""
    if isinstance(stream, trio.abc.HalfCloseableStream):
        return _HalfCloseableReplayStream(stream, received)
    return ReplayStream(stream, received)
