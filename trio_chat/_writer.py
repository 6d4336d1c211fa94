"""The output of one connection: what is queued, and how it is sent.

Rules:

- `append` and `push_source` only queue. They never block and never send, so they may be called from any task.
- A stream may have `send_nowait(data)`, which sends what it can without waiting and returns how many bytes that was.
  Then the conversation sends its output itself (`send_now`), whenever it begins to wait. What that leaves, what other
  tasks push, producers, and streams without it are the business of a task, which is started when there is something for
  it to do: most connections never have one.
- Sending has a task of its own so that input is read while a send waits, up to the high-water mark: a peer that sends
  everything before it reads anything does not stop the connection.
- The queue is bounded by whoever fills it: `overfull` says that it has come above its high-water mark, `below_low`
  waits until it is below its low one.
- Once a send has failed or stalled nobody knows how much the peer has got. The queue is dropped, `lost` is true for
  good, and who waits is woken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import trio

from ._endings import FAILURES
from ._outqueue import Data, OutQueue
from ._producers import Source
from ._streams import NowaitFileSender, close_now, nowait_file_sender, nowait_sender

_SENDS_AT_ONCE = 16  # so many sends may follow each other before other tasks have their turn


class OutputLimits(Protocol):
    """Attributes that the writer reads whenever it needs them, so that they may be changed at any time."""

    ac_out_buffer_size: int
    high_water_bytes: int
    low_water_bytes: int


class Writer(OutQueue):
    __slots__ = (
        "_dropped", "_ended", "_in_flight", "_limits", "_note", "_progress", "_pulling", "_send_nowait", "_stream",
        "_task", "_work", "crash", "failure", "has_sent", "idle_since", "overfull", "peer_gone", "sending_since",
    )  # fmt: skip

    def __init__(self, stream: trio.abc.SendStream, limits: OutputLimits, note: Callable[[], None]) -> None:
        """`note` is called when the task begins to send, when it or a producer fails, and when the peer is gone."""
        super().__init__()
        self._stream = stream
        self._send_nowait = nowait_sender(stream)
        self._limits = limits
        self._note = note
        self._pulling: trio.CancelScope | None = None  # in which a source is asked
        self._task: trio.CancelScope | None = None  # of the task, if there is one
        self._ended = False  # the task
        self._work: trio.lowlevel.ParkingLot | None = None  # where it waits for something to send
        self._progress: trio.lowlevel.ParkingLot | None = None  # where others wait for the queue to become shorter
        self.overfull = False  # it was above its high-water mark, and nobody has seen it below its low one since
        self.has_sent = False
        self.sending_since = math.inf
        self.idle_since = -math.inf
        self.peer_gone = False  # it broke off, or stopped reading
        self.failure: Exception | None = None  # what a producer raised
        self.crash: BaseException | None = None  # what ended the task, and is no fault of a producer or the peer
        self._in_flight = 0  # bytes that are being sent
        self._dropped: list[Source] = []  # sources to be closed

    # ------------------------------------------------------------------ filling

    def push_source(self, source: Source) -> None:
        if self.lost:
            self._dropped.append(source)  # to be closed by the task, or at the end
        else:
            self.append_source(source)

    def discard(self) -> None:
        """Drop what is queued, except what is being sent at this moment."""
        self._dropped += self.clear()
        self.queued_bytes = self._in_flight
        if self._pulling is not None:
            self._pulling.cancel()
        self.tell_progress()

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
        return not self._items and not self._in_flight

    @property
    def has_work(self) -> bool:
        return bool(self._items or self._in_flight or self._dropped)

    @property
    def _load(self) -> int:
        """The bytes queued. What a producer will give is not known: until it is begun, it counts as one piece."""
        return self.queued_bytes + self.waiting_sources * self._limits.ac_out_buffer_size

    def note_if_overfull(self) -> bool:
        """Note whether it is above its high-water mark by now."""
        if self._load > self._limits.high_water_bytes and not self.lost:
            self.overfull = True
        return self.overfull

    async def below_low(self) -> None:
        """Wait until the queue is below its low-water mark, or lost."""
        while self._load > min(self._limits.low_water_bytes, self._limits.high_water_bytes) and not self.lost:
            await self.progress()
        self.overfull = False

    async def flushed(self) -> None:
        """Wait until everything is sent, and the producers are closed, or the output is lost."""
        while self.has_work and not self.lost:
            await self.progress()

    @property
    def has_waiters(self) -> bool:
        return bool(self._progress)

    async def progress(self) -> None:
        """Wait until the queue has changed otherwise than by a push."""
        if self._progress is None:
            self._progress = trio.lowlevel.ParkingLot()
        await self._progress.park()

    def tell_progress(self) -> None:
        if self._progress is not None:
            self._progress.unpark_all()

    # ------------------------------------------------------------------ sending at once

    def send_now(self) -> bool:
        """Send what the stream takes without waiting. Returns whether there is something left to do, by the task.

        Raises nothing: a failure is noted, as one of the task's.
        """
        data: Data = b""
        send, turns = self._send_nowait, _SENDS_AT_ONCE
        try:
            while self._items and send and turns and not (self._in_flight or (self.sources and self.first_source)):
                turns -= 1
                data = self.take(self._limits.ac_out_buffer_size)
                size = len(data)
                self.queued_bytes -= size
                if (sent := send(data)) != size:
                    self._put_back(data, sent)
                    break
                self.has_sent = True
        except (trio.WouldBlock, trio.BusyResourceError):
            self._put_back(data, 0)  # if somebody else is sending, the task will find that out, and fail
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.lose(peer_gone=True)
        except Exception as exc:
            self._crash(exc)
        if self._progress is not None:
            self.tell_progress()
        return bool(self._items or self._dropped)

    def file_sender(self) -> NowaitFileSender | None:
        """What sends a part of a file past the queue: the stream, if it can, and there is nothing in the queue."""
        return None if self.has_work or self.lost else nowait_file_sender(self._stream)

    def send_file_now(self, file: int, start: int, count: int) -> int:
        """Send what the stream takes without waiting of a part of a file, past the queue."""
        sent = 0 if (send := self.file_sender()) is None else send(file, start, count)
        if sent:
            self.has_sent = True
            self.idle_since = trio.current_time()
        return sent

    def _put_back(self, data: Data, sent: object) -> None:
        """`sent` bytes of `data` were sent, and not all."""
        if type(sent) is not int or not 0 <= sent <= len(data):
            raise TypeError(f"send_nowait() returns how many bytes were sent; got {sent!r}")
        self.has_sent = self.has_sent or sent > 0
        if not self.lost:
            rest = memoryview(data)[sent:]
            self.put_first(rest)
            self.queued_bytes += len(rest)

    # ------------------------------------------------------------------ another stream

    def stop_at(self, source: Source) -> None:
        """Leave everything to the task from now on, and queue a source that keeps it: see `change_stream`."""
        self._send_nowait = None
        self.push_source(source)

    def change_stream(self, stream: trio.abc.SendStream) -> None:
        """Send over `stream` from now on. Not while something is being sent."""
        self._stream = stream
        self._send_nowait = nowait_sender(stream)

    # ------------------------------------------------------------------ the task

    def wake(self, nursery: trio.Nursery) -> None:
        """Have the task do what there is to do. It is started in `nursery` if there is none."""
        if self._task is None:
            self._task = trio.CancelScope()
            self._work = trio.lowlevel.ParkingLot()
            nursery.start_soon(self._run_task, self._task, self._work)
        elif self._work is not None:
            self._work.unpark()

    async def stop(self) -> None:
        """Cancel the task, and wait for its end."""
        if self._task is not None:
            self._task.cancel()
            with trio.CancelScope(shield=True):
                while not self._ended:
                    await self.progress()

    async def _run_task(self, scope: trio.CancelScope, work: trio.lowlevel.ParkingLot) -> None:
        """The task. Its nursery may be that of many connections: nothing but a cancellation of that leaves here."""
        try:
            with scope:
                while True:  # even after the output is lost: producers that are pushed then must be closed
                    if self._dropped:
                        await self._close_dropped()
                    elif source := self.first_source:
                        await self._refill(source)
                    elif self._items:
                        await self._send(self.take(self._limits.ac_out_buffer_size))
                    else:
                        await work.park()
        except Exception as exc:
            self._crash(exc)
        except BaseExceptionGroup as group:  # say, of a producer that was cancelled while it failed
            failed, rest = group.split(FAILURES)
            if failed is not None:
                self._crash(failed)
            if rest is not None:
                raise rest from None
        finally:
            self._ended = True
            self.lose()  # nobody sends any more

    def _crash(self, exc: BaseException) -> None:
        self.crash = exc
        self.lose()
        self._note()

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
        self.tell_progress()

    def _fail(self, exc: Exception) -> None:
        """A producer has failed: what has been sent of it can be neither taken back nor completed."""
        self.failure = exc
        self.lose()
        self._note()

    async def _refill(self, source: Source) -> None:
        """Put the next piece of a source before it, or take the source off the queue if there is none."""
        if self.begin(source):
            self.tell_progress()
        piece, failure = b"", None
        with trio.CancelScope() as self._pulling:
            try:
                piece = await source.next_piece()
            except Exception as exc:
                failure = exc
        self._pulling = None
        if self.first_source is not source:
            return  # discarded meanwhile
        if failure is not None:
            self._fail(failure)
        elif piece:
            self.put_first(piece)
            self.queued_bytes += len(piece)
            self.note_if_overfull()
        else:
            self.finish()
            self._dropped.append(source)
            self.idle_since = trio.current_time()
            self.tell_progress()

    async def _send(self, data: Data) -> None:
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
        self.has_sent = True
        self.tell_progress()
