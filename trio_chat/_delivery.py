"""What is buffered goes to the callbacks: all of it, or within another callback as much as is enough for that.

A batch of the buffer that a callback has not let pass, because it returned before it was through with it, is gone on
with: the buffer takes back what is left of it whenever that has to be scanned anew.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from operator import length_hint
from typing import TYPE_CHECKING, Protocol

import trio

from ._buffer import Batch, TerminatorBuffer
from ._callbacks import Callbacks
from ._errors import FrameTooLong
from ._timeouts import Timeouts
from ._writer import Writer

if TYPE_CHECKING:
    from ._handler import Handler

_NOTHING = Batch(iter(()), False)
_FRAMES_PER_TURN = 256  # after so many frames other tasks have their turn


class Conversation(Protocol):
    open: bool
    buffer: TerminatorBuffer
    writer: Writer

    def close_when_done(self) -> None: ...
    def send_queued(self) -> None: ...
    def wake_others(self) -> None: ...


class Delivery:
    __slots__ = ("_callbacks", "_conversation", "_frames", "_handler", "_rest", "_timeouts", "delivering", "judging")

    def __init__(self, handler: Handler, conversation: Conversation, callbacks: Callbacks, timeouts: Timeouts) -> None:
        self._handler = handler
        self._conversation = conversation
        self._callbacks = callbacks
        self._timeouts = timeouts
        self._rest = _NOTHING  # of a batch that is handed over piece by piece
        self._frames = 0  # since other tasks had their turn
        self.delivering = False
        self.judging = False  # handle_oversize is called

    async def deliver(self, enough: Callable[[], bool] | None = None) -> bool:
        """Hand what the buffer holds to the callbacks, as long as the conversation is open.

        `enough`: within another callback, asked after each piece. Returns whether a callback was called.
        """
        called = False
        callbacks, conversation = self._callbacks, self._conversation
        is_enough = enough or conversation.buffer.drained
        outer_delivering, self.delivering = self.delivering, True
        outer_corked, callbacks.corked = callbacks.corked, True
        try:
            while conversation.open:
                if conversation.writer.overfull:
                    await self._wait_for_room()
                    continue
                if callbacks.owes_end:
                    await callbacks.end_frame()
                else:
                    try:
                        batch = self._next_batch(whole=enough is None)
                    except FrameTooLong:
                        await self._judge()
                    else:
                        if batch is None:
                            break
                        await callbacks.hand_over(batch)
                called = True
                if self._frames >= _FRAMES_PER_TURN:
                    self._frames = 0
                    await trio.lowlevel.checkpoint()
                if is_enough() and (enough is not None or not conversation.writer.overfull):
                    break
        finally:
            self.delivering = outer_delivering
            callbacks.corked = outer_corked
            conversation.send_queued()
            conversation.wake_others()
            if called:
                self._timeouts.note_activity()
        return called

    @property
    def has_input(self) -> bool:
        """Whether there is something to be handed over, as far as is known without looking for terminators."""
        return self._callbacks.owes_end or not self._conversation.buffer.drained()

    def _next_batch(self, *, whole: bool) -> Batch | None:
        """What is to be handed over next, a whole batch or a piece; None if there is nothing. Raises FrameTooLong."""
        batch = self._rest if length_hint(self._rest.pieces) else self._conversation.buffer.next_batch()
        if batch is None:
            return None
        if whole:
            if batch.ended:
                self._frames += length_hint(batch.pieces)
            return batch
        self._rest = batch
        self._frames += 1
        return Batch(islice(batch.pieces, 1), batch.ended)

    async def _wait_for_room(self) -> None:
        outer, self._callbacks.corked = self._callbacks.corked, False
        self._conversation.send_queued()
        self._conversation.wake_others()
        try:
            await self._conversation.writer.below_low()
        finally:
            self._callbacks.corked = outer

    async def _judge(self) -> None:
        """Do what is to be done about a frame that is too long."""
        policy = self._handler.on_oversize
        self.judging = True
        try:
            if policy != "close":
                await self._callbacks.call(self._handler.handle_oversize)
        finally:
            self.judging = False
            if policy == "skip":
                self._conversation.buffer.skip_frame()
            else:
                self._conversation.close_when_done()
