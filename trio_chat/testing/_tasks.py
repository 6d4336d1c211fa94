"""Tasks that outlive who has started them."""

from __future__ import annotations

import trio

from ._idleness import wait_until_idle

_OURS = ("trio_chat alarm", "trio_chat channels")  # which serve all connections of a Trio run


def system_tasks() -> set[trio.lowlevel.Task]:
    """Those that run now."""
    root = trio.lowlevel.current_root_task()
    return set() if root is None else {task for nursery in root.child_nurseries for task in nursery.child_tasks}


async def new_system_tasks(before: set[trio.lowlevel.Task]) -> list[str]:
    """The names of those that have been started since, and still run when all tasks are blocked, but for our own."""
    await wait_until_idle(patience=0)
    return sorted(task.name for task in system_tasks() - before if task.name not in _OURS)
