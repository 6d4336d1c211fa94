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
    def let_others_go_on(self) -> None: ...


class Delivery:
    __slots__ = ("_batch", "_callbacks", "_conversation", "_frames", "_handler", "_timeouts", "delivering", "judging")

    def __init__(self, handler: Handler, conversation: Conversation, callbacks: Callbacks, timeouts: Timeouts) -> None:
        self._handler = handler
        self._conversation = conversation
        self._callbacks = callbacks
        self._timeouts = timeouts
        self._batch = _NOTHING  # what was taken out of the buffer last
        self._frames = 0  # since other tasks had their turn
        self.delivering = False
        self.judging = False  # handle_oversize is called

    async def deliver(self, enough: Callable[[], bool] | None = None) -> bool:
        """Hand what the buffer holds to the callbacks, as long as the conversation is open.

        `enough`: within another callback, asked after each piece. Returns whether a callback was called.
        """
        called = False
        outer, self.delivering = self.delivering, True
        self._callbacks.corked = True
        try:
            while (batch := await self._next_batch()) is not None:
                called = True
                if enough is not None:
                    batch = Batch(islice(batch.pieces, 1), batch.ended)
                    self._frames += 1
                elif batch.ended:
                    self._frames += length_hint(batch.pieces)
                await self._callbacks.hand_over(batch)
                if self._frames >= _FRAMES_PER_TURN:
                    self._frames = 0
                    await trio.lowlevel.checkpoint()
                if enough is not None and enough():
                    break
        finally:
            self._callbacks.corked = False
            self.delivering = outer
            self._conversation.let_others_go_on()
            if called:
                self._timeouts.note_activity()
        return called

    async def _next_batch(self) -> Batch | None:
        """The next batch that the conversation is ready for; None if there is none, or it is over.

        It may be empty, if a callback was called instead.
        """
        while self._conversation.open:
            if self._conversation.writer.overfull:
                await self._wait_for_room()
            elif self._callbacks.owes_end:
                await self._callbacks.end_frame()
                return _NOTHING
            elif length_hint(self._batch.pieces):  # some callback has returned before it was through with it
                return self._batch
            else:
                try:
                    self._batch = self._conversation.buffer.next_batch() or _NOTHING
                    return self._batch if self._batch is not _NOTHING else None
                except FrameTooLong:
                    await self._judge()
                    return _NOTHING
        return None

    async def _wait_for_room(self) -> None:
        outer, self._callbacks.corked = self._callbacks.corked, False
        self._conversation.let_others_go_on()
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
