"""How many connections there may be, in total and from one peer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

import trio

from ._streams import close_now, has_nowait, peer_address


class TooMany(Exception):
    """A peer has as many connections as it may have."""


class Admission:
    """Counts connections, and lets a listener accept only while there is room.

    The total is kept *before* accept: when it is reached nobody accepts, and further clients wait in the listener's
    backlog. Who a peer is can only be known after accept, so its limit is kept there, before anything else happens.
    """

    def __init__(self, max_total: int | None, max_per_peer: int | None) -> None:
        for name, limit in (("max_connections", max_total), ("max_connections_per_peer", max_per_peer)):
            if not (limit is None or type(limit) is int):
                raise TypeError(f"{name} is a whole number, or None for no limit; got {limit!r}")
            if limit is not None and limit < 1:
                raise ValueError(f"{name} must be at least 1, or None for no limit; got {limit}")
        self._max_total = max_total
        self._max_per_peer = max_per_peer
        self._total = 0
        self._per_peer: Counter[Hashable] = Counter()
        self._accepting: set[trio.CancelScope] = set()
        self._places = trio.lowlevel.ParkingLot()

    @property
    def _full(self) -> bool:
        return self._max_total is not None and self._total >= self._max_total

    async def accept(self, listener: trio.abc.Listener[trio.abc.Stream]) -> trio.abc.Stream:
        """Accept a connection as soon as there is a place for it, and give it that place, until `leave`.

        Several listeners may wait for a client at once: the one that fills the last place calls the others back. If
        cancelled, no connection has been accepted.
        """
        while (stream := await self._accept_unless_full(listener)) is None:
            await self._wait_for_place()
        try:
            await self._wait_for_place()  # another listener may have filled the last one in the same turn
        except BaseException:
            await close_now(stream)
            raise
        self._take_place()
        return stream

    def _take_place(self) -> None:
        self._total += 1
        if self._full:
            for scope in self._accepting:
                scope.cancel()

    def accept_nowait(self, listener: trio.abc.Listener[trio.abc.Stream]) -> trio.abc.Stream | None:
        """As `accept`, if that need not wait, and the listener can tell so; None otherwise."""
        if self._full or not has_nowait(type(listener), "accept", "accept_nowait"):
            return None
        try:
            stream: trio.abc.Stream | None = listener.accept_nowait()  # type: ignore[attr-defined]
        except trio.WouldBlock:
            return None
        if stream is not None:
            self._take_place()
        return stream

    async def _accept_unless_full(self, listener: trio.abc.Listener[trio.abc.Stream]) -> trio.abc.Stream | None:
        if self._full:
            return None
        with trio.CancelScope() as scope:
            self._accepting.add(scope)
            try:
                return await listener.accept()
            finally:
                self._accepting.discard(scope)
        return None  # called back

    async def _wait_for_place(self) -> None:
        while self._full:
            await self._places.park()

    def enter(self, stream: trio.abc.Stream) -> Hashable:
        """Count the connection for its peer, and return whom to name in `leave`.

        Raises TooMany, and has not counted it, if that peer has too many already.
        """
        peer = None if self._max_per_peer is None else peer_address(stream)
        if self._max_per_peer is None or not isinstance(peer, tuple):
            return None
        host: Hashable = peer[0]
        if self._per_peer[host] >= self._max_per_peer:
            raise TooMany(host)
        self._per_peer[host] += 1
        return host

    def leave(self, host: Hashable) -> None:
        """Give the place back."""
        self._total -= 1
        self._places.unpark_all()
        if host is not None:
            self._per_peer[host] -= 1
            if not self._per_peer[host]:
                del self._per_peer[host]
