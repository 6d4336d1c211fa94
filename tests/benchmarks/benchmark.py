"""What a benchmark is, and the plan by which one run of it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .results import Sample


@dataclass(frozen=True)
class Plan:
    cases: Sequence[str]
    contestants: Sequence[str]
    rounds: int
    #: How long a load generator runs for one figure.
    seconds: int


@dataclass(frozen=True)
class Benchmark:
    name: str
    title: str
    unit: str
    more_is_better: bool
    cases: Sequence[str]
    contestants: Sequence[str]
    rounds: int
    notes: str
    run: Callable[[Plan], Iterator[Sample]]
    #: How long wrk runs for one figure; 0 if it is not used.
    seconds: int = 0
    subjects: Sequence[str] = ("trio_chat",)

    def plan(self, only: Sequence[str], contestants: Sequence[str], rounds: int | None, seconds: int | None) -> Plan:
        """What of it is asked for; no names are all names."""
        return Plan(
            cases=[case for case in self.cases if not only or case in only],
            contestants=[name for name in self.contestants if not contestants or name in contestants],
            rounds=rounds or self.rounds,
            seconds=seconds or self.seconds,
        )
