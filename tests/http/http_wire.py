"""More for conversations in memory: bodies in chunks, a reader of streamed answers, and a stream that can be reset."""

import io
from collections.abc import Awaitable, Callable, Sequence
from http.client import HTTPResponse
from typing import Any, Protocol, TypeVar

import trio
from http_talk import Answer, AppOrFactory, echo, get, post, talk

T = TypeVar("T")

END_OF_HEAD = b"\r\n\r\n"


class Framed(Protocol):
    """Makes a request with a body: `post` or `post_in_chunks`."""

    def __call__(self, body: bytes, *fields: str, target: str = "/") -> bytes: ...


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """A chunked body of these pieces."""
    return b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n", trailers, b"\r\n"])


def chunked_head(*fields: str, target: str = "/") -> bytes:
    return get(target, "Transfer-Encoding: chunked", *fields, method="POST")


def post_in_chunks(body: bytes, *fields: str, target: str = "/") -> bytes:
    """The same request as `post`, with a body in chunks of 3 bytes; a long one, in four chunks."""
    size = 3 if len(body) < 100 else -(-len(body) // 4)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return chunked_head(*fields, target=target) + chunked(*pieces)


def framing_name(framed: object) -> str:
    return "counted" if framed is post else "chunked"


# ---------------------------------------------------------------- answers


class _Kept(io.BytesIO):
    """`HTTPResponse` closes its file at the end of a response; the next one is in the same file."""

    def close(self) -> None:
        pass


class _Socket:
    def __init__(self, file: io.BytesIO) -> None:
        self.file = file

    def makefile(self, _mode: str) -> io.BytesIO:
        return self.file


def responses(raw: bytes, methods: Sequence[str] = ()) -> list[Answer]:
    """All final answers in what a server sent, as the standard library's client reads them, without Date.

    Raises http.client.IncompleteRead if one is cut off, and ValueError if something else stands between its chunks.
    """
    file = _Kept(raw)
    found: list[Answer] = []
    while file.tell() < len(raw):
        socket: Any = _Socket(file)
        response = HTTPResponse(socket, method=methods[len(found)] if len(found) < len(methods) else "GET")
        response.begin()
        headers: dict[str, list[str]] = {}
        for name, value in response.getheaders():
            headers.setdefault(name.lower(), []).append(value)
        headers.pop("date")
        found.append(Answer(response.status, headers, response.read()))
    return found


def cuts(request: bytes, end_of_head: int) -> list[list[bytes]]:
    """`request` whole, cut at three places of its body, and its body byte by byte."""
    places = {end_of_head - 1, end_of_head, (end_of_head + len(request)) // 2}
    singles = [request[:end_of_head], *(request[at : at + 1] for at in range(end_of_head, len(request)))]
    return [[request], *([request[:at], request[at:]] for at in sorted(places)), singles]


async def hear(request: bytes, what: AppOrFactory = echo, *, methods: Sequence[str] = ()) -> list[Answer]:
    """The final answers to `request`, which are the same however its first body is cut."""
    first, *others = cuts(request, request.index(END_OF_HEAD) + len(END_OF_HEAD))
    heard = responses(await talk(first, what), methods)
    for chunks in others:
        assert responses(await talk(chunks, what), methods) == heard, f"cut as {chunks}"
    return heard


async def hear_one(request: bytes, what: AppOrFactory = echo) -> Answer:
    (answer,) = await hear(request, what)
    return answer


# ---------------------------------------------------------------- streams


class Resettable(trio.abc.HalfCloseableStream):
    """Passes everything on, until `reset`: then each call fails, those in progress, too."""

    def __init__(self, inner: trio.abc.HalfCloseableStream) -> None:
        self._inner = inner
        self._is_reset = False
        self._calls: set[trio.CancelScope] = set()

    def reset(self) -> None:
        self._is_reset = True
        for scope in self._calls:
            scope.cancel()

    async def _passed_on(self, call: Callable[[], Awaitable[T]]) -> T:
        with trio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                if not self._is_reset:
                    return await call()
                await trio.lowlevel.checkpoint()
            finally:
                self._calls.discard(scope)
        raise trio.BrokenResourceError("connection reset by peer")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._passed_on(lambda: self._inner.send_all(data))

    async def wait_send_all_might_not_block(self) -> None:
        await self._passed_on(self._inner.wait_send_all_might_not_block)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._passed_on(lambda: self._inner.receive_some(max_bytes))

    async def send_eof(self) -> None:
        await self._passed_on(self._inner.send_eof)

    async def aclose(self) -> None:
        await self._inner.aclose()
