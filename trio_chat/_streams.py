"""What is asked of a stream besides reading and writing: whose its ends are, and to close now, or with a reset."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import trio

#: What `socket.getpeername()` gives: (host, port), for IPv6 (host, port, flow, scope), for Unix sockets a path.
Address: TypeAlias = tuple[Any, ...] | str | bytes


def peer_address(stream: trio.abc.Stream) -> Address | None:
    """The address of the other end; None if the stream has no socket, or its peer is gone."""
    return _address(sock.getpeername) if (sock := _socket_of(stream)) is not None else None


def local_address(stream: trio.abc.Stream) -> Address | None:
    """The address of our end; None if the stream has no socket, or is closed."""
    return _address(sock.getsockname) if (sock := _socket_of(stream)) is not None else None


class NowaitSender(Protocol):
    """Sends as much of `data` as it can without waiting, and returns how many bytes that was.

    A stream that has such a method, as `send_nowait`, saves its connection a turn of the scheduler for each answer. It
    raises what `send_all` does; `trio.BusyResourceError` if a task is in that. `trio.WouldBlock` is as good as 0.
    """

    def __call__(self, data: bytes | bytearray | memoryview, /) -> int: ...


class NowaitReceiver(Protocol):
    """Gives what `receive_some` would, if it need not wait for that; else it raises `trio.WouldBlock`.

    A stream may have such a method, as `receive_nowait`.
    """

    def __call__(self, max_bytes: int, /) -> bytes: ...


def nowait_receiver(stream: trio.abc.ReceiveStream) -> NowaitReceiver | None:
    """The stream's `receive_nowait`; None if it has none that does what its `receive_some` does."""
    has_one = has_nowait(type(stream), "receive_some", "receive_nowait")
    return stream.receive_nowait if has_one else None  # type: ignore[attr-defined]


class NowaitFileSender(Protocol):
    """Sends what it can without waiting of `count` bytes of an open file from `start` on; returns how many bytes.

    A stream may have such a method, as `send_file_nowait`. 0 if it sends nothing now, for whatever reason.
    """

    def __call__(self, file: int, start: int, count: int, /) -> int: ...


def nowait_sender(stream: trio.abc.SendStream) -> NowaitSender | None:
    """The stream's `send_nowait`; None if it has none that does what its `send_all` does."""
    return stream.send_nowait if has_nowait(type(stream), "send_all", "send_nowait") else None  # type: ignore[attr-defined]


def nowait_file_sender(stream: trio.abc.SendStream) -> NowaitFileSender | None:
    """The stream's `send_file_nowait`; None if it has none that does what its other ways to send do."""
    cls, name = type(stream), "send_file_nowait"
    if has_nowait(cls, "send_all", name) and has_nowait(cls, "send_nowait", name):
        return stream.send_file_nowait  # type: ignore[attr-defined,no-any-return]
    return None


@lru_cache(maxsize=256)
def has_nowait(cls: type, name: str, nowait_name: str) -> bool:
    """Whether the class has the method `nowait_name`, and has not overridden `name` since: that may do something else.

    What a wrapper passes on (`__getattr__`) does not count, either.
    """
    for each in cls.__mro__:
        if nowait_name in vars(each):
            return True
        if name in vars(each):
            return False
    return False


def _address(get: Callable[[], Address]) -> Address | None:
    try:
        return get()
    except OSError:
        return None


def _socket_of(stream: object) -> Any:
    """The socket under the stream; None if there is none."""
    while (inner := getattr(stream, "transport_stream", None)) is not None:  # as of trio.SSLStream
        stream = inner
    return getattr(stream, "socket", None)


def has_tls(stream: object) -> bool:
    """Whether what goes over the stream is encrypted by Trio."""
    while stream is not None and not isinstance(stream, trio.SSLStream):
        stream = getattr(stream, "transport_stream", None)
    return stream is not None


def reset_when_closed(stream: trio.abc.Stream) -> None:
    """Let the peer see a reset when the stream is closed; over what is no TCP, an end like any other."""
    if (sock := _socket_of(stream)) is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def close_now(resource: trio.abc.AsyncResource) -> None:
    """Close without waiting for anything, and without being cancelled on the way."""
    with trio.CancelScope(shield=True) as scope:
        scope.cancel()
        await resource.aclose()
