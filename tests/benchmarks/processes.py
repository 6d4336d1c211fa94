"""Two processes on one port. There is no core that is the load generator's alone: servers and wrk run where they may.

On two cores the load generator and both servers compete for them: the gain is that of such a machine, and of no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from . import cores, wrk
from .benchmark import Benchmark, Plan
from .http_cases import CASES, check
from .http_load import latencies
from .measure import Figure, rotated, sample
from .results import Sample
from .server import Program, Server, free_port

PROGRAM = Program("trio_chat_server", ["--reuse-port"])
COUNTS = {"1 process": 1, "2 processes": 2}
_WARM_UP_SECONDS = 1


def measure(count: int, case: str, seconds: int) -> Figure:
    port = free_port()
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(PROGRAM, cores.ANY, port)) for _ in range(count)]
        servers[0].wait_until_it_listens(count)
        check(port, CASES[case])
        url = servers[0].url + CASES[case].path
        wrk.run(url, CASES[case].load, _WARM_UP_SECONDS, cores.ANY)
        before = [server.cpu_seconds() for server in servers]
        report = wrk.run(url, CASES[case].load, seconds, cores.ANY)
        used = [server.cpu_seconds() - start for server, start in zip(servers, before, strict=True)]
        for server in servers:
            server.check()
    return Figure(
        report.requests_per_second,
        latencies(report) | {"core %": sum(used) / seconds * 100},
    )


def run(plan: Plan) -> Iterator[Sample]:
    for number in range(plan.rounds):
        for case in plan.cases:
            for name in rotated(plan.contestants, number):
                yield sample(case, name, number, partial(measure, COUNTS[name], case, plan.seconds))


PROCESSES = Benchmark(
    name="processes",
    title="Processes on one port",
    unit="requests/s",
    more_is_better=True,
    cases=["hello", "browser"],
    contestants=list(COUNTS),
    rounds=3,
    seconds=2,
    notes="trio_chat with reuse_port=True. Nothing is pinned: servers and wrk share all cores.",
    run=run,
    subjects=("2 processes",),
)
