"""`Request`, `Response` and `Headers` as an application sees them."""

import math
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import pytest
import trio
from http_talk import get, post, say, say_once, talk

from trio_chat.http import Form, Headers, HTTPError, Request, Response


async def received(raw: bytes) -> Request:
    """The request that an application gets when `raw` is sent; it has been read."""
    requests: list[Request] = []

    async def app(request: Request) -> Response:
        await request.read()
        requests.append(request)
        return Response()

    await talk([raw], app)
    (request,) = requests
    return request


# ---------------------------------------------------------------- Request


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/?", "/", ""),
        ("/a%20b/c%C3%A9?x=%20&y", "/a b/c\xe9", "x=%20&y"),
        ("/a+b", "/a+b", ""),
        ("/?a?b", "/", "a?b"),
        ("/%3Fx?y", "/?x", "y"),
        ("/a%2Fb;c", "/a/b;c", ""),
        ("/%ff", "/\ufffd", ""),
        ("/%zz%", "/%zz%", ""),
        ("//a//b", "//a//b", ""),
        ("/http://a/?b", "/http://a/", "b"),
        ("http://a", "*", ""),
        ("http://a?x=1", "/", "x=1"),
        ("HTTP://a:80/b%20c?d", "/b c", "d"),
        ("http://a//b;c?d?e", "//b;c", "d?e"),
        ("*", "*", ""),
    ],
)
async def test_target_path_and_query(target: str, path: str, query: str) -> None:
    request = await received(get(target, method="OPTIONS"))
    assert (request.method, request.target, request.path, request.query) == ("OPTIONS", target, path, query)


async def test_attributes_over_a_stream_without_a_socket() -> None:
    request = await received(get("/x"))
    assert (request.http_version, request.client, request.scheme) == ("1.1", None, "http")
    assert repr(request) == "<Request GET /x>"
    assert (await received(get(version="HTTP/1.0"))).http_version == "1.0"


async def test_headers_of_a_request() -> None:
    request = await received(get("/", "X-A: 1", "x-b: caf\xe9", "x-a:2", "X-Empty:"))
    assert request.headers["X-A"] == request.headers["x-a"] == "1, 2"
    assert request.headers.get_all("x-A") == ["1", "2"]
    assert request.headers["x-b"] == "caf\xe9"
    assert request.headers["x-empty"] == ""
    assert request.headers.raw[1:] == [(b"X-A", b"1"), (b"x-b", b"caf\xe9"), (b"x-a", b"2"), (b"X-Empty", b"")]
    assert list(request.headers) == ["host", "x-a", "x-b", "x-empty"]
    assert len(request.headers) == 4
    assert "X-B" in request.headers
    assert request.headers.get("x-c") is None


async def test_read_and_stream() -> None:
    request = await received(post(b"body"))
    assert await request.read() == await request.read() == b"body"
    assert b"".join([piece async for piece in request.stream()]) == b"body"
    empty = await received(get())
    assert await empty.read() == b""
    assert [piece async for piece in empty.stream()] == []


@pytest.mark.parametrize(
    ("body", "value"), [(b'{"a": [1, null]}', {"a": [1, None]}), (b'"\xc3\xa9"', "\xe9"), (b" 1 ", 1), (b"null", None)]
)
async def test_json(body: bytes, value: object) -> None:
    assert await (await received(post(body))).json() == value


@pytest.mark.parametrize("body", [b"", b"{", b"'a'", b'"\xff"', b"[" * 200_000, b"9" * 10_000, b"1 2"])
async def test_json_that_is_none_is_400(body: bytes) -> None:
    async def app(request: Request) -> Response:
        return Response(200, repr(await request.json()))

    (answer,) = await say_once(post(body), app)
    assert (answer.status, answer.text) == (400, "the body is not JSON\n")


_FORM = "Content-Type: application/x-www-form-urlencoded"


async def test_form() -> None:
    form = await (await received(post(b"a=1&b=&a=2&c&d+e=%C3%A9%26", _FORM))).form()
    assert isinstance(form, Form)
    assert dict(form) == {"a": "1", "b": "", "c": "", "d e": "\xe9&"}
    assert form.get_all("a") == ["1", "2"]
    assert form.get_all("x") == []
    assert len(form) == 4
    assert repr(form) == "Form([('a', '1'), ('b', ''), ('a', '2'), ('c', ''), ('d e', '\xe9&')])"


@pytest.mark.parametrize("parameters", ["", "; charset=UTF-8", " ;x"])
async def test_form_type_with_parameters(parameters: str) -> None:
    form = await (await received(post(b"a=1", _FORM.upper() + parameters))).form()
    assert dict(form) == {"a": "1"}


@pytest.mark.parametrize("body", [b"", b"&", b"=", b"\xff=%ff"])
async def test_odd_forms(body: bytes) -> None:
    form = await (await received(post(body, _FORM))).form()
    assert dict(form) == {b"=": {"": ""}, b"\xff=%ff": {"\ufffd": "\ufffd"}}.get(body, {})


@pytest.mark.parametrize(
    "fields", [[], ["Content-Type: text/plain"], ["Content-Type:"], ["Content-Type: multipart/form-data"]]
)
async def test_form_of_another_type_is_415(fields: Sequence[str]) -> None:
    request = await received(post(b"a=1", *fields))
    with pytest.raises(HTTPError, match="x-www-form-urlencoded") as info:
        await request.form()
    assert info.value.status == 415


async def test_form_has_up_to_1000_fields() -> None:
    form = await (await received(post(b"&".join([b"a=1"] * 1000), _FORM))).form()
    assert len(form.get_all("a")) == 1000
    request = await received(post(b"&".join([b"a=1"] * 1001), _FORM))
    with pytest.raises(HTTPError, match="more than 1000 fields") as info:
        await request.form()
    assert info.value.status == 413


# ---------------------------------------------------------------- Response


@pytest.mark.parametrize("status", [-1, 0, 100, 101, 199, 600, 2000, math.nan, 200.5, 200.0, "200", None])
def test_response_refuses_a_status(status: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Response(status)


@pytest.mark.parametrize("status", [200, 299, 404, 599, HTTPStatus.NOT_FOUND])
def test_response_takes_a_status(status: int) -> None:
    assert Response(status).status == status


@pytest.mark.parametrize("body", [None, 1, ["a"], bytearray(b"a"), memoryview(b"a"), {"a": 1}])
def test_response_refuses_a_body(body: Any) -> None:
    with pytest.raises(TypeError, match="bytes, str or an async iterable"):
        Response(200, body)


@pytest.mark.parametrize(
    ("body", "content_type", "field"),
    [
        ("a", None, "text/plain; charset=utf-8"),
        ("a", "text/html", "text/html; charset=utf-8"),
        ("a", "text/html; charset=us-ascii", "text/html; charset=us-ascii"),
        ("a", "application/json", "application/json"),
        (b"a", "text/html", "text/html"),
        (b"a", None, None),
    ],
)
def test_charset_of_a_response(body: str | bytes, content_type: str | None, field: str | None) -> None:
    assert Response(200, body, content_type=content_type).headers.get("content-type") == field


@pytest.mark.parametrize("name", ["Content-Length", "content-length", "Transfer-Encoding", "TRANSFER-ENCODING"])
def test_response_refuses_fields_that_follow_from_the_body(name: str) -> None:
    with pytest.raises(ValueError, match="follow from the body"):
        Response(200, b"", {name: "0"})


@pytest.mark.parametrize("content_type", ["a/b\r\nX: y", "a\nb", "a\0b", "\u20ac"])
def test_response_refuses_a_content_type(content_type: str) -> None:
    with pytest.raises(ValueError, match="value"):
        Response(200, b"", content_type=content_type)


def test_content_type_of_a_response() -> None:
    assert Response(200, b"", content_type="a/b").headers["content-type"] == "a/b"
    assert Response(200, "").headers["content-type"] == "text/plain; charset=utf-8"
    assert Response(200, "", content_type="a/b").headers["content-type"] == "a/b"
    assert Response(200, "", {"content-type": "c/d"}).headers.get_all("content-type") == ["c/d"]
    assert "content-type" not in Response(200, b"").headers


async def test_fields_of_a_response_arrive() -> None:
    async def app(_request: Request) -> Response:
        return Response(200, b"", [("Set-Cookie", "a=1"), ("X", "\xe9"), ("Set-Cookie", "b=2"), ("Empty", "")])

    raw = await talk([get()], app)
    assert b"\r\nSet-Cookie: a=1\r\nX: \xe9\r\nSet-Cookie: b=2\r\nEmpty: \r\n" in raw


def test_repr_of_a_response() -> None:
    assert repr(Response(404, "abc")) == "<Response 404, 3 bytes>"


# ---------------------------------------------------------------- Headers

MAKERS: list[Callable[[str, Any], object]] = [
    lambda name, value: Headers({name: value}),
    lambda name, value: Headers([(name, value)]),
    lambda name, value: Response(200, b"", {name: value}),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "value", ["a\r\nB: c", "a\rb", "a\n", "\n", "a\0", "\x7f", "\x0b", "\x1f", "\u20ac", "a\ud800"]
)
def test_invalid_value(make: Callable[[str, Any], object], value: str) -> None:
    with pytest.raises(ValueError, match="value"):
        make("X", value)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", ["", " ", "X ", " X", "X:", "X Y", "X\r\nY", "X\n", "X\0", "\xe9", "\u20ac", "(X)"])
def test_invalid_name(make: Callable[[str, Any], object], name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        make(name, "a")


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("value", [b"a", None, 1, ["a"]])
def test_value_that_is_no_str(make: Callable[[str, Any], object], value: object) -> None:
    with pytest.raises(TypeError, match="value is a str"):
        make("X", value)


def test_name_that_is_no_str() -> None:
    pairs: list[tuple[Any, str]] = [(b"X", "a")]
    with pytest.raises(TypeError, match="name is a str"):
        Headers(pairs)


def test_headers_are_a_case_insensitive_mapping_that_loses_nothing() -> None:
    headers = Headers([("X", " a "), ("y", "\xe9"), ("x", "b")])
    assert dict(headers) == {"x": "a, b", "y": "\xe9"}
    assert headers.get_all("X") == ["a", "b"]
    assert headers.raw == [(b"X", b"a"), (b"y", b"\xe9"), (b"x", b"b")]
    assert repr(headers) == "Headers([('X', 'a'), ('y', '\xe9'), ('x', 'b')])"


@pytest.mark.parametrize("name", ["z", "\xe9", "\u20ac", "x\u20ac", ""])
def test_names_that_are_not_there(name: str) -> None:
    headers = Headers({"X": "a"})
    assert name not in headers
    assert headers.get_all(name) == []
    with pytest.raises(KeyError):
        headers[name]


def test_headers_made_of_headers_keep_their_lines() -> None:
    """RFC 9110, section 5.3: several Set-Cookie lines cannot be joined."""
    headers = Headers([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    assert Headers(headers).get_all("set-cookie") == ["a=1", "b=2"]
    assert Response(200, b"", headers).headers.get_all("set-cookie") == ["a=1", "b=2"]


async def test_what_an_application_is_told_of_a_real_socket(nursery: trio.Nursery) -> None:
    clients: list[Request] = []

    async def app(request: Request) -> Response:
        clients.append(request)
        return Response()

    from trio_chat.http import serve

    (listener,) = await nursery.start(serve, app, 0)
    stream = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
    async with stream:
        await stream.send_all(get())
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        assert clients[0].client == stream.socket.getsockname()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [("/", "a.example:80", "a.example:80"), ("http://b.example:81/x?y", "a.example", "b.example:81")],
)
async def test_request_host_is_that_of_an_absolute_target_before_the_field(
    target: str, host: str, expected: str
) -> None:
    """RFC 9112, section 3.2.2."""

    async def app(request: Request) -> Response:
        return Response(200, request.host)

    (answer,) = await say(get(target, host=f"Host: {host}"), app)
    assert answer.text == expected


def test_messages_cannot_be_changed_into_something_unchecked() -> None:
    response = Response(200, "text", {"X": "y"})
    for name, value in [("status", 1000), ("body", "text"), ("headers", {"a": "b"})]:
        with pytest.raises(AttributeError):
            setattr(response, name, value)
    response.headers.raw.append((b"X", b"a\r\nY: 1"))
    assert response.headers.raw == [(b"X", b"y"), (b"Content-Type", b"text/plain; charset=utf-8")]


def test_an_empty_content_type_is_none() -> None:
    assert "content-type" not in Response(200, b"x", content_type="").headers


def test_http_error_with_headers_and_the_names_of_rfc_9110() -> None:
    error = HTTPError(405, headers={"Allow": "GET"})
    assert error.headers["allow"] == "GET"
    assert str(HTTPError(413)) == "413 Content Too Large: Content Too Large"
    assert str(HTTPError(414, "no")) == "414 URI Too Long: no"
    with pytest.raises(ValueError, match="400 to 599"):
        HTTPError(302)


@pytest.mark.parametrize("status", [400, 404, 418, 499, 599])
def test_an_error_has_any_status_of_400_to_599(status: int) -> None:
    assert HTTPError(status).status == status


@pytest.mark.parametrize("status", [100, 399, 600, -1])
def test_an_error_has_no_other_status(status: int) -> None:
    with pytest.raises(ValueError, match="400 to 599"):
        HTTPError(status)
