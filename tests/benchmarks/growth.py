"""How the time to frame grows with the length of the input: many tiny frames in one chunk, one frame in tiny chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from . import cores
from .benchmark import Benchmark, Plan
from .cores import pinned
from .framers.contestants import FRAMERS, check, framer
from .framers.job import Job
from .measure import Figure, rotated, sample
from .results import Sample

KIB = 1024
TERMINATOR = b"\r\n"
_PATIENCE_SECONDS = 1.0


class TooSlow(Exception):
    """A smaller input has taken too long already: this one is skipped."""


def tiny_frames(size: int) -> Job:
    """`size` bytes of empty lines, in one chunk."""
    return Job([TERMINATOR * (size // len(TERMINATOR))], TERMINATOR, size)


def dripped(size: int) -> Job:
    """One line of `size` bytes, in chunks of a byte each."""
    line = b"x" * (size - len(TERMINATOR)) + TERMINATOR
    return Job([line[at : at + 1] for at in range(size)], TERMINATOR, size)


def cases(kind: str, job: Callable[[int], Job], sizes: list[int]) -> dict[str, tuple[Callable[[int], Job], int]]:
    return {f"{kind}: {size // KIB} KiB": (job, size) for size in sizes}


CASES = {
    **cases("empty lines in one chunk", tiny_frames, [16 * KIB << n for n in range(6)]),
    **cases("one line in 1-byte chunks", dripped, [4 * KIB << n for n in range(5)]),
}


class Contest:
    def __init__(self) -> None:
        self._took: dict[tuple[str, Callable[[int], Job]], float] = {}

    def measure(self, case: str, name: str) -> Figure:
        job, size = CASES[case]
        if self._took.get((name, job), 0.0) > _PATIENCE_SECONDS:
            raise TooSlow(f"skipped, as a smaller input took more than {_PATIENCE_SECONDS:g} s")
        frame = framer(name)
        if (name, job) not in self._took:
            check(frame, job(KIB))
        took = frame(job(size))
        self._took[name, job] = took
        return Figure(took * 1e3, {"KiB": size / KIB})


def run(plan: Plan) -> Iterator[Sample]:
    with pinned(cores.SERVER):
        for number in range(plan.rounds):
            contest = Contest()
            for case in plan.cases:
                for name in rotated(plan.contestants, number):
                    yield sample(case, name, number, partial(contest.measure, case, name))


GROWTH = Benchmark(
    name="growth",
    title="How framing grows with its input",
    unit="ms",
    more_is_better=False,
    cases=list(CASES),
    contestants=FRAMERS,
    rounds=3,
    notes=f"Processor time. Whoever took more than {_PATIENCE_SECONDS:g} s skips the larger inputs of that kind.",
    run=run,
    subjects=("TerminatorBuffer", "trio_chat"),
)
