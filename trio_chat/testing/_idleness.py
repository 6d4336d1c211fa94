"""Waiting for what must come, and knowing when it does not.

All tasks may be blocked although something is going on: a thread of theirs works. A `MockClock` knows nothing of that,
so threads are asked for here. (Trio tells of those of its default limiter only.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

_THREAD_SECONDS = 0.001
_LEAST_STEP = 1e-6  # by which a clock is moved, in seconds
MAX_STEPS = 20_000  # that tasks take until they are all blocked, or have ended; who takes more never does


async def in_time(
    wait: Callable[[], Awaitable[object]], patience: float, *, moves_clock: bool = False, once: bool = False
) -> bool:
    """Await `wait()`, which raises nothing, for `patience` seconds; whether it has come to its end.

    On a `MockClock` that stands still: until all tasks are blocked; with `moves_clock`, until they are again when the
    clock has been moved by `patience`, from deadline to deadline. While threads work, on any `MockClock`, for
    `patience` seconds of real time besides: then `wait` is called again, unless `once`.
    """
    until = time.monotonic() + patience
    while not await _in_time(wait, patience, moves_clock):
        mocked = isinstance(trio.lowlevel.current_clock(), MockClock)
        if once or not mocked or not await _threads_work(until):
            return False
    return True


async def _in_time(wait: Callable[[], Awaitable[object]], patience: float, moves_clock: bool) -> bool:
    with trio.CancelScope() as scope:
        if clock := _stopped_clock():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when_idle, scope, clock if moves_clock else None, patience)
                await wait()
                nursery.cancel_scope.cancel()
        else:
            scope.deadline = trio.current_time() + patience
            await wait()
        return True
    return False


async def _cancel_when_idle(scope: trio.CancelScope, clock: MockClock | None, seconds: float) -> None:
    await wait_until_idle()
    while clock is not None and seconds > 0:
        step = min(max(trio.lowlevel.current_statistics().seconds_to_next_deadline, _LEAST_STEP), seconds)
        clock.jump(step)
        seconds -= step
        await wait_until_idle()
    scope.cancel()


async def _threads_work(until: float) -> bool:
    """Whether threads do; if so, let them go on for a moment, and the tasks with what they bring."""
    if not trio.to_thread.current_default_thread_limiter().borrowed_tokens or time.monotonic() > until:
        return False
    await trio.to_thread.run_sync(time.sleep, _THREAD_SECONDS, limiter=trio.CapacityLimiter(1))
    return True


async def wait_until_idle(patience: float = 5.0) -> bool:
    """Wait until all tasks are blocked, and no thread works: for that, at most `patience` seconds of real time.

    False if tasks take step after step, and are never blocked.
    """
    until = time.monotonic() + patience
    with trio.CancelScope() as scope:
        limit = _StepLimit(scope)
        trio.lowlevel.add_instrument(limit)
        try:
            await wait_all_tasks_blocked()
            while await _threads_work(until):
                await wait_all_tasks_blocked()
        finally:
            trio.lowlevel.remove_instrument(limit)
        return True
    return False


class _StepLimit(trio.abc.Instrument):
    """Cancels a scope when tasks have taken too many steps."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self._count = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._count += 1
        if self._count == MAX_STEPS:
            self._scope.cancel()


async def let_time_go_by(seconds: float) -> None:
    """Sleep; a `MockClock` that stands still is moved, once all tasks are blocked, and they do what they do then."""
    if clock := _stopped_clock():
        await wait_until_idle()
        clock.jump(seconds)
        await wait_until_idle()
    else:
        await trio.sleep(seconds)


def _stopped_clock() -> MockClock | None:
    clock = trio.lowlevel.current_clock()
    stands_still = isinstance(clock, MockClock) and clock.rate == 0 and clock.autojump_threshold == math.inf
    return clock if stands_still else None  # type: ignore[return-value]
