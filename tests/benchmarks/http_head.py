"""Parsing a browser's request heads: the expressions of `trio_chat.http` beside llhttp through httptools.

Twice, with the same work for both: the head is validated, and its request line known; or its fields have become objects
too, as they do in trio_chat when the application looks at them. And each of them for heads of which no two are alike,
and for one that comes again and again, whose field lines trio_chat knows by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from trio_chat.http._head import parse_head

from . import cores
from .benchmark import Benchmark, Plan
from .cores import pinned
from .measure import Figure, rotated, sample, seconds
from .results import Sample

REPEAT = 2000
HEAD = b"\r\n".join(
    [
        b"GET /articles/2026/index.html?page=2 HTTP/1.1",
        b"Host: www.example.com",
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        b"Accept-Language: en-US,en;q=0.5",
        b"Accept-Encoding: gzip, deflate, br, zstd",
        b"Connection: keep-alive",
        b"Cookie: session=%032d; theme=dark",
        b"Upgrade-Insecure-Requests: 1",
        b"Sec-Fetch-Dest: document",
        b"Priority: u=0, i",
    ]
)
VARIED = [HEAD % number for number in range(REPEAT)]
REPEATED = [HEAD % 0] * REPEAT


class RequestLine:
    """What httptools calls back. It makes no objects of the fields for one that has no `on_header`."""

    def __init__(self) -> None:
        self.target = b""

    def on_url(self, url: bytes) -> None:
        self.target += url


class WithFields(RequestLine):
    def __init__(self) -> None:
        super().__init__()
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


def ours(heads: list[bytes]) -> None:
    for head in heads:
        parse_head(head, 8192, 100)


def ours_with_fields(heads: list[bytes]) -> None:
    for head in heads:
        assert parse_head(head, 8192, 100)[-1].headers


def llhttp(protocol: Callable[[], RequestLine], heads: list[bytes]) -> None:
    import httptools

    for head in heads:
        parser = httptools.HttpRequestParser(protocol())
        parser.feed_data(head)
        parser.feed_data(b"\r\n\r\n")
        parser.get_method()
        parser.get_http_version()


def contestants(
    trio_chat: Callable[[list[bytes]], None], httptools: Callable[[], RequestLine], heads: list[bytes]
) -> dict[str, Callable[[], None]]:
    return {"trio_chat": partial(trio_chat, heads), "httptools": partial(llhttp, httptools, heads)}


CASES: dict[str, dict[str, Callable[[], None]]] = {
    "varied, validated": contestants(ours, RequestLine, VARIED),
    "varied, with its fields": contestants(ours_with_fields, WithFields, VARIED),
    "repeated, validated": contestants(ours, RequestLine, REPEATED),
    "repeated, with its fields": contestants(ours_with_fields, WithFields, REPEATED),
}


def measure(parse: Callable[[], None]) -> Figure:
    return Figure(seconds(parse) / REPEAT * 1e6)


def run(plan: Plan) -> Iterator[Sample]:
    with pinned(cores.SERVER):
        for number in range(plan.rounds + 1):  # the first is to warm up
            for case in plan.cases:
                for name in rotated(plan.contestants, number):
                    result = sample(case, name, number - 1, partial(measure, CASES[case][name]))
                    if number:
                        yield result


HTTP_HEAD = Benchmark(
    name="http_head",
    title="Parsing a browser's request heads",
    unit="µs",
    more_is_better=False,
    cases=list(CASES),
    contestants=["trio_chat", "httptools"],
    rounds=15,
    notes=(
        "Processor time; ten fields. Validated: the request line is known, trio_chat also knows the framing. "
        "With its fields: all are objects. httptools is llhttp, in C, and does not check all that trio_chat does."
    ),
    run=run,
)
