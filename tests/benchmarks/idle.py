"""What a connection costs that only waits: memory of the server for each one, after one request on it."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from functools import partial

from . import cores
from .benchmark import Benchmark, Plan
from .client import Client, WrongAnswer
from .cores import pinned
from .http_cases import HELLO
from .measure import Figure, rotated, sample
from .results import Sample
from .server import HOST, PROGRAMS, SERVERS, Program, Server

WARM_UP = 500  # so that what a server allocates but once is not counted
CONNECTIONS = 4000
_SETTLE_SECONDS = 0.5
#: Not Waitress: whenever one of its connections has something it looks at all of them.
CONTESTANTS = [name for name in SERVERS if name != "waitress"]
_REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def measure(program: Program) -> Figure:
    _allow_files(WARM_UP + CONNECTIONS + 100)
    clients: list[Client] = []
    with Server(program, cores.SERVER) as server:
        server.wait_until_it_listens()
        try:
            before = _add(server, clients, WARM_UP)
            after = _add(server, clients, CONNECTIONS)
            if gone := sum(not client.is_idle() for client in clients):
                raise WrongAnswer(f"{gone} of the connections were closed")
        finally:
            for client in clients:
                client.close()
    return Figure((after - before) / CONNECTIONS / 1024, {"RSS MiB": after / (1 << 20)})


def _add(server: Server, clients: list[Client], count: int) -> int:
    """Open connections, with a request on each; the server's memory then."""
    for _ in range(count):
        client = Client(server.port)
        clients.append(client)
        client.send(_REQUEST)
        if (answer := client.answer()).body != HELLO:
            raise WrongAnswer(f"{answer.status} {answer.body!r}")
    time.sleep(_SETTLE_SECONDS)
    return server.resident_bytes()


def _allow_files(count: int) -> None:
    """For this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def run(plan: Plan) -> Iterator[Sample]:
    with pinned(cores.LOAD):
        for number in range(plan.rounds):
            for name in rotated(plan.contestants, number):
                yield sample("an idle connection", name, number, partial(measure, PROGRAMS[name]))


IDLE = Benchmark(
    name="idle",
    title="Memory of an idle keep-alive connection",
    unit="KiB",
    more_is_better=False,
    cases=["an idle connection"],
    contestants=CONTESTANTS,
    rounds=3,
    notes=f"How the server's resident memory grows by {CONNECTIONS:,} connections, after {WARM_UP}; a request on each.",
    run=run,
)
