"""The head's grammar: RFC 9112, sections 2 to 5, and RFC 9110, section 5. Every case under every split."""

import pytest
from http_talk import echo, get, say, say_once, the_answer

from trio_chat.http import Request, Response


async def fields(request: Request) -> Response:
    """Says which fields arrived."""
    return Response(200, repr(request.headers.raw[1:]).encode())


# ---------------------------------------------------------------- request line


@pytest.mark.parametrize("method", ["GET", "POST", "PROPFIND", "get", "M-SEARCH", "!#$%&'*+-.^_`|~09azAZ"])
async def test_any_token_is_a_method(method: str) -> None:
    assert (await the_answer(get(method=method))).text == f"{method} / 1.1 b''"


@pytest.mark.parametrize(
    "target",
    ["/", "/?", "/a/b;c?d=e&f", "//double//slash", "/%20%zz%", "/\"<>\\^`{|}~!'()*,", "/?http://x/", "/:80", "/@"],
)
async def test_valid_origin_form(target: str) -> None:
    assert (await the_answer(get(target))).text == f"GET {target} 1.1 b''"


@pytest.mark.parametrize(
    "target",
    [
        "http://a",
        "http://a/",
        "HTTP://a/b?c",
        "https://a:443/x",
        "http://a?q",
        "http://[::1]:80/",
        "http://a:/",
        "http://1.2.3.4/",
    ],
)
async def test_absolute_form(target: str) -> None:
    assert (await the_answer(get(target))).text == f"GET {target} 1.1 b''"


@pytest.mark.parametrize("target", ["http://[abc]/", "http://[1.2.3.4]/", "http://[::1::]/"])
async def test_absolute_form_with_an_impossible_ip_literal_is_refused(target: str) -> None:
    """RFC 3986, section 3.2.2, which RFC 9112, section 3.2.2, refers to."""
    assert (await the_answer(get(target))).status == 400


async def test_asterisk_form_is_for_options() -> None:
    assert (await the_answer(get("*", method="OPTIONS"))).text == "OPTIONS * 1.1 b''"
    assert (await the_answer(get("*"))).status == 400


@pytest.mark.parametrize("target", ["a:443", "[::1]:443", "/", "http://a/"])
async def test_connect_is_not_implemented(target: str) -> None:
    assert (await the_answer(get(target, method="CONNECT"))).status == 501


@pytest.mark.parametrize(
    "target",
    ["a", "a:443", "*x", "*?x", "?q", "http:", "http:/a", "http://", "http:///a", "http://?q", "ftp://a/", "http://u@a/",
     "http://a:b/", "http://[::1/", "http://a]/", "/a#b", "#", "/\xe9", "/\x7f", "/a\x00b", "/a\tb", "\\"],
)  # fmt: skip
async def test_invalid_target(target: str) -> None:
    assert (await the_answer(get(target))).status == 400


@pytest.mark.parametrize(
    ("version", "heard"), [("HTTP/1.1", "1.1"), ("HTTP/1.0", "1.0"), ("HTTP/1.2", "1.1"), ("HTTP/1.9", "1.1")]
)
async def test_versions_of_http_1(version: str, heard: str) -> None:
    """RFC 9110, section 2.5: a higher minor version is treated as the highest that we know."""
    assert (await the_answer(get(version=version))).text == f"GET / {heard} b''"


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9", "HTTP/0.0"])
async def test_other_major_versions_are_505(version: str) -> None:
    answer = await the_answer(get(version=version))
    assert (answer.status, answer.field("connection")) == (505, "close")


async def test_the_preface_of_http_2_is_505() -> None:
    assert (await the_answer(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).status == 505


@pytest.mark.parametrize(
    "version",
    ["http/1.1", "Http/1.1", "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/11", "HTTP/1.10", "HTTP/01.1", "HTTP/1,1",
     "HTTP 1.1", "HTTP/1.x", "HTTP/\xb9.1", "HTTP/-1.1", "HTTP/1.1 ", "HTTP/1.1\t", "HTTP/1.1 x",
     " HTTP/1.1", "HTTPS/1.1", ""],
)  # fmt: skip
async def test_malformed_version(version: str) -> None:
    assert (await the_answer(get(version=version))).status == 400


@pytest.mark.parametrize(
    "line",
    [b"GET", b"GET /", b"/ HTTP/1.1", b" GET / HTTP/1.1", b"GET  / HTTP/1.1", b"GET\t/\tHTTP/1.1", b"GET / x HTTP/1.1",
     b"GE(T / HTTP/1.1", b"G\xc9T / HTTP/1.1", b"GET\x00 / HTTP/1.1", b"GET:/ HTTP/1.1", b"\tGET / HTTP/1.1",
     b"GET / HTTP/1.1\r", b"GET /\rHTTP/1.1", b"\xef\xbb\xbfGET / HTTP/1.1", b"\x16\x03\x01\x02", b"HTTP/1.1 200 OK"],
)  # fmt: skip
async def test_malformed_request_line(line: bytes) -> None:
    answer = await the_answer(line + b"\r\nHost: a\r\n\r\n")
    assert (answer.status, answer.field("connection")) == (400, "close")


# ---------------------------------------------------------------- field lines


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"X:a", (b"X", b"a")),
        (b"X: a", (b"X", b"a")),
        (b"X: \t a b\tc \t ", (b"X", b"a b\tc")),
        (b"X:", (b"X", b"")),
        (b"X: \t ", (b"X", b"")),
        (b"X:::", (b"X", b"::")),
        (b"x-y_Z.0!#$%&'*+^`|~: 1", (b"x-y_Z.0!#$%&'*+^`|~", b"1")),
        (b"X: caf\xe9 \x80\xff", (b"X", b"caf\xe9 \x80\xff")),
        (b"X: \xa0a\xa0", (b"X", b"\xa0a\xa0")),  # no OWS: only SP and HTAB are
        (b"X: \x85", (b"X", b"\x85")),
        (b'X: !"(),/:;<=>?@[\\]{}', (b"X", b'!"(),/:;<=>?@[\\]{}')),
    ],
)
async def test_valid_field_line(line: bytes, field: tuple[bytes, bytes]) -> None:
    answer = await the_answer(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n", fields)
    assert answer.text == repr([field])


@pytest.mark.parametrize(
    "line",
    [
        b"X : a",  # section 5.1: a blank before the colon
        b"X\t: a",
        b" X: a",  # section 5.2: obs-fold, also of the first line
        b"X: a\r\n b",
        b"X: a\r\n\tb",
        b"X: a\r\n ",
        b": a",
        b":",
        b"X",
        b"X Y: a",
        b"(X): a",
        b"X\xe9: a",
        b"X\x00: a",
        b"X\x7f: a",
        b"X: a\x00b",
        b"X: a\rb",  # section 2.2: a bare CR
        b"X: a\r",
        b"\rX: a",
        b"X: a\nY: b",
        b"X: a\n",
        b"X: a\x0bb",
        b"X: a\x0cb",
        b"X: \x01",
        b"X: \x1f",
        b"X: \x7f",
        b"X: \x08",
        b"X: a\n b",
    ],
)
async def test_malformed_field_line(line: bytes) -> None:
    handled = []

    async def app(request: Request) -> Response:
        handled.append(request)
        return Response()

    answer = await the_answer(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n", app)
    assert (answer.status, answer.field("connection"), handled) == (400, "close", [])


async def test_a_blank_line_start_before_the_first_field_is_refused() -> None:
    """RFC 9112, section 2.2: whitespace between the start line and the first field."""
    assert (await the_answer(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n")).status == 400


async def test_many_fields_arrive_in_order() -> None:
    lines = [f"X-{number % 7}: {number}" for number in range(99)]
    (answer,) = await say(get("/", *lines), fields)
    assert answer.text == repr([(f"X-{number % 7}".encode(), b"%d" % number) for number in range(99)])


@pytest.mark.parametrize(("count", "status"), [(99, 200), (100, 200), (101, 431), (1000, 431)])
async def test_up_to_max_fields(count: int, status: int) -> None:
    answer = await the_answer(get("/", *["X:"] * (count - 1)))
    assert (answer.status, answer.field("connection")) == (status, None if status == 200 else "close")


# ---------------------------------------------------------------- Host


@pytest.mark.parametrize(
    "host",
    ["a", "a.example:8000", "a:", "127.0.0.1", "[::1]", "[::1]:80", "[fe80::1]", "[v7.a:b]", "[V7.a]", "a_b-c~d", "%41",
     "x!$&'()*+,;="],
)  # fmt: skip
async def test_valid_host(host: str) -> None:
    assert (await the_answer(get(host=f"Host: {host}"))).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "a b",
        "a/b",
        "u@a",
        "a:b",
        "a:80:80",
        "a?b",
        "a#b",
        "[::1",
        "::1",
        "[]",
        "a\\b",
        "http://a",
        '"a"',
        "a<b",
        "%zz",
        "a%4",
        "\xe9",
    ],
)
async def test_invalid_host(host: str) -> None:
    answer = await the_answer(get(host=f"Host: {host}"))
    assert (answer.status, answer.field("connection")) == (400, "close")


@pytest.mark.parametrize("fields", [[], ["Host: a", "Host: a"], ["Host: a", "hOST: b"]])
async def test_http_1_1_has_exactly_one_host(fields: list[str]) -> None:
    """RFC 9112, section 3.2."""
    assert (await the_answer(get("/", *fields, host=""))).status == 400


@pytest.mark.parametrize("target", ["http://a/", "*"])
async def test_host_is_needed_for_every_form_of_target(target: str) -> None:
    assert (await the_answer(get(target, method="OPTIONS", host=""))).status == 400


async def test_http_1_0_needs_no_host_but_has_no_two() -> None:
    assert (await the_answer(get(version="HTTP/1.0", host=""))).text == "GET / 1.0 b''"
    assert (await the_answer(get(version="HTTP/1.0", host="Host: a"))).status == 200
    assert (await the_answer(get("/", "Host: b", version="HTTP/1.0"))).status == 400
    assert (await the_answer(get(version="HTTP/1.0", host="Host: a b"))).status == 400


# ---------------------------------------------------------------- line ends


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\n\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\n\n",
        b"\r\n\n",
    ],
)
async def test_lf_alone_is_refused_with_a_reason(request_: bytes) -> None:
    answer = await the_answer(request_)
    assert (answer.status, answer.text) == (400, "lines end with CR LF (as with nc -C)\n")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
async def test_empty_lines_before_a_request_are_ignored(count: int) -> None:
    """RFC 9112, section 2.2. `max_empty_lines` is 8."""
    assert [answer.status for answer in await say(b"\r\n" * count + get())] == [200]


@pytest.mark.parametrize("count", [9, 10, 11, 100])
async def test_more_empty_lines_than_max_empty_lines_are_refused(count: int) -> None:
    assert (await the_answer(b"\r\n" * count + get())).status == 400


async def test_empty_lines_are_counted_anew_before_each_request() -> None:
    request = b"\r\n" * 8 + get()
    assert [answer.status for answer in await say(request * 3)] == [200, 200, 200]


async def test_empty_lines_between_requests_are_ignored() -> None:
    """As the CRLF that old clients send after a body."""
    body = get("/", "Content-Length: 2", method="POST") + b"hi"
    assert [answer.text for answer in await say(body + b"\r\n" + get(), echo)] == ["POST / 1.1 b'hi'", "GET / 1.1 b''"]


@pytest.mark.parametrize("before", [b"", get()])
@pytest.mark.parametrize("count", [1, 2, 3])
async def test_empty_lines_without_a_request_are_not_answered(before: bytes, count: int) -> None:
    """RFC 9112, section 2.2: an empty line where a request line is expected is ignored, so no request has begun."""
    answers = await say(before + b"\r\n" * count)
    assert [answer.status for answer in answers] == ([200] if before else [])


# ---------------------------------------------------------------- the same field lines again


FIELDS = b"Host: a\r\nX-Note: 1\r\n\r\n"


async def test_the_same_field_lines_mean_another_connection_in_http_1_0() -> None:
    answers = await say(b"GET /1 HTTP/1.1\r\n" + FIELDS + b"GET /2 HTTP/1.0\r\n" + FIELDS, echo)
    assert [answer.text for answer in answers] == ["GET /1 1.1 b''", "GET /2 1.0 b''"]
    assert [answer.field("connection") for answer in answers] == [None, "close"]


async def test_field_lines_without_a_host_are_right_in_http_1_0_only() -> None:
    fields = b"X-Note: 2\r\n\r\n"
    for _ in range(2):
        assert (await the_answer(b"GET / HTTP/1.0\r\n" + fields)).status == 200
        assert (await the_answer(b"GET / HTTP/1.1\r\n" + fields)).status == 400


async def test_field_lines_that_are_refused_are_refused_every_time() -> None:
    for _ in range(3):
        assert (await the_answer(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n")).status == 400


@pytest.mark.parametrize("size", [2047, 2048, 2049, 5000])
async def test_field_lines_of_any_length_read_the_same_every_time(size: int) -> None:
    fields = b"Host: a\r\nX-Long: "
    fields += b"x" * (size - len(fields))

    async def length(request: Request) -> Response:
        return Response(200, f"{request.host} {len(request.headers['x-long'])}")

    for _ in range(2):
        assert (await the_answer(b"GET / HTTP/1.1\r\n" + fields + b"\r\n\r\n", length)).text == f"a {size - 17}"


async def test_more_different_field_lines_than_are_kept_are_all_read_right() -> None:
    async def note(request: Request) -> Response:
        return Response(200, request.headers["x-note"])

    requests = b"".join(b"GET / HTTP/1.1\r\nHost: a\r\nX-Note: %d\r\n\r\n" % number for number in range(600)) * 2
    assert [answer.text for answer in await say_once(requests, note)] == [str(number) for number in range(600)] * 2
