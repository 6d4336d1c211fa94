"""Runs benchmarks; prints tables; keeps figures and charts."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import bars, machine, results as kept, tables, wrk
from .benchmark import Benchmark, Plan
from .framing import FRAMING
from .growth import GROWTH
from .http_head import HTTP_HEAD
from .http_load import HTTP, SETUP
from .idle import IDLE
from .import_time import IMPORT
from .kv import KV
from .processes import PROCESSES
from .results import Results
from .scaling import SCALING

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (FRAMING, GROWTH, SCALING, HTTP_HEAD, HTTP, SETUP, IDLE, IMPORT, PROCESSES, KV)
}
_HERE = Path(__file__).parent
WHOLE = _HERE / "results"
PART = _HERE.parents[1] / "build" / "bench"


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nox -s bench --",
        description="Runs all benchmarks, or those that are named.",
        epilog="The figures go to tests/benchmarks/results, or, with any of these options, to build/bench.",
    )
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"{', '.join(BENCHMARKS)}; or markdown, charts")
    parser.add_argument("--rounds", type=int, help="how often every contestant has its turn")
    parser.add_argument("--seconds", type=int, help="how long wrk runs for one figure")
    parser.add_argument("--only", type=names, default=[], metavar="CASE,…")
    parser.add_argument("--contestants", type=names, default=[], metavar="NAME,…")
    parser.add_argument("--results", type=Path, help="the directory that the figures go to, or come from")
    parser.add_argument("--list", action="store_true", help="which cases and contestants there are")
    return parser


def main(arguments: Sequence[str]) -> None:
    parser = command_line()
    options = parser.parse_args(arguments)
    is_part = options.only or options.contestants or options.rounds or options.seconds
    directory = options.results or (PART if is_part else WHOLE)
    if options.list:
        for benchmark in BENCHMARKS.values():
            print(f"{benchmark.name}\n  {'; '.join(benchmark.cases)}\n  {', '.join(benchmark.contestants)}")
    elif options.what == ["markdown"]:
        print(markdown(stored(directory)))
    elif options.what == ["charts"]:
        draw(stored(directory), directory)
    else:
        try:
            plans = planned(options)
        except ValueError as exc:
            parser.error(str(exc))
        if any(benchmark.seconds for benchmark, _ in plans) and shutil.which("wrk") is None:
            sys.exit(wrk.MISSING)
        run_all(plans, directory, arguments)


def planned(options: argparse.Namespace) -> list[tuple[Benchmark, Plan]]:
    """What is asked for. Raises ValueError for a name that is in nothing of it."""
    _check_known(options.what, BENCHMARKS)
    chosen = [BENCHMARKS[name] for name in options.what or BENCHMARKS]
    _check_known(options.only, [case for benchmark in chosen for case in benchmark.cases])
    _check_known(options.contestants, [name for benchmark in chosen for name in benchmark.contestants])
    plans = [(b, b.plan(options.only, options.contestants, options.rounds, options.seconds)) for b in chosen]
    return [(benchmark, plan) for benchmark, plan in plans if plan.cases and plan.contestants]


def _check_known(given: Sequence[str], known: Iterable[str]) -> None:
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"{', '.join(unknown)}: there are {'; '.join(dict.fromkeys(known))}")


def run_all(plans: Sequence[tuple[Benchmark, Plan]], directory: Path, arguments: Sequence[str]) -> None:
    measured = []
    for benchmark, plan in plans:
        result = run(benchmark, plan, arguments)
        kept.write(result, directory / f"{benchmark.name}.json")
        draw([result], directory)
        measured.append(result)
        print(f"\n{tables.as_text(result)}\n", flush=True)
    print(tables.bars_as_text(bars.verdicts(measured)))


def run(benchmark: Benchmark, plan: Plan, arguments: Sequence[str]) -> Results:
    print(f"{benchmark.name}: {plan.rounds} rounds", flush=True)
    samples = []
    at = (-1, "")
    for sample in benchmark.run(plan):
        if at != (sample.round, sample.case):
            at = (sample.round, sample.case)
            print(f"\n  {sample.round + 1}. {sample.case}:", end="", flush=True)
        figure = "failed" if sample.value is None else tables.number(sample.value)
        print(f" {sample.contestant} {figure}", end="", flush=True)
        samples.append(sample)
    print(flush=True)
    return Results(
        name=benchmark.name,
        title=benchmark.title,
        unit=benchmark.unit,
        more_is_better=benchmark.more_is_better,
        subjects=list(benchmark.subjects),
        cases=list(plan.cases),
        contestants=list(plan.contestants),
        notes=benchmark.notes,
        about=machine.about(arguments),
        samples=samples,
    )


def stored(directory: Path) -> list[Results]:
    return [kept.read(path) for name in BENCHMARKS if (path := directory / f"{name}.json").exists()]


def markdown(all_results: Sequence[Results]) -> str:
    parts = [tables.as_markdown(result) for result in all_results]
    parts.append(tables.bars_as_markdown(bars.verdicts(all_results)))
    parts += dict.fromkeys(tables.origin(result) for result in all_results)
    return "\n\n".join(parts)


def draw(all_results: Sequence[Results], directory: Path) -> None:
    try:
        from . import charts
    except ImportError as exc:
        print(f"no charts: {exc}")
        return
    for result in all_results:
        charts.draw(result, directory / f"{result.name}.svg")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # by way of the blocks that end the servers
    main(sys.argv[1:])
