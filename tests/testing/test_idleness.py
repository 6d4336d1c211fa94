"""Waiting until nothing goes on any more, which has to come to an end whatever goes on."""

from __future__ import annotations

import gc
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.testing._idleness import in_time, let_time_go_by, wait_until_idle, with_time_going_by


@contextmanager
def endless_thread(nursery: trio.Nursery) -> Iterator[None]:
    """A thread that works until the block has ended, and may take a moment longer."""
    go_on = threading.Event()
    nursery.start_soon(partial(trio.to_thread.run_sync, go_on.wait))
    try:
        yield
    finally:
        go_on.set()


async def test_a_thread_that_never_ends_is_not_waited_for_without_end() -> None:
    async with trio.open_nursery() as nursery:
        with endless_thread(nursery):
            assert await wait_until_idle(patience=0.01)


async def test_who_never_rests_is_told_from_who_is_idle() -> None:
    async def spin() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    assert await wait_until_idle()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spin)
        assert not await wait_until_idle(0.01)
        nursery.cancel_scope.cancel()


async def test_no_instrument_is_left_behind() -> None:
    def instruments() -> int:
        return sum(issubclass(type(thing), trio.abc.Instrument) for thing in gc.get_objects())

    before = instruments()
    await wait_until_idle()
    assert instruments() <= before


async def test_a_thread_that_never_ends_is_waited_for_once(mock_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        with endless_thread(nursery):
            assert await wait_until_idle(patience=0.01)
            assert await wait_until_idle(patience=math.inf)
            nursery.start_soon(trio.to_thread.run_sync, time.sleep, 0.01)
            assert not await in_time(trio.sleep_forever, math.inf)
            assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 1


async def test_a_clock_that_jumps_does_not_while_threads_are_waited_for(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 60)
        nursery.start_soon(trio.to_thread.run_sync, time.sleep, 0.05)
        await trio.lowlevel.checkpoint()
        assert await wait_until_idle()
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        assert trio.current_time() == 0


@pytest.mark.parametrize("threshold", [0, math.inf])
async def test_who_never_rests_is_not_waited_for_without_end(threshold: float, mock_clock: MockClock) -> None:
    async def spin() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    mock_clock.autojump_threshold = threshold
    assert not await in_time(spin, 5, 0.01)


async def test_time_goes_by_from_deadline_to_deadline(mock_clock: MockClock) -> None:
    async def tick() -> None:
        while True:
            await trio.sleep(1)
            ticks.append(trio.current_time())

    ticks: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await let_time_go_by(3.5)
        assert ticks == [1, 2, 3]
        assert trio.current_time() == 3.5
        nursery.cancel_scope.cancel()


async def test_time_goes_by_as_long_as_it_takes(mock_clock: MockClock) -> None:
    async def work() -> None:
        await trio.sleep(1000)
        await trio.to_thread.run_sync(time.sleep, 0.01)
        await trio.sleep(1000)

    await with_time_going_by(work)
    assert trio.current_time() == 2000


async def test_one_thread_that_never_ends_is_not_taken_for_another(mock_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        with endless_thread(nursery):
            assert await wait_until_idle(patience=0.01)
        nursery.start_soon(trio.to_thread.run_sync, time.sleep, 0.05)
        await wait_until_idle()
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0


async def test_a_long_work_in_small_steps_is_waited_for(mock_clock: MockClock) -> None:
    async def work() -> None:
        for _ in range(150_000):
            await trio.lowlevel.checkpoint()

    assert await in_time(work, 60)


async def test_a_clock_is_not_moved_while_somebody_waits_for_idleness(mock_clock: MockClock) -> None:
    async def scenario() -> None:
        for _ in range(20):
            await wait_all_tasks_blocked()
            await trio.lowlevel.checkpoint()
        assert trio.current_time() == 0
        await trio.sleep(60)

    with trio.move_on_after(1000) as scope:
        await with_time_going_by(scenario)
    assert not scope.cancelled_caught
    assert trio.current_time() == 60
