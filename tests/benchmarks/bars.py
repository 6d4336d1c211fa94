"""What the project has promised itself of its speed and size, and whether a run keeps it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .results import Results, Spread

OURS = "trio_chat"


class Bar(NamedTuple):
    benchmark: str
    case: str
    bound: float
    #: At least `bound` times as good as this one; None: the figure itself is `bound` at the most.
    versus: str | None = None
    contestant: str = OURS

    def __str__(self) -> str:
        return f"≤ {self.bound:g}" if self.versus is None else f"≥ {self.bound:g} x {self.versus}"


class Verdict(NamedTuple):
    bar: Bar
    #: The ratios of the rounds, or the figures of an absolute bar; None if there are none.
    spread: Spread | None
    #: None if that cannot be said: there is nothing to compare with.
    met: bool | None
    #: In how many of its rounds the contestant has failed: if in any, the bar is not met.
    failed: int = 0
    rounds: int = 0


def _framing(contestant: str) -> list[Bar]:
    cases = [f"{size}-byte lines" for size in (6, 62, 4094)]
    floor = [Bar("framing", case, 0.8, "floor", contestant) for case in cases]
    return floor + [Bar("framing", case, 5.0, "pyasynchat", contestant) for case in cases]


BARS = [
    Bar("http", "hello", 1.2, "uvicorn-uvloop"),
    Bar("http", "hello", 1.0, "bare"),
    Bar("http", "hello", 25.0, "hypercorn-trio"),
    Bar("http", "browser", 1.4, "uvicorn-uvloop"),
    Bar("http", "pipelined", 3.0, "uvicorn-uvloop"),
    Bar("http", "file", 0.9, "bare"),
    Bar("http", "post-10m", 0.9, "bare"),
    *_framing("TerminatorBuffer"),
    *_framing(OURS),
    Bar("idle", "an idle connection", 8.0),
    Bar("import", "import", 25.0),
]


def verdict(bar: Bar, results: Results) -> Verdict:
    failed = len(results.failures(bar.case, bar.contestant))
    rounds = failed + len(results.values(bar.case, bar.contestant))
    if bar.versus is None:
        spread = results.spread(bar.case, bar.contestant)
        met = None if spread is None else spread.median <= bar.bound
    else:
        spread = results.advantage(bar.case, bar.contestant, bar.versus)
        met = None if spread is None else spread.median >= bar.bound
    return Verdict(bar, spread, False if failed else met, failed, rounds)


def bound_of(benchmark: str, case: str, contestant: str, versus: str | None = None) -> float | None:
    """The bound of such a bar, if there is one."""
    wanted = (benchmark, case, contestant, versus)
    return next((bar.bound for bar in BARS if (bar.benchmark, bar.case, bar.contestant, bar.versus) == wanted), None)


def verdicts(all_results: Iterable[Results], bars: Iterable[Bar] = BARS) -> list[Verdict]:
    """Of those bars of which anything was to be measured."""
    by_name = {results.name: results for results in all_results}
    return [
        verdict(bar, results)
        for bar in bars
        if (results := by_name.get(bar.benchmark)) is not None and results.took_part(bar.case, bar.contestant)
    ]
