"""What is asked of a stream besides reading and writing: who its peer is, and to end well, or now."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import trio

_DROP_BYTES = 65536

#: What `socket.getpeername()` gives: (host, port), for IPv6 (host, port, flow, scope), for Unix sockets a path.
Address: TypeAlias = tuple[Any, ...] | str | bytes


def peer_address(stream: trio.abc.Stream) -> Address | None:
    """The address of the other end; None if the stream has no socket, or its peer is gone."""
    return _address(sock.getpeername) if (sock := _socket_of(stream)) is not None else None


def local_address(stream: trio.abc.Stream) -> Address | None:
    """The address of our end; None if the stream has no socket, or is closed."""
    return _address(sock.getsockname) if (sock := _socket_of(stream)) is not None else None


def _address(get: Callable[[], Address]) -> Address | None:
    try:
        return get()
    except OSError:
        return None


def _socket_of(stream: object) -> Any:
    """The socket under the stream; None if there is none."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    return getattr(stream, "socket", None)


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


async def linger(stream: trio.abc.Stream, patience: float, longest: float) -> None:
    """End our side, then drop what comes until the peer ends its own, or sends nothing for `patience` seconds.

    For `longest` seconds in all. To close a socket at once, with input unread, would reset the connection, and the
    reset can overtake what was sent last.
    """
    with trio.move_on_after(longest):
        if isinstance(stream, trio.SSLStream):
            await _linger_over_tls(stream, patience, longest)
        elif isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
            await _drop_input(stream, patience)


async def _linger_over_tls(stream: trio.SSLStream[trio.abc.Stream], patience: float, longest: float) -> None:
    transport = stream.transport_stream
    try:
        with trio.move_on_after(patience), suppress(trio.BrokenResourceError):
            await stream.unwrap()  # sends the closing alert, unless more data of the peer's is in the way
        await linger(transport, patience, longest)
    finally:
        await close_now(transport)


async def _drop_input(stream: trio.abc.ReceiveStream, patience: float) -> None:
    while True:
        with trio.move_on_after(patience) as scope:
            if not await stream.receive_some(_DROP_BYTES):
                return
        if scope.cancelled_caught:
            return
