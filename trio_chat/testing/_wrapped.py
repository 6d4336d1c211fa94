"""`WrappedStream`: a stream around another one, which is where faults are put in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Self

import trio


class WrappedStream(trio.abc.Stream):
    """Passes everything on to `transport_stream`: the base of the streams with faults, and of your own.

    It is a `trio.abc.HalfCloseableStream` if `transport_stream` is. The optional methods that do not wait
    (`send_nowait`, `receive_nowait`, `send_file_nowait`) are not passed on, nor is anything else: nobody shall get
    around a fault. As with Trio's own streams, one task may send and one receive at a time; others get
    `trio.BusyResourceError`.
    """

    def __new__(cls, transport_stream: trio.abc.Stream, *args: Any, **options: Any) -> Self:
        kind: type[Self] = cls
        if isinstance(transport_stream, trio.abc.HalfCloseableStream):
            kind = half_closeable(cls)
        return super().__new__(kind)

    def __init__(self, transport_stream: trio.abc.Stream) -> None:
        if not isinstance(transport_stream, trio.abc.Stream):
            raise TypeError(f"{type(self).__name__} goes around a trio.abc.Stream; got {transport_stream!r}")
        #: The stream inside.
        self.transport_stream: trio.abc.Stream = transport_stream
        #: Whether `aclose` was called.
        self.closed: bool = False
        self._sender = _OneTask("another task is sending on this stream")
        self._receiver = _OneTask("another task is receiving from this stream")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with self._sender:
            await self._send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        with self._sender:
            await self._wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        with self._receiver:
            return await self._receive_some(max_bytes)

    async def aclose(self) -> None:
        self.closed = True
        await self.transport_stream.aclose()

    # What the streams with faults override: one call of each side at a time comes here.

    async def _send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.transport_stream.send_all(data)

    async def _wait_send_all_might_not_block(self) -> None:
        await self.transport_stream.wait_send_all_might_not_block()

    async def _send_eof(self) -> None:
        await self.transport_stream.send_eof()  # type: ignore[attr-defined]  # only called if it has one

    async def _receive_some(self, max_bytes: int | None) -> bytes | bytearray:
        return await self.transport_stream.receive_some(max_bytes)


class _SendsEof(trio.abc.HalfCloseableStream):
    _sender: _OneTask
    _send_eof: Callable[[], Awaitable[None]]

    async def send_eof(self) -> None:
        with self._sender:
            await self._send_eof()


@lru_cache(maxsize=256)
def half_closeable(cls: type[Any]) -> type[Any]:
    """The same class with `send_eof`: by that one Trio, and others, tell what can be half-closed."""
    if issubclass(cls, trio.abc.HalfCloseableStream):
        return cls
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls, _SendsEof), names)


class _OneTask:
    """Lets in one task at a time."""

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal
        self._taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise trio.BusyResourceError(self._refusal)
        self._taken = True

    def __exit__(self, *exc_info: object) -> None:
        self._taken = False
