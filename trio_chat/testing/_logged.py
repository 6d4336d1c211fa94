"""Exceptions that only the log is told of: an application's, say, which its HTTP server has answered with a 500."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_innermost: ContextVar[object] = ContextVar("trio_chat.testing logged errors")


@contextmanager
def noting_logged_errors(note: Callable[[Exception], object]) -> Iterator[None]:
    """Call `note` with each exception that is logged below "trio_chat" as an error, within the block.

    Only with those that this context logs, or that of a task which has been started in the block, unless an inner block
    of this kind is the one to note them: many conversations go on at the same time. What logging is
    configured to drop is not seen.
    """
    logger, noting = logging.getLogger("trio_chat"), _Noting(note)
    token = _innermost.set(noting)
    logger.addHandler(noting)
    try:
        yield
    finally:
        logger.removeHandler(noting)
        _innermost.reset(token)


class _Noting(logging.Handler):
    def __init__(self, note: Callable[[Exception], object]) -> None:
        super().__init__(logging.ERROR)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info and record.exc_info[1]
        if isinstance(error, Exception) and _innermost.get(None) is self:
            self._note(error)
