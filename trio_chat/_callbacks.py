"""How a handler's callbacks are invoked: sync or async, what becomes of their output and of their exceptions.

What is pushed while callbacks run is kept until they are through with the chunk (`corked`), unless one awaits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ._buffer import Batch
from ._endings import Ended, Lost

if TYPE_CHECKING:
    from ._handler import Handler, Reply


class Conversation(Protocol):
    open: bool

    def flush(self) -> None:
        """Let what is queued be sent, unless corked."""
        ...


class Callbacks:
    __slots__ = ("_conversation", "_handler", "corked", "settling")

    def __init__(self, handler: Handler, conversation: Conversation) -> None:
        self._handler = handler
        self._conversation = conversation
        self.corked = False
        self.settling = False  # a callback awaits

    async def hand_over(self, batch: Batch) -> None:
        """Call what collects and what acts on frames, as long as the conversation is open."""
        collect = self._handler.collect_incoming_data
        found = self._handler.found_terminator
        pieces, ended = batch
        for data in pieces:
            if data:
                try:
                    if (reply := collect(data)) is not None:
                        await self.settle(reply)
                except Exception as exc:
                    await self.error(exc)
                if not self._conversation.open:
                    break
            if ended:
                try:
                    if (reply := found()) is not None:
                        await self.settle(reply)
                except Exception as exc:
                    await self.error(exc)

    async def call(self, callback: Callable[..., Reply], *args: object) -> None:
        try:
            if (reply := callback(*args)) is not None:
                await self.settle(reply)
        except Exception as exc:
            await self.error(exc)

    async def settle(self, reply: Reply) -> None:
        """Await what a callback gave back, and meanwhile let output go."""
        if not inspect.isawaitable(reply):
            return  # a callback of the old days that returned something
        outer = self.corked, self.settling
        self.corked, self.settling = False, True
        self._conversation.flush()
        try:
            await reply
        finally:
            self.corked, self.settling = outer

    async def error(self, exc: Exception) -> None:
        if isinstance(exc, Ended | Lost) and exc.connection is self._conversation:
            if exc.waited:
                return  # drain() told a callback of the end: that is no fault of the handler's
            exc.connection = None  # but a push after a close is one, and leaves run()
        if (reply := self._handler.handle_error(exc)) is not None:
            await self.settle(reply)
