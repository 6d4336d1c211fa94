"""What is buffered goes to the callbacks: all of it, or within another callback as much as is enough for that.

A batch that was left before its end, because a callback waits, or has raised, or is content with one piece, is gone on
with, unless the buffer has taken it back: what is left of a batch is scanned anew whenever it has to be.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import length_hint
from typing import TYPE_CHECKING, Protocol

import trio

from ._buffer import Pieces, TerminatorBuffer
from ._callbacks import Callbacks
from ._errors import FrameTooLong
from ._timeouts import Timeouts
from ._writer import Writer

if TYPE_CHECKING:
    from ._handler import Handler

_FRAMES_PER_TURN = 1000  # after so many frames other tasks have their turn


class Conversation(Protocol):
    open: bool
    buffer: TerminatorBuffer
    writer: Writer

    def close_when_done(self) -> None: ...
    def let_go(self) -> None: ...


class Delivery:
    __slots__ = ("_callbacks", "_conversation", "_frames", "_handler", "_rest", "_timeouts", "judging")

    def __init__(self, handler: Handler, conversation: Conversation, callbacks: Callbacks, timeouts: Timeouts) -> None:
        self._handler = handler
        self._conversation = conversation
        self._callbacks = callbacks
        self._timeouts = timeouts
        self._rest: Pieces | None = None  # a batch that has been left before its end
        self._frames = 0  # since other tasks had their turn
        self.judging = False  # handle_oversize is called

    async def deliver(self, enough: Callable[[], bool] | None = None) -> bool:
        """Hand what the buffer holds to the callbacks, as long as the conversation is open.

        `enough`: within another callback, asked after each piece. Returns whether a callback was called.
        """
        called, piecewise = False, enough is not None
        batch = rest = None
        callbacks, conversation = self._callbacks, self._conversation
        buffer, writer, timeouts = conversation.buffer, conversation.writer, self._timeouts
        outer, callbacks.corked = callbacks.corked, True
        try:
            while conversation.open:
                if writer.overfull:
                    await self._wait_for_room()
                    continue
                if not callbacks.owes_end:
                    batch, rest = None, self._rest
                    try:
                        batch = buffer.next_pieces() if rest is None else self._next_of(rest)
                        if batch is None:
                            break
                        self._rest = batch
                        if (waiting := callbacks.hand_over(batch, piecewise)) is not None:
                            await waiting
                        elif not piecewise or not length_hint(batch[0]):
                            self._rest = None
                    except Exception as exc:
                        too_long = batch is None and isinstance(exc, FrameTooLong)
                        await (self._judge() if too_long else callbacks.error(exc))
                if callbacks.owes_end and conversation.open:
                    await callbacks.end_frame()
                called = True
                timeouts.since = None
                if not piecewise and buffer.drained() and not writer.overfull:
                    self._rest = None  # which holds what it has given, however long the next chunk takes
                    break
                self._frames += 1 if piecewise or batch is rest else buffer.batch_frames
                if self._frames >= _FRAMES_PER_TURN:
                    self._frames = 0
                    await trio.lowlevel.checkpoint()
                if enough is not None and enough():
                    break
        finally:
            callbacks.corked = outer
            conversation.let_go()
        return called

    @property
    def has_input(self) -> bool:
        """Whether there is something to be handed over, as far as is known without looking for terminators."""
        return self._callbacks.owes_end or not self._conversation.buffer.drained()

    def _next_of(self, rest: Pieces) -> Pieces | None:
        """Go on with a batch that was left, unless the buffer has taken it back. Raises FrameTooLong."""
        pieces, _ = rest
        if length_hint(pieces):
            return rest
        self._rest = None
        return self._conversation.buffer.next_pieces()

    async def _wait_for_room(self) -> None:
        outer, self._callbacks.corked = self._callbacks.corked, False
        self._conversation.let_go()
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
