"""Waiting for what must come, and knowing when it does not."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

_THREAD_SECONDS = 0.001


async def in_time(wait: Callable[[], Awaitable[object]], patience: float) -> bool:
    """Await `wait()`, which raises nothing, for `patience` seconds; whether it has come to its end.

    On a `MockClock` that stands still: until all tasks are blocked, and no thread runs of which Trio knows.
    """
    with trio.CancelScope() as scope:
        if _stopped_clock():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when_idle, scope)
                await wait()
                nursery.cancel_scope.cancel()
        else:
            scope.deadline = trio.current_time() + patience
            await wait()
        return True
    return False


async def let_time_go_by(seconds: float) -> None:
    """Sleep; a `MockClock` that stands still is moved, once all tasks are blocked, and they do what they do then."""
    if clock := _stopped_clock():
        await wait_all_tasks_blocked()
        clock.jump(seconds)
        await wait_all_tasks_blocked()
    else:
        await trio.sleep(seconds)


def _stopped_clock() -> MockClock | None:
    clock = trio.lowlevel.current_clock()
    stands_still = isinstance(clock, MockClock) and clock.rate == 0 and clock.autojump_threshold == math.inf
    return clock if stands_still else None  # type: ignore[return-value]


async def _cancel_when_idle(scope: trio.CancelScope) -> None:
    await wait_until_idle()
    scope.cancel()


async def wait_until_idle() -> None:
    """Wait until all tasks are blocked, and no thread runs of which Trio knows."""
    await wait_all_tasks_blocked()
    while trio.to_thread.current_default_thread_limiter().borrowed_tokens:
        await trio.to_thread.run_sync(time.sleep, _THREAD_SECONDS, limiter=trio.CapacityLimiter(1))
        await wait_all_tasks_blocked()
