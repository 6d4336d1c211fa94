"""Requests and answers in turn: pipelining, keep-alive, and what an answer looks like."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

import pytest
import trio
from http_talk import answers, connected, echo, factory_of, get, post, read_to_end, say, say_once, talk, the_answer
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trio_chat.http import HTTPError, HTTPRequestHandler, Request, Response

# ---------------------------------------------------------------- pipelining


async def sends_for(request: bytes) -> tuple[int, list[str]]:
    """In how many sends the answers to one chunk leave, and their texts."""
    client, server = memory_stream_pair()
    sends = 0

    async def count() -> None:
        nonlocal sends
        sends += 1

    server.send_stream.send_all_hook = count
    async with trio.open_nursery() as nursery:
        nursery.start_soon(factory_of(echo)(server).run)
        await client.send_all(request)
        await client.send_eof()
        raw = await read_to_end(client)
    return sends, [answer.text for answer in answers(raw)]


async def test_pipelined_requests_are_answered_in_order_and_in_one_send() -> None:
    request = get("/1") + post(b"body", target="/2") + get("/3")
    assert await sends_for(request) == (1, ["GET /1 1.1 b''", "POST /2 1.1 b'body'", "GET /3 1.1 b''"])


async def test_answers_before_a_refusal_leave_in_the_same_send() -> None:
    sends, texts = await sends_for(get("/1") + get("/2") + b"nonsense\r\n\r\n")
    assert (sends, texts[:2], len(texts)) == (1, ["GET /1 1.1 b''", "GET /2 1.1 b''"], 3)


async def test_many_pipelined_requests() -> None:
    raw = await talk([b"".join(get(f"/{number}") for number in range(2000))])
    assert [answer.text for answer in answers(raw)] == [f"GET /{number} 1.1 b''" for number in range(2000)]


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (get(version="HTTP/2.0"), 505),
        (get("/", "Content-Length: x"), 400),
        (get("/", "Content-Length: 99999999"), 413),
        (get("/", "Transfer-Encoding: chunked"), 400),
        (get("/", "Transfer-Encoding: gzip, chunked"), 501),
        (get("/" + "a" * 9000), 414),
        (get("/", "X: " + "x" * 40000), 431),
        (b"GET / HTTP/1.1\n\n", 400),
    ],
)
async def test_requests_before_an_error_are_answered_and_none_after_it(wrong: bytes, status: int) -> None:
    handled = []

    async def app(request: Request) -> Response:
        await request.read()
        handled.append(request.target)
        return Response()

    request = get("/1") + get("/2") + wrong + get("/3")
    statuses = [answer.status for answer in answers(await talk([request], app))]
    assert (statuses, handled) == ([200, 200, status], ["/1", "/2"])
    assert [answer.status for answer in await say(request)] == statuses


async def test_a_pipelined_request_waits_for_the_one_before_it(autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []

    async def app(request: Request) -> Response:
        log.append((request.target, trio.current_time()))
        await trio.sleep(5)
        return Response(200, request.target)

    async with connected(app) as client:
        await client.send_all(get("/1") + get("/2"))
        for seconds, target in ((5, "/1"), (10, "/2")):
            (answer,) = answers(bytes(await client.receive_some()))
            assert (answer.text, trio.current_time()) == (target, seconds)
    assert log == [("/1", 0), ("/2", 5)]


# ---------------------------------------------------------------- keep-alive


async def connection_after(request: bytes) -> tuple[str | None, bool]:
    """What the answer to `request` says of the connection, and whether a second request is answered."""
    first, *second = await say(request + get("/second"))
    assert [answer.text for answer in second] in ([], ["GET /second 1.1 b''"])
    return first.field("connection"), bool(second)


@pytest.mark.parametrize("options", ["keep-alive", "upgrade", "closed", ""])
async def test_http_1_1_keeps_alive(options: str) -> None:
    assert await connection_after(get("/", f"Connection: {options}")) == (None, True)


@pytest.mark.parametrize(
    "options", ["close", "Close", "keep-alive, close", "x,close ,y", ",,close", "x\r\nConnection: close"]
)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_connection_close(options: str, version: str) -> None:
    """RFC 9112, section 9.6."""
    assert await connection_after(get("/", f"Connection: {options}", version=version)) == ("close", False)


async def test_http_1_0_closes() -> None:
    assert await connection_after(get(version="HTTP/1.0")) == ("close", False)


async def test_http_1_0_keeps_alive_if_asked() -> None:
    assert await connection_after(get("/", "Connection: Keep-Alive", version="HTTP/1.0")) == ("keep-alive", True)


async def test_an_application_can_close() -> None:
    async def app(_request: Request) -> Response:
        return Response(headers={"Connection": "close"})

    (answer,) = await say(get() + get(), app)
    assert answer.field("connection") == "close"


async def test_an_application_cannot_deny_that_the_connection_closes() -> None:
    """RFC 9112, section 9.6: a server that got a close option sends one, too."""

    async def app(_request: Request) -> Response:
        return Response(headers={"Connection": "x-hop"})

    (answer,) = await say(get("/", "Connection: close") + get(), app)
    assert "close" in ", ".join(answer.headers["connection"])


async def test_connections_stay_open_between_requests(autojump_clock: MockClock) -> None:
    async with connected() as client:
        for number in range(3):
            await client.send_all(get(f"/{number}"))
            await wait_all_tasks_blocked()
            (answer,) = answers(bytes(await client.receive_some()))
            assert answer.text == f"GET /{number} 1.1 b''"


async def test_a_server_that_stops_finishes_the_request_and_says_so(autojump_clock: MockClock) -> None:
    async def app(_request: Request) -> Response:
        await trio.sleep(5)
        return Response(200, "finished")

    client, server = memory_stream_pair()
    handler = HTTPRequestHandler(server, app)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handler.run)
        await client.send_all(get() + get("/second"))
        await trio.sleep(1)
        handler.close_when_idle()
        (answer,) = answers(await read_to_end(client))
        assert (answer.text, answer.field("connection"), trio.current_time()) == ("finished", "close", 5)
        await client.aclose()


@pytest.mark.parametrize("before", [b"", get(), post(b"hi")])
async def test_a_server_that_stops_closes_idle_connections_at_once(before: bytes, autojump_clock: MockClock) -> None:
    client, server = memory_stream_pair()
    handler = HTTPRequestHandler(server, echo)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handler.run)
        await client.send_all(before)
        await wait_all_tasks_blocked()
        handler.close_when_idle()
        statuses = [answer.status for answer in answers(await read_to_end(client))]
        assert (statuses, trio.current_time()) == ([200] if before else [], 0)
        await client.aclose()


async def test_a_client_that_has_closed_its_side_gets_its_answer(autojump_clock: MockClock) -> None:
    async def app(_request: Request) -> Response:
        await trio.sleep(1)
        return Response(200, "late")

    assert [answer.text for answer in await say_once(get() + post(b"x"), app)] == ["late", "late"]


# ---------------------------------------------------------------- answers


async def test_head_has_the_length_and_no_body() -> None:
    async def app(_request: Request) -> Response:
        return Response(200, b"12345", content_type="x/y")

    head, other = await say(get(method="HEAD") + get(), app, methods=["HEAD", "GET"])
    assert (head.body, other.body) == (b"", b"12345")
    assert head.field("content-length") == other.field("content-length") == "5"
    assert head.field("content-type") == "x/y"


async def test_errors_of_head_have_no_body() -> None:
    async def app(_request: Request) -> Response:
        raise HTTPError(404)

    statuses = [answer.status for answer in await say(get(method="HEAD") * 2, app, methods=["HEAD", "HEAD"])]
    assert statuses == [404, 404]


@pytest.mark.parametrize("status", [204, 304])
async def test_204_and_304_have_neither_body_nor_length(status: int) -> None:
    """RFC 9110, sections 8.6, 15.3.5 and 15.4.5."""

    async def app(request: Request) -> Response:
        return Response(status if request.target == "/" else 200, b"body")

    first, second = await say(get() + get("/2"), app)
    assert (first.status, first.body, first.field("content-length")) == (status, b"", None)
    assert second.body == b"body"


async def test_205_has_no_body() -> None:
    """RFC 9110, section 15.3.6: a server MUST NOT generate content in a 205 response."""

    async def app(_request: Request) -> Response:
        return Response(205, b"body")

    assert (await the_answer(get(), app)).body == b""


@pytest.mark.parametrize("request_", [get(), b"nonsense\r\n\r\n", get(version="HTTP/1.0")])
async def test_date(request_: bytes) -> None:
    """RFC 9110, sections 6.6.1 and 5.6.7."""
    before = datetime.now(UTC).replace(microsecond=0)
    (answer,) = await say_once(request_)
    date = answer.field("date")
    assert date is not None
    parsed = parsedate_to_datetime(date)
    assert format_datetime(parsed, usegmt=True) == date
    assert before <= parsed <= datetime.now(UTC) + timedelta(seconds=1)


async def test_a_date_that_is_given_is_kept() -> None:
    async def app(_request: Request) -> Response:
        return Response(headers={"date": "Sun, 06 Nov 1994 08:49:37 GMT"})

    assert (await the_answer(get(), app)).field("date") == "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("status", "line"), [(200, b"200 OK"), (404, b"404 Not Found"), (299, b"299 "), (599, b"599 ")]
)
async def test_status_line(status: int, line: bytes) -> None:
    """RFC 9112, section 4: the blank before a missing phrase stays."""

    async def app(_request: Request) -> Response:
        return Response(status)

    assert (await talk([get()], app)).startswith(b"HTTP/1.1 " + line + b"\r\n")
