"""How a handler's callbacks are invoked: sync or async, what becomes of their output and of their exceptions.

What is pushed while callbacks run is kept (`corked`) until they are through with the chunk, or one begins to wait.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from itertools import islice
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol

from ._begun import Begun
from ._buffer import Pieces
from ._endings import tells_end_of

if TYPE_CHECKING:
    from ._handler import Handler, Reply


_NO_MESSAGE = object()


class Conversation(Protocol):
    open: bool

    def interrupt(self) -> None:
        """Have whoever waits for input look at the state of things."""
        ...

    def wake_others(self) -> None:
        """Wake who waits for the buffer to become shorter."""
        ...

    def let_go(self) -> None:
        """Send what is queued, unless corked, or have it sent; then as `wake_others`."""
        ...

    def send_without_waking(self) -> None:
        """Send what is queued, or have it sent, and wake nobody who waits for that."""
        ...


class Callbacks:
    __slots__ = ("_conversation", "_handler", "corked", "current", "owes_end", "receiving")

    def __init__(self, handler: Handler, conversation: Conversation) -> None:
        self._handler = handler
        self._conversation = conversation
        self.corked = False
        self.current: object = None  # stands for the innermost callback that awaits
        self.receiving = False  # it goes on with the conversation
        self.owes_end = False  # the last of a frame is being collected, or was when that was cancelled or raised

    def hand_over(self, batch: Pieces, piecewise: bool) -> Awaitable[None] | None:
        """Call what collects and what acts on frames, until the batch is through, or one piece of it.

        If a callback waits, this returns what is to be awaited before it is called again for the pieces that are left.
        Then, and if a callback raises, it may be that the end of the frame is owed.
        """
        conversation, handler = self._conversation, self._handler
        pieces, ended = batch
        for data in islice(pieces, 1) if piecewise else pieces:  # they are taken back when the conversation is closed
            if data:
                try:
                    reply = handler.collect_incoming_data(data)
                except Exception:
                    self.owes_end = ended
                    raise
                if reply is not None:
                    self.owes_end = ended
                    if (rest := self.begin(reply)) is not None:
                        return rest
                    if ended and not self.owes_end:
                        continue  # the callback went on with the conversation, which has ended the frame
                    self.owes_end = False
                if not conversation.open:
                    break
            if ended and (reply := handler.found_terminator()) is not None and (rest := self.begin(reply)) is not None:
                return rest
        return None

    async def end_frame(self) -> None:
        """Call what acts on a frame whose data were handed over by a call that did not come to its end."""
        self.owes_end = False
        await self.call(self._handler.found_terminator)

    async def call(self, callback: Callable[..., Reply], *args: object) -> None:
        outer, self.corked = self.corked, True
        try:
            if (waiting := self.begin(callback(*args))) is not None:
                await waiting
        except Exception as exc:
            await self.error(exc)
        finally:
            self.corked = outer
            self._conversation.let_go()

    def begin(self, reply: Reply) -> Awaitable[None] | None:
        """Take the first step of what a callback gave back. If it waits for anything, output is let go.

        Returns what is left of it, to be awaited at once; None if that was all.
        """
        if type(reply) is CoroutineType:
            coroutine: Coroutine[Any, Any, None] = reply
        elif inspect.isawaitable(reply):
            coroutine = _wait_for(reply)
        else:
            return None  # nothing, or what a callback of the old days returned
        self._conversation.wake_others()
        outer = self.current, self.receiving
        self.current, self.receiving = coroutine, False
        message = _NO_MESSAGE
        try:
            message = next(coroutine.__await__(), _NO_MESSAGE)  # as send(None), without a StopIteration to be caught
        finally:
            if message is _NO_MESSAGE:
                self._leave(outer)
        if message is _NO_MESSAGE:
            return None
        self._wait()
        return self._go_on(Begun(coroutine, message, self._resume, self._wait), outer)

    async def _go_on(self, begun: Begun, outer: tuple[object, bool]) -> None:
        try:
            await begun
        finally:
            self._leave(outer)

    def _leave(self, outer: tuple[object, bool]) -> None:
        abandoned = self.receiving  # by a task that goes on for a callback which has returned
        self.current, self.receiving = outer
        if abandoned:
            self._conversation.interrupt()

    def _wait(self) -> None:
        """The callback is about to wait, and may have said already for what: nothing here may wake it."""
        self.corked = False
        self._conversation.send_without_waking()

    def _resume(self) -> None:
        self.corked = True

    async def error(self, exc: Exception) -> None:
        if isinstance(exc, ExceptionGroup):  # of a nursery of the handler's own
            told, failed = exc.split(lambda one: _has_told_the_end(one, self._conversation))
            if failed is None:
                return
            if told is not None:  # else it stays what it is, and is no copy
                exc = failed
        elif _has_told_the_end(exc, self._conversation):
            return
        if (waiting := self.begin(self._handler.handle_error(exc))) is not None:
            await waiting


def _has_told_the_end(exc: BaseException, conversation: object) -> bool:
    """Whether this is drain() that told a callback of the end, which is no fault of the handler's.

    A push after a close is one, and is to leave run().
    """
    if not tells_end_of(exc, conversation):
        return False
    if not exc.waited:
        exc.connection = None
    return exc.waited


async def _wait_for(awaitable: Awaitable[None]) -> None:
    await awaitable
