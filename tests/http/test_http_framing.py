"""Sizes, and where a message ends: RFC 9112, section 6; RFC 9110, sections 8.6 and 10.1.1."""

import pytest
import trio
from http_talk import answers, connected, echo, get, post, read_to_end, say, say_once, talk, the_answer
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.http import HTTPRequestHandler, Request, Response


class Small(HTTPRequestHandler):
    """Has small limits, and echoes."""

    max_frame_bytes = 64
    max_target_bytes = 20
    max_body_bytes = 10

    async def handle_request(self, request: Request) -> Response:
        return await echo(request)


# ---------------------------------------------------------------- sizes of heads


@pytest.mark.parametrize(("length", "status"), [(19, 200), (20, 200), (21, 414), (40, 414)])
async def test_target_up_to_max_target_bytes(length: int, status: int) -> None:
    answer = await the_answer(get("/" * length), Small)
    assert (answer.status, answer.field("connection")) == (status, None if status == 200 else "close")


@pytest.mark.parametrize(
    ("length", "status"), [(63, 200), (64, 200), (65, 431), (66, 431), (67, 431), (68, 431), (200, 431)]
)
async def test_head_up_to_max_frame_bytes(length: int, status: int) -> None:
    """The head is counted without the empty line at its end."""
    request = get("/", "X: " + "x" * (length - len(get("/", "X: ")) + 4))
    assert len(request) == length + 4
    answer = await the_answer(request, Small)
    assert (answer.status, answer.field("connection")) == (status, None if status == 200 else "close")


@pytest.mark.parametrize(("end", "status"), [(60, 431), (62, 431), (64, 431), (65, 414), (66, 414), (70, 414)])
async def test_414_if_the_first_line_alone_is_more_than_max_frame_bytes(end: int, status: int) -> None:
    """`end`: how many bytes the first line has, with its CRLF."""
    request = get("/" + "a" * (end - len("GET / HTTP/1.1\r\n")), "X: " + "x" * 60)
    assert request.index(b"\r\n") + 2 == end
    assert (await the_answer(request, Small)).status == status


async def test_an_empty_line_before_a_first_line_that_is_too_long_does_not_hide_it() -> None:
    assert (await the_answer(b"\r\n" + get("/" + "a" * 100), Small)).status == 414


@pytest.mark.parametrize("first", [b"", get() * 2])
async def test_a_head_without_end_is_refused_as_soon_as_it_is_too_long(first: bytes, autojump_clock: MockClock) -> None:
    async with connected(Small) as client:
        await client.send_all(first + b"GET / HTTP/1.1\r\nX: " + b"x" * 100)
        statuses = [answer.status for answer in answers(await read_to_end(client))]
    assert statuses == [200] * first.count(b"GET") + [431]
    assert autojump_clock.current_time() <= 2  # of lingering


async def test_default_limits_of_heads() -> None:
    target = "/" + "a" * 8191
    assert [answer.status for answer in await say_once(get(target))] == [200]
    assert [answer.status for answer in await say_once(get(target + "a"))] == [414]
    room = 32768 + 4 - len(get("/", "X: "))
    assert [answer.status for answer in await say(get("/", "X: " + "x" * room))] == [200]
    assert [answer.status for answer in await say(get("/", "X: " + "x" * (room + 1)))] == [431]
    assert [answer.status for answer in await say(get("/" + "a" * 32768))] == [414]


async def test_the_limit_of_heads_is_no_limit_of_bodies() -> None:
    answer = await the_answer(post(b"0123456789"), Small)
    assert answer.text == "POST / 1.1 b'0123456789'"


# ---------------------------------------------------------------- Content-Length


@pytest.mark.parametrize("length", ["2", "02", "0000000000000000000000000000002", " 2 ", "\t2\t"])
async def test_valid_content_length(length: str) -> None:
    assert (await the_answer(get("/", f"Content-Length: {length}", method="POST") + b"hi")).text == "POST / 1.1 b'hi'"


@pytest.mark.parametrize("body", [b"", b"\r\n\r\n", b"\n\n", b"\x00\xff", get(), b"\r", b"GET"])
async def test_a_body_is_taken_as_it_is(body: bytes) -> None:
    """Twice in a row: the second request begins where the first ends."""
    texts = [answer.text for answer in await say(post(body) + post(body))]
    assert texts == [f"POST / 1.1 {body!r}"] * 2


async def test_a_get_may_have_a_body() -> None:
    assert (await the_answer(get("/", "Content-Length: 2") + b"hi")).text == "GET / 1.1 b'hi'"


async def test_without_content_length_there_is_no_body() -> None:
    texts = [answer.text for answer in await say(get(method="POST") + get())]
    assert texts == ["POST / 1.1 b''", "GET / 1.1 b''"]


@pytest.mark.parametrize(
    "length",
    [
        "+2",
        "-2",
        "-0",
        "2 2",
        "2,2",
        "2, 2",
        "2;",
        "",
        " ",
        "0x2",
        "2.0",
        "2e0",
        "1_0",
        "two",
        "\xb2",
        "\xa02",
        "2\xa0",
        '"2"',
    ],
)
async def test_invalid_content_length(length: str) -> None:
    answer = await the_answer(get("/", f"Content-Length: {length}", method="POST") + b"hi")
    assert (answer.status, answer.field("connection")) == (400, "close")


@pytest.mark.parametrize("second", ["2", "3", "", "x"])
async def test_repeated_content_length(second: str) -> None:
    request = get("/", "Content-Length: 2", f"content-length: {second}", method="POST") + b"hi"
    assert (await the_answer(request)).status == 400


# ---------------------------------------------------------------- bodies that are too large


@pytest.mark.parametrize(("length", "status"), [(9, 200), (10, 200), (11, 413)])
async def test_body_up_to_max_body_bytes(length: int, status: int) -> None:
    answer = await the_answer(post(b"x" * length), Small)
    assert (answer.status, answer.field("connection")) == (status, None if status == 200 else "close")


@pytest.mark.parametrize(
    "length", [str(2**20 + 1), str(10**17), "9" * 18, str(2**63), "9" * 19, "9" * 5000, "1" + "0" * 40]
)
async def test_a_body_that_is_too_large_is_refused_before_it_comes(length: str, autojump_clock: MockClock) -> None:
    async with connected() as client:
        await client.send_all(get("/", f"Content-Length: {length}", method="POST"))
        (answer,) = answers(await read_to_end(client))
        assert autojump_clock.current_time() == 0
    assert (answer.status, answer.field("connection")) == (413, "close")


async def test_a_body_of_max_body_bytes_by_default() -> None:
    assert [answer.status for answer in await say_once(post(bytes(2**20)))] == [200]
    assert [answer.status for answer in await say_once(post(bytes(2**20 + 1)))] == [413]


async def test_what_follows_a_413_is_no_request() -> None:
    assert (await the_answer(post(get()) + get(), Small)).status == 413


# ---------------------------------------------------------------- Transfer-Encoding


@pytest.mark.parametrize("length", ["0", "2", "x"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_both_lengths_are_refused(length: str, version: str) -> None:
    """RFC 9112, section 6.3, number 3."""
    both = ["Transfer-Encoding: chunked", f"Content-Length: {length}"]
    for fields in (both, both[::-1]):
        answer = await the_answer(get("/", *fields, method="POST", version=version) + b"0\r\n\r\n")
        assert (answer.status, answer.field("connection")) == (400, "close")


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED", "chunked ", "\tchunked"])
async def test_chunked(coding: str) -> None:
    request = get("/", f"Transfer-Encoding: {coding}", method="POST") + b"2\r\nhi\r\n0\r\n\r\n" + get("/2")
    assert [answer.text for answer in await say(request)] == ["POST / 1.1 b'hi'", "GET /2 1.1 b''"]


@pytest.mark.parametrize(
    ("coding", "status"),
    [("gzip, chunked", 501), ("identity", 400), ("gzip", 400), ("", 400), ("\x80", 400), ("chunked, gzip", 400),
     ("chunked, chunked", 400), ("chunked,", 400), (", chunked", 400), ("chunked;a=b", 400), ("xchunked", 400)],
)  # fmt: skip
async def test_transfer_codings_that_are_refused(coding: str, status: int) -> None:
    """RFC 9112, sections 6.1 and 6.3."""
    answer = await the_answer(get("/", f"Transfer-Encoding: {coding}", method="POST") + b"2\r\nhi\r\n0\r\n\r\n" + get())
    assert (answer.status, answer.field("connection")) == (status, "close")


async def test_transfer_encoding_in_http_1_0_is_refused() -> None:
    """RFC 9112, section 6.1."""
    answer = await the_answer(get("/", "Transfer-Encoding: chunked", method="POST", version="HTTP/1.0") + b"0\r\n\r\n")
    assert (answer.status, answer.field("connection")) == (400, "close")


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Content-Length: x", 400),
        ("Expect: x", 417),
        ("Content-Length: 9999999", 413),
    ],
)
async def test_a_refusal_of_head_has_no_body(field: str, status: int) -> None:
    """RFC 9110, section 9.3.2: the server MUST NOT send content in the response to a HEAD."""
    request = get("/", field, method="HEAD")
    head, _, content = (await talk([request])).partition(b"\r\n\r\n")
    assert (head[:12], content) == (b"HTTP/1.1 %d" % status, b"")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx", 400),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n", 400),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000, 431),
        (b"\r\nHEAD / HTTP/1.0\n\n", 400),
    ],
)
async def test_a_refusal_of_an_incomplete_head_has_no_body(request_: bytes, status: int) -> None:
    head, _, content = (await talk([request_])).partition(b"\r\n\r\n")
    assert (head[:12], content) == (b"HTTP/1.1 %d" % status, b"")


# ---------------------------------------------------------------- Expect

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue"])
async def test_100_continue_comes_before_the_body(expectation: str, autojump_clock: MockClock) -> None:
    async with connected() as client:
        await client.send_all(get("/", "Content-Length: 2", f"Expect: {expectation}", method="POST"))
        await wait_all_tasks_blocked()
        assert await client.receive_some() == _CONTINUE
        await client.send_all(b"hi")
        await client.send_eof()
        (answer,) = answers(await read_to_end(client))
    assert answer.text == "POST / 1.1 b'hi'"


async def test_100_continue_and_the_final_answer_however_the_request_is_cut() -> None:
    statuses = [answer.status for answer in await say(post(b"hi", "Expect: 100-continue") + get())]
    assert statuses == [100, 200, 200]


async def test_no_100_continue_without_a_body() -> None:
    assert (await the_answer(get("/", "Expect: 100-continue"))).status == 200
    assert (await the_answer(post(b"", "Expect: 100-continue"))).status == 200


async def test_no_100_continue_for_a_body_that_is_refused(autojump_clock: MockClock) -> None:
    async with connected() as client:
        await client.send_all(get("/", "Content-Length: 1048577", "Expect: 100-continue", method="POST"))
        assert [answer.status for answer in answers(await read_to_end(client))] == [413]


async def test_an_expectation_in_http_1_0_is_ignored() -> None:
    """RFC 9110, section 10.1.1."""
    request = get("/", "Content-Length: 2", "Expect: 100-continue", method="POST", version="HTTP/1.0") + b"hi"
    assert (await the_answer(request)).text == "POST / 1.0 b'hi'"


async def test_an_empty_expectation_expects_nothing() -> None:
    """RFC 9110, section 10.1.1: Expect is a list, which may be empty."""
    assert (await the_answer(get("/", "Expect: "))).status == 200


@pytest.mark.parametrize("zeros", [10, 4299, 4300, 20_000])
async def test_leading_zeros_of_a_length_are_no_digits_to_count(zeros: int) -> None:
    request = get("/", "Content-Length: " + "0" * zeros + "2", method="POST") + b"hi"
    answer = await the_answer(request, echo)
    assert answer.text == "POST / 1.1 b'hi'"


@pytest.mark.parametrize("first", [b"\x16\x03\x01\x02\x00\x01", b"\0" * 40, b" GET / HTTP/1.1\r\n", b"(", b"\xff"])
async def test_what_begins_like_no_request_is_refused_at_once(first: bytes, autojump_clock: MockClock) -> None:
    """As the first message of TLS, from someone who typed https."""
    async with connected() as client:
        await client.send_all(first)
        assert (await client.receive_some())[:12] == b"HTTP/1.1 400"
        assert trio.current_time() == 0


@pytest.mark.parametrize("expectation", ["x", "100-continue, x", "100 continue", "200-ok"])
async def test_other_expectations_fail(expectation: str) -> None:
    answer = await the_answer(post(b"hi", f"Expect: {expectation}"))
    assert (answer.status, answer.field("connection")) == (417, "close")


# ---------------------------------------------------------------- the end of the input


@pytest.mark.parametrize(
    "part",
    [
        b"G",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        get()[:-1],
        get("/", "Content-Length: 2"),
        post(b"hi")[:-1],
    ],
)
async def test_end_of_file_within_a_request_is_400(part: bytes) -> None:
    answer = await the_answer(part)
    assert (answer.status, answer.field("connection")) == (400, "close")
    statuses = [answer.status for answer in await say(get() + part)]
    assert statuses == [200, 400]


async def test_end_of_file_without_a_request_is_answered_with_nothing() -> None:
    assert await talk([]) == b""


@pytest.mark.parametrize("end", [b"\n\n", b"\n\r\n"])
async def test_a_head_that_ends_in_lf_is_refused_under_every_split(end: bytes) -> None:
    (answer,) = await say(b"GET / HTTP/1.1\r\nHost: a" + end)
    assert (answer.status, answer.text) == (400, "lines end with CR LF (as with nc -C)\n")


async def test_an_application_may_close_without_an_answer() -> None:
    class Closing(HTTPRequestHandler):
        def handle_request(self, request: Request) -> Response:
            self.close_when_done() if request.path == "/done" else self.close()
            return Response(200, "never sent")

    assert await talk([get("/now")], Closing) == b""
    assert await talk([get("/done")], Closing) == b""
