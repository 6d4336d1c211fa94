"""Conversations with `HTTPRequestHandler` in memory, and a reader of its answers that shares no code with it."""

import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_pair, wait_all_tasks_blocked

from trio_chat.http import App, HTTPRequestHandler, Request, Response
from trio_chat.testing import assert_same_under_every_split

Factory: TypeAlias = Callable[[trio.abc.Stream], HTTPRequestHandler]
Client: TypeAlias = trio.StapledStream[MemorySendStream, MemoryReceiveStream]
AppOrFactory: TypeAlias = App | type[HTTPRequestHandler]

_date = re.compile(rb"\r\nDate: [^\r]*\r\n")
_SHORT, _LONG = 100, 4096


class Answer(NamedTuple):
    status: int
    headers: dict[str, list[str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def field(self, name: str) -> str | None:
        """The field's value if it came once, None if it did not come."""
        values = self.headers.get(name, [])
        assert len(values) < 2, f"{name} came more than once: {values}"
        return values[0] if values else None


def answers(raw: bytes, methods: Sequence[str] = ()) -> list[Answer]:
    """All answers in what a server sent; `methods` of the requests, if a HEAD is among them. Nothing may be left."""
    found: list[Answer] = []
    finals = 0
    while raw:
        head, blank, raw = raw.partition(b"\r\n\r\n")
        assert blank, f"no end of the head: {head!r}"
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _phrase = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers: dict[str, list[str]] = {}
        for line in lines:
            name, colon, value = line.partition(": ")
            assert colon, f"not a field line: {line!r}"
            headers.setdefault(name.lower(), []).append(value)
        length = int(headers["content-length"][0]) if "content-length" in headers else 0
        if int(status) >= 200:
            if finals < len(methods) and methods[finals] == "HEAD":
                length = 0
            finals += 1
        assert len(raw) >= length, f"the body is short: {raw!r}"
        found.append(Answer(int(status), headers, raw[:length]))
        raw = raw[length:]
    return found


async def echo(request: Request) -> Response:
    """Says what arrived."""
    return Response(200, f"{request.method} {request.target} {request.http_version} {(await request.read())!r}")


def factory_of(what: AppOrFactory) -> Factory:
    return what if isinstance(what, type) else partial(HTTPRequestHandler, app=what)


async def talk(chunks: Iterable[bytes], what: AppOrFactory = echo) -> bytes:
    """All that the server sends if it receives `chunks`, one by one, and then the end of file."""
    client, server = memory_stream_pair()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(factory_of(what)(server).run)
            for chunk in chunks:
                await client.send_all(chunk)
                await wait_all_tasks_blocked()
            await client.send_eof()
            return await read_to_end(client)


@asynccontextmanager
async def connected(what: AppOrFactory = echo) -> AsyncIterator[Client]:
    """A client of a running server. When it is done it closes, and the server has to end."""
    client, server = memory_stream_pair()
    with trio.fail_after(3600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(factory_of(what)(server).run)
            yield client
            await client.aclose()


async def read_to_end(client: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(chunk) async for chunk in client])


def splits(request: bytes) -> list[list[bytes]]:
    """Ways of cutting `request`: in two at every place, and byte by byte; of a long one, so near its ends only."""
    singles = [request[at : at + 1] for at in range(len(request))]
    places = [at for at in range(1, len(request)) if len(request) <= _SHORT or not 30 < at < len(request) - 30]
    if len(request) > _LONG:
        singles[64:-64] = [request[64:-64]]
    return [*([request[:at], request[at:]] for at in places), singles]


def dateless(raw: bytes) -> bytes:
    return _date.sub(b"\r\nDate: -\r\n", raw)


async def talk_split(request: bytes, what: AppOrFactory = echo) -> bytes:
    """All that the server sends for `request`, which is the same however it is cut, and so is what is called."""
    ways = len(request) + 1
    await assert_same_under_every_split(factory_of(what), request, most=ways, comparable=dateless, patience=30)
    return await talk([request], what)


async def say(request: bytes, what: AppOrFactory = echo, *, methods: Sequence[str] = ()) -> list[Answer]:
    """The answers to `request`, which are the same however it is cut."""
    if len(request) <= _SHORT:
        return answers(await talk_split(request, what), methods)
    raw = await talk([request], what)
    for chunks in splits(request):
        assert dateless(await talk(chunks, what)) == dateless(raw), f"cut as {chunks}"
    return answers(raw, methods)


async def say_once(request: bytes, what: AppOrFactory = echo, *, methods: Sequence[str] = ()) -> list[Answer]:
    return answers(await talk([request], what), methods)


async def the_answer(request: bytes, what: AppOrFactory = echo) -> Answer:
    """The one answer to `request`, however it is cut."""
    (answer,) = await say(request, what)
    return answer


def get(
    target: str = "/", *fields: str, version: str = "HTTP/1.1", method: str = "GET", host: str = "Host: a"
) -> bytes:
    """A request without a body, with a valid Host unless `host` is empty."""
    lines = [f"{method} {target} {version}", *([host] if host else []), *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(body: bytes, *fields: str, target: str = "/") -> bytes:
    return get(target, f"Content-Length: {len(body)}", *fields, method="POST") + body


def is_open(path: Path) -> bool:
    """Whether this process has the file open."""
    wanted = path.stat()
    for number in os.listdir("/dev/fd"):
        try:
            found = os.fstat(int(number))
        except OSError:
            continue  # the directory's own
        if os.path.samestat(found, wanted):
            return True
    return False


@contextmanager
def no_threads_left() -> Iterator[None]:
    """All that Trio gives to whoever does not bring a limiter are taken."""
    limiter = trio.to_thread.current_default_thread_limiter()
    borrowers = [object() for _ in range(int(limiter.available_tokens))]
    for borrower in borrowers:
        limiter.acquire_on_behalf_of_nowait(borrower)
    try:
        yield
    finally:
        for borrower in borrowers:
            limiter.release_on_behalf_of(borrower)
