"""Limits of time and number, when a connection goes on and when it closes, and what applications know of it."""

import math
import re
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trustme
from http_talk import (
    AppOrFactory,
    Client,
    answers,
    connected,
    echo,
    factory_of,
    get,
    post,
    read_to_end,
    say,
    talk,
)
from http_wire import Framed, chunked_head, framing_name, hear, post_in_chunks, responses
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from trio_chat.http import (
    App,
    EventSourceResponse,
    HTTPError,
    HTTPRequestHandler,
    JSONResponse,
    RedirectResponse,
    Request,
    Response,
    serve,
)
from trio_chat.testing import BreakingStream

each_framing = pytest.mark.parametrize("framed", [post, post_in_chunks], ids=framing_name)


async def blind(request: Request) -> Response:
    return Response(200, request.target)


async def pieces(*items: bytes | float) -> AsyncGenerator[bytes, None]:
    """Gives bytes, and waits for so many seconds between them."""
    for item in items:
        if isinstance(item, bytes):
            yield item
        else:
            await trio.sleep(item)


@asynccontextmanager
async def running(what: AppOrFactory, first: bytes) -> AsyncIterator[tuple[Client, HTTPRequestHandler]]:
    """A client, and the handler that has received `first` from it."""
    client, server = memory_stream_pair()
    handler = factory_of(what)(server)
    with trio.fail_after(100_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handler.run)
            await client.send_all(first)
            await wait_all_tasks_blocked()
            yield client, handler
            await client.aclose()


# ---------------------------------------------------------------- the time of a body


class Hasty(HTTPRequestHandler):
    """Gives a body 10 seconds, and one more for every 100 bytes."""

    body_timeout = 10.0
    min_body_rate = 100.0

    async def handle_request(self, request: Request) -> Response:
        return await echo(request)


async def until_408(what: AppOrFactory, sent: bytes) -> float:
    """When a request that goes no further is answered with 408, and the connection closed."""
    async with connected(what) as client:
        await client.send_all(sent)
        (answer,) = answers(await read_to_end(client))
        assert (answer.status, answer.field("connection")) == (408, "close")
        assert answer.text == "the body took too long\n"
        return trio.current_time()


@pytest.mark.parametrize("count", [0, 1, 100, 2500])
async def test_a_body_has_body_timeout_and_more_for_what_has_come(count: int, autojump_clock: MockClock) -> None:
    sent = get("/", "Content-Length: 5000", method="POST") + bytes(count)
    assert await until_408(Hasty, sent) == pytest.approx(10 + count / 100)


@pytest.mark.parametrize("count", [0, 1, 100])
async def test_the_framing_of_chunks_buys_no_time(count: int, autojump_clock: MockClock) -> None:
    sent = chunked_head() + b"1;extension=value\r\nx\r\n" * count
    assert await until_408(Hasty, sent) == pytest.approx(10 + count / 100)


async def test_time_in_which_the_application_does_not_wait_for_the_body_is_not_counted(
    autojump_clock: MockClock,
) -> None:
    """It waits for 4 seconds, is busy for 1000, and so on; in the third wait its client has 2 seconds left."""
    failed_at = []

    class Busy(Hasty):
        async def handle_request(self, request: Request) -> Response:
            try:
                async for _ in request.stream():
                    await trio.sleep(1000)
            except HTTPError:
                failed_at.append(trio.current_time())
                raise
            return Response()

    async with connected(Busy) as client:
        await client.send_all(get("/", "Content-Length: 3", method="POST"))
        for _ in range(2):
            await trio.sleep(4)
            await client.send_all(b"x")
            await trio.sleep(1000)
        (answer,) = answers(await read_to_end(client))
    assert answer.status == 408
    assert failed_at == [pytest.approx(2 * 1004 + 2 + 2 / 100)]


async def test_waits_that_the_application_gives_up_are_counted(autojump_clock: MockClock) -> None:
    class Impatient(Hasty):
        async def handle_request(self, request: Request) -> Response:
            for _ in range(4):
                with trio.move_on_after(3):
                    await request.read()
                await trio.sleep(20)
            return Response()

    assert await until_408(Impatient, get("/", "Content-Length: 3", method="POST")) == pytest.approx(3 * 23 + 1)


async def test_a_body_that_stalls_when_much_has_come_is_cut_by_idle_timeout(autojump_clock: MockClock) -> None:
    """A megabyte would have bought it half an hour."""
    async with connected() as client:
        await client.send_all(get("/", f"Content-Length: {2**20}", method="POST"))
        await trio.sleep(5)
        await client.send_all(bytes(2**20 - 1))
        (answer,) = answers(await read_to_end(client))
        assert trio.current_time() == 5 + 60
    assert (answer.status, answer.text) == (408, "the body took too long\n")


async def test_time_in_which_the_application_does_not_wait_is_not_idle(autojump_clock: MockClock) -> None:
    """It gives up waiting after 10 seconds, is busy for 100, and waits again: for 5 seconds in all."""

    async def app(request: Request) -> Response:
        with trio.move_on_after(10):
            await request.read()
        await trio.sleep(100)
        return Response(200, await request.read())

    async with connected(app) as client:
        await client.send_all(get("/", "Content-Length: 4", method="POST"))
        with trio.move_on_after(115):
            assert await client.receive_some() == b"", "the server did not wait"
        await client.send_all(b"body")
        (answer,) = answers(bytes(await client.receive_some()))
    assert (answer.status, answer.body) == (200, b"body")


async def test_without_limits_of_time_a_body_may_take_for_ever(autojump_clock: MockClock) -> None:
    class Endless(HTTPRequestHandler):
        body_timeout = math.inf
        min_body_rate = math.inf
        idle_timeout = math.inf

        async def handle_request(self, request: Request) -> Response:
            return await echo(request)

    async with connected(Endless) as client:
        await client.send_all(get("/", "Content-Length: 3", method="POST"))
        for _ in range(3):
            await trio.sleep(1000)
            await client.send_all(b"x")
        (answer,) = answers(bytes(await client.receive_some()))
    assert answer.text == "POST / 1.1 b'xxx'"


# ---------------------------------------------------------------- other limits of time


@pytest.mark.parametrize("fields", [{}, {"Content-Length": "99999999"}], ids=["chunked", "counted"])
async def test_a_client_that_does_not_read_a_streamed_response_is_given_up(
    fields: dict[str, str], autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    closed_at = []

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(1000)
        finally:
            closed_at.append(trio.current_time())

    async def app(_request: Request) -> Response:
        return Response(200, endless(), fields)

    client, server = lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(factory_of(app)(server).run)
        await client.send_all(get())
        await trio.sleep(5)
        await client.receive_some(1)
        while nursery.child_tasks:
            await trio.sleep(1)
            assert trio.current_time() < 100
    assert closed_at == [30]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("request_", "count"),
    [(post(b"body"), 1), (post_in_chunks(b"body"), 1), (get("/stream"), 1), (post(b"body") * 2, 2)],
)
@pytest.mark.parametrize("watches", [False, True])
async def test_idle_time_between_requests(
    watches: bool, request_: bytes, count: int, autojump_clock: MockClock
) -> None:
    """Whatever the last request was like, 60 seconds after its answer."""

    async def app(request: Request) -> Response:
        if watches:
            with trio.move_on_after(100):
                await request.disconnected()
        return Response(200, request.target) if request.target == "/" else Response(body=pieces(b"/", 50.0))

    async with connected(app) as client:
        await client.send_all(request_)
        assert [answer.body for answer in responses(await read_to_end(client))] == [b"/"] * count
        busy = count * 100 * watches + 50 * (request_ == get("/stream"))
        assert trio.current_time() == busy + 60


@each_framing
async def test_half_a_head_behind_a_request_has_its_own_30_seconds(framed: Framed, autojump_clock: MockClock) -> None:
    """They begin when the request before it is answered, and nothing but the head is waited for."""

    async def app(request: Request) -> Response:
        await trio.sleep(100)
        return await echo(request)

    async with connected(app) as client:
        await client.send_all(framed(b"body") + b"GET / HT")
        statuses = [answer.status for answer in answers(await read_to_end(client))]
        assert (statuses, trio.current_time()) == ([200, 408], 130)


# ---------------------------------------------------------------- max_requests


@pytest.mark.parametrize("count", [2, 3, 4, 5])
async def test_a_connection_brings_up_to_max_requests(count: int) -> None:
    class Limited(HTTPRequestHandler):
        max_requests = 3

        async def handle_request(self, request: Request) -> Response:
            return await blind(request)

    heard = await say(b"".join(get(f"/{number}") for number in range(count)), Limited)
    assert [answer.text for answer in heard] == ["/0", "/1", "/2"][:count]
    assert [answer.field("connection") for answer in heard] == [None, None, "close"][:count]


async def test_the_last_of_max_requests_ends_the_connection_at_once(autojump_clock: MockClock) -> None:
    class Limited(HTTPRequestHandler):
        max_requests = 2

        async def handle_request(self, request: Request) -> Response:
            return Response(body=pieces(request.target.encode()))

    async with connected(Limited) as client:
        raw = b""
        for target in ("/1", "/2"):
            await client.send_all(get(target))
            await wait_all_tasks_blocked()
            raw += await client.receive_some()
        assert await read_to_end(client) == b""
        assert trio.current_time() == 0
    heard = responses(raw)
    assert [(answer.text, answer.field("connection")) for answer in heard] == [("/1", None), ("/2", "close")]


async def test_any_number_of_requests() -> None:
    class Unlimited(HTTPRequestHandler):
        max_requests = None

        async def handle_request(self, request: Request) -> Response:
            return await blind(request)

    heard = answers(await talk([get() * 300], Unlimited))
    assert [answer.field("connection") for answer in heard] == [None] * 300


# ---------------------------------------------------------------- keep-alive, and each kind of response


async def pieces_of_text(*texts: str) -> AsyncGenerator[str, None]:
    for text in texts:
        yield text


KINDS: dict[str, Callable[[list[tuple[str, str]]], Response]] = {
    "empty": lambda fields: Response(200, b"", fields),
    "bytes": lambda fields: Response(200, b"body", fields),
    "text": lambda fields: Response(404, "body", fields),
    "streamed": lambda fields: Response(200, pieces(b"bo", b"dy"), fields),
    "streamed, nothing": lambda fields: Response(200, pieces(), fields),
    "streamed, of known length": lambda fields: Response(200, pieces(b"bo", b"dy"), [*fields, ("Content-Length", "4")]),
    "204": lambda fields: Response(204, b"", fields),
    "204, streamed": lambda fields: Response(204, pieces(b"body"), fields),
    "205": lambda fields: Response(205, b"", fields),
    "304": lambda fields: Response(304, b"body", fields),
    "events": lambda fields: EventSourceResponse(pieces_of_text("bo", "dy"), fields),
    "JSON": lambda fields: JSONResponse({}, 200, fields),
    "redirect": lambda fields: RedirectResponse("/", headers=fields),
}
BODIES = {
    **dict.fromkeys(("empty", "streamed, nothing", "204", "204, streamed", "205", "304", "redirect"), ""),
    "events": "data: bo\n\ndata: dy\n\n",
    "JSON": "{}",
}
WITHOUT_LENGTH = ("streamed", "streamed, nothing", "events")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("version", "options", "wants"),
    [
        ("HTTP/1.1", "x", True),
        ("HTTP/1.1", "close", False),
        ("HTTP/1.0", "x", False),
        ("HTTP/1.0", "keep-alive", True),
        ("HTTP/1.0", "keep-alive, close", False),
    ],
)
async def test_what_is_said_of_the_connection_is_done(kind: str, version: str, options: str, wants: bool) -> None:
    for said in ([], [("Connection", "close")], [("connection", "x, Close")]):
        goes_on = wants and not said and not (version == "HTTP/1.0" and kind in WITHOUT_LENGTH)

        async def app(request: Request, said: list[tuple[str, str]] = said) -> Response:
            return KINDS[kind](said) if request.target == "/" else Response(200, "second")

        for method in ("GET", "HEAD"):
            request = get("/", f"Connection: {options}", version=version, method=method) + get("/second")
            first, *others = responses(await talk([request], app), [method])
            assert first.text == (BODIES.get(kind, "body") if method == "GET" else "")
            assert [answer.text for answer in others] == (["second"] if goes_on else [])
            lines = ",".join(first.headers.get("connection", [])).lower()
            assert ("close" in lines) is not goes_on
            assert ("keep-alive" in lines) is (goes_on and version == "HTTP/1.0")
            if version == "HTTP/1.0":
                assert first.field("transfer-encoding") is None  # RFC 9112, section 6.1


# ---------------------------------------------------------------- a server that stops


@each_framing
async def test_a_server_that_stops_waits_for_the_body(framed: Framed, autojump_clock: MockClock) -> None:
    request = framed(b"body")
    async with running(echo, request[:-8]) as (client, handler):
        handler.close_when_idle()
        await trio.sleep(5)
        await client.send_all(request[-8:] + get("/2"))
        (answer,) = answers(await read_to_end(client))
        assert trio.current_time() == 5
    assert (answer.text, answer.field("connection")) == ("POST / 1.1 b'body'", "close")


@pytest.mark.parametrize("fields", [{}, {"Content-Length": "4"}], ids=["chunked", "counted"])
async def test_a_server_that_stops_streams_to_the_end(fields: dict[str, str], autojump_clock: MockClock) -> None:
    """The head that was sent could not say that the connection closes."""

    async def app(_request: Request) -> Response:
        return Response(200, pieces(b"bo", 5.0, b"dy"), fields)

    async with running(app, get()) as (client, handler):
        handler.close_when_idle()
        (answer,) = responses(await read_to_end(client))
        assert trio.current_time() == 5
    assert (answer.text, answer.field("connection")) == ("body", None)


async def test_a_server_that_stops_before_a_response_is_streamed_says_so(autojump_clock: MockClock) -> None:
    async def app(_request: Request) -> Response:
        await trio.sleep(5)
        return Response(body=pieces(b"body"))

    async with running(app, get() + get("/2")) as (client, handler):
        handler.close_when_idle()
        (answer,) = responses(await read_to_end(client))
        assert trio.current_time() == 5
    assert (answer.text, answer.field("connection")) == ("body", "close")


async def test_a_server_that_stops_while_it_streams_answers_what_has_come_already(autojump_clock: MockClock) -> None:
    """Its client has not been told that the connection closes, and may think that the next request was accepted."""

    async def app(request: Request) -> Response:
        return Response(body=pieces(request.target.encode(), 5.0))

    async with running(app, get("/1") + get("/2") + get("/3")) as (client, handler):
        handler.close_when_idle()
        heard = responses(await read_to_end(client))
        assert trio.current_time() == 10
    assert [(answer.text, answer.field("connection")) for answer in heard] == [("/1", None), ("/2", "close")]


async def test_a_server_that_stops_while_it_drops_a_rest(autojump_clock: MockClock) -> None:
    async with running(blind, get("/", "Content-Length: 4")) as (client, handler):
        handler.close_when_idle()
        await trio.sleep(1)
        await client.send_all(b"body" + get("/2"))
        (answer,) = answers(await read_to_end(client))
        assert trio.current_time() == 1
    assert (answer.text, answer.field("connection")) == ("/", "close")


async def test_a_stop_is_no_disconnection(autojump_clock: MockClock) -> None:
    async def app(request: Request) -> Response:
        with trio.move_on_after(5) as scope:
            await request.disconnected()
        return Response(200, str(scope.cancelled_caught))

    async with running(app, get()) as (client, handler):
        handler.close_when_idle()
        (answer,) = answers(await read_to_end(client))
    assert answer.text == "True"


@pytest.mark.parametrize("busy", ["handling", "receiving", "streaming"])
async def test_serve_stops_when_the_requests_are_answered(busy: str, nursery: trio.Nursery) -> None:
    stop, begun, go_on, stopped = trio.Event(), trio.Event(), trio.Event(), trio.Event()

    async def content() -> AsyncGenerator[bytes, None]:
        yield b"bo"
        begun.set()
        await go_on.wait()
        yield b"dy"

    async def app(request: Request) -> Response:
        if busy == "streaming":
            return Response(body=content())
        begun.set()
        if busy == "handling":
            await go_on.wait()
        return Response(200, await request.read())

    async def serving(task_status: trio.TaskStatus[Any]) -> None:
        await serve(app, 0, stop=stop, task_status=task_status)
        stopped.set()

    (listener,) = await nursery.start(serving)
    port = listener.socket.getsockname()[1]
    with trio.fail_after(10):
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            request = post(b"body")
            await client.send_all(request[:-2] if busy == "receiving" else request)
            await begun.wait()
            stop.set()
            await wait_until_refused(port)
            go_on.set()
            if busy == "receiving":
                await client.send_all(request[-2:])
            (answer,) = responses(await read_to_end(client))
        await stopped.wait()
    assert (answer.text, answer.field("connection")) == ("body", None if busy == "streaming" else "close")


async def wait_until_refused(port: int) -> None:
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return
        await stream.aclose()
        await trio.lowlevel.checkpoint()


# ---------------------------------------------------------------- pipelining


async def test_ten_thousand_requests_in_one_write_are_answered_in_order() -> None:
    """To a client that reads while it writes, over a stream without a buffer: neither end has to hold them."""
    count, most = 10_000, 0

    class Noting(HTTPRequestHandler):
        def handle_request(self, request: Request) -> Response:
            nonlocal most
            most = max(most, self.queued_bytes)
            return Response(200, f"<{request.target}>")

    raw = bytearray()

    async def receive() -> None:
        async for chunk in client:
            raw.extend(chunk)

    client, server = lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Noting(server).run)
        nursery.start_soon(receive)
        await client.send_all(b"".join(get(f"/{number}") for number in range(count)))
        await client.send_eof()
    assert re.findall(rb"<(.*?)>", raw) == [b"/%d" % number for number in range(count)]
    assert raw.count(b"HTTP/1.1 200 OK\r\n") == count
    assert most < 65536 + 1000


# ---------------------------------------------------------------- disconnected()


class Watching:
    """An application that waits until the client is gone, and then reads the body and answers."""

    def __init__(self) -> None:
        self.told: list[float] = []

    async def __call__(self, request: Request) -> Response:
        if request.target != "/":
            return Response(200, request.target)
        await request.disconnected()
        self.told.append(trio.current_time())
        return Response(200, await request.read())


BEHIND = {
    "nothing": (get(), [b""]),
    "a request": (get() + get("/2"), [b"", b"/2"]),
    "many requests": (get() + get("/2") * 100, [b"", *[b"/2"] * 100]),
    "60 kB": (get() + get("/2", "X: " + "x" * 20_000) * 3, [b"", *[b"/2"] * 3]),
    "a body": (post(b"body"), [b"body"]),
    "chunks": (post_in_chunks(b"body and"), [b"body and"]),
    "a body and a request": (post(b"body") + get("/2"), [b"body", b"/2"]),
}


@pytest.mark.parametrize("behind", BEHIND)
async def test_disconnected_returns_when_the_client_ends_its_side_and_the_answers_are_sent(
    behind: str, autojump_clock: MockClock
) -> None:
    sent, bodies = BEHIND[behind]
    for at in (len(sent), len(get()), len(sent) - 3):
        app = Watching()
        began = trio.current_time()
        async with running(app, sent[:at]) as (client, _):
            await trio.sleep(10)
            await client.send_all(sent[at:])
            await trio.sleep(10)
            assert app.told == []
            await client.send_eof()
            assert [answer.body for answer in answers(await read_to_end(client))] == bodies
        assert app.told == [began + 20]


@pytest.mark.parametrize("behind", BEHIND)
async def test_disconnected_returns_when_the_connection_is_reset(
    behind: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    app = Watching()
    client, inner = memory_stream_pair()
    server = BreakingStream(inner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(factory_of(app)(server).run)
        await client.send_all(BEHIND[behind][0])
        await trio.sleep(10)
        assert app.told == []
        server.break_now()
    assert app.told == [10]
    assert caplog.records == []


async def test_disconnected_returns_at_once_when_the_client_has_ended_its_side_before(
    autojump_clock: MockClock,
) -> None:
    assert [answer.body for answer in answers(await talk([get() + post(b"x")], Watching()))] == [b"", b"x"]
    assert trio.current_time() == 0


async def test_disconnected_returns_when_the_server_closes_the_connection(autojump_clock: MockClock) -> None:
    app = Watching()
    async with running(app, get()) as (client, handler):
        await trio.sleep(10)
        handler.close()
        assert await read_to_end(client) == b""
    assert app.told == [10]


async def test_disconnected_returns_when_the_client_does_not_read_and_is_given_up(autojump_clock: MockClock) -> None:
    """`write_timeout` after the answer before could not be sent; the client says nothing, and does not close."""
    told = []

    async def app(request: Request) -> Response:
        if request.target == "/large":
            return Response(200, bytes(30_000))
        await request.disconnected()
        told.append(trio.current_time())
        return Response()

    client, server = lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(factory_of(app)(server).run)
        await client.send_all(get("/large") + get())
        with trio.move_on_after(1000):
            while nursery.child_tasks:
                await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert told == [30]


@pytest.mark.parametrize("size", [1000, 65_000, 66_000, 100_000, 131_000, 132_000, 200_000, 1_000_000])
@each_framing
async def test_disconnected_sees_the_end_behind_a_body_that_was_read_meanwhile(
    framed: Framed, size: int, autojump_clock: MockClock
) -> None:
    told = []

    async def app(request: Request) -> Response:
        async def watch() -> None:
            await request.disconnected()
            told.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await trio.sleep(1)
            count = len(await request.read())
            await trio.sleep(100)
            nursery.cancel_scope.cancel()
        return Response(200, str(count))

    async with running(app, framed(bytes(size))) as (client, _):
        await trio.sleep(10)
        await client.send_eof()
        (answer,) = answers(await read_to_end(client))
    assert (answer.text, told) == (str(size), [10])


async def test_an_end_behind_64_kib_of_requests_is_not_seen_and_none_of_them_is_lost(
    autojump_clock: MockClock,
) -> None:
    async def app(request: Request) -> Response:
        if request.target != "/":
            return Response(200, request.target)
        with trio.move_on_after(10) as scope:
            await request.disconnected()
        return Response(200, str(scope.cancelled_caught))

    further = [get(f"/{number}", "X: " + "x" * 10_000) for number in range(30)]
    texts = [answer.text for answer in answers(await talk([get(), *further], app))]
    assert texts == ["True", *(f"/{number}" for number in range(30))]


@pytest.mark.parametrize("end", ["eof", "reset"])
async def test_work_that_is_in_vain_can_be_cancelled(
    end: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """As the docstring of `disconnected` proposes."""
    ended_at = []

    async def app(request: Request) -> Response:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await request.disconnected()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            try:
                await trio.sleep(1000)
            finally:
                ended_at.append(trio.current_time())
        return Response(200, "in vain")

    client, inner = memory_stream_pair()
    server = BreakingStream(inner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(factory_of(app)(server).run)
        await client.send_all(get())
        await trio.sleep(10)
        if end == "eof":
            await client.send_eof()
            (answer,) = answers(await read_to_end(client))
            assert answer.text == "in vain"
        else:
            server.break_now()
    assert ended_at == [10]
    assert caplog.records == []


@each_framing
async def test_a_client_that_is_watched_loses_nothing(framed: Framed, autojump_clock: MockClock) -> None:
    """The watch is kept before, while and after the body is read, and given up with the answer."""

    async def app(request: Request) -> Response:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(request.disconnected)
            await trio.sleep(1)
            content = await request.read()
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        return Response(200, content)

    heard = await hear(framed(b"one body") + framed(b"two") + get() + framed(b"three"), app)
    assert [answer.body for answer in heard] == [b"one body", b"two", b"", b"three"]


async def test_a_streamed_response_may_last_until_the_client_is_gone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """That it ends, then, is no error, whether the client has ended its side or reset the connection."""
    ended = []

    async def app(request: Request) -> Response:
        async def content() -> AsyncGenerator[bytes, None]:
            yield b"begun"
            await request.disconnected()
            ended.append(trio.current_time())

        return Response(body=content())

    async with running(app, get()) as (client, _):
        await trio.sleep(10)
        await client.send_eof()
        (answer,) = responses(await read_to_end(client))
    assert answer.body == b"begun"
    client, inner = memory_stream_pair()
    server = BreakingStream(inner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(factory_of(app)(server).run)
        await client.send_all(get())
        await trio.sleep(10)
        server.break_now()
    assert ended == [10, 20]
    assert caplog.records == []


# ---------------------------------------------------------------- background tasks


async def test_the_nursery_is_there_only_if_the_handler_says_that_it_uses_it() -> None:
    answers: list[str] = []

    class Careless(HTTPRequestHandler):
        async def handle_request(self, request: Request) -> Response:
            try:
                self.nursery.start_soon(trio.sleep_forever)
            except RuntimeError as exc:
                answers.append(str(exc))
            return Response(204)

    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Careless(server).run)
        await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await client.receive_some()).startswith(b"HTTP/1.1 204 ")
        await client.aclose()
    assert answers == ["to have background tasks, set uses_nursery = True in Careless"]


async def test_a_background_task_may_watch_all_requests_of_a_connection(autojump_clock: MockClock) -> None:
    ended: list[float] = []

    class Watched(HTTPRequestHandler):
        uses_nursery = True

        def handle_connect(self) -> None:
            self.nursery.start_soon(self.watch)

        async def watch(self) -> None:
            await self.wait_eof()
            ended.append(trio.current_time())

        async def handle_request(self, request: Request) -> Response:
            await trio.sleep(1)
            return await echo(request)

    texts = [answer.text for answer in await hear(post(b"one") + post_in_chunks(b"two") + get(), Watched)]
    assert texts == ["POST / 1.1 b'one'", "POST / 1.1 b'two'", "GET / 1.1 b''"]
    assert ended
    ended.clear()
    began = trio.current_time()
    async with connected(Watched) as client:
        await client.send_all(get())
        assert len(answers(await read_to_end(client))) == 1
        assert trio.current_time() == began + 1 + 60
    assert ended == []


async def test_a_background_task_of_a_request_lives_as_long_as_the_connection(autojump_clock: MockClock) -> None:
    log: list[tuple[str, float]] = []

    class Working(HTTPRequestHandler):
        uses_nursery = True

        async def handle_request(self, request: Request) -> Response:
            self.nursery.start_soon(self.work, request.target)
            return Response(202)

        async def work(self, target: str) -> None:
            try:
                await trio.sleep(10 if target == "/short" else math.inf)
                log.append((target, trio.current_time()))
            except trio.Cancelled:
                log.append(("cancelled", trio.current_time()))
                raise

    async with running(Working, get("/short") + get("/long")) as (client, _):
        await trio.sleep(20)
        await client.send_all(get("/short"))
        await trio.sleep(20)
        await client.send_eof()
        assert [answer.status for answer in answers(await read_to_end(client))] == [202] * 3
    assert log == [("/short", 10), ("/short", 30), ("cancelled", 40)]


# ---------------------------------------------------------------- over sockets

_AUTHORITY = trustme.CA()
_CERTIFICATE = _AUTHORITY.issue_cert("127.0.0.1")


def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _CERTIFICATE.configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    _AUTHORITY.configure_trust(context)
    return context


@asynccontextmanager
async def over(transport: str, app: App) -> AsyncIterator[tuple[trio.abc.Stream, trio.SocketStream]]:
    """A client of a server over TCP or TLS: its stream, and the one below it. The server has ended when this has."""
    stop = trio.Event()
    context = server_context() if transport == "TLS" else None
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(serve, app, 0, ssl_context=context, stop=stop))
            port = getattr(listener, "transport_listener", listener).socket.getsockname()[1]
            tcp = await trio.open_tcp_stream("127.0.0.1", port)
            stream: trio.abc.Stream = tcp
            if transport == "TLS":
                stream = trio.SSLStream(tcp, client_context(), server_hostname="127.0.0.1", https_compatible=True)
            async with stream:
                yield stream, tcp
            stop.set()


@pytest.mark.parametrize(("transport", "scheme"), [("TCP", "http"), ("TLS", "https")])
async def test_addresses_and_scheme(transport: str, scheme: str) -> None:
    told: list[object] = []

    async def app(request: Request) -> Response:
        told.append((request.client, request.server, request.scheme))
        return Response()

    async with over(transport, app) as (stream, tcp):
        for _ in range(2):
            await stream.send_all(get())
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        assert told == [(tcp.socket.getsockname(), tcp.socket.getpeername(), scheme)] * 2


@pytest.mark.parametrize(("transport", "scheme"), [("TCP", "http"), ("TLS", "https")])
async def test_the_scheme_is_the_same_after_an_upgrade(transport: str, scheme: str) -> None:
    async def app(request: Request) -> None:
        await (await request.upgrade("echo")).send_all(request.scheme.encode())

    async with over(transport, app) as (stream, _):
        await stream.send_all(get("/", "Connection: upgrade", "Upgrade: echo"))
        received = b""
        while data := await stream.receive_some():
            received += data
        assert received.partition(b"\r\n\r\n")[2] == scheme.encode()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6 here")
async def test_addresses_over_ipv6(nursery: trio.Nursery) -> None:
    async def app(request: Request) -> Response:
        assert isinstance(request.client, tuple)
        assert isinstance(request.server, tuple)
        return Response(200, f"{request.client[:2]} {request.server[:2]} {request.host}")

    (listener,) = await nursery.start(partial(serve, app, 0, host="::1"))
    port = listener.socket.getsockname()[1]
    async with await trio.open_tcp_stream("::1", port) as stream:
        await stream.send_all(get(host=f"Host: [::1]:{port}"))
        (answer,) = answers(bytes(await stream.receive_some()))
        ours = stream.socket.getsockname()[:2]
    assert answer.text == f"{ours} ('::1', {port}) [::1]:{port}"


@pytest.mark.parametrize("transport", ["TCP", "TLS"])
@each_framing
@pytest.mark.parametrize("status", [200, 413])
async def test_a_client_that_sends_10_mb_before_it_reads_gets_the_answer_and_no_reset(
    transport: str, framed: Framed, status: int
) -> None:
    async def app(request: Request) -> Response:
        return Response(200, b"unread" if status == 200 else await request.read())

    async with over(transport, app) as (stream, _):
        await stream.send_all(framed(bytes(10_000_000)))
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += await stream.receive_some()
        assert raw.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nConnection: close\r\n" in raw
        async for chunk in stream:
            raw += chunk
    (answer,) = answers(raw)
    assert answer.text == ("unread" if status == 200 else "Content Too Large\n")


@pytest.mark.parametrize("transport", ["TCP", "TLS"])
@pytest.mark.parametrize("end", ["end", "reset"])
@pytest.mark.parametrize("reads", ["read", "stream", "disconnected", "not at all"])
async def test_a_client_that_goes_away_is_no_error_of_the_server(
    reads: str, end: str, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun, ended = trio.Event(), trio.Event()

    async def app(request: Request) -> Response:
        begun.set()
        try:
            if reads == "read":
                await request.read()
            elif reads == "stream":
                async for _ in request.stream():
                    pass
            elif reads == "disconnected":
                await request.disconnected()
        finally:
            ended.set()
        return Response()

    async with over(transport, app) as (stream, tcp):
        await stream.send_all(post(b"body")[:-2])
        await begun.wait()
        if end == "reset":
            tcp.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(stream)
        await ended.wait()
    assert caplog.records == []
