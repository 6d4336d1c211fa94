"""Every kind of response on the wire, and that no text of an application's can be taken for something else."""

import array
import itertools
import json
import logging
import math
import re
import string
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
from http_answers import (
    CUT_OFF,
    Answer,
    errors,
    giving,
    h11_answers,
    not_reading,
    pieces,
    read_answer,
    read_answers,
)
from http_talk import connected, dateless, get, post, read_to_end, splits, talk, talk_split
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.http import (
    App,
    EventSourceResponse,
    FileResponse,
    Headers,
    HTTPError,
    JSONResponse,
    RedirectResponse,
    Request,
    Response,
)

Make: TypeAlias = Callable[[], Response]


async def answers_to(request: bytes, make: Make) -> list[Answer]:
    """To GET requests; what is not of the same status is answered with "next"."""
    return read_answers(await talk([request], first_then_next(make)))


def first_then_next(make: Make) -> App:
    """Such a response to the target "/", "next" to others."""

    async def app(request: Request) -> Response:
        return make() if request.target == "/" else Response(200, b"next")

    return app


# ---------------------------------------------------------------- framing

HTTP_1_0_KEPT = get("/", "Connection: keep-alive", version="HTTP/1.0")


async def test_a_stream_to_an_http_1_1_client_is_chunked() -> None:
    raw = await talk(
        [get()], giving(lambda: Response(200, pieces(b"a", b"x" * 26, b"\r\n0\r\n\r\n"), {"X": "y"}, "a/b"))
    )
    assert dateless(raw) == (
        b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Type: a/b\r\nDate: -\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\na\r\n1a\r\n" + b"x" * 26 + b"\r\n7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"
    )


async def test_a_stream_to_an_http_1_0_client_ends_with_the_connection() -> None:
    """RFC 9112, sections 6.1 and 6.3, number 8."""
    for request in (get(version="HTTP/1.0"), HTTP_1_0_KEPT, HTTP_1_0_KEPT + HTTP_1_0_KEPT):
        raw = await talk([request], giving(lambda: Response(200, pieces(b"a", b"bc"))))
        assert dateless(raw) == b"HTTP/1.1 200 OK\r\nDate: -\r\nConnection: close\r\n\r\nabc"


@pytest.mark.parametrize("length", ["6", "006"])
@pytest.mark.parametrize("request_", [get(), HTTP_1_0_KEPT], ids=["1.1", "1.0"])
async def test_a_stream_whose_length_is_given_has_it_and_keeps_alive(request_: bytes, length: str) -> None:
    make = lambda: Response(200, pieces(b"abc", b"", b"def"), {"content-length": length})  # noqa: E731
    first, second = await answers_to(request_ + get("/next"), make)
    assert (first.framing, first.body, first.field("content-length")) == ("length", b"abcdef", "6")
    assert second.body == b"next"


async def test_sizes_of_chunks_are_hexadecimal() -> None:
    sizes = [1, 9, 10, 15, 16, 159, 255, 256, 4095, 4096, 65535, 65536, 1_000_000]
    (answer,) = await answers_to(get(), lambda: Response(200, pieces(*[bytes(size) for size in sizes])))
    assert ([len(chunk) for chunk in answer.chunks], answer.complete) == (sizes, True)


@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b""), memoryview(array.array("I"))])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_an_empty_piece_is_no_end(empty: bytes, version: str) -> None:
    """RFC 9112, section 7.1: a chunk of size 0 is the last one."""
    body = (empty, b"a", empty, empty, b"b", empty)
    first, *second = await answers_to(get(version=version) + get("/next"), lambda: Response(200, pieces(*body)))
    assert (first.body, first.complete) == (b"ab", True)
    assert len(second) == (version == "HTTP/1.1")


@pytest.mark.parametrize("items", [(), (b"",)])
async def test_a_stream_of_nothing(items: tuple[bytes, ...]) -> None:
    first, second = await answers_to(get() + get("/next"), lambda: Response(200, pieces(*items)))
    assert (first.framing, first.body, first.complete, second.body) == ("chunked", b"", True, b"next")


@pytest.mark.parametrize(
    ("piece", "data"),
    [
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abc"), b"abc"),
        (memoryview(b"xabcx")[1:-1], b"abc"),
        (memoryview(array.array("I", [1, 2**31])), array.array("I", [1, 2**31]).tobytes()),
        (memoryview(b"abcdef").cast("B", (2, 3)), b"abcdef"),
        (type("Bytes", (bytes,), {})(b"abc"), b"abc"),
    ],
)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_whatever_is_like_bytes_is_a_piece(piece: bytes, data: bytes, version: str) -> None:
    (answer,) = await answers_to(get(version=version), lambda: Response(200, pieces(piece)))
    assert answer.body == data
    (answer,) = await answers_to(
        get(version=version), lambda: Response(200, pieces(piece), {"Content-Length": str(len(data))})
    )
    assert (answer.body, answer.complete) == (data, True)


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_a_piece_is_sent_as_it_was_when_it_was_given(version: str, autojump_clock: MockClock) -> None:
    """One buffer for all pieces, as `readinto` wants it."""

    async def numbered() -> AsyncIterator[Any]:
        buffer = bytearray(5)
        for number in range(2000):
            buffer[:] = b"%05d" % number
            yield buffer
        buffer[:] = b"wrong"

    async with not_reading(giving(lambda: Response(200, numbered()))) as client:
        await client.send_all(get("/", "Connection: close", version=version))
        await wait_all_tasks_blocked()
        answer = read_answer(await read_to_end(client))
    assert answer.body == b"".join(b"%05d" % number for number in range(2000))


async def test_h11_reads_the_same() -> None:
    makes: list[Make] = [
        lambda: Response(200, pieces(b"a", b"", bytearray(b"bc"))),
        lambda: Response(200, pieces(b"a"), {"Content-Length": "1"}),
        lambda: Response(204, pieces(b"a")),
        lambda: Response(205, pieces(b"a")),
        lambda: Response(304, pieces(b"a")),
        lambda: Response(200, "text"),
        lambda: JSONResponse({"a": [None]}),
        lambda: RedirectResponse("/x"),
        lambda: EventSourceResponse(pieces("a")),
    ]

    async def app(request: Request) -> Response:
        return makes[int(request.target[1:])]()

    for method in ("GET", "HEAD"):
        methods = [method] * len(makes)
        raw = await talk([b"".join(get(f"/{n}", method=method) for n in range(len(makes)))], app)
        ours = [(answer.status, answer.fields, answer.body) for answer in read_answers(raw, methods)]
        assert h11_answers(raw, methods) == ours
        assert len(ours) == len(makes)


# ---------------------------------------------------------------- bodies that are not what they should be

NO_ANSWER = ["trio_chat.http: no answer to GET / from None"]


@pytest.mark.parametrize(
    ("items", "body"),
    [((b"ab", b"cd"), b"ab"), ((b"abc", b"d"), b"abc"), ((b"abc", b"", b"de"), b"abc"), ((b"", b"abcd"), b"")],
)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_a_stream_is_not_longer_than_its_length(
    items: tuple[bytes, ...], body: bytes, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = get("/", "Connection: keep-alive", version=version)
    make = lambda: Response(200, pieces(*items), {"Content-Length": "3"})  # noqa: E731
    (answer,) = await answers_to(request + get("/next"), make)
    assert (answer.body, answer.field("content-length")) == (body, "3")
    assert errors(caplog) == CUT_OFF
    assert "longer than its Content-Length" in caplog.text


@pytest.mark.parametrize("items", [(b"",), (b"ab",), (b"a", b"b")])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_of_a_stream_that_is_too_short_the_client_sees_that_it_is(
    items: tuple[bytes, ...], version: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = get("/", "Connection: keep-alive", version=version)
    make = lambda: Response(200, pieces(*items), {"Content-Length": "3"})  # noqa: E731
    (answer,) = await answers_to(request + get("/next"), make)
    assert (answer.body, answer.complete) == (b"".join(items), False)
    assert errors(caplog) == CUT_OFF


@pytest.mark.parametrize("piece", ["text", "", None, 5, [b"a"], Response()])
@pytest.mark.parametrize("before", [(b"",), (b"ab",)])
async def test_a_piece_that_is_no_bytes_cuts_the_answer_off(
    piece: Any, before: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> AsyncIterator[Any]:
        for item in before:
            yield item
        yield piece
        yield b"more"

    (answer,) = await answers_to(get() + get("/next"), lambda: Response(200, body()))
    assert (answer.status, answer.body, answer.complete) == (200, b"".join(before), False)
    assert errors(caplog) == CUT_OFF
    assert "consists of bytes" in caplog.text


@pytest.mark.parametrize("failure", [ValueError("of the body"), ExceptionGroup("of its tasks", [ValueError()])])
@pytest.mark.parametrize("before", [(b"",), (b"ab", b"c")])
async def test_an_exception_of_the_body_cuts_the_answer_off(
    failure: Exception, before: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """The head has been sent by then: nothing else can be said, least of all another head."""
    (answer,) = await answers_to(get() + get("/next"), lambda: Response(200, pieces(*before, failure)))
    assert (answer.status, answer.body, answer.complete) == (200, b"".join(before), False)
    assert errors(caplog) == CUT_OFF
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[1] is failure


@pytest.mark.parametrize("before", [(b"",), (b"ab", b"c")])
async def test_an_http_error_of_the_body_is_no_second_answer(
    before: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """It may be the client's fault, as of one whose request breaks off while it is being answered: it is noted."""
    caplog.set_level(logging.INFO, "trio_chat.http")
    (answer,) = await answers_to(get() + get("/next"), lambda: Response(200, pieces(*before, HTTPError(404))))
    assert (answer.status, answer.body, answer.complete) == (200, b"".join(before), False)
    (message,) = [record.getMessage() for record in caplog.records if record.name == "trio_chat.http"]
    assert message.startswith(CUT_OFF[0].removeprefix("trio_chat.http: "))


@pytest.mark.parametrize(
    ("items", "headers"),
    [
        ((ValueError("of the body"),), {}),
        ((ExceptionGroup("of its tasks", [ValueError()]),), {}),
        (("text", b"more"), {}),
        ((b"abcd",), {"Content-Length": "3"}),
        ((), {"Content-Length": "3"}),
    ],
    ids=["exception", "group", "no bytes", "too long", "too short"],
)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_what_goes_wrong_before_the_first_piece_is_answered_with_500(
    items: tuple[Any, ...], headers: dict[str, str], version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing has been said: the answer is a whole one, and the connection goes on."""
    request = get("/", "Connection: keep-alive", version=version)
    make = lambda: Response(200, pieces(*items), {"X": "y", **headers})  # noqa: E731
    first, second = await answers_to(request + get("/next"), make)
    assert (first.status, first.text, first.complete, first.field("x")) == (500, "Internal Server Error\n", True, None)
    assert second.body == b"next"
    assert errors(caplog) == NO_ANSWER


async def test_an_http_error_before_the_first_piece_is_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    make = lambda: Response(200, pieces(HTTPError(404, "no such row", {"X": "y"})))  # noqa: E731
    first, second = await answers_to(get() + get("/next"), make)
    assert (first.status, first.text, first.field("x"), second.body) == (404, "no such row\n", "y", b"next")
    assert errors(caplog) == []


@pytest.mark.parametrize("length", ["", "-1", "+1", "1x", "1.0", "1, 1", "0x1", "1_0", "\xb2", "9" * 5000])
def test_a_stream_whose_length_is_none(length: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the last one is int's own
        Response(200, pieces(), {"Content-Length": length})


def test_a_stream_with_several_lengths_or_a_transfer_coding() -> None:
    with pytest.raises(ValueError, match="not a Content-Length"):
        Response(200, pieces(), [("Content-Length", "1"), ("content-length", "1")])
    with pytest.raises(ValueError, match="cannot be given"):
        Response(200, pieces(), {"Transfer-Encoding": "chunked"})


@pytest.mark.parametrize("body", [b"abc", "abc", b"", ""])
@pytest.mark.parametrize("name", ["Content-Length", "content-length", "Transfer-Encoding"])
def test_the_length_of_bytes_cannot_be_given(body: bytes | str, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be given"):
        Response(200, body, {name: "3"})


# ---------------------------------------------------------------- no body

KINDS: dict[str, Callable[[int], Response]] = {
    "bytes": lambda status: Response(status, b"12345"),
    "str": lambda status: Response(status, "12345"),
    "empty": lambda status: Response(status, b""),
    "stream": lambda status: Response(status, pieces(b"12", b"345")),
    "stream with a length": lambda status: Response(status, pieces(b"12", b"345"), {"Content-Length": "5"}),
    "json": lambda status: JSONResponse([1, 2], status),
}
ALL_KINDS: dict[str, Callable[[int], Response]] = {
    **KINDS,
    "events": lambda _: EventSourceResponse(pieces("a", "b")),
    "file": lambda _: FileResponse(Path(__file__)),
    "redirect": lambda _: RedirectResponse("/x", headers={"X": "y"}),
}


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("request_", [get(), get(version="HTTP/1.0"), HTTP_1_0_KEPT], ids=["1.1", "1.0", "1.0 kept"])
async def test_head_has_the_fields_of_get(kind: str, request_: bytes) -> None:
    """RFC 9110, section 9.3.2."""
    app = giving(lambda: ALL_KINDS[kind](200))
    with_body = dateless(await talk([request_], app))
    without = dateless(await talk([request_.replace(b"GET", b"HEAD", 1)], app))
    assert without == with_body.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


@pytest.mark.parametrize("kind", ALL_KINDS)
async def test_after_head_the_connection_goes_on(kind: str) -> None:
    app = first_then_next(lambda: ALL_KINDS[kind](200))
    head, following = read_answers(await talk([get(method="HEAD") + get("/next")], app), ["HEAD", "GET"])
    assert (head.body, following.body) == (b"", b"next")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [204, 205, 304])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_statuses_without_a_body(kind: str, status: int, method: str) -> None:
    """RFC 9110, sections 8.6, 15.3.5, 15.3.6 and 15.4.5.

    Of the length, a 204 has none and a 205 has 0; a 304 may have that of the 200, which is not known here.
    """
    app = first_then_next(lambda: KINDS[kind](status))
    for request in (get(method=method), HTTP_1_0_KEPT.replace(b"GET", method.encode(), 1)):
        first, second = read_answers(await talk([request + get("/next")], app), [method, "GET"])
        assert (first.status, first.body, second.body) == (status, b"", b"next")
        assert first.field("transfer-encoding") is None
        assert first.field("content-length") == ("0" if status == 205 else None)


@pytest.mark.parametrize("status", [204, 205, 304])
async def test_errors_have_bodies_and_these_have_none_even_if_they_close(status: int) -> None:
    make = lambda: Response(status, pieces(b"abc"), {"Connection": "close"})  # noqa: E731
    raw = await talk([get() + get("/next")], first_then_next(make))
    assert raw.endswith(b"\r\n\r\n")
    assert read_answer(raw).connection == {"close"}


# ---------------------------------------------------------------- order


async def test_requests_behind_a_stream_wait_for_its_end(autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []

    async def app(request: Request) -> Response:
        log.append((request.target, trio.current_time()))
        return Response(200, pieces(1, request.target.encode(), 1, b"!", 1))

    async with connected(app) as client:
        await client.send_all(get("/1") + get("/2") + get("/3", "Connection: close"))
        answers = read_answers(await read_to_end(client))
        assert trio.current_time() == 9
    assert [answer.text for answer in answers] == ["/1!", "/2!", "/3!"]
    assert log == [("/1", 0), ("/2", 3), ("/3", 6)]


async def test_kinds_of_responses_on_one_connection_under_every_split() -> None:
    makes: dict[str, Make] = {
        "/1": lambda: Response(200, pieces(b"1", b"!")),
        "/2": lambda: Response(200, b"2!"),
        "/3": lambda: Response(200, pieces(b"3", b"!"), {"Content-Length": "2"}),
        "/4": lambda: Response(204, pieces(b"4", b"!")),
        "/5": lambda: Response(200, pieces(b"5", b"!")),
    }

    async def app(request: Request) -> Response:
        return makes[request.target]()

    request = b"".join(get(target, host="Host: a") for target in makes)
    answers = read_answers(await talk_split(request, app))
    assert [answer.text for answer in answers] == ["1!", "2!", "3!", "", "5!"]


async def test_a_body_that_streams_back_what_it_receives() -> None:
    async def app(request: Request) -> Response:
        async def shouted() -> AsyncIterator[bytes]:
            async for piece in request.stream():
                yield piece.upper()

        return Response(200, shouted())

    chunked = get("/", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n"
    for request in (post(b"hello world"), chunked):
        for chunks in splits(request + post(b"again")):
            answers = read_answers(await talk(chunks, app))
            assert [answer.text for answer in answers] == ["HELLO WORLD", "AGAIN"], f"cut as {chunks}"


async def test_what_a_stream_has_not_read_of_the_request_is_dropped() -> None:
    first, second = await answers_to(post(b"unread" * 100) + get("/next"), lambda: Response(200, pieces(b"abc")))
    assert (first.body, first.complete, second.body) == (b"abc", True, b"next")


async def test_an_application_that_fails_before_it_streams_is_answered_with_500() -> None:
    async def app(request: Request) -> Response:
        body = pieces(b"a")
        if request.target == "/":
            raise ValueError
        return Response(200, body)

    failed, fine = read_answers(await talk([get() + get("/next")], app))
    assert (failed.status, failed.framing, fine.status, fine.body) == (500, "length", 200, b"a")


# ---------------------------------------------------------------- HTTPError


async def test_the_fields_of_an_http_error() -> None:
    async def app(_request: Request) -> Response:
        raise HTTPError(401, "who are you?", [("WWW-Authenticate", "Basic"), ("WWW-Authenticate", "Digest")])

    answer = read_answer(await talk([get()], app))
    assert (answer.status, answer.reason, answer.text) == (401, "Unauthorized", "who are you?\n")
    assert answer.all_of("www-authenticate") == ["Basic", "Digest"]
    assert answer.field("content-type") == "text/plain; charset=utf-8"


async def test_an_http_error_can_close() -> None:
    async def app(_request: Request) -> Response:
        raise HTTPError(503, headers={"Connection": "close", "Retry-After": "5"})

    answer = read_answer(await talk([get() + get()], app))
    assert (answer.status, answer.connection, answer.field("retry-after")) == (503, {"close"}, "5")


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding"])
async def test_an_http_error_with_fields_that_are_not_its_to_give_is_answered(name: str) -> None:
    async def app(request: Request) -> Response:
        if request.target == "/":
            raise HTTPError(400, headers={name: "3"})
        return Response(200, b"next")

    first, second = read_answers(await talk([get() + get("/next")], app))
    assert (first.status in {400, 500}, first.complete, second.body) == (True, True, b"next")


# ---------------------------------------------------------------- Connection and Date


@pytest.mark.parametrize(
    ("request_", "given_", "options"),
    [
        (get(), "", set()),
        (get(), "x-hop", {"x-hop"}),
        (get(), "close", {"close"}),
        (get(), "CLOSE", {"close"}),
        (get(), "x-hop, close", {"x-hop", "close"}),
        (get("/", "Connection: close"), "x-hop", {"x-hop", "close"}),
        (get("/", "Connection: close"), "close", {"close"}),
        (get(version="HTTP/1.0"), "x-hop", {"x-hop", "close"}),
        (HTTP_1_0_KEPT, "x-hop", {"x-hop", "keep-alive"}),
        (HTTP_1_0_KEPT, "close", {"close"}),
    ],
)
async def test_connection_is_ours_and_the_applications(request_: bytes, given_: str, options: set[str]) -> None:
    """RFC 9110, section 7.6.1; a second request tells whether the connection is as it was said."""
    headers = {"Connection": given_} if given_ else {}
    for make in (
        lambda: Response(200, b"a", headers),
        lambda: Response(200, pieces(b"a"), {**headers, "Content-Length": "1"}),
    ):
        first, *second = await answers_to(request_ + get("/next"), make)
        assert first.connection == options
        assert bool(second) == ("close" not in options)


@pytest.mark.parametrize("kind", ALL_KINDS)
async def test_date_comes_once_unless_it_is_given(kind: str) -> None:
    """RFC 9110, section 6.6.1."""
    given_date = "Sun, 06 Nov 1994 08:49:37 GMT"
    made = ALL_KINDS[kind](200)
    with_date = Response(200, pieces(b"a"), {"DATE": given_date})
    for response in (made, with_date, Response(200, b"", {"Date": given_date})):
        raw = await talk([get(method="HEAD")], giving(itertools.repeat(response).__next__))
        assert len(re.findall(rb"(?i)\r\ndate:", raw)) == 1
        assert (given_date.encode() in raw) == (response is not made)


# ---------------------------------------------------------------- sent again


async def test_a_response_of_bytes_can_be_sent_many_times() -> None:
    response = Response(200, b"same", {"X": "y"})
    request = get() + get(method="HEAD") + get("/", "Connection: close")
    methods = ["GET", "HEAD", "GET"]
    first = read_answers(await talk([request], giving(lambda: response)), methods)
    assert [(answer.body, answer.field("x"), answer.connection) for answer in first] == [
        (b"same", "y", set()), (b"", "y", set()), (b"same", "y", {"close"}),
    ]  # fmt: skip
    assert read_answers(await talk([request], giving(lambda: response)), methods) == first
    ended = read_answer(await talk([get(version="HTTP/1.0")], giving(lambda: response)))
    assert (ended.body, ended.connection) == (b"same", {"close"})


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "3"}])
async def test_a_stream_that_is_sent_twice_does_not_hang(headers: dict[str, str], autojump_clock: MockClock) -> None:
    response = Response(200, pieces(b"abc"), headers)
    async with connected(giving(lambda: response)) as client:
        await client.send_all(get() + get("/", "Connection: close"))
        first, second = read_answers(await read_to_end(client))
        assert trio.current_time() == 0
    assert (first.body, second.body) == (b"abc", b"Internal Server Error\n" if headers else b"")


async def test_a_stream_that_is_sent_to_two_clients_at_once_fails_for_the_second(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    response = Response(200, pieces(b"a", 5, b"b"))
    app = giving(lambda: response)
    async with connected(app) as client, connected(app) as other:
        await client.send_all(get("/", "Connection: close"))
        await wait_all_tasks_blocked()
        await other.send_all(get("/", "Connection: close"))
        second = read_answer(await read_to_end(other))
        first = read_answer(await read_to_end(client))
    assert (first.body, first.complete) == (b"ab", True)
    assert (second.status, errors(caplog)[-1:]) == (500, NO_ANSWER)


# ---------------------------------------------------------------- JSONResponse


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "null"),
        ({"a": [1, 2.5, True, None, "x"], "b": {}}, '{"a":[1,2.5,true,null,"x"],"b":{}}'),
        ("\xe9\u20ac\U0001f600\u2028", '"\xe9\u20ac\U0001f600\u2028"'),
        ('"\\\r\n\0', '"\\"\\\\\\r\\n\\u0000"'),
        ((), "[]"),
    ],
)
async def test_json(data: Any, text: str) -> None:
    answer = read_answer(await talk([get()], giving(lambda: JSONResponse(data, 201, {"X": "y"}))))
    assert (answer.status, answer.text, answer.field("x")) == (201, text, "y")
    assert answer.field("content-type") == "application/json"


@pytest.mark.parametrize("data", [math.nan, math.inf, -math.inf, [math.nan], {"a": math.inf}, {math.nan: 1}])
def test_numbers_that_json_does_not_have(data: Any) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        JSONResponse(data)


@pytest.mark.parametrize("data", [b"a", {1, 2}, object(), [object()], {(1, 2): 3}, {b"a": 1}, 1j, Response()])
def test_what_json_does_not_have(data: Any) -> None:
    with pytest.raises(TypeError):
        JSONResponse(data)


def test_data_that_contain_themselves() -> None:
    data: list[Any] = []
    data.append(data)
    with pytest.raises(ValueError, match="Circular"):
        JSONResponse(data)


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda data: st.lists(data) | st.dictionaries(st.text(), data),
    max_leaves=20,
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=json_data)
def test_json_is_read_again(data: Any) -> None:
    body = JSONResponse(data).body
    assert isinstance(body, bytes)
    assert json.loads(body.decode("utf-8", "strict")) == data


def test_the_type_of_json_can_be_given() -> None:
    response = JSONResponse({}, headers={"content-type": "application/problem+json"})
    assert response.headers.get_all("content-type") == ["application/problem+json"]


# ---------------------------------------------------------------- RedirectResponse


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects(status: int) -> None:
    answer = read_answer(await talk([get()], giving(lambda: RedirectResponse("/x?y=1#z", status, {"X": "y"}))))
    assert (answer.status, answer.field("location"), answer.body) == (status, "/x?y=1#z", b"")
    assert (answer.field("x"), answer.field("content-length")) == ("y", "0")


def test_a_redirect_is_303_unless_it_is_told_otherwise() -> None:
    assert RedirectResponse("/").status == 303


@pytest.mark.parametrize("status", [200, 201, 300, 304, 305, 306, 309, 400, "303", None])
def test_no_redirects(status: Any) -> None:
    with pytest.raises(ValueError, match="301, 302, 303, 307 or 308"):
        RedirectResponse("/", status)


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("", ""),
        ("x", "x"),
        ("../x;y?z&a=b#c", "../x;y?z&a=b#c"),
        ("http://user@[::1]:80/a'b(c)!$*+,@~-._", "http://user@[::1]:80/a'b(c)!$*+,@~-._"),
        ("/a b", "/a%20b"),
        (" /a ", "%20/a%20"),
        ("/caf\xe9/\u20ac", "/caf%C3%A9/%E2%82%AC"),
        ("/100%25/%C3%A9", "/100%25/%C3%A9"),
        ('/<">\\^`{|}', "/%3C%22%3E%5C%5E%60%7B%7C%7D"),
        ("/a\r\nX: y", "/a%0D%0AX:%20y"),
        ("/\0\t\x7f\x85", "/%00%09%7F%C2%85"),
        ("/\u010d\u010a", "/%C4%8D%C4%8A"),
    ],
)
async def test_where_a_redirect_leads(location: str, sent: str) -> None:
    answer = read_answer(await talk([get()], giving(lambda: RedirectResponse(location))))
    assert (answer.field("location"), [name for name, _ in answer.fields]) == (sent, ["Location", "Content-Length"])


def test_a_redirect_leads_to_one_place() -> None:
    """RFC 9110, section 10.2.2: Location is one URI; a client that gets two of them may take either."""
    try:
        response = RedirectResponse("/a", headers={"location": "/b"})
    except ValueError:
        return
    assert len(response.headers.get_all("location")) == 1


_URI = "!#$%&'()*+,/:;=?@[]~-._" + string.ascii_letters + string.digits  # RFC 3986, section 2


@settings(max_examples=100, deadline=None, derandomize=True)
@given(location=st.text(_URI))
def test_a_location_that_is_a_uri_is_not_changed(location: str) -> None:
    assert RedirectResponse(location).headers["location"] == location


# ---------------------------------------------------------------- injection

Place: TypeAlias = Callable[[str, Request], Any]


def _raise(error: Exception) -> Response:
    raise error


async def _upgrade(request: Request, protocol: str, headers: Any = ()) -> None:
    await request.upgrade(protocol, headers)


#: Where an application can put text, but for the bodies.
PLACES: dict[str, Place] = {
    "value": lambda text, _: Response(200, b"", {"X": text}),
    "name": lambda text, _: Response(200, b"", {text: "x"}),
    "pair": lambda text, _: Response(200, b"", [("X", "1"), ("X", text)]),
    "Date": lambda text, _: Response(200, b"", {"Date": text}),
    "Connection": lambda text, _: Response(200, b"", {"Connection": text}),
    "content_type": lambda text, _: Response(200, b"", content_type=text),
    "content_type of str": lambda text, _: Response(200, "", content_type=text),
    "length of a stream": lambda text, _: Response(200, pieces(), {"Content-Length": text}),
    "error value": lambda text, _: _raise(HTTPError(404, "", {"X": text})),
    "error name": lambda text, _: _raise(HTTPError(404, "", {text: "x"})),
    "error detail": lambda text, _: _raise(HTTPError(404, text)),
    "json": lambda text, _: JSONResponse({}, 200, {"X": text}),
    "redirect": lambda text, _: RedirectResponse(text),
    "redirect value": lambda text, _: RedirectResponse("/", 303, {"X": text}),
    "events": lambda text, _: EventSourceResponse(pieces(), {"X": text}),
    "file name": lambda text, _: FileResponse(__file__, filename=text),
    "file type": lambda text, _: FileResponse(__file__, content_type=text),
    "file value": lambda text, _: FileResponse(__file__, {"X": text}),
    "protocol": lambda text, request: _upgrade(request, text),
    "upgrade value": lambda text, request: _upgrade(request, "x", {"X": text}),
    "upgrade name": lambda text, request: _upgrade(request, "x", {text: "x"}),
}
#: Whatever may be in the head of an answer to these.
NAMES = {
    "x", "date", "connection", "content-type", "content-length", "transfer-encoding", "location", "cache-control",
    "x-accel-buffering", "content-disposition", "etag", "last-modified", "accept-ranges", "upgrade",
}  # fmt: skip


async def answer_with(place: str, text: str) -> tuple[bytes, Answer]:
    async def app(request: Request) -> Any:
        result = PLACES[place](text, request)
        return result if isinstance(result, Response) else await result

    raw = await talk([get("/", "Upgrade: x", "Connection: upgrade")], app)
    return raw, read_answer(raw)  # which fails if there is one too many, or a bare CR or LF in a head


@pytest.mark.parametrize("place", PLACES)
async def test_harmless_text_is_taken(place: str) -> None:
    """Otherwise the tests below would test nothing."""
    text = {"length of a stream": "0", "Connection": "x-harmless"}.get(place, "harmless")
    raw, answer = await answer_with(place, text)
    assert text.encode() in raw
    assert answer.status != 500


ENDS = ["\r\n", "\n", "\r", "\0", "\r\n\r\n", "\x0b", "\x85", "\u2028", "\u560d\u560a", "\u010a"]


@pytest.mark.parametrize("place", PLACES)
async def test_nothing_can_be_injected(place: str) -> None:
    """RFC 9110, section 5.5, and 9112, section 11.1."""
    for end in ENDS:
        for text in (f"{end}Injected: 1{end}{end}", f"1{end}\r\nHTTP/1.1 200 OK\r\n\r\n"):
            _, answer = await answer_with(place, text)
            assert {name.lower() for name, _ in answer.fields} <= NAMES


nasty_text = st.text(
    st.sampled_from('\r\n\0\t :,;=%"\\/aX1\x7f\x85\xa0\xff\u010a\u010d\u2028\u560a\ud800') | st.characters()
)


@pytest.mark.parametrize("place", [place for place in PLACES if "name" not in place or place == "file name"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(text=nasty_text)
async def test_nothing_can_be_injected_by_any_text(place: str, text: str) -> None:
    _, answer = await answer_with(place, text)
    assert {name.lower() for name, _ in answer.fields} <= NAMES


@settings(max_examples=100, deadline=None, derandomize=True)
@given(name=nasty_text, value=nasty_text)
def test_headers_are_what_was_given_or_nothing(name: str, value: str) -> None:
    try:
        headers = Headers({name: value})
    except ValueError:
        return
    assert headers.raw == [(name.encode("ascii"), value.encode("latin-1").strip(b" \t"))]
    assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name)
    assert re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", value)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(location=nasty_text)
def test_a_location_is_a_uri_whatever_it_is_made_of(location: str) -> None:
    try:
        sent = RedirectResponse(location).headers["location"]
    except ValueError:
        assert re.search("[\ud800-\udfff]", location), "only what UTF-8 cannot encode is refused"
        return
    assert set(sent) <= set(_URI)


async def test_the_options_of_connection_are_one_field() -> None:
    async def app(request: Request) -> Response:
        return Response(200, b"", {"Connection": "x-hop, keep-alive"})

    (going, closing) = read_answers(await talk([get() + get("/", "Connection: close")], app))
    assert going.all_of("connection") == ["x-hop"]
    assert closing.all_of("connection") == ["close, x-hop"]


def test_json_may_have_lone_surrogates() -> None:
    assert JSONResponse(["\ud800", "\u20ac"]).body == b'["\\ud800","\\u20ac"]'
    assert JSONResponse(["\u20ac"]).body == '["\u20ac"]'.encode()
