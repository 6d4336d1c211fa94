"""The input of one connection: chunks go from the stream into the buffer.

At most one task receives at a time. Usually it is the conversation, which wants the next frame. While a callback keeps
the conversation busy it may be a *lookout*, who wants to know when the peer ends its side and leaves what comes
meanwhile in the buffer. Whoever comes second waits for what the first one gets.

A wait of the conversation can be interrupted, by cancelling the scope that it brings along; a callback never is, for
the scope is only cancelled while the conversation is in fact waiting. A chunk may arrive in the same turn of the
scheduler: it is in the buffer before anyone looks at the interruption, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from ._buffer import TerminatorBuffer
from ._streams import nowait_receiver

_MORE = 4  # times as much as usual is asked for when there is much: asking costs more than copying
_RECEIVES_AT_ONCE = 4  # without a wait, after which other tasks have their turn


class InputLimits(Protocol):
    """Attributes that are read whenever they are needed, so that they may be changed at any time."""

    ac_in_buffer_size: int
    high_water_bytes: int


class Intake:
    __slots__ = (
        "_at_once",
        "_buffer",
        "_limits",
        "_lookout",
        "_note_loss",
        "_receiving",
        "_times",
        "eof",
        "fresh",
        "fresh_bytes",
        "lost",
        "over",
        "peer_gone",
        "stream",
        "turn",
        "waits",
    )

    def __init__(
        self,
        stream: trio.abc.ReceiveStream,
        buffer: TerminatorBuffer,
        limits: InputLimits,
        waits: list[trio.CancelScope],
        note_loss: Callable[[], None],
    ) -> None:
        """`note_loss` is called when the connection has broken."""
        self.stream = stream
        self._buffer = buffer
        self._limits = limits
        self._note_loss = note_loss
        self._receiving = False
        self._at_once = _RECEIVES_AT_ONCE  # so many more may follow
        self._times = 1  # as many bytes as usual are asked for, or more if so many came the last time
        self.turn: trio.lowlevel.ParkingLot | None = None  # where others wait while one receives
        self._lookout: trio.CancelScope | None = None  # in which a lookout receives
        self.waits = waits  # of the conversation, at present; usually one at the most
        self.eof = False
        self.lost = False  # the connection broke
        self.peer_gone = False  # as far as it should read
        self.over = False  # the conversation
        self.fresh = False  # something has come that the conversation has not looked at
        self.fresh_bytes = 0  # how much

    async def wait(self, scope: trio.CancelScope | None) -> None:
        """Wait until something has come. The conversation brings the scope that is cancelled to interrupt it.

        Without one, the caller has seen to that, and has made sure that nobody is receiving.
        """
        times, usual = 1, self._limits.ac_in_buffer_size
        if scope is not None:
            if self._receiving or self.eof:
                await self._wait_in_turn(scope)
                return
            times = self._times
            self.waits.append(scope)
        self._receiving = True
        self._at_once = _RECEIVES_AT_ONCE
        chunk: bytes | bytearray = b""
        try:
            chunk = await self.stream.receive_some(times * usual)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.lost = True
        finally:
            self._receiving = False
            if scope is not None:
                self.waits.remove(scope)
            if self.turn is not None:
                self.wake()
        self._take(chunk, usual)

    async def _wait_in_turn(self, scope: trio.CancelScope) -> None:
        self.waits.append(scope)
        try:
            while not self.fresh:
                if self.eof:
                    await trio.sleep_forever()
                elif self._receiving:
                    await self._wait_for_a_turn()
                else:
                    await self.wait(None)
        finally:
            self.waits.remove(scope)

    def interrupt(self) -> None:
        for scope in self.waits:
            scope.cancel()

    async def ended(self) -> None:
        """For a lookout: until the peer has ended its side, or the connection or the conversation has ended.

        Beyond `high_water_bytes` of input it does not read ahead, and cannot see the end behind it.
        """
        await trio.lowlevel.checkpoint()
        while not (self.eof or self.lost or self.over or self.peer_gone):
            if self._receiving or len(self._buffer) > self._limits.high_water_bytes:
                await self._wait_for_a_turn()
            else:
                with trio.CancelScope() as self._lookout:
                    await self.wait(None)
                self._lookout = None

    async def change_stream(self, stream: trio.abc.ReceiveStream) -> None:
        """Receive from `stream` from now on. When this returns no lookout receives from the one before any more.

        Not while the conversation receives.
        """
        lookout, self.stream = self._lookout, stream
        self._send_home()
        while self._receiving and self._lookout is lookout:
            await self._wait_for_a_turn()

    async def stop(self) -> None:
        """The conversation is over: send the lookouts home; nobody receives any more when this returns."""
        self.end()
        while self._receiving:
            await self._wait_for_a_turn()

    def end(self) -> None:
        """The conversation is over, as `stop`, without waiting."""
        self.over = True
        self._send_home()

    def give_up(self) -> None:
        """The peer reads no more, as sending has found out. What it has sent before may still come."""
        self.peer_gone = True
        self._send_home()

    def _send_home(self) -> None:
        if self._lookout is not None:
            self._lookout.cancel()
        self.wake()

    def receive_now(self) -> bool:
        """For the conversation: take what has come already. False if that is nothing, as far as is known.

        Not again and again: after some times other tasks have their turn, in `wait`.
        """
        receive = nowait_receiver(self.stream)
        if receive is None or self._receiving or self.eof or not self._at_once:
            return False
        self._at_once -= 1
        usual = self._limits.ac_in_buffer_size
        chunk: bytes | bytearray = b""
        try:
            chunk = receive(self._times * usual)
        except trio.WouldBlock:
            return False
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.lost = True
        self.wake()
        self._take(chunk, usual)
        return True

    def _take(self, chunk: bytes | bytearray, usual: int) -> None:
        """`chunk` has come, where so many bytes are `usual`; if it is empty, nothing does any more."""
        if chunk:
            self._buffer.feed(chunk)
            self.fresh_bytes += len(chunk)
            self._times = _MORE if len(chunk) >= usual else 1
        elif not self.lost:
            self.eof = True
            self._buffer.feed_eof()
        self.fresh = True
        if self.lost:
            self._note_loss()

    async def _wait_for_a_turn(self) -> None:
        if self.turn is None:
            self.turn = trio.lowlevel.ParkingLot()
        await self.turn.park()

    def wake(self) -> None:
        """Have whoever waits for a turn look again: somebody has received, or the buffer has been emptied."""
        if self.turn is not None:
            self.turn.unpark_all()
