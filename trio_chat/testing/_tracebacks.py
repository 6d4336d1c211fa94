"""What of a failure's traceback is of use to who wrote the handler: its own frames, and not those that led to it."""

from __future__ import annotations

from traceback import StackSummary, TracebackException, walk_tb

from ._dialogue import in_words, shortened
from ._peer import Mismatch

_OTHERS = ("pytest", "_pytest", "pluggy", "trio", "outcome", "contextlib", "importlib", "trio_chat.testing")


def told(failure: BaseException) -> str:
    """A failure in words: a `Mismatch` by itself, then what has caused it; anything else with the handler's frames."""
    if isinstance(failure, Mismatch):
        text = "\n".join([str(failure), *getattr(failure, "__notes__", ())])
        return text if failure.__cause__ is None else f"{text}\n\n{_trace(failure.__cause__)}"
    trace = _trace(failure)
    return f"{shortened(in_words(failure))}\n\n{trace}" if "\n" in trace else trace


def _trace(failure: BaseException) -> str:
    """Its traceback, and those of what it came from, or is made of, as Python prints them."""
    summary = TracebackException.from_exception(failure)
    left, seen = [(summary, failure)], {id(failure)}
    while left:
        shown, error = left.pop()
        _keep_the_handlers_frames(shown, error)
        inner = [(shown.__cause__, error.__cause__), (shown.__context__, error.__context__)]
        if isinstance(error, BaseExceptionGroup):
            inner += zip(shown.exceptions or (), error.exceptions, strict=False)
        for one, other in inner:
            if one is not None and other is not None and id(other) not in seen:
                seen.add(id(other))
                left.append((one, other))
    return "".join(summary.format()).rstrip()


def _keep_the_handlers_frames(shown: TracebackException, error: BaseException) -> None:
    """Leave out the frames of others; and those of trio_chat, down to the first one of somebody who uses it.

    If there is none, the failure is trio_chat's own; or it is a group, and what is in it has frames.
    """
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(error.__traceback__)]
    pairs = zip(shown.stack, modules, strict=False)
    frames = [(frame, module) for frame, module in pairs if not _is_of(module, *_OTHERS)]
    none = len(frames) if isinstance(error, BaseExceptionGroup) else 0
    first = next((at for at, (_, module) in enumerate(frames) if not _is_of(module, "trio_chat")), none)
    shown.stack = StackSummary.from_list([frame for frame, _ in frames[first:]])


def _is_of(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
