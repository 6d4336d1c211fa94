"""What was measured: every figure of every round, so that all that is said of it can be checked by hand.

Contestants are compared within a round, where the noise of the machine has hit them alike: the ratio to quote is the
median of those ratios, not the ratio of the medians.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


class Spread(NamedTuple):
    """Figures of several rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def relative(self) -> float:
        """(highest - lowest) / median."""
        return (self.high - self.low) / self.median if self.median else 0.0


def spread_of(values: Iterable[float]) -> Spread | None:
    if not (ordered := sorted(values)):
        return None
    return Spread(statistics.median(ordered), ordered[0], ordered[-1], len(ordered))


@dataclass(frozen=True)
class Sample:
    """What one contestant did in one case in one round; there is a value or the reason why there is none."""

    case: str
    contestant: str
    round: int
    value: float | None = None
    failure: str | None = None
    #: What else was observed, by name with its unit.
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    name: str
    title: str
    unit: str
    more_is_better: bool
    #: Those who are compared with all others.
    subjects: list[str]
    cases: list[str]
    contestants: list[str]
    #: How it was measured, in words.
    notes: str
    #: Machine, versions, date, command.
    about: dict[str, Any]
    samples: list[Sample]

    def values(self, case: str, contestant: str) -> dict[int, float]:
        """The value of each round that has one."""
        return {sample.round: sample.value for sample in self._of(case, contestant) if sample.value is not None}

    def spread(self, case: str, contestant: str) -> Spread | None:
        return spread_of(self.values(case, contestant).values())

    def extra(self, case: str, contestant: str, name: str) -> Spread | None:
        return spread_of(sample.extra[name] for sample in self._of(case, contestant) if name in sample.extra)

    def extra_names(self, case: str) -> list[str]:
        return list(dict.fromkeys(name for sample in self.samples if sample.case == case for name in sample.extra))

    def advantage(self, case: str, contestant: str, versus: str) -> Spread | None:
        """How many times as good one is as another, within each round that both have finished."""
        ours, theirs = self.values(case, contestant), self.values(case, versus)
        both = [number for number in ours if number in theirs]
        if self.more_is_better:
            return spread_of(ours[number] / theirs[number] for number in both)
        return spread_of(theirs[number] / ours[number] for number in both)

    def kinds(self) -> dict[str, list[str]]:
        """Cases that differ in size only, of a benchmark in which all do: "kind: size"."""
        kinds: dict[str, list[str]] = {}
        for case in self.cases:
            kind, colon, _ = case.rpartition(": ")
            if not colon:
                return {}
            kinds.setdefault(kind, []).append(case)
        return kinds

    def growth(self, cases: Sequence[str], contestant: str) -> float | None:
        """By how much the figure grows from one size to the next, at the largest that there are: the mean of two steps.

        Sizes double: 2.0 is linear, 4.0 quadratic.
        """
        medians = [spread.median for case in cases if (spread := self.spread(case, contestant)) is not None]
        return math.sqrt(medians[-1] / medians[-3]) if len(medians) > 2 else None

    def failures(self, case: str, contestant: str) -> list[str]:
        return [sample.failure for sample in self._of(case, contestant) if sample.failure is not None]

    def took_part(self, case: str, contestant: str) -> bool:
        return bool(self._of(case, contestant))

    def _of(self, case: str, contestant: str) -> list[Sample]:
        return [sample for sample in self.samples if (sample.case, sample.contestant) == (case, contestant)]


def write(results: Results, path: Path) -> None:
    """As JSON, with a line for each sample: such a file can be read, and compared with another one."""
    whole = asdict(results)
    samples = [json.dumps(_without_nothing(sample), ensure_ascii=False) for sample in whole.pop("samples")]
    head = json.dumps(whole, indent=1, ensure_ascii=False).removesuffix("\n}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{head},\n "samples": [\n  ' + ",\n  ".join(samples) + "\n ]\n}\n")


def read(path: Path) -> Results:
    whole = json.loads(path.read_text())
    return Results(**{**whole, "samples": [Sample(**sample) for sample in whole["samples"]]})


def _without_nothing(sample: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in sample.items() if value not in (None, {})}
