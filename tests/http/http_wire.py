"""More for conversations in memory: bodies in chunks and a reader of streamed answers."""

import io
from collections.abc import Sequence
from http.client import HTTPResponse
from typing import Any, Protocol

from http_talk import Answer, AppOrFactory, echo, get, post, talk

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
