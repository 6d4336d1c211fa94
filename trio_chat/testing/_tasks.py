"""Tasks: those of a block, which end with it, and those that outlive who has started them."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Self

import trio

from ._idleness import MAX_STEPS, until_nothing_happens, wait_until_idle, with_time_going_by

_REST_SECONDS = 1.0  # of real time, after which who does nothing is not expected to
_OURS = ("trio_chat alarm", "trio_chat channels")  # which serve all connections of a Trio run

logger = logging.getLogger("trio_chat.testing")


@asynccontextmanager
async def background_tasks() -> AsyncGenerator[trio.Nursery, None]:
    """A nursery that is cancelled at the end of the block. What the block raises leaves it as itself, in no group.

    A clock that stands still is moved if the tasks need time to end. Tasks that catch `trio.Cancelled` again and again,
    or wait for ever in a shield, cannot be ended by anyone. So that nobody looks for the reason in vain, it is logged
    where they are, and what the block has raised.
    """
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except BaseException as exc:
            failure = exc
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), _Watch(nursery, failure) as watch:
            await with_time_going_by(watch.until_over)
    if failure is not None:
        raise failure


class _Watch(trio.abc.Instrument):
    """Sees the tasks of a nursery come to their end, or not."""

    def __init__(self, nursery: trio.Nursery, failure: BaseException | None) -> None:
        self._nursery = nursery
        self._failure = failure
        self._count = 0
        self._is_told = False
        self.over = trio.Event()

    def __enter__(self) -> Self:
        trio.lowlevel.add_instrument(self)
        if not self._nursery.child_tasks:
            self.over.set()
        return self

    def __exit__(self, *exc_info: object) -> None:
        trio.lowlevel.remove_instrument(self)

    async def until_over(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_for_who_rests)
            await self.over.wait()
            nursery.cancel_scope.cancel()

    async def _look_for_who_rests(self) -> None:
        await until_nothing_happens(_REST_SECONDS)
        for task in self._nursery.child_tasks:
            self._tell("the task %s does not end although it is cancelled:\n%s", task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if not self._nursery.child_tasks:
            self.over.set()
        elif any(ancestor.parent_nursery is self._nursery for ancestor in ancestors(task)):
            self._count += 1
            if self._count >= MAX_STEPS and not self._is_told and stack_of(task):
                self._tell("the task %s goes on and on although it is cancelled:\n%s", task)

    def _tell(self, message: str, task: trio.lowlevel.Task) -> None:
        self._is_told = True
        logger.error(message, task.name, "\n".join(stack_of(task)), exc_info=self._failure)


def ancestors(task: trio.lowlevel.Task | None) -> Iterator[trio.lowlevel.Task]:
    """A task, the one whose nursery holds it now, and so on."""
    while task is not None:
        yield task
        task = task.parent_nursery.parent_task if task.parent_nursery is not None else None


def stack_of(task: trio.lowlevel.Task, *, skipped: int = 0) -> list[str]:
    """Where a task is, line by line, from its beginning, or some functions later, to the first function of Trio."""
    lines = []
    frames: list[tuple[FrameType, int]] = list(task.iter_await_frames())
    for frame, line in frames[skipped:]:
        lines.append(f"  {frame.f_code.co_name}(), {frame.f_code.co_filename}:{line}")
        if frame.f_globals.get("__name__", "").partition(".")[0] == "trio":
            break
    return lines


def system_tasks() -> set[trio.lowlevel.Task]:
    """Those that run now."""
    root = trio.lowlevel.current_root_task()
    return set() if root is None else {task for nursery in root.child_nurseries for task in nursery.child_tasks}


async def new_system_tasks(before: set[trio.lowlevel.Task]) -> list[str]:
    """The names of those that have been started since, and still run when all tasks are blocked, but for our own."""
    await wait_until_idle(patience=0)
    return sorted(task.name for task in system_tasks() - before if task.name not in _OURS)
