"""Scenarios that are cancelled at every checkpoint: what is found, and what is let pass."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing

from trio_chat.testing import cancel_at_every_checkpoint

checkpoint = trio.lowlevel.checkpoint
step = trio.lowlevel.cancel_shielded_checkpoint

# ---------------------------------------------------------------------- which checkpoints


async def test_without_a_checkpoint_nothing_is_cancelled() -> None:
    async def scenario() -> None:
        runs.append("run")

    runs: list[str] = []
    assert await cancel_at_every_checkpoint(scenario, check=lambda: runs.append("checked")) == 0
    assert runs == ["run", "checked"]


@pytest.mark.parametrize("count", [1, 2, 10])
async def test_each_run_comes_one_checkpoint_farther(count: int) -> None:
    passed = 0
    seen = []

    async def scenario() -> None:
        nonlocal passed
        passed = 0
        for _ in range(count):
            await checkpoint()
            passed += 1

    assert await cancel_at_every_checkpoint(scenario, check=lambda: seen.append(passed)) == count
    assert seen == list(range(count + 1))


@pytest.mark.parametrize(("most", "count"), [(0, 0), (1, 1), (9, 9), (10, 10), (11, 10)])
async def test_some_of_the_checkpoints(most: int, count: int) -> None:
    """Chosen at random, and the same ones for a seed; a run without a cancellation comes first, and one last."""
    passed = 0

    async def scenario() -> None:
        nonlocal passed
        passed = 0
        for _ in range(10):
            await checkpoint()
            passed += 1

    async def cancelled_behind(seed: int) -> tuple[int, ...]:
        seen: list[int] = []
        cancelled = await cancel_at_every_checkpoint(scenario, check=lambda: seen.append(passed), most=most, seed=seed)
        assert cancelled == count
        assert seen[0] == seen[-1] == 10
        places = seen[1:-1]
        assert len(set(places)) == len(places) == count
        return tuple(places)

    assert await cancelled_behind(1) == await cancelled_behind(1)
    choices = len({await cancelled_behind(seed) for seed in range(20)})
    assert choices > 1 if 0 < count < 10 else choices == 1


async def test_some_of_the_checkpoints_of_what_never_ends() -> None:
    async def scenario() -> None:
        while True:
            await checkpoint()

    with pytest.raises(AssertionError, match=r"^scenario\(\) has more than 5 checkpoints"):
        await cancel_at_every_checkpoint(scenario, max_checkpoints=5, most=3)


async def test_checkpoints_of_every_kind() -> None:
    await cancel_every_kind()


async def test_checkpoints_of_every_kind_on_a_mock_clock(autojump_clock: trio.testing.MockClock) -> None:
    await cancel_every_kind()


async def test_checkpoints_of_every_kind_on_a_clock_that_stands_still(mock_clock: trio.testing.MockClock) -> None:
    await cancel_every_kind()


async def test_what_takes_its_time_to_end_on_a_clock_that_stands_still(mock_clock: trio.testing.MockClock) -> None:
    async def scenario() -> None:
        try:
            await trio.sleep(1)
        finally:
            with trio.move_on_after(10, shield=True):
                await trio.sleep_forever()

    assert await cancel_at_every_checkpoint(scenario) == 2
    assert trio.current_time() == 10 + 11 + 11


async def cancel_every_kind() -> None:
    async def scenario() -> None:
        reached.clear()
        reached.append("sleep")
        await trio.sleep(0.001)
        reached.append("event")
        event = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(event.wait)
            event.set()
        reached.append("channel")
        send, receive = trio.open_memory_channel[int](1)
        await send.send(1)
        assert await receive.receive() == 1
        reached.append("end")

    reached: list[str] = []
    last: list[str] = []
    assert await cancel_at_every_checkpoint(scenario, check=lambda: last.append(reached[-1])) >= 4
    assert set(last) == {"sleep", "event", "channel", "end"}


async def test_the_steps_of_all_tasks_count() -> None:
    """A place is known by its task and its step: the order, which is drawn by lot, makes no difference."""

    async def two_steps(name: str) -> None:
        await checkpoint()
        passed.append(f"{name}1")
        await checkpoint()
        passed.append(f"{name}2")

    async def nested() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(two_steps, "c")

    async def scenario() -> None:
        passed.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(two_steps, "a")
            nursery.start_soon(two_steps, "b")
            nursery.start_soon(nested)

    passed: list[str] = []
    # Two of each of the three, one of each of the two nurseries.
    assert {await cancel_at_every_checkpoint(scenario) for _ in range(50)} == {8}


async def test_a_task_that_is_given_to_another_nursery_does_not_count() -> None:
    async def serve(task_status: trio.TaskStatus[None]) -> None:
        await checkpoint()
        task_status.started()
        while not over.is_set():
            await checkpoint()

    async def scenario() -> None:
        with suppress(trio.Cancelled):  # as the nursery tells it
            await nursery.start(serve)
        await checkpoint()

    over = trio.Event()
    async with trio.open_nursery() as nursery:
        assert 3 <= await cancel_at_every_checkpoint(scenario, max_checkpoints=10) <= 6
        over.set()


async def test_arguments_go_to_the_scenario_and_to_the_invariant() -> None:
    async def scenario(log: list[int], number: int) -> None:
        log.append(number)
        await checkpoint()

    async def check(log: list[int], number: int) -> None:
        await checkpoint()
        assert log.count(number) == len(log)
        log.append(number)

    log: list[int] = []
    assert await cancel_at_every_checkpoint(scenario, log, 7, check=check) == 1
    assert log == [7] * 4


async def test_each_run_has_a_context_of_its_own() -> None:
    import contextvars

    variable = contextvars.ContextVar("variable", default=0)

    async def scenario() -> None:
        assert variable.get() == 0
        variable.set(1)
        await checkpoint()

    assert await cancel_at_every_checkpoint(scenario) == 1


async def test_it_leaves_no_instrument_behind_if_it_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    checked = []

    async def scenario() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(10)

    with trio.move_on_after(5) as scope:
        await cancel_at_every_checkpoint(scenario, check=lambda: checked.append(1))
    assert scope.cancelled_caught
    assert checked == []
    assert trio.current_time() == 10


async def test_two_at_once_do_not_see_each_other() -> None:
    async def scenario(count: int) -> None:
        for _ in range(count):
            await checkpoint()

    async def run(count: int) -> None:
        assert await cancel_at_every_checkpoint(scenario, count) == count

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, 5)
        nursery.start_soon(run, 9)


# ---------------------------------------------------------------------- scenarios with a fault


async def find(scenario: Callable[[], Awaitable[object]], check: Callable[[], None] | None = None) -> AssertionError:
    with pytest.raises(AssertionError) as raised:
        await cancel_at_every_checkpoint(scenario, check=check)
    return raised.value


class Accounts:
    def __init__(self) -> None:
        self.mine, self.yours = 100, 0

    async def transfer(self) -> None:
        await checkpoint()
        self.mine -= 30
        await checkpoint()
        self.yours += 30

    async def transfer_at_once(self) -> None:
        await checkpoint()
        self.mine, self.yours = self.mine - 30, self.yours + 30
        await step()

    def check(self) -> None:
        assert self.mine + self.yours == 100, "money is lost"


@pytest.mark.parametrize("sound", [True, False])
async def test_what_loses_data_between_two_checkpoints(*, sound: bool) -> None:
    accounts = Accounts()

    async def scenario() -> None:
        nonlocal accounts
        accounts = Accounts()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accounts.transfer_at_once if sound else accounts.transfer)

    def check() -> None:
        accounts.check()

    if sound:
        assert await cancel_at_every_checkpoint(scenario, check=check) == 3
        return
    failure = await find(scenario, check)
    assert isinstance(failure.__cause__, AssertionError)
    assert "money is lost" in str(failure.__cause__)
    first, *frames = str(failure).splitlines()
    assert first.startswith("the invariant check() does not hold, at checkpoint ")
    assert first.endswith(", in the task test_cancellation.Accounts.transfer:")
    assert len(frames) == 2
    assert frames[0].startswith("  transfer(), ")
    assert f"{__file__}:{Accounts.transfer.__code__.co_firstlineno + 3}" in frames[0]
    assert frames[1].startswith("  checkpoint(), ")


async def test_what_leaks_a_resource() -> None:
    open_ones = 0

    async def leaking() -> None:
        nonlocal open_ones
        open_ones = 1
        await checkpoint()
        open_ones = 0

    async def tidy() -> None:
        nonlocal open_ones
        open_ones = 1
        try:
            await checkpoint()
        finally:
            open_ones = 0

    async def check() -> None:
        await checkpoint()
        assert open_ones == 0

    with pytest.raises(AssertionError, match="does not hold, at checkpoint 1:"):
        await cancel_at_every_checkpoint(leaking, check=check)
    assert await cancel_at_every_checkpoint(tidy, check=check) == 1


async def test_what_swallows_the_cancellation_and_returns() -> None:
    async def in_checkpoint() -> None:
        with suppress(BaseException):
            await checkpoint()

    async def while_waiting() -> None:
        with suppress(BaseException):
            await trio.sleep(0.001)

    async def in_a_task() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_checkpoint)

    async def later() -> None:
        await step()
        await while_waiting()

    for scenario, n in [(in_checkpoint, 1), (while_waiting, 1), (later, 2)]:
        failure = await find(scenario)
        assert str(failure).startswith(f"{scenario.__name__}() has swallowed the trio.Cancelled")
        assert f"at checkpoint {n}:\n" in str(failure)
    assert "has swallowed" in str(await find(in_a_task))


async def test_what_swallows_again_and_again_is_let_go(caplog: pytest.LogCaptureFixture) -> None:
    done = 0

    async def stubborn() -> None:
        nonlocal done
        done = 0
        while done < 3:
            with suppress(BaseException):
                await trio.sleep(0.001)
                done += 1

    with caplog.at_level(logging.ERROR, "trio_chat.testing"):
        failure = await find(stubborn)
    assert done == 3
    assert str(failure).startswith(
        "stubborn() has not ended within 1000 steps after it was cancelled, at checkpoint 1:"
    )
    (record,) = caplog.records
    assert "at checkpoint 1:\n  stubborn()" in record.getMessage()


async def test_what_is_let_go_and_hangs_is_ended_by_a_timeout(autojump_clock: trio.testing.MockClock) -> None:
    async def stubborn() -> None:
        for _ in range(1000):
            with suppress(trio.Cancelled):
                await trio.sleep(0)
        await trio.sleep_forever()

    with trio.move_on_after(5) as scope:
        await cancel_at_every_checkpoint(stubborn)
    assert scope.cancelled_caught
    assert trio.current_time() == 5


@pytest.mark.parametrize(("steps", "fails"), [(9, False), (10, True)])
async def test_how_many_steps_a_scenario_may_take_to_end(steps: int, *, fails: bool) -> None:
    async def scenario() -> None:
        try:
            await trio.sleep(0.001)
        finally:
            for _ in range(steps):
                await step()

    run = partial(cancel_at_every_checkpoint, scenario, max_steps_to_end=10)
    if fails:
        with pytest.raises(AssertionError, match="within 10 steps"):
            await run()
    else:
        assert await run() == 1 + steps


async def test_what_raises_something_else() -> None:
    async def scenario() -> None:
        resource: list[int] = []
        try:
            await checkpoint()
            resource.append(1)
            await checkpoint()
        finally:
            resource.pop()

    failure = await find(scenario)
    assert isinstance(failure.__cause__, IndexError)
    assert str(failure).startswith("scenario() raised IndexError('pop from empty list') when it was cancelled")


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, pytest.fail.Exception])
async def test_what_is_no_exception_leaves_as_itself(kind: type[BaseException]) -> None:
    async def scenario() -> None:
        await checkpoint()
        raise kind

    with pytest.raises(kind):
        await cancel_at_every_checkpoint(scenario)


async def test_what_raises_something_else_in_a_task() -> None:
    async def task() -> None:
        try:
            await checkpoint()
        except trio.Cancelled:
            raise KeyError(1) from None

    async def scenario() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
            nursery.start_soon(trio.sleep, 0)

    failure = await find(scenario)
    assert isinstance(failure.__cause__, ExceptionGroup)
    assert failure.__cause__.subgroup(KeyError) is not None


async def test_what_never_ends() -> None:
    async def scenario() -> None:
        while True:
            await checkpoint()

    with pytest.raises(AssertionError, match=r"^scenario\(\) has more than 5 checkpoints"):
        await cancel_at_every_checkpoint(scenario, max_checkpoints=5)


async def test_what_fails_without_a_cancellation_raises_that() -> None:
    async def scenario() -> None:
        await checkpoint()
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await cancel_at_every_checkpoint(scenario)


async def test_an_invariant_that_does_not_even_hold_without_a_cancellation() -> None:
    async def scenario() -> None:
        pass

    def check() -> None:
        raise LookupError("no such thing")

    with pytest.raises(AssertionError, match=r"check\(\) does not hold, without a cancellation") as raised:
        await cancel_at_every_checkpoint(scenario, check=check)
    assert isinstance(raised.value.__cause__, LookupError)


async def test_an_invariant_that_returns_its_verdict_is_refused() -> None:
    async def scenario() -> None:
        pass

    async def verdict() -> bool:
        return False

    for check in (lambda: False, verdict):
        with pytest.raises(TypeError, match="it returned False"):
            await cancel_at_every_checkpoint(scenario, check=check)  # type: ignore[arg-type]


async def test_a_negative_number_of_checkpoints_is_refused() -> None:
    with pytest.raises(ValueError, match="most is at least 0; got -1"):
        await cancel_at_every_checkpoint(checkpoint, most=-1)


# ---------------------------------------------------------------------- scenarios without one


async def in_a_shield() -> None:
    with trio.CancelScope(shield=True):
        await checkpoint()
        await trio.sleep(0.001)


async def in_a_thread() -> None:
    await trio.to_thread.run_sync(int)


async def an_operation_that_has_succeeded() -> None:
    send, receive = trio.open_memory_channel[int](1)
    send.send_nowait(1)
    assert await receive.receive() == 1


async def closing_forcefully_within_a_shield() -> None:
    with trio.CancelScope(shield=True) as scope:
        scope.cancel()
        await checkpoint()


async def a_timeout_of_its_own() -> None:
    with trio.move_on_after(0.001):
        await trio.sleep(math.inf)
    with trio.CancelScope(deadline=-math.inf):
        await trio.sleep(math.inf)


async def cancelling_its_own_tasks() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await checkpoint()
        nursery.cancel_scope.cancel()


async def reraising() -> None:
    try:
        await checkpoint()
    except BaseException:
        await step()
        raise


@pytest.mark.parametrize(
    "scenario",
    [
        in_a_shield,
        in_a_thread,
        an_operation_that_has_succeeded,
        closing_forcefully_within_a_shield,
        a_timeout_of_its_own,
        cancelling_its_own_tasks,
        reraising,
    ],
)
async def test_nothing_is_said_about(scenario: Callable[[], Awaitable[object]]) -> None:
    for _ in range(10):
        assert await cancel_at_every_checkpoint(scenario) > 0
