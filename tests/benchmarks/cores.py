"""Who runs on which core: the server alone on the first, its load on the last, as far as there are two."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

AVAILABLE = sorted(os.sched_getaffinity(0))
SERVER = {AVAILABLE[0]}
LOAD = {AVAILABLE[-1]}
ANY = set(AVAILABLE)


@contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """This process, for as long as the block lasts; and whatever it starts meanwhile, for ever."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
