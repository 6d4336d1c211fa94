"""What a review has found and was mended, each seen from outside: on the wire, in the logs, in what is closed."""

import codecs
import io
import json
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pytest
import trio
from form_bodies import END, MULTIPART, URLENCODED, upload
from http_answers import CUT_OFF, errors, read_answer, read_answers
from http_talk import (
    Client,
    answers,
    connected,
    factory_of,
    get,
    is_open,
    no_threads_left,
    post,
    read_to_end,
    say_once,
    talk,
)
from http_wire import Framed, chunked, chunked_head, framing_name, hear, hear_one, post_in_chunks, responses
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from trio_chat.http import (
    AccessEntry,
    App,
    EventSourceResponse,
    FileResponse,
    FormFile,
    FormLimits,
    HTTPError,
    HTTPRequestHandler,
    Request,
    Response,
)
from trio_chat.testing import BreakingStream

ASKING = get("/", "Upgrade: echo", "Connection: Upgrade")
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"

Raises: TypeAlias = Callable[[Request], Awaitable[object]]

each_framing = pytest.mark.parametrize("framed", [post, post_in_chunks], ids=framing_name)


def noting(app: App) -> tuple[type[HTTPRequestHandler], list[AccessEntry]]:
    """A handler with this application, and what it will have noted of its requests."""
    entries: list[AccessEntry] = []

    class Noting(HTTPRequestHandler):
        def handle_request(self, request: Request) -> Awaitable[Response | None]:
            return app(request)

        def log_request(self, entry: AccessEntry) -> None:
            entries.append(entry)

    return Noting, entries


def logged_exceptions(caplog: pytest.LogCaptureFixture) -> list[BaseException | None]:
    return [record.exc_info[1] for record in caplog.records if record.exc_info]


# ---------------------------------------------------------------- errors out of nurseries


async def read_and_watch(request: Request) -> Response:
    """As the docstring of `disconnected` proposes; what `read` raises comes in a group."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(request.disconnected)
        content = await request.read(10)
        nursery.cancel_scope.cancel()
    return Response(200, content)


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        (post(b"x" * 10), 200, b"x" * 10),
        (post(b"x" * 11), 413, b"Content Too Large\n"),
        (post_in_chunks(b"x" * 11), 413, b"Content Too Large\n"),
        (chunked_head() + b"z\r\n", 400, b"invalid chunk size\n"),
        (chunked_head() + b"1\r\nxyz", 400, b"a chunk is longer than its size\n"),
        (post(b"x" * 9)[:-1], 400, b"the request is not complete\n"),
        (chunked_head() + b"5\r\nabc", 400, b"the request is not complete\n"),
    ],
    ids=["fits", "too long", "too long in chunks", "no size", "long chunk", "disconnected", "disconnected in a chunk"],
)
async def test_what_is_wrong_with_a_body_is_answered_out_of_a_nursery_too(
    request_: bytes, status: int, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer, *_ = await hear(request_, read_and_watch)
    assert (answer.status, answer.body) == (status, body)
    assert errors(caplog) == []


async def test_a_slow_body_is_408_out_of_a_nursery_too(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(read_and_watch) as client:
        await client.send_all(post(b"x" * 9)[:-1])
        (answer,) = answers(await read_to_end(client))
    assert (answer.status, answer.field("connection")) == (408, "close")
    assert errors(caplog) == []


def raising(make: Callable[[], BaseException]) -> App:
    async def app(_request: Request) -> Response:
        raise make()

    return app


async def out_of_nurseries(depth: int, exc: Exception) -> None:
    if depth == 0:
        await trio.lowlevel.checkpoint()
        raise exc
    async with trio.open_nursery() as nursery:
        nursery.start_soon(out_of_nurseries, depth - 1, exc)


@pytest.mark.parametrize("depth", [0, 1, 3])
async def test_an_error_keeps_its_fields_however_deep_the_nursery(depth: int, caplog: pytest.LogCaptureFixture) -> None:
    async def app(_request: Request) -> Response:
        await out_of_nurseries(depth, HTTPError(405, "no", {"Allow": "GET"}))
        return Response(200, "not reached")

    first, second = await say_once(get() * 2, app)
    assert (first.status, first.text, first.field("allow")) == (405, "no\n", "GET")
    assert second == first
    assert errors(caplog) == []


NOT_FOUND, CONFLICT = HTTPError(404), HTTPError(409)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExceptionGroup("", [NOT_FOUND, CONFLICT]),
        lambda: ExceptionGroup("", [ExceptionGroup("", [NOT_FOUND]), CONFLICT]),
        lambda: ExceptionGroup("", [ExceptionGroup("", [NOT_FOUND, CONFLICT])]),
    ],
)
async def test_of_several_errors_the_first_is_the_answer(
    make: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await say_once(get() * 2, raising(make))
    assert (first.status, second.status) == (404, 404)
    assert errors(caplog) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExceptionGroup("", [NOT_FOUND, ValueError("ours")]),
        lambda: ExceptionGroup("", [ValueError("ours"), NOT_FOUND]),
        lambda: ExceptionGroup("", [NOT_FOUND, ExceptionGroup("", [CONFLICT, ValueError("ours")])]),
    ],
)
async def test_an_error_does_not_hide_a_fault_that_comes_with_it(
    make: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    (answer,) = await say_once(get(), raising(make))
    assert (answer.status, answer.text) == (500, "Internal Server Error\n")
    assert errors(caplog) == ["trio_chat.http: no answer to GET / from None"]
    (logged,) = logged_exceptions(caplog)
    assert isinstance(logged, ExceptionGroup)
    assert logged.subgroup(ValueError) is not None


async def test_an_error_out_of_the_generator_before_the_head_is_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_request: Request) -> Response:
        async def content() -> AsyncGenerator[bytes, None]:
            await out_of_nurseries(2, HTTPError(404, "gone"))
            yield b"not reached"

        return Response(200, content())

    first, second = await say_once(get() * 2, app)
    assert (first.status, first.text) == (second.status, second.text) == (404, "gone\n")
    assert errors(caplog) == []


async def raises_at_once(_request: Request) -> None:
    raise HTTPError(404)


async def raises_out_of_a_nursery(_request: Request) -> None:
    await out_of_nurseries(2, HTTPError(404))


async def reads(request: Request) -> None:
    await request.read()


@pytest.mark.parametrize(
    ("raises", "request_"),
    [
        (raises_at_once, get()),
        (raises_out_of_a_nursery, get()),
        (reads, chunked_head() + b"z\r\n"),
        (reads, chunked_head() + b"5\r\nab"),
    ],
)
async def test_an_error_among_events_cuts_them_off_without_a_traceback(
    raises: Raises, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_chat.http")

    async def app(request: Request) -> Response:
        async def events() -> AsyncGenerator[str, None]:
            yield "one"
            await raises(request)
            yield "two"

        return EventSourceResponse(events())

    answer = read_answer(await talk([request_], app))
    assert (answer.status, answer.body, answer.complete) == (200, b"data: one\n\n", False)
    assert errors(caplog) == []
    assert logged_exceptions(caplog) == []
    (told,) = [record.getMessage() for record in caplog.records if record.name == "trio_chat.http"]
    assert "was cut off: 40" in told


async def test_a_fault_among_events_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The counterpart of the test before."""

    async def app(_request: Request) -> Response:
        async def events() -> AsyncGenerator[str, None]:
            yield "one"
            raise ValueError("ours")

        return EventSourceResponse(events())

    answer = read_answer(await talk([get()], app))
    assert (answer.body, answer.complete) == (b"data: one\n\n", False)
    assert errors(caplog) == CUT_OFF
    assert len(logged_exceptions(caplog)) == 1


# ---------------------------------------------------------------- forms, and what has been taken of the body


FORM = b"a=1&b=2&c=3"


async def in_two(app: App, body: bytes = FORM, at: int = 4) -> list[Any]:
    """The answers to a form of which the rest comes a second after the beginning, and to a request behind it."""
    async with connected(app) as client:
        request = post(body, f"Content-Type: {URLENCODED}")
        cut = len(request) - len(body) + at
        await client.send_all(request[:cut])
        await trio.sleep(1)
        await client.send_all(request[cut:] + post(b"d=4", f"Content-Type: {URLENCODED}", target="/2"))
        await client.send_eof()
        return answers(await read_to_end(client))


async def form_of_the_second(request: Request) -> Response:
    return Response(200, repr((await request.form()).pairs()))


@pytest.mark.parametrize("at", [4, len(FORM)])
async def test_no_form_is_made_of_what_a_stream_has_left(
    at: int, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(request: Request) -> Response:
        if request.target != "/":
            return await form_of_the_second(request)
        await anext(request.stream())
        return Response(200, repr((await request.form()).pairs()))

    first, second = await in_two(app, at=at)
    assert (first.status, first.text) == (500, "Internal Server Error\n")
    assert (second.status, second.text) == (200, "[('d', '4')]")
    (logged,) = logged_exceptions(caplog)
    assert isinstance(logged, RuntimeError)
    assert len(errors(caplog)) == 1


async def test_a_form_that_is_refused_takes_nothing(autojump_clock: MockClock) -> None:
    async def app(request: Request) -> Response:
        if request.target != "/":
            return await form_of_the_second(request)
        taken = [await anext(request.stream())]
        with pytest.raises(RuntimeError):
            await request.form()
        taken += [piece async for piece in request.stream()]
        return Response(200, b"|".join(taken))

    first, _ = await in_two(app)
    assert first.body == b"a=1&|b=2&c=3"


async def test_no_form_is_made_of_what_a_cancelled_one_has_left(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    cancelled = []

    async def app(request: Request) -> Response:
        if request.target != "/":
            return await form_of_the_second(request)
        with trio.move_on_after(0.5) as scope:
            await request.form()
        cancelled.append(scope.cancelled_caught)
        return Response(200, repr((await request.form()).pairs()))

    first, second = await in_two(app)
    assert (first.status, second.text, cancelled) == (500, "[('d', '4')]", [True])
    (logged,) = logged_exceptions(caplog)
    assert isinstance(logged, RuntimeError)


async def test_a_form_that_was_cancelled_before_anything_came_can_be_read(autojump_clock: MockClock) -> None:
    async def app(request: Request) -> Response:
        if request.target == "/":
            with trio.move_on_after(0.5) as scope:
                await request.form()
            assert scope.cancelled_caught
        return await form_of_the_second(request)

    first, _ = await in_two(app, at=0)
    assert first.text == "[('a', '1'), ('b', '2'), ('c', '3')]"


async def test_a_body_cannot_be_read_behind_its_form(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request) -> Response:
        await request.form()
        return Response(200, await request.read())

    answer = await hear_one(post(FORM, f"Content-Type: {URLENCODED}"), app)
    assert answer.status == 500
    assert {type(exc) for exc in logged_exceptions(caplog)} == {RuntimeError}


@each_framing
async def test_a_form_can_be_made_of_a_body_that_was_read(framed: Framed) -> None:
    async def app(request: Request) -> Response:
        content = await request.read()
        form = await request.form()
        assert await request.form() is form
        assert await request.read() == content
        return Response(200, repr((content, form.pairs())))

    answer = await hear_one(framed(b"a=1&b=2", f"Content-Type: {URLENCODED}"), app)
    assert (answer.status, answer.text) == (200, "(b'a=1&b=2', [('a', '1'), ('b', '2')])")


# ---------------------------------------------------------------- closing, when there are no threads left


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.mark.parametrize("cancelled", [False, True])
async def test_the_body_of_a_file_is_closed_without_a_thread_of_the_default_limiter(
    cancelled: bool, path: Path
) -> None:
    async def app(request: Request) -> Response:
        response = await FileResponse(path).resolve(request)
        assert is_open(path)
        with no_threads_left(), trio.fail_after(5), trio.CancelScope() as scope:
            if cancelled:
                scope.cancel()
            await response.aclose()
        return Response(200, str(is_open(path)))

    (answer,) = await say_once(get(), app)
    assert (answer.status, answer.text) == (200, "False")


async def test_a_connection_goes_on_behind_a_file_without_a_thread_of_the_default_limiter(path: Path) -> None:
    """To a HEAD the file is not read, but opened by the application, and closed by the server."""
    with ExitStack() as stack:

        async def app(request: Request) -> Response:
            if request.target == "/2":
                return Response(200, str(is_open(path)))
            response = await FileResponse(path).resolve(request)
            stack.enter_context(no_threads_left())
            return response

        with trio.fail_after(5):
            raw = await talk([get(method="HEAD") + get("/2")], app)
    first, second = answers(raw, ["HEAD"])
    assert (first.status, first.field("content-length"), second.text) == (200, "7", "False")


async def test_the_files_of_a_form_are_closed_without_a_thread_of_the_default_limiter() -> None:
    files: list[FormFile] = []
    with ExitStack() as stack:

        async def app(request: Request) -> Response:
            if request.target == "/2":
                return Response(200, str(files[0].file.closed))
            form = await request.form(FormLimits(spool_bytes=0))
            files.append(form.files["f"])
            assert not isinstance(files[0].file, io.BytesIO)
            stack.enter_context(no_threads_left())
            return Response()

        body = upload("f", "x", b"on disk") + END
        with trio.fail_after(5):
            first, second = await say_once(post(body, f"Content-Type: {MULTIPART}") + get("/2"), app)
    assert (first.status, second.text) == (200, "True")


# ---------------------------------------------------------------- faults at the end of a request


class FailsToLog(HTTPRequestHandler):
    max_frame_bytes = 1000

    async def handle_request(self, request: Request) -> Response:
        return Response()

    def log_request(self, entry: AccessEntry) -> None:
        raise OSError("the disk is full")


@pytest.mark.parametrize(
    ("request_", "statuses"),
    [
        (b"\x16\x03\x01", [400]),
        (get(host=""), [400]),
        (get(version="HTTP/2.0"), [505]),
        (b"GET / HT", [400]),
        (get("/", "X: " + "x" * 1000), [431]),
        (get("/" + "x" * 1000), [414]),
    ],
    ids=["no HTTP", "no Host", "version", "incomplete", "long head", "long target"],
)
async def test_an_access_log_that_fails_for_what_is_no_request(
    request_: bytes, statuses: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, and does not leave `run`."""
    assert [answer.status for answer in await say_once(request_, FailsToLog)] == statuses
    assert errors(caplog) == ["trio_chat.http: the access log failed"]
    assert [str(exc) for exc in logged_exceptions(caplog)] == ["the disk is full"]


async def test_an_access_log_that_fails_for_a_head_that_takes_too_long(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(FailsToLog) as client:
        await client.send_all(b"GET / HT")
        (answer,) = answers(await read_to_end(client))
    assert answer.status == 408
    assert errors(caplog) == ["trio_chat.http: the access log failed"]


async def test_an_access_log_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert [answer.status for answer in await say_once(get() * 3, FailsToLog)] == [200, 200, 200]
    assert errors(caplog) == ["trio_chat.http: the access log failed"] * 3


class FailsOnce(io.BytesIO):
    """Its first `close` fails."""

    failed = False

    def close(self) -> None:
        if not self.failed:
            self.failed = True
            raise OSError("could not be written")
        super().close()


def on_a_full_disk() -> BinaryIO:
    """What is in its buffer cannot be written when it is closed."""
    file = open("/dev/full", "wb")  # noqa: SIM115
    file.write(b"x")
    return file


@pytest.mark.parametrize(
    "make",
    [
        FailsOnce,
        pytest.param(
            on_a_full_disk, marks=pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
        ),
    ],
)
async def test_files_of_a_form_that_cannot_be_closed(
    make: Callable[[], BinaryIO], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; the other files are closed, the request is noted, the connection goes on."""
    others: list[FormFile] = []

    async def app(request: Request) -> Response:
        if request.target == "/2":
            return Response()
        form = await request.form(FormLimits(spool_bytes=2))
        others.extend([form.files["before"], form.files["behind"]])
        form.files["f"].file = make()
        return Response(200, "taken")

    handler, entries = noting(app)
    names = ["before", "f", "behind"]
    body = b"".join(upload(name, "x", b"on disk" if name == "behind" else b"x") for name in names) + END
    first, second = await say_once(post(body, f"Content-Type: {MULTIPART}") + get("/2"), handler)
    assert (first.status, first.text, second.status) == (200, "taken", 200)
    assert errors(caplog) == ["trio_chat.http: the files of <Request POST /> could not be closed"]
    assert [isinstance(exc, OSError) for exc in logged_exceptions(caplog)] == [True]
    assert [file.file.closed for file in others] == [True, True]
    assert [(entry.request_line, entry.status) for entry in entries] == [
        ("POST / HTTP/1.1", 200),
        ("GET /2 HTTP/1.1", 200),
    ]


# ---------------------------------------------------------------- a client that does not take a large answer


class Large:
    """An application whose answers are above the high-water mark; which it was asked for, and what was noted."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.handler, self.entries = noting(self._answer)

    async def _answer(self, request: Request) -> Response:
        self.asked.append(request.target)
        return Response(200, bytes(200_000))

    @property
    def noted(self) -> list[tuple[str, int | None]]:
        return [(entry.request_line, entry.status) for entry in self.entries]


@pytest.mark.parametrize("received", [1, 100_000])
@pytest.mark.parametrize("end", ["close", "reset", "silence"])
async def test_a_client_that_goes_away_while_a_large_answer_is_sent(
    end: str, received: int, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The handler notices, and does not begin with the next request."""
    large = Large()
    client, inner = lockstep_stream_pair()
    server = BreakingStream(inner)
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(factory_of(large.handler)(server).run)
            await client.send_all(get("/1") + get("/2"))
            got = 0
            while got < received:
                got += len(await client.receive_some(received - got))
            await trio.sleep(10)
            assert (large.asked, large.noted) == (["/1"], [])
            if end == "close":
                await client.aclose()
            elif end == "reset":
                server.break_now()
            # a client that is silent is given up after `write_timeout`
    assert large.asked == ["/1"]
    assert large.noted == [("GET /1 HTTP/1.1", 200)]
    assert errors(caplog) == []


async def test_a_client_that_takes_a_large_answer_gets_the_next(autojump_clock: MockClock) -> None:
    large = Large()
    raw = await talk([get("/1") + get("/2")], large.handler)
    assert [len(answer.body) for answer in answers(raw)] == [200_000, 200_000]
    assert large.asked == ["/1", "/2"]
    assert [line for line, _ in large.noted] == ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1"]


# ---------------------------------------------------------------- other protocols


async def speak(client: Client) -> bytes:
    """A word each way, then the end of the client's side; what came of it."""
    await client.send_all(b"hello")
    await trio.sleep(10)
    await client.send_all(b" again")
    await trio.sleep(10)
    await client.send_eof()
    return await read_to_end(client)


@pytest.mark.parametrize("start", ["before", "behind"])
@pytest.mark.parametrize("how", ["upgrade", "take_over"])
async def test_an_upgrade_is_no_disconnection(
    how: str, start: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    fired: list[float] = []

    async def app(request: Request) -> None:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await request.disconnected()
                fired.append(trio.current_time())
                nursery.cancel_scope.cancel()

            if start == "before":
                nursery.start_soon(watch)
                await wait_all_tasks_blocked()
            stream = await (request.upgrade("echo") if how == "upgrade" else request.take_over())
            if start == "behind":
                nursery.start_soon(watch)
                await wait_all_tasks_blocked()
            async for chunk in stream:
                await stream.send_all(chunk)
            await stream.send_all(b"!")
            nursery.cancel_scope.cancel()

    async with connected(app) as client:
        await client.send_all(ASKING)
        raw = await speak(client)
    assert raw == (SWITCHING if how == "upgrade" else b"") + b"hello again!"
    assert fired == []
    assert errors(caplog) == []


Switch: TypeAlias = Callable[[Request], Awaitable[trio.abc.Stream]]


async def upgrade(request: Request) -> trio.abc.Stream:
    return await request.upgrade("echo")


async def take_over(request: Request) -> trio.abc.Stream:
    return await request.take_over()


each_switch = pytest.mark.parametrize("switch", [upgrade, take_over])


@each_switch
@pytest.mark.parametrize("fields", [{}, {"Content-Length": "13"}])
async def test_no_switch_within_a_response(
    switch: Switch, fields: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async def app(request: Request) -> Response:
        async def content() -> AsyncGenerator[bytes, None]:
            yield b"begun "
            with pytest.raises(RuntimeError, match="answered"):
                await switch(request)
            yield b"and end"

        return Response(200, content(), fields)

    found = responses(await talk([ASKING * 2], app))
    assert [(answer.status, answer.body) for answer in found] == [(200, b"begun and end")] * 2
    assert errors(caplog) == []


@each_switch
async def test_a_switch_within_a_response_cuts_it_off(switch: Switch, caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request) -> Response:
        async def content() -> AsyncGenerator[bytes, None]:
            yield b"begun"
            await switch(request)

        return Response(200, content())

    handler, entries = noting(app)
    answer = read_answer(await talk([ASKING * 2], handler))
    assert (answer.status, answer.body, answer.complete) == (200, b"begun", False)
    assert errors(caplog) == CUT_OFF
    assert [type(exc) for exc in logged_exceptions(caplog)] == [RuntimeError]
    assert [entry.status for entry in entries] == [200]


@each_switch
@pytest.mark.parametrize("streamed", [False, True])
async def test_no_switch_for_a_request_that_was_answered(
    switch: Switch, streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    earlier: list[Request] = []

    async def content() -> AsyncGenerator[bytes, None]:
        yield b"answered"

    async def app(request: Request) -> Response:
        for other in earlier:
            with pytest.raises(RuntimeError, match="answered"):
                await switch(other)
            assert not other.upgraded
        earlier.append(request)
        return Response(200, content() if streamed else b"answered")

    handler, entries = noting(app)
    found = responses(await talk([ASKING * 3], handler))
    assert [(answer.status, answer.body) for answer in found] == [(200, b"answered")] * 3
    assert [entry.status for entry in entries] == [200] * 3
    assert errors(caplog) == []


@pytest.mark.parametrize("name", ["Upgrade", "upgrade", "Connection", "CONNECTION"])
async def test_fields_that_follow_from_an_upgrade_cannot_be_given(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request) -> Response | None:
        if request.target == "/2":
            return Response(200, "goes on")
        await request.upgrade("echo", {name: "other"})
        return None

    handler, entries = noting(app)
    first, second = read_answers(await talk([ASKING + get("/2")], handler))
    assert (first.status, second.status, second.text) == (500, 200, "goes on")
    assert [type(exc) for exc in logged_exceptions(caplog)] == [ValueError]
    assert [entry.status for entry in entries] == [500, 200]


# ---------------------------------------------------------------- JSON


async def as_json(request: Request) -> Response:
    return Response(200, repr(await request.json()))


@pytest.mark.parametrize(
    "content",
    [
        *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b'{"a": [1, NaN]}', b"[1.0, 1e309]", b"nan"),
        *('{"a": "\u00e4"}'.encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1")),
        *(b'"\xff"', b'"\xc3"', b'"\xed\xa0\x80"', codecs.BOM_UTF8 * 2 + b"1", codecs.BOM_UTF8, b""),
    ],
)
async def test_what_is_not_json(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """RFC 8259, sections 6 and 8.1."""
    first, second = await hear(post(content) + post(b"1"), as_json)
    assert (first.status, first.text) == (400, "the body is not JSON\n")
    assert (second.status, second.text) == (200, "1")
    assert errors(caplog) == []


@pytest.mark.parametrize(
    "content",
    [b'{"a": "\xc3\xa4", "b": [1, -2.5e3]}', b"1e308", b"-1.7976931348623157e308", b"1e-999", b'"NaN"', b'"\\ud800"'],
)
@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8])
async def test_what_is_json(content: bytes, bom: bytes) -> None:
    loaded: list[Any] = []

    async def app(request: Request) -> Response:
        loaded.append(await request.json())
        return Response()

    assert (await hear_one(post(bom + content), app)).status == 200
    assert loaded == [json.loads(content)] * len(loaded)


# ---------------------------------------------------------------- the rest of a body


async def leaves_the_body(request: Request) -> Response:
    return Response(200, request.target)


class Impatient(HTTPRequestHandler):
    unread_timeout = 0

    async def handle_request(self, request: Request) -> Response:
        return await leaves_the_body(request)


@each_framing
@pytest.mark.parametrize("size", [1, 1000, 60_000])
async def test_without_unread_timeout_a_body_that_has_come_is_dropped(
    size: int, framed: Framed, autojump_clock: MockClock
) -> None:
    found = answers(await talk([framed(b"x" * size) + get("/2")], Impatient))
    assert [(answer.text, answer.field("connection")) for answer in found] == [("/", None), ("/2", None)]
    assert trio.current_time() == 0


@each_framing
@pytest.mark.parametrize(("what", "seconds"), [(Impatient, 0), (leaves_the_body, 2)])
async def test_the_rest_of_a_body_is_waited_for_2_seconds_or_not_at_all(
    what: Any, seconds: float, framed: Framed, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(what) as client:
        await client.send_all(framed(b"x" * 50)[:-1])
        raw = await client.receive_some()
        assert trio.current_time() == seconds
        (answer,) = answers(bytes(raw) + await read_to_end(client))
    assert (answer.status, answer.text, answer.field("connection")) == (200, "/", "close")
    assert errors(caplog) == []


@each_framing
@pytest.mark.parametrize(("seconds", "goes_on"), [(1.9, True), (2.1, False)])
async def test_a_rest_that_comes_within_2_seconds_is_dropped(
    seconds: float, goes_on: bool, framed: Framed, autojump_clock: MockClock
) -> None:
    async with connected(leaves_the_body) as client:
        request = framed(b"x" * 50)
        await client.send_all(request[:-1])
        await trio.sleep(seconds)
        await client.send_all(request[-1:] + get("/2"))
        await client.send_eof()
        found = answers(await read_to_end(client))
    assert [answer.text for answer in found] == ["/", "/2"][: 1 + goes_on]
    assert found[0].field("connection") == (None if goes_on else "close")


# ---------------------------------------------------------------- responses that depend on the request


class Body(AsyncIterator[bytes]):
    """Whether it was closed, and whether it was begun."""

    def __init__(self) -> None:
        self.closed = 0
        self.begun = False

    async def __anext__(self) -> bytes:
        self.begun = True
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1
        await trio.lowlevel.checkpoint()


class Unresolved(Response):
    def __init__(self, body: Body, resolve: Callable[[], Awaitable[object]]) -> None:
        super().__init__(200, body)
        self._resolve = resolve

    async def resolve(self, request: Request) -> Response:
        await self._resolve()
        return self


async def fails_with(exc: Exception) -> None:
    await trio.lowlevel.checkpoint()
    raise exc


@pytest.mark.parametrize(
    ("exc", "status", "logged"),
    [
        (HTTPError(404), 404, 0),
        (ExceptionGroup("", [HTTPError(404)]), 404, 0),
        (ValueError("ours"), 500, 1),
    ],
)
async def test_a_response_that_cannot_be_resolved_is_closed(
    exc: Exception, status: int, logged: int, caplog: pytest.LogCaptureFixture
) -> None:
    bodies: list[Body] = []

    async def app(request: Request) -> Response:
        if request.target == "/2":
            return Response(200, str(bodies[0].closed))
        bodies.append(Body())
        return Unresolved(bodies[0], partial(fails_with, exc))

    first, second = await say_once(get() + get("/2"), app)
    assert (first.status, second.text) == (status, "1")
    assert not bodies[0].begun
    assert len(errors(caplog)) == logged


async def test_a_response_that_is_cancelled_while_it_is_resolved_is_closed(autojump_clock: MockClock) -> None:
    body = Body()

    async def app(_request: Request) -> Response:
        return Unresolved(body, trio.sleep_forever)

    handler, entries = noting(app)
    client, server = memory_stream_pair()
    with trio.move_on_after(10) as scope:
        await client.send_all(get())
        await handler(server).run()
    assert scope.cancelled_caught
    assert (body.closed, body.begun) == (1, False)
    assert [entry.status for entry in entries] == [None]


# ---------------------------------------------------------------- limits


NUMBERS = [
    "max_fields",
    "max_target_bytes",
    "max_empty_lines",
    "body_timeout",
    "min_body_rate",
    "unread_timeout",
    "max_unread_bytes",
    "max_chunk_overhead_bytes",
]
NUMBERS_OR_NONE = ["max_body_bytes", "max_read_bytes", "max_requests"]


@pytest.mark.parametrize(
    ("name", "value"),
    [*((name, None) for name in NUMBERS), *((name, "1") for name in NUMBERS + NUMBERS_OR_NONE)],
)
async def test_a_wrong_limit_is_named(name: str, value: object, caplog: pytest.LogCaptureFixture) -> None:
    """It leaves `run`, before the first request comes to the application."""
    asked = []

    async def app(request: Request) -> Response:
        asked.append(request)
        return Response()

    client, server = memory_stream_pair()
    handler = HTTPRequestHandler(server, app)
    setattr(handler, name, value)
    await client.send_all(post(b"body"))
    with trio.fail_after(5), pytest.raises(TypeError, match=rf"^{name} is an? (number|integer).*; got {value!r}$"):
        await handler.run()
    assert asked == []
    assert errors(caplog) == []
    assert await client.receive_some() == b""


@pytest.mark.parametrize("name", NUMBERS_OR_NONE)
async def test_limits_that_may_be_none(name: str) -> None:
    class Unlimited(HTTPRequestHandler):
        async def handle_request(self, request: Request) -> Response:
            return Response(200, await request.read())

    setattr(Unlimited, name, None)
    found = await say_once(post(b"1") + post_in_chunks(b"2"), Unlimited)
    assert [(answer.status, answer.body) for answer in found] == [(200, b"1"), (200, b"2")]


async def count_trailers(request: Request) -> Response:
    await request.read()
    return Response(200, str(len(request.trailers.raw)))


class Few(HTTPRequestHandler):
    max_fields = 3

    async def handle_request(self, request: Request) -> Response:
        return await count_trailers(request)


@pytest.mark.parametrize(
    ("what", "limit"), [(Few, 3), (count_trailers, 100)], ids=["max_fields = 3", "the default of 100"]
)
@pytest.mark.parametrize("more", [-1, 0, 1, 2])
async def test_as_many_trailers_as_fields(what: Any, limit: int, more: int, caplog: pytest.LogCaptureFixture) -> None:
    count = limit + more
    trailers = b"".join(b"X: %d\r\n" % number for number in range(count))
    first, *others = await hear(chunked_head() + chunked(b"body", trailers=trailers) + get("/2"), what)
    if more <= 0:
        assert (first.status, first.text) == (200, str(count))
        assert [(answer.status, answer.text) for answer in others] == [(200, "0")]
    else:
        assert (first.status, first.text, first.field("connection")) == (431, "too many trailers\n", "close")
        assert others == []
    assert errors(caplog) == []
