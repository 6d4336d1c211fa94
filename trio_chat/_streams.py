"""What is asked of a stream besides reading and writing: who its peer is, and that it be closed now."""

from __future__ import annotations

from typing import Any, TypeAlias

import trio

#: What `socket.getpeername()` gives: (host, port), for IPv6 (host, port, flow, scope), for Unix sockets a path.
Address: TypeAlias = tuple[Any, ...] | str | bytes


def peer_address(stream: trio.abc.Stream) -> Address | None:
    """The address of the other end; None if the stream has no socket, or its peer is gone."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    socket = getattr(stream, "socket", None)
    if socket is None:
        return None
    try:
        address: Address = socket.getpeername()
    except OSError:
        return None
    return address


async def close_now(resource: trio.abc.AsyncResource) -> None:
    """Close without waiting for anything, and without being cancelled on the way."""
    with trio.CancelScope(shield=True) as scope:
        scope.cancel()
        await resource.aclose()
