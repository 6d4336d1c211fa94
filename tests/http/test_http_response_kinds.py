"""Responses and handlers of an application's own classes: what they override is asked, as before it was fast."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest
import trio
from http_talk import AppOrFactory, factory_of, get, post, read_to_end, say_once

from trio_chat import SocketStream
from trio_chat.http import (
    AccessEntry,
    FileResponse,
    Headers,
    HTTPError,
    HTTPRequestHandler,
    JSONResponse,
    Request,
    Response,
)

T = TypeVar("T")
LONG = b"secret " * 100_000


def giving(response: Response) -> type[HTTPRequestHandler]:
    class Giving(HTTPRequestHandler):
        def handle_request(self, request: Request) -> Response:
            return response

    return Giving


async def body_over_a_socket(what: AppOrFactory) -> bytes:
    """The body of one answer over a socket, past whose queue files can be sent."""
    ours, theirs = socket.socketpair()
    async with trio.open_nursery() as nursery, SocketStream(theirs) as client:
        nursery.start_soon(factory_of(what)(SocketStream(ours)).run)
        await client.send_all(get("/", "Connection: close"))
        return (await read_to_end(client)).partition(b"\r\n\r\n")[2]


class Sealing(Response):
    async def write_to(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        async def sealed(piece: bytes) -> None:
            await send(bytes(255 - byte for byte in piece))

        await super().write_to(sealed)


class SealedFile(FileResponse):
    async def resolve(self, request: Request) -> Response:
        found = await super().resolve(request)
        return Sealing(found.status, found.body, found.headers)


async def test_an_open_file_is_sent_as_write_to_has_it(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(LONG)
    for _ in range(2):  # the second time it is known to be in memory
        assert await body_over_a_socket(giving(SealedFile(path))) == bytes(255 - byte for byte in LONG)


async def test_a_handler_that_overrides_push_sees_all_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(LONG)
    pushed = 0

    class Counting(HTTPRequestHandler):
        def push(self, data: bytes | bytearray | memoryview) -> None:
            nonlocal pushed
            pushed += len(data)
            super().push(data)

        def handle_request(self, request: Request) -> Response:
            return FileResponse(path)

    for _ in range(2):
        pushed = 0
        assert await body_over_a_socket(Counting) == LONG
        assert pushed > len(LONG)


async def test_properties_that_are_overridden_are_asked() -> None:
    class Early(Response):
        @property
        def status(self) -> int:
            return 203

        @property
        def headers(self) -> Headers:
            return Headers({"Server": "mine"})

    entries: list[AccessEntry] = []

    class Noting(giving(Early(200, b"body"))):  # type: ignore[misc]
        def log_request(self, entry: AccessEntry) -> None:
            entries.append(entry)

    (answer,) = await say_once(get(), Noting)
    assert (answer.status, answer.field("server"), answer.body) == (203, "mine", b"body")
    assert [(entry.status, entry.sent_bytes) for entry in entries] == [(203, 4)]


async def test_a_response_of_which_nothing_is_ours_is_sent() -> None:
    class Own(Response):
        status = 200
        headers = Headers({"Server": "mine"})
        body = b"body"
        length = 4

        def __init__(self) -> None:
            pass

        async def resolve(self, request: Request) -> Response:
            return self

        async def write_to(self, send: Callable[[bytes], Awaitable[None]]) -> None:
            await send(b"body")

        async def aclose(self) -> None:
            pass

    (answer,) = await say_once(get(), giving(Own()))
    assert (answer.status, answer.field("server"), answer.body) == (200, "mine", b"body")


@pytest.mark.parametrize("request_bytes", [get(), post(b"unread")])
async def test_a_property_that_fails_is_answered_with_500(request_bytes: bytes) -> None:
    class Failing(Response):
        @property
        def body(self) -> bytes:
            raise LookupError("as you wish")

    (answer,) = await say_once(request_bytes, giving(Failing()))
    assert answer.status == 500


async def test_what_nobody_gets_is_not_pushed() -> None:
    pushed: list[bytes] = []

    class Noting(HTTPRequestHandler):
        def push(self, data: bytes | bytearray | memoryview) -> None:
            pushed.append(bytes(data))
            super().push(data)

        def handle_request(self, request: Request) -> None:
            self.push(b"HTTP/1.1 204 No Content\r\n\r\n")
            self.close_when_done()

    await say_once(get(), Noting)
    assert pushed == [b"HTTP/1.1 204 No Content\r\n\r\n"]


async def test_a_response_may_be_generic_and_have_attributes_of_any_name() -> None:
    class Page(Response, Generic[T]):
        def __init__(self, content: T) -> None:
            super().__init__(200, str(content))
            self.parts = [content]

    (answer,) = await say_once(get(), giving(Page[int](5)))
    assert answer.text == "5"


async def test_json_answers_go_the_short_way() -> None:
    (one, other) = await say_once(get() * 2, giving(JSONResponse([1])))
    assert (one.text, other.text) == ("[1]", "[1]")


async def test_what_resolve_fails_with_is_answered_even_if_closing_fails_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(Response):
        async def resolve(self, request: Request) -> Response:
            raise HTTPError(503)

        async def aclose(self) -> None:
            raise OSError("disk")

    with caplog.at_level(logging.CRITICAL):
        (answer,) = await say_once(get(), giving(Failing()))
    assert answer.status == 500


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
async def test_a_head_says_that_the_connection_closes_behind_a_body_that_is_too_long_to_be_dropped(
    version: str,
) -> None:
    class Closed(Response):
        async def aclose(self) -> None:
            pass

    class Impatient(giving(Closed(200, b"x"))):  # type: ignore[misc]
        max_unread_bytes = 10

    request = post(b"x" * 100, "Connection: keep-alive").replace(b"HTTP/1.1", version.encode())
    (answer,) = await say_once(request, Impatient)
    assert answer.field("connection") == "close"


async def test_found_terminator_is_called_once_for_a_head_behind_an_empty_line() -> None:
    calls = 0

    class Counting(HTTPRequestHandler):
        def found_terminator(self) -> Any:
            nonlocal calls
            calls += 1
            return super().found_terminator()

        def handle_request(self, request: Request) -> Response:
            return Response(200, "fine")

    assert [answer.text for answer in await say_once(b"\r\n" + get(), Counting)] == ["fine"]
    assert calls == 1


async def test_log_request_may_be_replaced_while_a_connection_lives() -> None:
    entries: list[AccessEntry] = []

    class Replacing(HTTPRequestHandler):
        def handle_request(self, request: Request) -> Response:
            self.log_request = entries.append  # type: ignore[method-assign,assignment]
            return Response(200, request.target)

    await say_once(get("/1") + get("/2"), Replacing)
    assert [entry.request_line for entry in entries] == ["GET /2 HTTP/1.1"]


async def test_a_response_that_is_awaitable_is_a_response() -> None:
    class Strange(Response):
        def __await__(self) -> Generator[Any, Any, Response]:
            raise AssertionError("nobody asked")
            yield

    (answer,) = await say_once(get(), giving(Strange(200, "as it is")))
    assert answer.text == "as it is"


async def test_the_headers_of_a_request_may_be_replaced() -> None:
    async def app(request: Request) -> Response:
        request.headers = Headers({"X-Ours": "1"})
        return Response(200, request.headers["x-ours"])

    (answer,) = await say_once(get(), app)
    assert answer.text == "1"
