"""Ending a connection well: after the last output our side is ended, and the peer has some time to end its own."""

from __future__ import annotations

from contextlib import suppress

import trio

from ._replay import ReplayStream
from ._streams import close_now

_DROP_BYTES = 65536


class Farewell:
    __slots__ = ("_scope",)

    def __init__(self) -> None:
        self._scope: trio.CancelScope | None = None  # of what is being waited for

    async def say(self, stream: trio.abc.Stream, *, patience: float, longest: float, close_within: float) -> None:
        """Linger for at most `longest` seconds, and close in at most `close_within` more."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if patience > 0:
                with trio.CancelScope() as self._scope:
                    await _linger(stream, patience, longest)
            with trio.move_on_after(close_within) as self._scope:
                await stream.aclose()

    def hurry(self) -> None:
        """Wait no longer."""
        if self._scope is not None:
            self._scope.cancel()


async def _linger(stream: trio.abc.Stream, patience: float, longest: float) -> None:
    """End our side, then drop what comes until the peer ends its own, or sends nothing for `patience` seconds.

    For `longest` seconds in all. To close a socket at once, with input unread, would reset the connection, and the
    reset can overtake what was sent last.
    """
    while isinstance(stream, ReplayStream):
        stream = stream.transport_stream
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
        await _linger(transport, patience, longest)
    finally:
        await close_now(transport)


async def _drop_input(stream: trio.abc.ReceiveStream, patience: float) -> None:
    while True:
        with trio.move_on_after(patience) as scope:
            if not await stream.receive_some(_DROP_BYTES):
                return
        if scope.cancelled_caught:
            return
