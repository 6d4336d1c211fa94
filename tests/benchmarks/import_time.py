"""What `import trio_chat` takes once `import trio` is done, in fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from . import cores
from .benchmark import Benchmark, Plan
from .cores import pinned
from .measure import Figure, rotated, sample
from .results import Sample

_PROGRAM = """
import importlib, sys, time
for name in sys.argv[1].split():
    start = time.perf_counter()
    importlib.import_module(name)
print(time.perf_counter() - start)
"""

#: What is imported, one after another, the last of which counts.
MODULES = {"trio_chat": "trio trio_chat", "trio_chat.http": "trio trio_chat trio_chat.http", "trio": "trio"}


def measure(modules: str) -> Figure:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM, modules],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if result.returncode:
        raise ImportError(result.stderr.strip().splitlines()[-1])
    return Figure(float(result.stdout) * 1e3)


def run(plan: Plan) -> Iterator[Sample]:
    with pinned(cores.SERVER):
        for name in plan.contestants:
            sample("import", name, 0, partial(measure, MODULES[name]))  # so that all is compiled and cached
        for number in range(plan.rounds):
            for name in rotated(plan.contestants, number):
                yield sample("import", name, number, partial(measure, MODULES[name]))


IMPORT = Benchmark(
    name="import",
    title="Import time",
    unit="ms",
    more_is_better=False,
    cases=["import"],
    contestants=list(MODULES),
    rounds=25,
    notes="In fresh interpreters: trio_chat when trio is imported already, trio_chat.http when both are.",
    run=run,
    subjects=(),
)
