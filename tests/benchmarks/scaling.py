"""How the time of TerminatorBuffer grows when the input doubles: 2.0 is linear, 4.0 would be quadratic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from trio_chat import Terminator, TerminatorBuffer

from . import cores
from .benchmark import Benchmark, Plan
from .cores import pinned
from .measure import Figure, sample, seconds
from .results import Sample

KIB = 1024


def scan(terminator: Terminator, data: bytes, chunk_bytes: int) -> None:
    buffer = TerminatorBuffer(terminator)
    for start in range(0, len(data), chunk_bytes):
        buffer.feed(data[start : start + chunk_bytes])
        for pieces, _ in buffer:
            for _ in pieces:
                pass


def alternate(line: Terminator, data: bytes) -> None:
    """Change the terminator after every frame: a line, then a count."""
    buffer = TerminatorBuffer(line)
    buffer.feed(data)
    for pieces, ended in buffer:
        for _ in pieces:
            if ended:
                buffer.terminator = 3 if buffer.terminator is not None else line


NEAR_MISS = b"a" * (64 * KIB - 1) + b"b"

CASES: dict[str, tuple[Callable[[int], object], int]] = {
    "newlines in one chunk": (lambda size: scan(b"\n", b"\n" * size, size), 1024 * KIB),
    "newlines in 64 KiB chunks": (lambda size: scan(b"\n", b"\n" * size, 64 * KIB), 1024 * KIB),
    "one frame in 1-byte chunks": (lambda size: scan(b"\r\n", b"x" * size, 1), 256 * KIB),
    "64 KiB terminator almost matched in 64 KiB chunks": (
        lambda size: scan(NEAR_MISS, b"a" * size, 64 * KIB),
        512 * KIB,
    ),
    "64 KiB terminator almost matched in 1-byte chunks": (lambda size: scan(NEAR_MISS, b"a" * size, 1), 256 * KIB),
    "two terminators and short lines": (
        lambda size: scan((b"\r\n", b"\n"), b"abc\n" * (size // 4), size),
        512 * KIB,
    ),
    "a line and a count in turn": (lambda size: alternate(b"\n", b"3\nabc" * (size // 5)), 512 * KIB),
    "the same with an alternative that never comes": (
        lambda size: alternate((b"\n", b"\r\n\0"), b"3\nabc" * (size // 5)),
        128 * KIB,
    ),
}


def measure(case: str) -> Figure:
    scan_bytes, size = CASES[case]
    once, twice = seconds(lambda: scan_bytes(size)), seconds(lambda: scan_bytes(2 * size))
    return Figure(twice / once, {"KiB": size / KIB, "ms": once * 1e3, "ms, twice that": twice * 1e3})


def run(plan: Plan) -> Iterator[Sample]:
    with pinned(cores.SERVER):
        for number in range(plan.rounds):
            for case in plan.cases:
                for name in plan.contestants:
                    yield sample(case, name, number, partial(measure, case))


SCALING = Benchmark(
    name="scaling",
    title="Growth of TerminatorBuffer's time when its input doubles",
    unit="times",
    more_is_better=False,
    cases=list(CASES),
    contestants=["TerminatorBuffer"],
    rounds=3,
    notes="Processor time. 2.0 is linear, 4.0 would be quadratic.",
    run=run,
    subjects=(),
)
