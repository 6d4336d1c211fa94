"""Exceptions that only the log is told of: an application's, say, which its HTTP server has answered with a 500."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import trio

_innermost: ContextVar[object] = ContextVar("trio_chat.testing logged errors")


@contextmanager
def noting_logged_errors(note: Callable[[Exception], object]) -> Iterator[None]:
    """Call `note` with each exception that is logged below "trio_chat" as an error, within the block.

    Only with those that this context logs, or that of a task which has been started in the block, or of its threads,
    unless an inner block of this kind is the one to note them: many conversations go on at the same time. What logging
    is configured to drop is not seen.
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
        self._thread = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info and record.exc_info[1]
        if isinstance(error, Exception) and _innermost.get(None) is self:
            if threading.get_ident() == self._thread:
                self._note(error)
            else:  # a thread of the handler's
                self._token.run_sync_soon(self._note, error)
        if logging.lastResort is not None and not _is_handled(logging.getLogger(record.name)):
            logging.lastResort.handle(record)  # as if we were not there


def _is_handled(logger: logging.Logger | None) -> bool:
    """Whether records of this logger go to somebody else, too."""
    while logger is not None:
        if not all(isinstance(handler, _Noting) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
