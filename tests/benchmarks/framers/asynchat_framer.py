"""asynchat: the standard library's, up to Python 3.11; the same code from PyPI (pyasynchat) where that is gone."""

from __future__ import annotations

import warnings

from .job import Handler, Job, timed

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import asynchat


class Chat(Handler, asynchat.async_chat):
    def __init__(self, job: Job) -> None:
        super().__init__(map={})
        self._chunks = iter(job.chunks)
        self.set_terminator(job.terminator)

    def recv(self, buffer_size: int) -> bytes:
        return next(self._chunks)


def _frame(job: Job) -> None:
    chat = Chat(job)
    for _ in job.chunks:
        chat.handle_read()


frame = timed(_frame)
