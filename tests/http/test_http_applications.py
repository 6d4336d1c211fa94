"""What applications, and handlers instead of them, can do, and what becomes of their mistakes."""

import logging
from collections.abc import Awaitable
from typing import Any

import pytest
import trio
from http_talk import answers, echo, get, post, read_to_end, say, say_once
from trio.testing import memory_stream_pair

from trio_chat.http import HTTPError, HTTPRequestHandler, Request, Response, serve


async def test_bodies_of_str_and_bytes() -> None:
    async def app(request: Request) -> Response:
        return Response(200, "\u20ac" if request.target == "/str" else b"\x80")

    text, data = await say(get("/str") + get("/bytes"), app)
    assert (text.body, text.field("content-type")) == ("\u20ac".encode(), "text/plain; charset=utf-8")
    assert (data.body, data.field("content-type")) == (b"\x80", None)


async def test_an_exception_is_500_and_one_log_record(caplog: pytest.LogCaptureFixture) -> None:
    exc = LookupError("of the application")

    async def app(request: Request) -> Response:
        if request.target == "/":
            raise exc
        return Response(200, "fine")

    with caplog.at_level(logging.DEBUG, "trio_chat"), caplog.at_level(logging.WARNING, "trio_chat.http.access"):
        failed, fine = await say_once(get() + get("/2"), app)
    assert (failed.status, failed.text, failed.field("connection")) == (500, "Internal Server Error\n", None)
    assert fine.text == "fine"
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("trio_chat.http", "ERROR")
    assert record.exc_info is not None
    assert record.exc_info[1] is exc
    assert record.getMessage() == "no answer to GET / from None"


@pytest.mark.parametrize("given", [None, "text", b"bytes", 200, (200, "text")])
async def test_what_is_no_response_is_500(given: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def app(_request: Request) -> Any:
        return given

    (answer,) = await say_once(get(), app)
    assert answer.status == 500
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], TypeError)


async def test_without_an_application_it_is_500(caplog: pytest.LogCaptureFixture) -> None:
    (answer,) = await say_once(get(), HTTPRequestHandler)
    assert answer.status == 500
    assert "handle_request()" in caplog.text


@pytest.mark.parametrize(
    ("status", "detail", "text"), [(404, "", "Not Found\n"), (403, "not \u20ac you", "not \u20ac you\n")]
)
async def test_http_error_is_its_status_and_the_conversation_goes_on(
    status: int, detail: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(_request: Request) -> Response:
        raise HTTPError(status, detail)

    got = [(answer.status, answer.text) for answer in await say(get() + get(), app)]
    assert (got, caplog.records) == ([(status, text)] * 2, [])


async def test_http_error_whose_detail_has_a_lone_surrogate_is_answered() -> None:
    """JSON can have lone surrogates: what a client sends must not end the connection without an answer."""

    async def app(request: Request) -> Response:
        raise HTTPError(400, f"no such name: {await request.json()}")

    (answer,) = await say_once(post(b'"\\ud800"'), app)
    assert answer.status in {400, 500}


async def test_http_error_that_is_no_final_status_is_answered() -> None:
    async def app(_request: Request) -> Response:
        raise HTTPError(100)

    (answer,) = await say_once(get(), app)
    assert answer.status == 500


async def test_handle_request_as_def() -> None:
    class Handler(HTTPRequestHandler):
        def handle_request(self, request: Request) -> Response:
            return Response(200, f"def {request.target}")

    assert [answer.text for answer in await say(get("/1") + get("/2"), Handler)] == ["def /1", "def /2"]


async def test_handle_request_as_async_def() -> None:
    class Handler(HTTPRequestHandler):
        async def handle_request(self, request: Request) -> Response:
            await trio.lowlevel.checkpoint()
            return Response(200, f"async def {request.target}")

    assert [answer.text for answer in await say(get("/1") + get("/2"), Handler)] == ["async def /1", "async def /2"]


async def test_handle_request_can_wrap_the_application() -> None:
    class Handler(HTTPRequestHandler):
        def __init__(self, stream: trio.abc.Stream) -> None:
            super().__init__(stream, echo)

        def handle_request(self, request: Request) -> Awaitable[Response | None] | Response | None:
            return Response(403) if request.path == "/secret" else super().handle_request(request)

    assert [answer.status for answer in await say(get("/") + get("/secret"), Handler)] == [200, 403]


async def test_a_handler_as_in_the_documentation_of_asynchat(caplog: pytest.LogCaptureFixture) -> None:
    class http_request_handler(HTTPRequestHandler):  # noqa: N801
        def __init__(self, stream: trio.abc.Stream, sessions: dict[str, int], log: logging.Logger) -> None:
            super().__init__(stream)
            self.sessions = sessions
            self.log = log

        def handle_request(self, request: Request) -> Response:
            self.sessions[request.path] = self.sessions.get(request.path, 0) + 1
            self.log.info("%s %s", request.method, request.path)
            return Response(200, str(self.sessions[request.path]))

    sessions: dict[str, int] = {}
    texts = []
    caplog.set_level(logging.INFO, "site")
    for target in ("/a", "/b", "/a"):
        client, server = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http_request_handler(server, sessions, logging.getLogger("site")).run)
            await client.send_all(get(target))
            await client.send_eof()
            texts += [answer.text for answer in answers(await read_to_end(client))]
    assert (texts, sessions) == (["1", "1", "2"], {"/a": 2, "/b": 1})
    assert caplog.messages == ["GET /a", "GET /b", "GET /a"]


async def test_the_headers_of_an_http_error_are_sent() -> None:
    async def app(_request: Request) -> Response:
        raise HTTPError(405, headers={"Allow": "GET, HEAD"})

    (answer,) = await say_once(get(), app)
    assert (answer.status, answer.field("allow")) == (405, "GET, HEAD")


async def test_serve_takes_an_application() -> None:
    with pytest.raises(TypeError, match="an application is an async function"):
        await serve(None, 0)  # type: ignore[arg-type]
