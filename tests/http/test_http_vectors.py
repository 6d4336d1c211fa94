"""The vectors of vectors.py: each whole, at every split in two, byte by byte, between other requests, and unended."""

from collections import Counter
from collections.abc import Iterable
from contextlib import aclosing
from typing import NamedTuple

import pytest
import trio
from http_talk import Answer, Client, answers, connected, read_to_end, splits, talk
from trio.testing import MockClock, wait_all_tasks_blocked
from vectors import GROUPS, INNER, Expected, Refused, Seen, Vector, message

from trio_chat.http import Request, Response

VECTORS = [vector for group in GROUPS.values() for vector in group]
BEFORE, AFTER = message(line=b"GET /before HTTP/1.1"), message(line=b"GET /after HTTP/1.1")
SEEN_BEFORE, SEEN_AFTER = Seen("GET", "/before"), Seen("GET", "/after")
LINGERING = 2  # seconds at the most between a last answer and the end of the connection
LONG = 1000


def parametrized(vectors: list[Vector]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[f"{vector.section}-{vector.name}" for vector in vectors])


every_vector = parametrized(VECTORS)


class Application:
    """Reads every request to its end, and answers with what it saw."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    async def __call__(self, request: Request) -> Response:
        fields = list(request.headers.raw)
        body = await request.read()
        assert request.headers.raw == fields, "trailers were merged into the header fields"
        status = int(request.target[1:]) if request.target in ("/204", "/304") else 200
        seen = Seen(request.method, request.target, body, tuple(request.trailers.raw), status)
        self.seen.append(seen)
        return Response(status, text_of(seen))


def text_of(seen: Seen) -> str:
    return f"{seen.method} {seen.target} {len(seen.body)} {seen.body[:100]!r} {list(seen.trailers)}"


class Heard(NamedTuple):
    """What came of some bytes: the final answers, without their dates, and what the application saw."""

    answers: list[Answer]
    seen: list[Seen]


async def hear(chunks: Iterable[bytes], expected: Expected) -> Heard:
    """Send the chunks, one by one, and the end of file."""
    application = Application()
    return Heard(final_answers(await talk(chunks, application), expected), application.seen)


def final_answers(raw: bytes, expected: Expected) -> list[Answer]:
    found = [answer for answer in answers(raw, [each.method for each in expected.answers]) if answer.status >= 200]
    for answer in found:
        answer.headers.pop("date")
    return found


def check(heard: Heard, expected: Expected) -> None:
    for answer, each in zip(heard.answers, expected.answers, strict=True):
        if isinstance(each, Refused):
            assert answer.status in each.statuses
            assert bool(answer.body) == (each.method != "HEAD")
        else:
            assert answer.status == each.status
            text = "" if each.status in (204, 304) else text_of(each)
            assert answer.field("content-length") == (str(len(text)) if text else None)
            assert answer.text == ("" if each.method == "HEAD" else text)
    closing = ["close" in ", ".join(answer.headers.get("connection", [])) for answer in heard.answers]
    assert closing == [*[False] * (len(closing) - 1), expected.end != "open"]
    assert heard.seen == [each for each in expected.answers if isinstance(each, Seen)]


# ---------------------------------------------------------------- cuts


def cuts() -> dict[bytes, list[list[bytes]]]:
    """The ways of cutting each request: byte by byte, and in two where none before it was cut behind the same bytes.

    A request that only stands there to be ignored is left whole.
    """
    found: dict[bytes, list[list[bytes]]] = {}
    tried: set[bytes] = set()
    for vector in VECTORS:
        *pairs, singles = splits(vector.request)
        if vector.expected.end == "closed" and vector.request.endswith(INNER):
            pairs = [pair for pair in pairs if len(pair[1]) >= len(INNER)]
        pairs = [pair for pair in pairs[:: 1 if len(vector.request) < LONG else 6] if pair[0] not in tried]
        tried.update(first for first, _ in pairs if len(first) < LONG)
        found[vector.request] = [*pairs, singles]
    return found


CUTS = cuts()


@every_vector
async def test_however_it_is_cut(vector: Vector) -> None:
    whole = await hear([vector.request], vector.expected)
    check(whole, vector.expected)
    for chunks in CUTS[vector.request]:
        assert await hear(chunks, vector.expected) == whole, f"cut as {chunks}"


@every_vector
async def test_between_other_requests(vector: Vector) -> None:
    """The next request begins where one ends, and what follows an error is no request."""
    expected = vector.expected._replace(answers=(SEEN_BEFORE, *vector.expected.answers))
    parts = [BEFORE, vector.request]
    if expected.end in ("open", "closed"):
        parts.append(AFTER)
    if expected.end == "open":
        expected = expected._replace(answers=(*expected.answers, SEEN_AFTER))
    whole = await hear([b"".join(parts)], expected)
    check(whole, expected)
    raw, end = b"".join(parts), len(parts[0]) + len(parts[1])
    for chunks in (parts, [raw[: end - 1], raw[end - 1 :]], [raw[: end + 1], raw[end + 1 :]]):
        assert await hear(chunks, expected) == whole, f"cut as {chunks}"


class Lazy:
    """An application that reads nothing, or one piece, of a body, and remembers the targets."""

    def __init__(self, *, tastes: bool) -> None:
        self.targets: list[str] = []
        self._tastes = tastes

    async def __call__(self, request: Request) -> Response:
        self.targets.append(request.target)
        if self._tastes:
            async with aclosing(request.stream()) as pieces:
                await anext(pieces, b"")
        return Response()


@parametrized([vector for vector in VECTORS if vector.expected.end in ("open", "closed")])
async def test_a_body_that_is_not_read_is_framed_all_the_same(vector: Vector) -> None:
    """Else the rest of it would be the next request. The server may close instead of receiving it."""
    targets = [each.target for each in vector.expected.answers if isinstance(each, Seen)]
    for tastes in (False, True):
        application = Lazy(tastes=tastes)
        raw = await talk([vector.request + AFTER], application)
        *_, last = answers(raw, [each.method for each in vector.expected.answers])
        assert ("/smuggled" in application.targets) == ("/smuggled" in targets)
        if last.field("connection") != "close":
            assert vector.expected.end == "open"
            assert application.targets == [*targets, SEEN_AFTER.target]
        else:
            assert SEEN_AFTER.target not in application.targets


# ---------------------------------------------------------------- without the end of file


@every_vector
async def test_without_end_of_file(vector: Vector, autojump_clock: MockClock) -> None:
    """The answer waits for nothing but the request, and it is the server that closes."""
    expected = vector.expected
    application = Application()
    async with connected(application) as client:
        await client.send_all(vector.request)
        if expected.end == "closed":
            raw = await read_to_end(client)
            assert autojump_clock.current_time() <= LINGERING
        elif expected.end == "open":
            await wait_all_tasks_blocked()
            await client.send_all(AFTER)
            expected = expected._replace(answers=(*expected.answers, SEEN_AFTER))
            raw = await receive_for_a_second(client)
        else:
            raw = await receive_for_a_second(client) if expected.end == "waits" else b""
            assert not final_answers(raw, expected)
            await client.send_eof()
            raw += await read_to_end(client)
    check(Heard(final_answers(raw, expected), application.seen), expected)


async def receive_for_a_second(client: Client) -> bytes:
    """What comes from a server that does not close."""
    raw = b""
    with trio.move_on_after(1) as scope:
        while chunk := await client.receive_some():
            raw += chunk
    assert scope.cancelled_caught, "the server has closed the connection"
    return raw


def test_the_vectors_differ() -> None:
    names = Counter((vector.section, vector.name) for vector in VECTORS)
    requests = Counter(vector.request for vector in VECTORS)
    assert not [name for name, count in names.items() if count > 1]
    assert not [request for request, count in requests.items() if count > 1]
