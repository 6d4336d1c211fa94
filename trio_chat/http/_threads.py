"""Closing what may block, in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVarTuple

import trio

Args = TypeVarTuple("Args")


async def close_in_thread(close: Callable[[*Args], object], *args: *Args) -> None:
    """Call `close` in a thread, not skipped by a cancellation, and with nothing in front of it that could not be."""
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(close, *args, limiter=trio.CapacityLimiter(1))
