"""Splitting 64 KiB chunks into lines, in memory, with two callbacks each.

The floor is `for line in chunk.split(...)` with the two calls and nothing else. trio_chat takes part twice: with its
buffer alone, and as a user has it, as a whole AsyncChat over a stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from . import cores
from .benchmark import Benchmark, Plan
from .cores import pinned
from .framers.contestants import BOUNDS, FRAMERS, check, framer
from .framers.job import Framer, Job
from .measure import Figure, rotated, sample
from .results import Sample

TERMINATOR = b"\r\n"
CHUNK_BYTES = 65536
_SECONDS = 0.04  # of a measurement, or a chunk if that takes longer
CASES = {f"{size}-byte lines": size for size in (6, 62, 4094)}


def job(line_bytes: int, chunks: int) -> Job:
    line = b"x" * (line_bytes - len(TERMINATOR)) + TERMINATOR
    return Job([line * (CHUNK_BYTES // line_bytes)] * chunks, TERMINATOR, CHUNK_BYTES)


def chunks_in_a_while(frame: Framer, line_bytes: int) -> int:
    """How many chunks it frames in about `_SECONDS`; it has warmed up then."""
    chunks = 1
    while (took := frame(job(line_bytes, chunks))) < _SECONDS / 4:
        chunks *= 2
    return max(1, round(chunks * _SECONDS / took))


class Contest:
    """How one contestant has to be measured in one case is found out once, and then kept for all rounds."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, str], tuple[Framer, Job]] = {}

    def measure(self, case: str, name: str) -> Figure:
        if (case, name) not in self._jobs:
            frame = framer(name)
            check(frame, job(CASES[case], 2))
            self._jobs[case, name] = frame, job(CASES[case], chunks_in_a_while(frame, CASES[case]))
        frame, work = self._jobs[case, name]
        lines = CHUNK_BYTES // CASES[case] * len(work.chunks)
        rate = lines / frame(work)
        return Figure(rate, {"ns a line": 1e9 / rate})


def run(plan: Plan) -> Iterator[Sample]:
    contest = Contest()
    with pinned(cores.SERVER):
        for number in range(plan.rounds):
            for case in plan.cases:
                for name in rotated(plan.contestants, number):
                    yield sample(case, name, number, partial(contest.measure, case, name))


FRAMING = Benchmark(
    name="framing",
    title="Framing lines of 64 KiB chunks, in memory",
    unit="lines/s",
    more_is_better=True,
    cases=list(CASES),
    contestants=[*BOUNDS, *FRAMERS],
    rounds=15,
    notes="Processor time. Two callbacks a line (one for Twisted); floor: bytes.split and the calls, nothing else.",
    run=run,
    subjects=("TerminatorBuffer", "trio_chat"),
)
