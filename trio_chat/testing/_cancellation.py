"""Cancel a scenario at each of its checkpoints, one after the other, and look what it leaves behind.

A Trio instrument watches the scenario's tasks. A step of a task that does not end the task ends at a schedule point,
which is nearly always a checkpoint: there, and only there, what others do, a cancellation included, can become visible
to it. So the scope around the scenario is cancelled when a step has ended, and with all such places tried there is none
left at which a cancellation could do something else, as far as this order of the tasks goes.

Trio draws by lot in which order it steps tasks that are ready at the same time, so "the 5th step of all tasks" may be
another place in each run, and counting to the end could miss some. A place is therefore known by its task and the
number of its steps ("the 2nd of the first task that the scenario started"), and a run is cancelled at the first
place at which none was before. It is over when a run has met no new one. With one task that is n = 1, 2, 3, ….

What is sure to have been raised (and so cannot be absent without somebody having caught it):

- in a task that our `cancel()` has made runnable, for it was waiting in something that can be aborted, and will be
  resumed with `trio.Cancelled`;
- in a task in `trio.lowlevel.checkpoint()`, if our `cancel()` has turned its effective deadline into -inf.

Everything else is not: a task may be shielded, in a thread, or in the `cancel_shielded_checkpoint()` that ends an
operation which has succeeded.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVarTuple

import trio

from ._arguments import check_number
from ._idleness import with_time_going_by
from ._tasks import ancestors, stack_of

Args = TypeVarTuple("Args")

logger = logging.getLogger("trio_chat.testing")

#: A task by its name, its number among those of the same name that its parent has started, and its parent.
TaskPath = tuple[object, ...]
#: A task, and how many steps it has taken.
Place = tuple[TaskPath, int]


async def cancel_at_every_checkpoint(
    async_fn: Callable[[*Args], Awaitable[object]],
    *args: *Args,
    check: Callable[[*Args], Awaitable[None] | None] | None = None,
    most: int | None = None,
    seed: int = 0,
    max_checkpoints: int = 10_000,
    max_steps_to_end: int = 1_000,
    _tell_raised: Callable[[trio.lowlevel.Task], None] = lambda task: None,  # in it Cancelled is about to be raised
) -> int:
    """Run a scenario again and again, and cancel it each time at another checkpoint, until none is left.

    The checkpoints of all tasks count that the scenario starts in nurseries of its own. Each run is a call of
    `async_fn(*args)`, which makes whatever it needs anew; the last one is not cancelled.

        async def scenario():
            global account
            account = Account(100)
            await account.transfer(30)

        def check():
            assert account.total == 100

        assert await cancel_at_every_checkpoint(scenario, check=check) > 0

    Args:
        async_fn: the scenario; it ends by itself if it is not cancelled.
        check: the invariant, called with `args` after each run, the last one included; it may be `async def`.
        most: at how many checkpoints to cancel it, if not at all of them. If there are more, they are chosen at random;
            for that it runs once without a cancellation before.
        seed: of that.
        max_checkpoints: at how many of them it gives up: the scenario does not seem to end by itself.
        max_steps_to_end: how many steps its tasks may take after the cancellation. With the last of them the verdict is
            clear; it is logged, and the cancellation taken back, so that the scenario can end.

    Returns at how many checkpoints it was cancelled: 0 if there are none, and nothing was tested; a few more than
    `most` if other orders of the tasks have brought others.

    Raises:
        AssertionError: telling the checkpoint, and where it is: if `check` fails; if a cancelled run raises something
            else than `trio.Cancelled`, does not end, or returns although `trio.Cancelled` was raised in it.
        Exception: what the scenario raised when it was not cancelled.

    If cancelled, so is the scenario; `check` is not called.

    It works on any clock, and moves one that stands still, within any task. The order in which tasks that are ready at
    the same time take their steps is random, as always in Trio: to see more of the orders, call it several times. A
    scenario that waits for ever in a shield hangs, for nothing can end it. One that catches `trio.Cancelled`, and is
    cancelled by its next checkpoint all the same, is not told from others but by what `check` sees.
    """
    if most is not None:
        check_number("most", most, 0)
    name, invariant = _name(async_fn), partial(check, *args) if check is not None else None

    async def run_once(tried: dict[Place, None], new_places: int = 1) -> bool:
        """Cancel it at the last of so many places that are not in `tried`, to which they are added; whether it was."""
        run = _Run(tried, new_places, max_steps_to_end, _tell_raised)
        failure = await run.take(partial(async_fn, *args))
        if failure is not None and run.where is None:
            raise failure
        if (verdict := run.verdict(failure)) is not None:
            raise AssertionError(f"{name} {verdict}, {run.where}") from failure
        await _check(invariant, run.where)
        if len(tried) > max_checkpoints:
            raise AssertionError(f"{name} has more than {max_checkpoints} checkpoints: does it ever end?")
        return run.where is not None

    left_out: list[Place] = []
    if most is not None:
        places: dict[Place, None] = {}
        await run_once(places, max_checkpoints + 1)
        left_out = random.Random(seed).sample(list(places), max(len(places) - most, 0))  # noqa: S311
    tried = dict.fromkeys(left_out)
    while await run_once(tried):
        pass
    return len(tried) - len(left_out)


async def _check(check: Callable[[], Awaitable[None] | None] | None, where: str | None) -> None:
    if check is None:
        return
    try:
        reply: object = check()
        if isinstance(reply, Awaitable):
            reply = await reply
    except Exception as exc:
        raise AssertionError(
            f"the invariant {_name(check)} does not hold, {where or 'without a cancellation'}"
        ) from exc
    if reply is not None:
        raise TypeError(f"check() returns None, and raises AssertionError if it fails; it returned {reply!r}")


def _name(function: Callable[..., object]) -> str:
    while isinstance(function, partial):
        function = function.func
    name: str = getattr(function, "__qualname__", repr(function))
    return f"{name.rpartition('<locals>.')[2]}()"


class _Run(trio.abc.Instrument):
    """One run of the scenario: counts its steps, and cancels it at a place that is not in `tried`."""

    def __init__(
        self,
        tried: dict[Place, None],
        new_places: int,
        max_steps_to_end: int,
        tell_raised: Callable[[trio.lowlevel.Task], None],
    ) -> None:
        #: The checkpoint at which it was cancelled, in words.
        self.where: str | None = None
        self._tried = tried
        self._new_places = new_places  # left to come
        self._max_steps_to_end = max_steps_to_end
        self._tell_raised = tell_raised
        self._scope = trio.CancelScope()
        self._cancellation_reaches = trio.CancelScope()  # inside that; a shield, if it shall not any more
        self._root: trio.lowlevel.Task | None = None
        self._paths: dict[trio.lowlevel.Task, TaskPath] = {}
        self._children: dict[TaskPath, int] = {}
        self._steps: dict[trio.lowlevel.Task, int] = {}
        self._all_steps = 0
        self._steps_to_end = 0
        self._cancelling = False
        self._taken_back = False
        self._was_raised = False  # for sure

    async def take(self, scenario: Callable[[], Awaitable[object]]) -> Exception | None:
        """Run it, in a task of its own; what it raised."""
        failure: Exception | None = None
        crash: BaseException | None = None

        async def run() -> None:
            nonlocal failure, crash
            self._root = trio.lowlevel.current_task()
            self._paths[self._root] = ()
            try:
                with self._scope, self._cancellation_reaches:
                    await scenario()
            except Exception as exc:
                failure = exc
            except trio.Cancelled:
                raise
            except BaseException as exc:
                crash = exc
            nursery.cancel_scope.cancel()

        trio.lowlevel.add_instrument(self)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                nursery.start_soon(self._let_others_cancel)
                nursery.start_soon(with_time_going_by, trio.sleep_forever)
        finally:
            trio.lowlevel.remove_instrument(self)
        if crash is not None:
            raise crash  # as itself, in no group
        await trio.lowlevel.checkpoint_if_cancelled()  # by somebody else: then this is no verdict's business
        return failure

    def verdict(self, failure: Exception | None) -> str | None:
        """What a cancelled run has done wrong."""
        if self._taken_back:
            return f"has not ended within {self._max_steps_to_end} steps after it was cancelled"
        if failure is not None:
            return f"raised {failure!r} when it was cancelled"
        if self._was_raised and not self._scope.cancelled_caught:
            return "has swallowed the trio.Cancelled that was raised in it, and returned, when it was cancelled"
        return None

    # ------------------------------------------------------------------ what Trio calls

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        if task.parent_nursery is not None and (parent := self._paths.get(task.parent_nursery.parent_task)) is not None:
            kind = (parent, task.name)
            self._children[kind] = number = self._children.get(kind, 0) + 1
            self._paths[task] = (*kind, number)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        if self._cancelling and self._is_ours(task):
            self._note_raised(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._paths.pop(task, None)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task not in self._paths or not self._is_ours(task):
            return
        if self.where is not None:
            self._steps_to_end += 1
            if self._steps_to_end == self._max_steps_to_end:
                self._take_back()
            return
        self._all_steps += 1
        self._steps[task] = self._steps.get(task, 0) + 1
        place = (self._paths[task], self._steps[task])
        if place not in self._tried:
            self._tried[place] = None
            self._new_places -= 1
            if not self._new_places:
                self.where = self._describe(task)
                self._cancel(task)

    # ------------------------------------------------------------------

    def _is_ours(self, task: trio.lowlevel.Task) -> bool:
        """Whether a nursery of the scenario holds the task, now: `nursery.start` may have given it to another one."""
        return any(ancestor is self._root for ancestor in ancestors(task))

    def _cancel(self, task: trio.lowlevel.Task) -> None:
        was_cancelled = trio.current_effective_deadline() == -math.inf
        self._cancelling = True
        self._scope.cancel()
        self._cancelling = False
        is_cancelled = trio.current_effective_deadline() == -math.inf
        in_checkpoint = any(frame.f_code is trio.lowlevel.checkpoint.__code__ for frame, _ in task.iter_await_frames())
        if in_checkpoint and is_cancelled and not was_cancelled:
            self._note_raised(task)

    def _note_raised(self, task: trio.lowlevel.Task) -> None:
        self._was_raised = True
        self._tell_raised(task)

    def _take_back(self) -> None:
        logger.error("the scenario goes on and on after it was cancelled, %s", self.where)
        self._taken_back = True
        self._cancellation_reaches.shield = True

    async def _let_others_cancel(self) -> None:
        """A timeout around the test, or Ctrl-C, still ends a scenario whose cancellation was taken back."""
        try:
            await trio.sleep_forever()
        finally:
            self._cancellation_reaches.shield = False

    def _describe(self, task: trio.lowlevel.Task) -> str:
        name = "" if task is self._root else f", in the task {task.name}"
        where = "\n".join(stack_of(task, skipped=task is self._root))
        return f"at checkpoint {self._all_steps}{name}:\n{where}"
