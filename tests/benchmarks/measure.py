"""Rounds: within one every contestant has its turn, then comes the next, so that noise hits all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from .results import Sample

T = TypeVar("T")


class Figure(NamedTuple):
    value: float
    extra: Mapping[str, float] = {}


def rotated(items: Sequence[T], by: int) -> list[T]:
    """In each round another one begins: nobody is always the one that comes first."""
    by %= len(items) or 1
    return [*items[by:], *items[:by]]


def sample(case: str, contestant: str, number: int, measure: Callable[[], Figure]) -> Sample:
    """Measure; whoever fails is reported with the reason, and the others go on."""
    try:
        figure = measure()
    except Exception as exc:
        return failed(case, contestant, number, exc)
    return Sample(case, contestant, number, figure.value, extra=figure.extra)


def failed(case: str, contestant: str, number: int, exc: Exception) -> Sample:
    words = str(exc).strip().splitlines() or [""]
    return Sample(case, contestant, number, failure=f"{type(exc).__name__}: {words[0]}".removesuffix(": "))


def seconds(run: Callable[[], object]) -> float:
    """What it takes of the processor: what else runs on the machine does not count."""
    gc.collect()  # nobody pays for the garbage of the contestant before
    start = time.process_time()
    run()
    return time.process_time() - start
