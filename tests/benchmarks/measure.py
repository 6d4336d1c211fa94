"""How the benchmarks measure: contestants in turn, several rounds, medians; ratios within one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS = 9


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def medians(contestants: Mapping[str, Callable[[], object]]) -> dict[str, tuple[float, float]]:
    """For each contestant the median time of a run, and its spread: (slowest - fastest) / median."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run()  # warm up
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            times[name].append(seconds(run))
    result: dict[str, tuple[float, float]] = {}
    for name, measured in times.items():
        median = statistics.median(measured)
        result[name] = (median, (max(measured) - min(measured)) / median)
    return result
