"""What is asked of the HTTP servers, and the answer that is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .client import Client, WrongAnswer
from .wrk import Load

KIB = 1024
MIB = 1024 * KIB
HELLO = b"Hello, world!"
DEPTH = 16
#: Connections: many for small requests, few for large ones, which are in memory all at once.
MANY, FEW = 64, 8

#: With Host, which wrk adds, these are ten.
BROWSER = [
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Connection: keep-alive",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Priority: u=0, i",
]


class Case(NamedTuple):
    title: str
    path: str
    load: Load
    body_bytes: int = len(HELLO)
    #: How many bytes are sent; None for GET.
    upload_bytes: int | None = None
    #: How many requests are sent at a time.
    depth: int = 1
    #: Whether the connection is to be closed with the answer.
    closes: bool = False


CASES = {
    "hello": Case("13 bytes", "/", Load(MANY)),
    "browser": Case("13 bytes, ten header fields", "/", Load(MANY, BROWSER)),
    "varied": Case("13 bytes, ten header fields, one of them always another", "/", Load(MANY, BROWSER, "varied.lua")),
    "10k": Case("10 KiB", "/10k", Load(MANY), 10 * KIB),
    "file": Case("a file of 1 MiB", "/file", Load(FEW), MIB),
    "post-10k": Case("10 KB up", "/upload", Load(MANY, (), "post.lua", ["10000"]), 5, 10_000),
    "post-10m": Case("10 MB up", "/upload", Load(FEW, (), "post.lua", ["10000000"]), 8, 10_000_000),
    "pipelined": Case(
        "13 bytes, 16 requests at a time", "/", Load(MANY, (), "pipelined.lua", [str(DEPTH)]), depth=DEPTH
    ),
}

CLOSING = Case("connect, 13 bytes, close", "/", Load(MANY, ["Connection: close"]), closes=True)


def check(port: int, case: Case) -> None:
    """Ask once, and look at the answer. Raises WrongAnswer."""
    client = Client(port)
    try:
        for request in [_request(case)] * case.depth:
            client.send(request)
        for _ in range(case.depth):
            answer = client.answer()
            if answer.status != 200 or len(answer.body) != case.body_bytes:
                raise WrongAnswer(f"status {answer.status} with {len(answer.body)} bytes instead of {case.body_bytes}")
            if case.path == "/" and answer.body != HELLO:
                raise WrongAnswer(f"{answer.body!r} instead of {HELLO!r}")
            if case.upload_bytes is not None and answer.body != b"%d" % case.upload_bytes:
                raise WrongAnswer(f"of {case.upload_bytes} bytes it has counted {answer.body!r}")
        if case.closes and not client.ended():
            raise WrongAnswer("the connection was to be closed, and something else came")
        if not case.closes and not client.is_idle():
            raise WrongAnswer("the connection was to be kept, and is closed")
    finally:
        client.close()


def _request(case: Case) -> bytes:
    fields: Sequence[str] = ["Host: localhost", *case.load.fields]
    body = b""
    if case.upload_bytes is not None:
        body = b"x" * case.upload_bytes
        fields = [*fields, f"Content-Length: {len(body)}"]
    method = "GET" if case.upload_bytes is None else "POST"
    return "\r\n".join([f"{method} {case.path} HTTP/1.1", *fields, "", ""]).encode() + body
