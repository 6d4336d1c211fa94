"""Which callbacks keep `trio.Cancelled` for themselves.

One that returns although it was cancelled may be right: it was in a shield, or in a thread, or had just succeeded, and
nothing was raised in it; or a scope of its own was cancelled, too. So somebody has to tell, at the moment at which a
handler is cancelled, that `trio.Cancelled` is going to be raised in its task for sure.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio

from .. import AsyncChat
from ._recording import CALLBACKS


@dataclass(eq=False)
class _Running:
    """A callback that has begun to wait, and has not returned."""

    task: trio.lowlevel.Task
    was_raised: bool = False


class Keepers:
    """The callbacks of a handler that have kept a cancellation for themselves."""

    def __init__(self, chat: AsyncChat) -> None:
        #: By name, in the order in which they have returned.
        self.names: list[str] = []
        self._running: list[_Running] = []
        for name in CALLBACKS.values():
            setattr(chat, name, self._watched(name, getattr(chat, name)))

    def note_raised(self, task: trio.lowlevel.Task) -> None:
        """`trio.Cancelled`, from outside the handler, is about to be raised in this task."""
        for callback in self._running:
            callback.was_raised = callback.was_raised or callback.task is task

    def _watched(self, name: str, callback: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            reply = callback(*arguments)
            return self._watch(name, reply) if inspect.isawaitable(reply) else reply

        return call

    async def _watch(self, name: str, reply: Awaitable[Any]) -> None:
        running = _Running(trio.lowlevel.current_task())
        self._running.append(running)
        try:
            await reply
            if running.was_raised:
                self.names.append(name)
        finally:
            self._running.remove(running)
