"""Timeouts of HTTP, on a clock of their own."""

import math

import pytest
import trio
from http_talk import AppOrFactory, answers, connected, echo, get, post, read_to_end
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.http import HTTPRequestHandler, Request, Response


async def until_end(sent: bytes, *, what: AppOrFactory = echo) -> tuple[list[int], float]:
    """The statuses of the answers to `sent`, and when the server has ended its side."""
    async with connected(what) as client:
        await client.send_all(sent)
        raw = await read_to_end(client)
        return [answer.status for answer in answers(raw)], trio.current_time()


@pytest.mark.parametrize(
    "part",
    [
        b"G",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        get()[:-1],
        get("/", "Content-Length: 2"),
        post(b"hi")[:-1],
    ],
)
async def test_half_a_request_is_answered_with_408_after_30_seconds(part: bytes, autojump_clock: MockClock) -> None:
    statuses, seconds = await until_end(part)
    assert (statuses, round(seconds, 2)) == ([408], 30)  # a body that has begun gets 2 ms a byte


async def test_half_a_request_after_a_whole_one(autojump_clock: MockClock) -> None:
    assert await until_end(get() + get()[:-1]) == ([200, 408], 30)


async def test_408_says_why_and_closes(autojump_clock: MockClock) -> None:
    async with connected() as client:
        await client.send_all(b"GET")
        (answer,) = answers(await read_to_end(client))
    assert (answer.text, answer.field("connection")) == ("the request took too long\n", "close")


@pytest.mark.parametrize(
    ("sent", "statuses"), [(b"", []), (get(), [200]), (get() * 3, [200] * 3), (post(b"hi"), [200])]
)
async def test_an_idle_connection_is_closed_without_a_word_after_60_seconds(
    sent: bytes, statuses: list[int], autojump_clock: MockClock
) -> None:
    assert await until_end(sent) == (statuses, 60)


async def test_idle_time_begins_anew_with_each_answer(autojump_clock: MockClock) -> None:
    async with connected() as client:
        for _ in range(3):
            await trio.sleep(59)
            await client.send_all(get())
            assert [answer.status for answer in answers(bytes(await client.receive_some()))] == [200]
        assert await read_to_end(client) == b""
        assert trio.current_time() == 3 * 59 + 60


async def dripped(data: bytes, *, first: bytes = b"", seconds: float = 10) -> tuple[list[int], float]:
    """The statuses, and when the server ended its side, if after `first` a byte comes each `seconds`."""

    async def drip() -> None:
        for byte in data:
            await client.send_all(bytes([byte]))
            await trio.sleep(seconds)

    async with connected() as client, trio.open_nursery() as nursery:
        await client.send_all(first)
        nursery.start_soon(drip)
        raw = await read_to_end(client)
        now = trio.current_time()
        nursery.cancel_scope.cancel()
    return [answer.status for answer in answers(raw)], now


async def test_a_head_that_drips_is_answered_with_408_after_30_seconds(autojump_clock: MockClock) -> None:
    assert await dripped(get()) == ([408], 30)


async def test_a_head_that_drips_after_a_whole_request(autojump_clock: MockClock) -> None:
    assert await dripped(get(), first=get()) == ([200, 408], 30)


@pytest.mark.parametrize("length", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_a_body_that_drips_is_answered_with_408(length: str, autojump_clock: MockClock) -> None:
    """`min_body_rate`: each of the bytes buys no more than two thousandths of a second."""
    statuses, seconds = await dripped(b"1\r\nx\r\n" * 20, first=get("/", length))
    assert statuses == [408]
    assert 30 <= seconds < 30.1


async def test_the_first_byte_of_a_body_gives_it_no_more_time(autojump_clock: MockClock) -> None:
    async with connected() as client:
        await client.send_all(get("/", "Content-Length: 3"))
        await trio.sleep(20)
        await client.send_all(b"x")
        assert [answer.status for answer in answers(await read_to_end(client))] == [408]
        assert trio.current_time() == 30 + 1 / 500


async def test_a_body_may_take_longer_if_it_keeps_the_rate(autojump_clock: MockClock) -> None:
    statuses, seconds = await dripped(bytes([65]) * 100, first=post(bytes(5000))[:-100], seconds=0.35)
    assert (statuses, round(seconds, 6)) == ([200], 60 + 99 * 0.35)


async def test_only_the_time_in_which_the_body_is_waited_for_counts(autojump_clock: MockClock) -> None:
    async def app(request: Request) -> Response:
        pieces = []
        async for piece in request.stream():
            pieces.append(piece)
            await trio.sleep(100)
        return Response(200, repr(pieces))

    async with connected(app) as client:
        await client.send_all(get("/", "Content-Length: 3"))
        for letter in (b"a", b"b", b"c"):
            await client.send_all(letter)
            await trio.sleep(110)
        (answer,) = answers(bytes(await client.receive_some()))
    assert answer.text == "[b'a', b'b', b'c']"


async def test_the_body_has_30_seconds_of_its_own(autojump_clock: MockClock) -> None:
    async with connected() as client:
        await client.send_all(get("/", "Content-Length: 2")[:-1])
        await trio.sleep(29)
        await client.send_all(b"\n")
        await trio.sleep(29)
        await client.send_all(b"hi")
        (answer,) = answers(bytes(await client.receive_some()))
    assert answer.text == "GET / 1.1 b'hi'"


async def test_100_continue_does_not_stop_the_clock(autojump_clock: MockClock) -> None:
    assert await until_end(get("/", "Content-Length: 2", "Expect: 100-continue")) == ([100, 408], 30)


async def test_the_application_may_take_its_time(autojump_clock: MockClock) -> None:
    async def app(_request: Request) -> Response:
        await trio.sleep(1000)
        return Response(200, "at last")

    async with connected(app) as client:
        await client.send_all(get())
        (answer,) = answers(bytes(await client.receive_some()))
        assert (answer.text, trio.current_time()) == ("at last", 1000)


async def test_limits_of_time_can_be_changed(autojump_clock: MockClock) -> None:
    class Patient(HTTPRequestHandler):
        idle_timeout = 5.0
        message_timeout = math.inf

        async def handle_request(self, request: Request) -> Response:
            return await echo(request)

    assert await until_end(get(), what=Patient) == ([200], 5)


# ---------------------------------------------------------------- no waiting


@pytest.mark.parametrize(
    "chunks", [[b"GET / HTTP/1.1\n\n"], [b"GET / HTTP/1.1\n", b"\n"], [b"GET /", b" HTTP/1.1\n", b"\n"]]
)
async def test_lines_typed_into_nc_are_refused_at_once(chunks: list[bytes], autojump_clock: MockClock) -> None:
    async with connected() as client:
        for chunk in chunks:
            await client.send_all(chunk)
            await wait_all_tasks_blocked()
        (answer,) = answers(await read_to_end(client))
        assert trio.current_time() == 0
    assert (answer.status, answer.text) == (400, "lines end with CR LF (as with nc -C)\n")


@pytest.mark.parametrize(
    "sent",
    [get(version="HTTP/2.0"), get(host=""), get("/", "Transfer-Encoding: gzip, chunked"), get("/", "Connection: close"),
     get(version="HTTP/1.0"), b"nonsense\r\n\r\n", b"\r\n" * 100],
)  # fmt: skip
async def test_the_end_comes_at_once(sent: bytes, autojump_clock: MockClock) -> None:
    (_status,), seconds = await until_end(sent)
    assert seconds == 0
