"""Producers: whatever can give output piece by piece, behind one face.

A producer is asked for its next piece only when everything before it has been sent, so one that reads a file or a
database holds one piece in memory at a time.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Protocol, TypeAlias

import trio


class MoreProducer(Protocol):
    """asynchat's producer: `more()` gives the next piece, and b"" when there is none."""

    def more(self) -> bytes: ...


class BinaryFile(Protocol):
    """A file opened in binary mode, or whatever reads like one."""

    def read(self, size: int, /) -> bytes | Awaitable[bytes]: ...


Producer: TypeAlias = MoreProducer | BinaryFile | Iterable[bytes] | AsyncIterable[bytes]

_TAKEN = "a producer is an object with more(), a binary file, or an iterable or async iterable of bytes"


def as_bytes(data: object, what: str) -> bytes:
    """The bytes of a bytes-like object, as they are now; `what` says in the error where they came from."""
    if type(data) is bytes:
        return data
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if isinstance(data, str):
        raise TypeError(f"{what} takes bytes; got the str {data[:40]!r}: encode it first, as in text.encode()")
    raise TypeError(f"{what} takes bytes; got {data!r}")


class Source(trio.abc.AsyncResource):
    """A producer, recognised or refused with TypeError at the call, and first asked for data by `next_piece`."""

    __slots__ = ("_close", "_pull")

    def __init__(self, producer: Producer, size: int) -> None:
        self._pull = _pull_of(producer, size)
        # An asynchat producer stays its owner's. Files, generators and async generators are handed over for good.
        closable = () if hasattr(producer, "more") else ("aclose", "close")
        self._close = next((close for name in closable if callable(close := getattr(producer, name, None))), None)

    async def next_piece(self) -> bytes:
        """The next piece; b"" when there is none. What the producer raises comes out as it is."""
        data = self._pull()
        if inspect.isawaitable(data):
            data = await data
        return as_bytes(data, "a producer")

    async def aclose(self) -> None:
        """Close the file, generator or async generator, whether or not it was ever asked for data."""
        if self._close is not None and inspect.isawaitable(closing := self._close()):
            await closing


def _pull_of(producer: Producer, size: int) -> Callable[[], object]:
    """A function that gives the next piece or an awaitable of it; b"" at the end."""
    if isinstance(producer, str | bytes | bytearray | memoryview):
        raise TypeError(f"{_TAKEN}; got {producer!r:.60}: to send data, use push()")
    if callable(more := getattr(producer, "more", None)):
        return more  # type: ignore[no-any-return]
    if isinstance(producer, io.TextIOBase):
        raise TypeError(f"{_TAKEN}; got the text file {producer!r}: open it with mode 'rb'")
    if callable(read := getattr(producer, "read", None)):
        if isinstance(producer, io.IOBase) and not isinstance(producer, io.BytesIO):
            return lambda: trio.to_thread.run_sync(read, size)  # a file of the system may block
        return lambda: read(size)
    if isinstance(producer, AsyncIterable):
        pieces = aiter(producer)
        return lambda: _next_of_async(pieces)
    if isinstance(producer, Iterable):
        iterator = iter(producer)
        return lambda: _next_of(iterator)
    raise TypeError(f"{_TAKEN}; got {producer!r}")


# An empty piece in the middle of an iterable is no end: it is passed over.


def _next_of(pieces: Iterator[bytes]) -> bytes:
    for data in pieces:
        if piece := as_bytes(data, "a producer"):
            return piece
    return b""


async def _next_of_async(pieces: AsyncIterator[bytes]) -> bytes:
    async for data in pieces:
        if piece := as_bytes(data, "a producer"):
            return piece
    return b""
