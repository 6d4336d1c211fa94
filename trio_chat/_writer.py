"""The output of one connection: what is queued, and the task that sends it.

Rules:

- `push` and `push_source` only queue. They never block and never send, so they may be called from any task, and what is
  pushed between two turns of the scheduler leaves in one send.
- One task sends. It is started with the first output, so a connection that never answered has none.
- The queue is bounded by whoever fills it: `overfull` says that it is above its high-water mark, `below_low` waits
  until it is below its low one. Sending has a task of its own so that input is read while a send waits, up to that
  mark: a peer that sends everything before it reads anything does not stop the connection.
- Once a send has failed or stalled nobody knows how much the peer has got. The queue is dropped, `lost` is true for
  good, and who waits is woken.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

import trio

from ._producers import Source
from ._streams import close_now


class OutputLimits(Protocol):
    """Attributes that the writer reads whenever it needs them, so that they may be changed at any time."""

    ac_out_buffer_size: int
    high_water_bytes: int
    low_water_bytes: int


class Writer:
    __slots__ = (
        "_begun",
        "_dropped",
        "_in_flight",
        "_limits",
        "_note",
        "_progress",
        "_pulling",
        "_queue",
        "_sources",
        "_stream",
        "_work",
        "failure",
        "idle_since",
        "lost",
        "peer_gone",
        "queued_bytes",
        "sending_since",
        "sent_bytes",
    )

    def __init__(self, stream: trio.abc.SendStream, limits: OutputLimits, note: Callable[[], None]) -> None:
        """`note` is called when a send begins, when a producer has failed, and when the peer is gone."""
        self._stream = stream
        self._limits = limits
        self._note = note
        self._queue: deque[bytes | memoryview | Source] = deque()
        self._begun: Source | None = None  # the source that is asked at present
        self._pulling: trio.CancelScope | None = None  # in which it is asked
        self._sources = 0  # how many were not begun
        self._work = trio.lowlevel.ParkingLot()  # where the task waits for something to send
        self._progress = trio.lowlevel.ParkingLot()  # where others wait for the queue to become shorter
        self.queued_bytes = 0  # including what is being sent
        self.sent_bytes = 0
        self.sending_since = math.inf
        self.idle_since = -math.inf
        self.lost = False
        self.peer_gone = False  # it broke off, or stopped reading
        self.failure: Exception | None = None  # what a producer raised
        self._in_flight = 0  # bytes that are being sent
        self._dropped: list[Source] = []  # sources to be closed

    # ------------------------------------------------------------------ filling

    def push(self, data: bytes) -> None:
        if data and not self.lost:
            self._queue.append(data)
            self.queued_bytes += len(data)

    def push_source(self, source: Source) -> None:
        if self.lost:
            self._dropped.append(source)  # to be closed by the task
        else:
            self._queue.append(source)
            self._sources += 1

    def discard(self) -> None:
        """Drop what is queued, except what is being sent at this moment."""
        self._dropped += [item for item in self._queue if isinstance(item, Source)]
        self._queue.clear()
        self._sources = 0
        self.queued_bytes = self._in_flight
        if self._pulling is not None:
            self._pulling.cancel()
        self._progress.unpark_all()

    def lose(self, *, peer_gone: bool = False) -> None:
        """Give the output up: nothing more can be sent."""
        self.lost = True
        self.discard()
        if peer_gone and not self.peer_gone:
            self.peer_gone = True
            self._note()

    # ------------------------------------------------------------------ how full it is

    @property
    def idle(self) -> bool:
        """Whether everything is sent."""
        return not self._queue and not self._in_flight

    @property
    def has_work(self) -> bool:
        return bool(self._queue or self._in_flight or self._dropped)

    @property
    def _load(self) -> int:
        """The bytes queued. What a producer will give is not known: until it is begun, it counts as one piece."""
        return self.queued_bytes + self._sources * self._limits.ac_out_buffer_size

    @property
    def overfull(self) -> bool:
        return self._load > self._limits.high_water_bytes and not self.lost

    async def below_low(self) -> None:
        """Wait until the queue is below its low-water mark, or lost."""
        while self._load > min(self._limits.low_water_bytes, self._limits.high_water_bytes) and not self.lost:
            await self._progress.park()

    async def flushed(self) -> None:
        """Wait until everything is sent, and the producers are closed, or the output is lost."""
        while self.has_work and not self.lost:
            await self._progress.park()

    # ------------------------------------------------------------------ sending

    def wake(self) -> None:
        """Let the task send what has been pushed."""
        self._work.unpark()

    async def run(self) -> None:
        while True:  # even after the output is lost: producers that are pushed then must be closed
            if self._dropped:
                await self._close_dropped()
            elif self._queue:
                await self._send_next()
            else:
                await self._work.park()

    async def aclose(self) -> None:
        """Drop what is queued and close the producers that were not finished, without waiting for anything."""
        self.lose()
        failures: list[Exception] = []
        while self._dropped:
            try:
                await close_now(self._dropped.pop())
            except Exception as exc:
                failures.append(exc)  # the others are to be closed all the same
        if failures:
            raise failures[0] if len(failures) == 1 else ExceptionGroup("producers failed to close", failures)

    async def _close_dropped(self) -> None:
        source = self._dropped[0]
        try:
            await source.aclose()
        except Exception as exc:
            self._fail(exc)
        self._dropped.remove(source)  # only now: flushed() waits for it
        self._progress.unpark_all()

    def _fail(self, exc: Exception) -> None:
        """A producer has failed: what has been sent of it can be neither taken back nor completed."""
        self.failure = exc
        self.lose()
        self._note()

    async def _send_next(self) -> None:
        if isinstance(source := self._queue[0], Source):
            await self._refill(source)
        else:
            await self._send(self._next_bytes())

    async def _refill(self, source: Source) -> None:
        """Put the next piece of a source before it, or take the source off the queue if there is none."""
        if self._begun is not source:
            self._begun = source
            self._sources -= 1
            self._progress.unpark_all()
        piece, failure = b"", None
        with trio.CancelScope() as self._pulling:
            try:
                piece = await source.next_piece()
            except Exception as exc:
                failure = exc
        self._pulling = None
        if not self._queue or self._queue[0] is not source:
            return  # discarded meanwhile
        if failure is not None:
            self._fail(failure)
        elif piece:
            self._queue.appendleft(piece)
            self.queued_bytes += len(piece)
        else:
            self._queue.popleft()
            self._dropped.append(source)
            self.idle_since = trio.current_time()
            self._progress.unpark_all()

    def _next_bytes(self) -> bytes | memoryview:
        """As many queued bytes as make one send; long ones are cut without copying, so that a stall can be told."""
        room = self._limits.ac_out_buffer_size
        parts: list[bytes | memoryview] = []
        while room and self._queue and not isinstance(data := self._queue[0], Source):
            self._queue.popleft()
            if len(data) > room:
                self._queue.appendleft(memoryview(data)[room:])
                data = memoryview(data)[:room]
            parts.append(data)
            room -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _send(self, data: bytes | memoryview) -> None:
        self._in_flight = len(data)
        self.sending_since = trio.current_time()
        self._note()
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.lose(peer_gone=True)
        finally:
            self.sending_since = math.inf
            self.idle_since = trio.current_time()
            self.queued_bytes -= self._in_flight
            self._in_flight = 0
        self.sent_bytes += len(data)
        self._progress.unpark_all()
