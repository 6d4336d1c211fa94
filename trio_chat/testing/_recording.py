"""What a handler's callbacks were called with."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import trio

from .. import AsyncChat

#: The callbacks, by the names that they have in a record.
CALLBACKS = {
    "connect": "handle_connect",
    "data": "collect_incoming_data",
    "found": "found_terminator",
    "oversize": "handle_oversize",
    "eof": "handle_eof",
    "timeout": "handle_timeout",
    "error": "handle_error",
    "close": "handle_close",
}


class Call(NamedTuple):
    """One callback.

    Attributes:
        name: "connect", "data" (of `collect_incoming_data`), "found" (of `found_terminator`), "oversize", "eof",
            "timeout", "error" or "close".
        argument: what it was given, if anything.
    """

    name: str
    argument: Any = None


def record_calls(chat: AsyncChat) -> list[Call]:
    """Have a handler's callbacks noted from now on, before they do what they do; the list grows as they are called."""
    calls: list[Call] = []
    for name, callback in CALLBACKS.items():
        setattr(chat, callback, _noting(calls, name, getattr(chat, callback)))
    return calls


def _noting(calls: list[Call], name: str, callback: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(callback)
    def note_and_call(*arguments: Any) -> Any:
        calls.append(Call(name, *arguments))
        return callback(*arguments)

    return note_and_call


def joined(calls: list[Call]) -> list[Call]:
    """The same, with data that came in several pieces in one: how it came in pieces is nobody's business."""
    result: list[Call] = []
    for call in calls:
        if call.name == "data" and result and result[-1].name == "data":
            result[-1] = Call("data", result[-1].argument + call.argument)
        else:
            result.append(call)
    return result


class RecordingChat(AsyncChat):
    """A handler that notes its callbacks in `calls`, those that a subclass overrides, too.

    It keeps the data of each frame in `frames`.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        #: What was called, in order.
        self.calls: list[Call] = record_calls(self)
        #: The data of each frame that has ended.
        self.frames: list[bytes] = []

    def found_terminator(self) -> Any:
        self.frames.append(self._get_data())

    @property
    def names(self) -> list[str]:
        """The names of the calls."""
        return [call.name for call in self.calls]
