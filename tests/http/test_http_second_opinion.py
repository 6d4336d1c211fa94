"""What the tests of others look at, and ours did not: llhttp's, aiohttp's and h11's, and the finds of the HTTP Garden.

Read, not copied. What they take and we refuse, or the other way round, is in the table of test_http_against_h11.py or
in the vectors.
"""

import pytest
from http_talk import get, post, say, the_answer

from trio_chat.http import Request, Response

SMUGGLED = get("/smuggled")
CHUNKED = get("/", "Transfer-Encoding: chunked", method="POST")


async def say_trailers(request: Request) -> Response:
    """Says what the body is and what comes behind it."""
    return Response(200, f"{await request.read()!r} {request.trailers.raw}")


# ---------------------------------------------------------------- where the body ends


@pytest.mark.parametrize("length", ["010", "08"])
async def test_a_length_that_begins_with_zero_is_not_octal(length: str) -> None:
    """Some read it by strtoll(), and take 8 bytes instead of 10."""
    body = "x" * int(length)
    request = get("/", f"Content-Length: {length}", method="POST") + body.encode() + get("/2")
    assert [answer.text for answer in await say(request)] == [f"POST / 1.1 b'{body}'", "GET /2 1.1 b''"]


@pytest.mark.parametrize("size", ["10", "010", "00000010;a"])
async def test_a_size_is_hexadecimal_whatever_it_begins_with(size: str) -> None:
    request = CHUNKED + size.encode() + b"\r\n0123456789abcdef\r\n0\r\n\r\n" + get("/2")
    assert [answer.text for answer in await say(request)] == ["POST / 1.1 b'0123456789abcdef'", "GET /2 1.1 b''"]


@pytest.mark.parametrize("name", ["X", "GET"])
async def test_a_trailer_that_looks_like_a_request_is_a_trailer(name: str) -> None:
    """Some skip two bytes behind the last chunk without a look at them, and read a request from there."""
    request = CHUNKED + f"0\r\n{name}:POST /smuggled HTTP/1.1\r\n\r\n".encode() + get("/2")
    trailers = [(name.encode(), b"POST /smuggled HTTP/1.1")]
    assert [answer.text for answer in await say(request, say_trailers)] == [f"b'' {trailers}", "b'' []"]


@pytest.mark.parametrize("line", [b"5\r\r;abcd", b"5;\r\ra", b"\r5", b"5;a=b\r\r"])
async def test_a_size_line_ends_in_crlf_and_not_in_cr_and_any_byte(line: bytes) -> None:
    request = CHUNKED + line + b"\r\nhello\r\n0\r\n\r\n" + SMUGGLED
    answer = await the_answer(request)
    assert (answer.status, answer.field("connection")) == (400, "close")


@pytest.mark.parametrize(
    "field", ["Transfer-\r\nEncoding: chunked", "Transfer-\r\n Encoding: chunked", "Transfer-Encoding\r\n: chunked"]
)
async def test_a_field_name_does_not_go_on_in_the_next_line(field: str) -> None:
    request = get("/", field, "Content-Length: 5", method="POST") + b"0\r\n\r\n" + SMUGGLED
    answer = await the_answer(request)
    assert (answer.status, answer.field("connection")) == (400, "close")


# ---------------------------------------------------------------- what an upgrade is not


@pytest.mark.parametrize("protocol", ["h2c", "HTTP/2.0", "websoc\xe2\x84\xaaet"])
async def test_an_upgrade_that_nobody_takes_changes_nothing(protocol: str) -> None:
    """RFC 9110, section 7.8: a server MAY ignore it. The body is one, and a request what is behind it."""
    request = post(SMUGGLED, "Connection: Upgrade", f"Upgrade: {protocol}") + get("/2")
    texts = [answer.text for answer in await say(request)]
    assert texts == [f"POST / 1.1 {SMUGGLED!r}", "GET /2 1.1 b''"]


async def test_what_is_behind_an_upgrade_that_nobody_takes_has_to_be_a_request() -> None:
    request = get("/", "Connection: keep-alive, upgrade", "Upgrade: WebSocket") + b"hello\r\n\r\n"
    assert [answer.status for answer in await say(request)] == [200, 400]


# ---------------------------------------------------------------- the request line


@pytest.mark.parametrize(
    "line",
    ["SOURCE /a ICE/1.0", "OPTIONS /a RTSP/1.0", "GET /a IHTTP/1.1", "GET /a HTTP/1.1.", "GET /a HTTP/4294967297.1",
     "GET /a HTTP/1.257", "GET /a HTTP/1\xe2\x80\xa41", "GET\n/a HTTP/1.1", "GET /a\nHTTP/1.1",
     "GET\x0c/a\x0cHTTP/1.1", 'G=":<>(e),[T];?" /a HTTP/1.1'],
)  # fmt: skip
async def test_lines_that_some_take_for_a_request_line(line: str) -> None:
    answer = await the_answer(f"{line}\r\nHost: a\r\n\r\n".encode("latin-1"))
    assert (answer.status, answer.field("connection")) == (400, "close")


@pytest.mark.parametrize("method", ["QUERY", "MKCOLA", "ANNOUNCE", "M-SEARCH", "#smol", "PRI"])
async def test_methods_are_not_those_of_a_list(method: str) -> None:
    assert (await the_answer(get("/a", method=method))).text == f"{method} /a 1.1 b''"


@pytest.mark.parametrize("method", ["M-SEARCH", "PRI", "options", "OPTIONSX"])
async def test_the_asterisk_is_for_no_other_method(method: str) -> None:
    """Not that of SSDP, which is HTTP over UDP, nor of the preface of HTTP/2."""
    assert (await the_answer(get("*", method=method))).status == 400


# ---------------------------------------------------------------- field values


@pytest.mark.parametrize("edge", ["\x80", "\x85", "\xa0", "\xff", "\xc2\xa0", "\xe2\x80\x83"])
async def test_only_blanks_and_tabs_are_taken_off_values(edge: str) -> None:
    """Some strip what is whitespace in Unicode, and let a user named \\xa0admin in."""

    async def app(request: Request) -> Response:
        return Response(200, repr(request.headers["user"]))

    answer = await the_answer(get("/", f"User: \t {edge}admin{edge} \t"), app)
    assert answer.text == repr(f"{edge}admin{edge}")


@pytest.mark.parametrize("close", ["close\t", "\tclose", ",close", "x,\t close\t,y"])
async def test_close_is_heard_among_blanks_and_tabs(close: str) -> None:
    assert len(await say(get("/", f"Connection: {close}") + SMUGGLED)) == 1


@pytest.mark.parametrize("option", ["clo\u017fe", "close\xa0", "\x85close", '"close"', "close;x", "close keep-alive"])
async def test_what_is_not_close_does_not_close(option: str) -> None:
    field = f"Connection: {option.encode().decode('latin-1')}"
    assert [answer.status for answer in await say(get("/", field) + get("/2"))] == [200, 200]
