"""A key-value server beside Redis: commands a second, pipelined, under load by redis-benchmark.

It sends a number of requests and not for a time: as many as the server answers in that time, as the warm-up has shown.
Redis takes more than one redis-benchmark can send: that its share of its core is below 100% says how much more.
"""

from __future__ import annotations

import csv
import socket
import subprocess
from collections.abc import Iterator
from functools import partial

from . import cores
from .benchmark import Benchmark, Plan
from .client import WrongAnswer
from .cores import pinned
from .http_load import observe, under_load
from .measure import Figure
from .results import Sample
from .server import HOST, Program, Server
from .wrk import LoadFailed, Report

MISSING = "redis-benchmark is not installed: it is in the package redis-tools of Debian and others"
CASES = {"SET": b"+OK\r\n", "GET": b"$3\r\n", "INCR": b":"}  # with what the answer begins
PROGRAMS = {"kv_server.py": Program("kv_server"), "Redis": Program("redis_server")}
DEPTH, CONNECTIONS = 16, 50
_WARM_UP_REQUESTS = 20_000
_SECONDS = 2
_PATIENCE = 60.0  # it tries for ever to connect, and waits for ever for an answer


def load(port: int, case: str, requests: int) -> Report:
    options = ["-h", HOST, "-p", str(port), "-t", case.lower(), "-P", str(DEPTH), "-c", str(CONNECTIONS)]
    command = ["redis-benchmark", *options, "-n", str(requests), "--csv"]
    try:
        with pinned(cores.LOAD):
            result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    except FileNotFoundError:
        raise LoadFailed(MISSING) from None
    if result.returncode:
        raise LoadFailed(f"redis-benchmark ended with {result.returncode}: {result.stderr.strip() or result.stdout}")
    return parse(result.stdout, requests)


def parse(output: str, requests: int) -> Report:
    """Read what redis-benchmark prints with --csv."""
    try:
        (row,) = csv.DictReader(output.splitlines())
        p50, p99 = float(row["p50_latency_ms"]) / 1e3, float(row["p99_latency_ms"]) / 1e3
        return Report(requests, float(row["rps"]), p50, p99)
    except (KeyError, ValueError):
        raise LoadFailed(f"redis-benchmark says nothing of requests: {output!r}") from None


def check(port: int, case: str) -> None:
    """Ask once, after the load, and look at the answer, for redis-benchmark does not. Raises WrongAnswer."""
    key = "counter:__rand_int__" if case == "INCR" else "key:__rand_int__"
    with socket.create_connection((HOST, port), timeout=10) as connection, connection.makefile("rb") as answers:
        connection.sendall(f"{case} {key}{' xyz' if case == 'SET' else ''}\r\n".encode())
        answer = answers.readline()
        if not answer.startswith(CASES[case]):
            raise WrongAnswer(f"{answer!r} to {case}")


def warm_up(server: Server) -> None:
    load(server.port, "SET", _WARM_UP_REQUESTS)


def measure(server: Server, case: str) -> Figure:
    rate = load(server.port, case, _WARM_UP_REQUESTS).requests_per_second
    report, observed = observe(server, partial(load, server.port, case, int(rate * _SECONDS)))
    check(server.port, case)
    return Figure(report.requests_per_second, observed)


def run(plan: Plan) -> Iterator[Sample]:
    return under_load(PROGRAMS, plan, warm_up, measure)


KV = Benchmark(
    name="kv",
    title="Key-value servers over loopback",
    unit="requests/s",
    more_is_better=True,
    cases=list(CASES),
    contestants=list(PROGRAMS),
    rounds=5,
    notes=(
        f"Load by redis-benchmark over {CONNECTIONS} connections, {DEPTH} requests at a time, so many that they take "
        "about two seconds; server and load on a core each. kv_server.py is an example, Redis is in C."
    ),
    run=run,
    subjects=("kv_server.py",),
)
