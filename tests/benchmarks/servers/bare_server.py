"""The least that answers on Trio: no grammar, no limits, no timeouts.

It receives until a blank line has come, or as many bytes as Content-Length says, and sends a canned answer; the file is
in memory. It is no server: it is what Trio's sockets and streams cost.

In tests/: `python -m benchmarks.servers.bare_server PORT`
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from functools import partial

import trio

from .contents import HELLO, HOST, TEN_K, file

BLANK_LINE = b"\r\n\r\n"
content_length = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def answer(body: bytes, field: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), field, body)


ANSWERS = {b"/": answer(HELLO), b"/10k": answer(TEN_K), b"/file": answer(file().read_bytes())}
CLOSING = answer(HELLO, b"Connection: close\r\n")


async def converse(stream: trio.SocketStream) -> None:
    received = b""
    async with stream:
        while chunk := await stream.receive_some():
            received += chunk
            heads, blank_line, rest = received.rpartition(BLANK_LINE)
            if received.startswith(b"POST"):
                if blank_line:
                    await take(stream, received)
                    received = b""
            elif b"Connection: close" in heads:
                await stream.send_all(CLOSING)
                return
            elif blank_line:
                await stream.send_all(ANSWERS[heads.split(b" ", 2)[1]] * (heads.count(BLANK_LINE) + 1))
                received = rest


async def take(stream: trio.SocketStream, received: bytes) -> None:
    head, _, body = received.partition(BLANK_LINE)
    found = content_length.search(head)
    length = int(found[1]) if found else 0
    taken = len(body)
    while taken < length:
        taken += len(await stream.receive_some())
    await stream.send_all(answer(b"%d" % taken))


async def tolerant(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):  # when the load generator goes
        await converse(stream)


if __name__ == "__main__":
    trio.run(partial(trio.serve_tcp, tolerant, int(sys.argv[1]), host=HOST))
