"""The output side of a connection: what is pushed, and when it is sent by whom.

What callbacks push is sent by the conversation itself, at once, when it has handed over what has come, or has to wait.
The rest is the business of the writer's task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from ._endings import Ended, Lost

if TYPE_CHECKING:
    from ._buffer import TerminatorBuffer
    from ._callbacks import Callbacks
    from ._intake import Intake
    from ._producers import Source
    from ._writer import Writer


class OutputSide:
    __slots__ = ()

    open: bool
    closed: bool
    buffer: TerminatorBuffer
    intake: Intake
    writer: Writer
    helpers: trio.Nursery | None
    callbacks: Callbacks

    def push_source(self, source: Source) -> None:
        self.writer.push_source(source)
        self.note_queued()

    def note_queued(self) -> None:
        """Look at what was pushed: there may be too much of it by now, or nobody who will send it."""
        if self.writer.note_if_overfull():
            self.buffer.stop()  # the next frame waits
        if not self.callbacks.corked:
            self.flush()

    def flush(self) -> None:
        """Have the writer's task send what is queued, if there is anything."""
        if self.writer.has_work:
            self._wake_writer()

    def _wake_writer(self) -> None:
        if self.helpers is not None and not self.closed:
            self.writer.wake(self.helpers)

    def let_go(self) -> None:
        """Send what is queued, unless more is coming in a moment; then as `wake_others`.

        Not for who has begun to wait already.
        """
        if not self.callbacks.corked and self.writer.send_now():
            self._wake_writer()
        if self.intake.turn is not None:
            self.intake.wake()

    def wake_others(self) -> None:
        """Callbacks take input: that is of interest to who waits for the buffer to become shorter."""
        if self.intake.turn is not None:
            self.intake.wake()

    def send_without_waking(self) -> None:
        """As `let_go`, for a task that may be among those who wait for the output, or for a turn to receive."""
        if self.writer.has_waiters or self.intake.turn:
            self.flush()
        else:
            self._send_before_waiting()

    def _send_before_waiting(self) -> None:
        if self.writer.has_work:
            self.writer.idle_since = trio.current_time()  # others may be waiting for input already
            if self.writer.send_now():
                self._wake_writer()

    def check_open(self, what: str) -> None:
        if not self.open:
            raise Ended(self, f"{what} after close() or close_when_done()")

    async def drain(self) -> None:
        self._send_before_waiting()
        await self.writer.below_low()
        self.check_not_lost()

    def check_not_lost(self) -> None:
        if self.writer.lost and (self.writer.peer_gone or not self.closed):
            raise Lost(self, "the peer is gone, or does not read")
        if self.closed:
            raise Ended(self, "the connection was closed", waited=True)
