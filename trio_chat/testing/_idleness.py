"""Waiting for what must come, and knowing when it does not.

All tasks may be blocked although something is going on: a thread of theirs works. A `MockClock` knows nothing of that,
so threads are asked for here. (Trio tells of those of its default limiter only.) Some never end: they are waited for
once, and then taken for such.

Who waits in `wait_all_tasks_blocked` keeps a `MockClock` from jumping meanwhile, however long that is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio
from trio.lowlevel import RunVar
from trio.testing import MockClock, wait_all_tasks_blocked

MAX_STEPS = 100_000  # that tasks take until they are all blocked, or have ended; who takes more, and long, never does
_LOOK_AGAIN_SECONDS = 0.001  # of real time, whether threads have ended
_MAX_PAUSE_SECONDS = 10.0
_LEAST_STEP = 1e-6  # by which a clock is moved, in seconds

#: The threads that were waited for in vain.
_permanent: RunVar[frozenset[object]] = RunVar("trio_chat.testing permanent threads", default=frozenset())


async def in_time(
    wait: Callable[[], Awaitable[object]], seconds: float, patience: float | None = None, *, moves_clock: bool = False
) -> bool:
    """Await `wait()`, for so many seconds of Trio's clock; whether it has come to its end.

    On a `MockClock` that stands still: until all tasks are blocked; with `moves_clock`, until they are again when the
    clock has been moved by that, from deadline to deadline. On any `MockClock`, while threads work, or tasks take a
    great many steps without being blocked, for `patience` seconds of real time besides, or as many as `seconds`.
    """
    with trio.CancelScope() as scope:
        if isinstance(trio.lowlevel.current_clock(), MockClock):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_in_vain, scope, seconds, patience or seconds, moves_clock)
                await wait()
                nursery.cancel_scope.cancel()
        else:
            scope.deadline = trio.current_time() + seconds
            await wait()
        return True
    return False


async def _cancel_in_vain(scope: trio.CancelScope, seconds: float, patience: float, moves_clock: bool) -> None:
    """Cancel the scope when nothing is going to happen within so many seconds of a `MockClock`."""
    await wait_until_idle(patience)
    if (clock := _stopped_clock()) is None:
        with _step_limit(time.monotonic() + patience):
            await trio.sleep(seconds)
        await wait_until_idle(patience)
    elif moves_clock:
        await _move(clock, seconds)
    scope.cancel()


async def wait_until_idle(patience: float = 5.0) -> bool:
    """Wait until all tasks are blocked, and no thread works: for that, at most `patience` seconds of real time, or 0.

    False if tasks take step after step, and are never blocked.
    """
    until = time.monotonic() + patience
    with _step_limit(until):
        await wait_all_tasks_blocked()
        while patience and _threads_work(until):
            await wait_all_tasks_blocked(_LOOK_AGAIN_SECONDS)
        return True
    return False


async def until_nothing_happens(seconds: float) -> None:
    """Wait until all tasks have been blocked for so long in real time, and there is no deadline, and no thread works.

    Not on a clock that jumps, which that would hold up: there, for ever.
    """
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, MockClock) and clock.autojump_threshold < math.inf:
        await trio.sleep_forever()
    while True:
        await wait_all_tasks_blocked(seconds)
        if _seconds_to_deadline() == math.inf and not _threads_work(math.inf):
            return


def _threads_work(until: float) -> bool:
    """Whether threads do that may come to their end until then, in real time."""
    working = frozenset(trio.to_thread.current_default_thread_limiter().statistics().borrowers)
    permanent = working & _permanent.get() if time.monotonic() < until else working
    _permanent.set(permanent)
    return working > permanent


@contextmanager
def _step_limit(until: float) -> Iterator[None]:
    """The block is left when tasks have taken too many steps, and it is later than that, in real time."""
    with trio.CancelScope() as scope:
        limit = _StepLimit(scope, until)
        trio.lowlevel.add_instrument(limit)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(limit)


class _StepLimit(trio.abc.Instrument):
    """Cancels a scope when tasks have taken too many steps, and too long."""

    def __init__(self, scope: trio.CancelScope, until: float) -> None:
        self._scope = scope
        self._until = until
        self._count = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._count += 1
        if self._count % MAX_STEPS == 0 and time.monotonic() > self._until:
            self._scope.cancel()


# ---------------------------------------------------------------------- time on a clock that stands still


async def let_time_go_by(seconds: float) -> None:
    """Sleep; a `MockClock` that stands still is moved, from deadline to deadline, and tasks do what they do then."""
    if clock := _stopped_clock():
        await wait_until_idle()
        await _move(clock, seconds)
    else:
        await trio.sleep(seconds)


async def with_time_going_by(wait: Callable[[], Awaitable[object]]) -> None:
    """Await `wait()`, however long; a `MockClock` that stands still is moved whenever nothing else happens."""
    async with trio.open_nursery() as nursery:
        if clock := _stopped_clock():
            nursery.start_soon(_keep_moving, clock)
        await wait()
        nursery.cancel_scope.cancel()


async def _keep_moving(clock: MockClock) -> None:
    pause = _LOOK_AGAIN_SECONDS
    while True:
        await wait_until_idle()
        await wait_all_tasks_blocked(pause)  # whoever else has waited for that goes on first
        if _threads_work(math.inf) or (step := _next_step()) == math.inf:
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)  # who waits for a longer rest than that is to have it
        else:
            pause = _LOOK_AGAIN_SECONDS
            clock.jump(step)


async def _move(clock: MockClock, seconds: float) -> None:
    until = trio.current_time() + seconds
    while (left := until - trio.current_time()) > 0:
        clock.jump(min(_next_step(), left))
        await wait_until_idle()


def seconds_to_go_on() -> float | None:
    """How far a clock that stands still is from the next deadline, infinitely if there is none. None: it moves."""
    return None if _stopped_clock() is None else _seconds_to_deadline()


def _next_step() -> float:
    return max(_seconds_to_deadline(), _LEAST_STEP)


def _seconds_to_deadline() -> float:
    """Infinitely many if there is none."""
    return trio.lowlevel.current_statistics().seconds_to_next_deadline


def _stopped_clock() -> MockClock | None:
    clock = trio.lowlevel.current_clock()
    stands_still = isinstance(clock, MockClock) and clock.rate == 0 and clock.autojump_threshold == math.inf
    return clock if stands_still else None  # type: ignore[return-value]
