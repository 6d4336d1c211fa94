"""Awaiting a callback, and noticing when it begins to wait.

Most callbacks never wait for anything, even if they are `async def`. What they push can leave together with what the
next ones push, in one send. But if one does wait it must not hold back what was pushed before; and nobody can ask a
coroutine in advance. So its first step is taken by hand: if it has come to its end, that was all. If it has given
something to Trio, output is let go, and the coroutine is awaited from there on, by `Begun`, which does the same again
wherever it waits. `tests/test_callback_output.py` keeps that true.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import FrameType
from typing import Any


class Begun(Generator[Any, Any, None]):
    """A coroutine that has been begun, and has given `message` to Trio; to be awaited once.

    `resume` is called whenever it goes on, `wait` whenever it waits again.
    """

    __slots__ = ("_coroutine", "_message", "_resume", "_wait")

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], message: Any, resume: Callable[[], None], wait: Callable[[], None]
    ) -> None:
        self._coroutine = coroutine
        self._message = [message]
        self._resume = resume
        self._wait = wait

    def __await__(self) -> Generator[Any, Any, None]:
        return self

    def send(self, value: Any) -> Any:
        if self._message:
            return self._message.pop()
        self._resume()
        message = self._coroutine.send(value)
        self._wait()
        return message

    def throw(self, *exc: Any) -> Any:
        self._resume()
        message = self._coroutine.throw(*exc)
        self._wait()
        return message

    def close(self) -> None:
        self._coroutine.close()

    # What debuggers, and Trio, look at to find out where a task is.

    @property
    def cr_frame(self) -> FrameType | None:
        return getattr(self._coroutine, "cr_frame", None)

    @property
    def cr_await(self) -> object:
        return getattr(self._coroutine, "cr_await", None)
