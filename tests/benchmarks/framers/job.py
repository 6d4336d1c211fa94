"""What a framer is given, and how its time is taken: the loop it runs in is not part of it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sized
from typing import NamedTuple, TypeAlias

import trio

from ..measure import seconds


class Job(NamedTuple):
    chunks: list[bytes]
    terminator: bytes
    #: No frame is longer.
    limit: int


class Handler:
    """What is called for each frame, and does nothing. A library that calls back inherits it.

    Twisted has one callback where others have two.
    """

    def collect_incoming_data(self, data: Sized) -> None:
        pass

    def found_terminator(self) -> None:
        pass

    def lineReceived(self, line: Sized) -> None:  # noqa: N802
        pass


#: Does a job, and gives the seconds that it took.
Framer: TypeAlias = Callable[[Job], float]


def timed(frame: Callable[[Job], None]) -> Framer:
    return lambda job: seconds(lambda: frame(job))


def timed_on_trio(frame: Callable[[Job], Awaitable[None]]) -> Framer:
    return lambda job: trio.run(_seconds, frame, job)


def timed_on_asyncio(frame: Callable[[Job], Awaitable[None]]) -> Framer:
    return lambda job: asyncio.run(_seconds(frame, job))


async def _seconds(frame: Callable[[Job], Awaitable[None]], job: Job) -> float:
    """As `measure.seconds`, within a loop that has been started."""
    gc.collect()
    start = time.process_time()
    await frame(job)
    return time.process_time() - start
