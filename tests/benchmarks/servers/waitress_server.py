"""Waitress, with its four threads.

It has no access log, but warns of every request that waits for a thread, which is turned off here. It has received a
body before the application is called. By default it takes 100 connections.

In tests/: `python -m benchmarks.servers.waitress_server PORT`
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any

import waitress

from .contents import HELLO, HOST, KEEP_ALIVE_SECONDS, TEN_K, file

FILE = file()
PIECE_BYTES = 65536


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
        case "GET", "/":
            return answer(start_response, HELLO)
        case "GET", "/10k":
            return answer(start_response, TEN_K)
        case "GET", "/file":
            size = FILE.stat().st_size
            start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
            wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](FILE.open("rb"), PIECE_BYTES)
            return wrapped
        case "POST", "/upload":
            received = 0
            while piece := environ["wsgi.input"].read(PIECE_BYTES):
                received += len(piece)
            return answer(start_response, b"%d" % received)
        case _:
            return answer(start_response, b"", "404 Not Found")


def answer(start_response: Callable[..., object], body: bytes, status: str = "200 OK") -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


if __name__ == "__main__":
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    waitress.serve(
        app,
        host=HOST,
        port=int(sys.argv[1]),
        threads=4,
        connection_limit=10_000,
        asyncore_use_poll=True,
        channel_timeout=KEEP_ALIVE_SECONDS,
        _quiet=True,
    )
