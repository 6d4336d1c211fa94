"""HTTP over loopback: requests a second, latency, and the server's memory, under load by wrk.

All servers of a round are started together, fresh, on one core; while one is asked the others are idle. wrk is on the
other core. That it had more to give is seen in the server's share of its core, which should be near 100%.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from . import cores, wrk
from .benchmark import Benchmark, Plan
from .http_cases import CASES, CLOSING, Case, check
from .measure import Figure, failed, rotated, sample
from .results import Sample
from .server import ON_TRIO_SOCKETS, PROGRAMS, SERVERS, Program, Server

_WARM_UP_SECONDS = 1


def observe(server: Server, load: Callable[[], wrk.Report]) -> tuple[wrk.Report, dict[str, float]]:
    """What the load generator says, and what was seen of the server meanwhile."""
    try:
        used, start = server.cpu_seconds(), time.monotonic()
        report = load()
        used, took = server.cpu_seconds() - used, time.monotonic() - start
        server.check()
        return report, {
            "RSS MiB": server.resident_bytes() / (1 << 20),
            "core %": used / took * 100,
            "µs a request": used / report.requests * 1e6,  # of the processor: says something on a busy machine too
        }
    finally:
        server.wait_until_idle()


def measure(server: Server, case: Case, seconds: int) -> Figure:
    check(server.port, case)
    report, observed = observe(server, lambda: wrk.run(server.url + case.path, case.load, seconds, cores.LOAD))
    pipelined = case.depth > 1  # of such requests wrk has no latency to rely on
    return Figure(report.requests_per_second, observed if pipelined else latencies(report) | observed)


def latencies(report: wrk.Report) -> dict[str, float]:
    return {"p50 ms": report.p50 * 1e3, "p99 ms": report.p99 * 1e3}


def warm_up(server: Server) -> None:
    wrk.run(server.url, CASES["hello"].load, _WARM_UP_SECONDS, cores.LOAD)


def under_load(
    programs: Mapping[str, Program],
    plan: Plan,
    warm_up: Callable[[Server], object],
    measure: Callable[[Server, str], Figure],
) -> Iterator[Sample]:
    for number in range(plan.rounds):
        with ExitStack() as stack:
            servers = {name: stack.enter_context(Server(programs[name], cores.SERVER)) for name in plan.contestants}
            broken: dict[str, Exception] = {}
            for name, server in servers.items():
                try:
                    server.wait_until_it_listens()
                    try:
                        warm_up(server)
                    finally:
                        server.wait_until_idle()
                except Exception as exc:
                    broken[name] = exc
            for case in plan.cases:
                for name in rotated(plan.contestants, number):
                    if name in broken:
                        yield failed(case, name, number, broken[name])
                    else:
                        yield sample(case, name, number, partial(measure, servers[name], case))


def http_under_load(cases: Mapping[str, Case], programs: Mapping[str, Program], plan: Plan) -> Iterator[Sample]:
    return under_load(programs, plan, warm_up, lambda server, case: measure(server, cases[case], plan.seconds))


HTTP = Benchmark(
    name="http",
    title="HTTP over loopback",
    unit="requests/s",
    more_is_better=True,
    cases=list(CASES),
    contestants=list(PROGRAMS),
    rounds=3,
    seconds=2,
    notes=(
        "Load by wrk over 64 keep-alive connections, 8 for the file and the 10 MB; server and wrk on a core each. "
        "No latency of pipelined requests: wrk's is not to be relied on. "
        f"{ON_TRIO_SOCKETS}: trio_chat without its own transport."
    ),
    run=lambda plan: http_under_load(CASES, PROGRAMS, plan),
)

SETUP = Benchmark(
    name="setup",
    title="Connections a second: connect, one request, close",
    unit="connections/s",
    more_is_better=True,
    cases=["hello then close"],
    contestants=SERVERS,
    rounds=3,
    seconds=2,
    notes='Load by wrk, 64 connections at a time, with the field "Connection: close"; server and wrk on a core each.',
    run=lambda plan: http_under_load({"hello then close": CLOSING}, PROGRAMS, plan),
)
