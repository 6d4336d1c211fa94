"""The access log: a line for every request, which nobody can forge."""

import logging
import math
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple

import pytest
import trio
from http_answers import giving, not_reading, pieces, read_answers, receive_rest, serving
from http_talk import connected, echo, get, post, read_to_end, splits, talk
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trio_chat.http import (
    AccessEntry,
    EventSourceResponse,
    HTTPError,
    HTTPRequestHandler,
    Request,
    Response,
)

LOGGER = "trio_chat.http.access"

# The common log format of NCSA and Apache: %h %l %u %t "%r" %>s %b; behind it the seconds.
_line = re.compile(
    r"(?P<client>[0-9a-fA-F.:%-]+) - - "
    r"\[(?P<time>[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4})\] "
    r'"(?P<request>(?:[ !#-\[\]-~]|\\x[0-9a-f]{2})*)" '
    r"(?P<status>[1-5][0-9]{2}|-) (?P<size>[1-9][0-9]*|-) (?P<seconds>[0-9]+\.[0-9]{6})"
)


class Line(NamedTuple):
    client: str
    time: datetime
    request: str
    status: str
    size: str
    seconds: float

    @property
    def brief(self) -> tuple[str, str, str]:
        return self.request, self.status, self.size


def parse(text: str) -> Line:
    match = _line.fullmatch(text)
    assert match, f"not a line of the common log format: {text!r}"
    when = datetime.strptime(match["time"], "%d/%b/%Y:%H:%M:%S %z")
    request = re.sub(r"\\x(..)", lambda escape: chr(int(escape[1], 16)), match["request"])
    return Line(match["client"], when, request, match["status"], match["size"], float(match["seconds"]))


@pytest.fixture
def log() -> Iterator[list[Line]]:
    """The lines so far; it is a list that grows."""
    with logged() as lines:
        yield lines


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert record.levelno == logging.INFO
        self.lines.append(parse(record.getMessage()))


@contextmanager
def logged() -> Iterator[list[Line]]:
    logger, handler = logging.getLogger(LOGGER), _Lines()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


# ---------------------------------------------------------------- what is logged


async def test_ordinary_requests(log: list[Line]) -> None:
    async def app(request: Request) -> Response:
        if request.target == "/missing":
            raise HTTPError(404)
        if request.target == "/wrong":
            raise ValueError
        return Response(200, await request.read())

    requests = get("/a%20b?c=d") + post(b"12345", target="/post") + get("/missing") + get("/wrong") + get("/empty")
    await talk([requests], app)
    assert [line.brief for line in log] == [
        ("GET /a%20b?c=d HTTP/1.1", "200", "-"),
        ("POST /post HTTP/1.1", "200", "5"),
        ("GET /missing HTTP/1.1", "404", "10"),
        ("GET /wrong HTTP/1.1", "500", "22"),
        ("GET /empty HTTP/1.1", "200", "-"),
    ]
    assert {line.client for line in log} == {"-"}  # the stream has no socket


async def test_the_request_line_is_as_it_was_sent(log: list[Line]) -> None:
    await talk([get("http://b/x", version="HTTP/1.0")], echo)
    await talk([get("*", method="OPTIONS")], echo)
    await talk([b"\r\n" + get("/'<>{}|^`", method="x-Y!")], echo)
    await talk([get(version="HTTP/1.9")], echo)
    assert [line.request for line in log] == [
        "GET http://b/x HTTP/1.0", "OPTIONS * HTTP/1.1", "x-Y! /'<>{}|^` HTTP/1.1", "GET / HTTP/1.9",
    ]  # fmt: skip


async def test_no_bytes_are_sent_of_a_body_that_is_not(log: list[Line]) -> None:
    async def app(request: Request) -> Response:
        if request.target == "/error":
            raise HTTPError(404)
        return Response(int(request.target[1:]), b"12345" if request.query else pieces(b"123", b"45"))

    heads = b"".join(get(target, method="HEAD") for target in ("/200", "/error"))
    await talk([heads + get("/204") + get("/205") + get("/304") + get("/200")], app)
    assert [(line.status, line.size) for line in log] == [
        ("200", "-"), ("404", "-"), ("204", "-"), ("205", "-"), ("304", "-"), ("200", "5"),
    ]  # fmt: skip


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_the_bytes_of_streams_are_those_of_the_body_and_not_of_its_framing(version: str, log: list[Line]) -> None:
    request = get("/", "Connection: close", version=version)
    for make in (
        lambda: Response(200, pieces(b"abc", b"", b"de")),
        lambda: Response(200, pieces(b"abc", b"", b"de"), {"Content-Length": "5"}),
        lambda: Response(200, pieces(memoryview(b"abcde"))),
        lambda: EventSourceResponse(pieces("a", "b")),
    ):
        await talk([request], giving(make))
    assert [(line.status, line.size) for line in log] == [("200", "5"), ("200", "5"), ("200", "5"), ("200", "18")]


@pytest.mark.parametrize(
    ("items", "headers", "size"),
    [
        ((b"abc", ValueError("of the body")), {}, "3"),
        ((b"", ValueError("of the body")), {}, "-"),
        ((b"abc", "text"), {}, "3"),
        ((b"abc", b"de"), {"Content-Length": "4"}, "3"),
        ((b"abc",), {"Content-Length": "4"}, "3"),
    ],
)
async def test_the_bytes_of_an_answer_that_was_cut_off(
    items: tuple[Any, ...], headers: dict[str, str], size: str, log: list[Line]
) -> None:
    await talk([get()], giving(lambda: Response(200, pieces(*items), headers)))
    assert [line.brief for line in log] == [("GET / HTTP/1.1", "200", size)]


async def test_what_is_answered_instead_of_a_stream_is_what_is_logged(log: list[Line]) -> None:
    await talk([get()], giving(lambda: Response(200, pieces(ValueError("of the body")))))
    assert [line.brief for line in log] == [("GET / HTTP/1.1", "500", "22")]


async def test_requests_are_logged_in_their_order(log: list[Line], autojump_clock: MockClock) -> None:
    async with connected(giving(lambda: Response(200, pieces(1, b"x", 1)))) as client:
        await client.send_all(get("/1") + get("/2"))
        await client.send_eof()
        await read_to_end(client)
    assert [(line.request, line.seconds) for line in log] == [("GET /1 HTTP/1.1", 2), ("GET /2 HTTP/1.1", 2)]


# ---------------------------------------------------------------- what is no request


@pytest.mark.parametrize(
    ("sent", "request_", "status"),
    [
        (b"nonsense\r\n\r\n", "nonsense", "400"),
        (b"\r\nnonsense\r\n\r\n", "nonsense", "400"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc", "\x16\x03\x01\x02\0\x01\0\x01\xfc", "400"),
        (get(version="HTTP/2.0"), "GET / HTTP/2.0", "505"),
        (get(host=""), "GET / HTTP/1.1", "400"),
        (get("/", "Transfer-Encoding: gzip, chunked"), "GET / HTTP/1.1", "501"),
        (get("/", "Expect: x"), "GET / HTTP/1.1", "417"),
        (get("/", "X: " + "x" * 40_000), "GET / HTTP/1.1", "431"),
        (get("/" + "x" * 9_000), "GET /" + "x" * 195, "414"),
        (get("/" + "x" * 40_000), "GET /" + "x" * 195, "414"),
        (b'GET /"x" HTTP/1.1" 200 5\r\n\r\n', 'GET /"x" HTTP/1.1" 200 5', "400"),
        (b"GET /half HTTP/1.1\r\nHost: a\r\n", "GET /half HTTP/1.1", "400"),
        (b"GET /ha", "GET /ha", "400"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:80 HTTP/1.1", "501"),
    ],
)
async def test_what_is_refused(sent: bytes, request_: str, status: str, log: list[Line]) -> None:
    raw = await talk([sent], echo)
    (line,) = log
    (answer,) = read_answers(raw)
    assert line.brief == (request_, status, str(len(answer.body)))
    assert line.seconds == 0


async def test_a_head_request_that_is_refused(log: list[Line]) -> None:
    await talk([get(method="HEAD", host="")], echo)
    assert log[0].brief == ("HEAD / HTTP/1.1", "400", "-")


async def test_nothing_is_logged_of_who_says_nothing(log: list[Line], autojump_clock: MockClock) -> None:
    await talk([], echo)
    await talk([b"\r\n"], echo)
    async with connected(echo) as client:
        assert await client.receive_some() == b""
        assert trio.current_time() == 60
    assert log == []


async def test_who_is_too_slow(log: list[Line], autojump_clock: MockClock) -> None:
    for sent in (b"GET /slow HT", get("/slow", "Content-Length: 5")):
        async with connected(echo) as client:
            await client.send_all(sent)
            await read_to_end(client)
    assert [(line.request, line.status, line.seconds) for line in log] == [
        ("GET /slow HT", "408", 0), ("GET /slow HTTP/1.1", "408", 30),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/", "Transfer-Encoding: chunked", method="POST") + b"x\r\n", "400"),
        (post(b"12345")[:-1], "400"),
        (get("/", "Content-Length: 2000000", method="POST"), "413"),
    ],
)
async def test_a_body_that_is_wrong_is_the_requests(request_: bytes, status: str, log: list[Line]) -> None:
    await talk([request_], echo)
    (line,) = log
    assert (line.request, line.status) == ("POST / HTTP/1.1", status)


async def test_one_line_for_one_request_however_it_is_cut() -> None:
    request = get("/1") + post(b"hi", target="/2") + b"GET /3\r\n\r\n"
    for chunks in [[request], *splits(request)]:
        with logged() as lines:
            await talk(chunks, echo)
        assert [(line.request, line.status) for line in lines] == [
            ("GET /1 HTTP/1.1", "200"), ("POST /2 HTTP/1.1", "200"), ("GET /3", "400"),
        ], f"cut as {chunks}"  # fmt: skip


# ---------------------------------------------------------------- other protocols


async def test_an_upgrade_is_logged_when_it_is_over(log: list[Line], autojump_clock: MockClock) -> None:
    async def app(request: Request) -> None:
        stream = await request.upgrade("x")
        await trio.sleep(5)
        await stream.send_all(b"hello")

    async with connected(app) as client:
        await client.send_all(get("/", "Upgrade: x", "Connection: Upgrade"))
        await wait_all_tasks_blocked()
        assert log == []
        await read_to_end(client)
    assert [line.brief for line in log] == [("GET / HTTP/1.1", "101", "-")]
    assert log[0].seconds == 5


async def test_an_upgrade_that_fails_is_logged_with_101(log: list[Line]) -> None:
    async def app(request: Request) -> None:
        await request.upgrade("x")
        raise ValueError

    await talk([get("/", "Upgrade: x", "Connection: Upgrade")], app)
    await talk([get()], app)
    assert [(line.status, line.size) for line in log] == [("101", "-"), ("426", "14")]


async def test_of_what_is_taken_over_no_status_is_known(log: list[Line]) -> None:
    async def app(request: Request) -> None:
        stream = await request.take_over()
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nhello")

    await talk([get()], app)
    assert [line.brief for line in log] == [("GET / HTTP/1.1", "-", "-")]


# ---------------------------------------------------------------- clients that go


async def test_a_client_that_is_gone_before_it_is_answered(log: list[Line]) -> None:
    """Known to be gone: one who has only ended its side is answered."""

    async def app(request: Request) -> Response:
        await request.disconnected()
        return Response(200, b"nobody")

    with trio.fail_after(10):
        async with serving(app) as port:
            client = await trio.open_tcp_stream("127.0.0.1", port)
            name = client.socket.getsockname()
            await client.send_all(get())
            await wait_all_tasks_blocked()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await client.aclose()
            while not log:
                await trio.lowlevel.checkpoint()
            other = await trio.open_tcp_stream("127.0.0.1", port)
            async with other:
                await other.send_all(get("/other"))
                await other.send_eof()
                await receive_rest(other)
    assert [line.brief for line in log] == [("GET / HTTP/1.1", "-", "-"), ("GET /other HTTP/1.1", "200", "6")]
    assert [line.client for line in log] == [name[0]] * 2 == ["127.0.0.1"] * 2


@pytest.mark.parametrize("streams", [False, True])
async def test_a_request_that_is_cancelled_is_logged(streams: bool, log: list[Line], autojump_clock: MockClock) -> None:
    async def app(_request: Request) -> Response:
        if not streams:
            await trio.sleep_forever()
        return Response(200, pieces(b"abc", math.inf))

    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HTTPRequestHandler(server, app).run)
        await client.send_all(get())
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert [(*line.brief, line.seconds) for line in log] == [
        ("GET / HTTP/1.1", "200", "3", 5) if streams else ("GET / HTTP/1.1", "-", "-", 5)
    ]


async def test_a_client_that_goes_in_the_middle_of_an_answer(log: list[Line], autojump_clock: MockClock) -> None:
    async with connected(giving(lambda: Response(200, pieces(b"abc", 5, b"def", 5, b"ghi", 5, b"jkl")))) as client:
        await client.send_all(get())
        await trio.sleep(7)
        await client.aclose()
    (line,) = log
    assert line.brief in [("GET / HTTP/1.1", "200", "9"), ("GET / HTTP/1.1", "200", "12")]  # what was given to be sent


async def infinite() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 1000


async def test_bytes_that_were_given_to_be_sent_are_counted_if_the_client_stops_reading(
    log: list[Line], autojump_clock: MockClock
) -> None:
    async with not_reading(giving(lambda: Response(200, infinite()))) as client:
        await client.send_all(get())
        await trio.sleep(100)
        (line,) = log
        assert (line.status, line.seconds) == ("200", 30)  # write_timeout
        assert 1000 <= int(line.size) <= 17_000
        await receive_rest(client)


# ---------------------------------------------------------------- how long it took


async def test_seconds_are_from_the_end_of_the_head_to_the_end_of_the_answer(
    log: list[Line], autojump_clock: MockClock
) -> None:
    async def app(request: Request) -> Response:
        body = await request.read()
        await trio.sleep(2.5)
        return Response(200, pieces(1, body, 0.25))

    async with connected(app) as client:
        await client.send_all(post(b"hi")[:5])
        await trio.sleep(10)
        await client.send_all(post(b"hi")[5:-1])
        await trio.sleep(4)
        await client.send_all(b"i")
        await trio.sleep(20)
        await client.send_all(get("/2"))
        await trio.sleep(20)
    assert [line.seconds for line in log] == [7.75, 3.75]


@pytest.mark.parametrize(("size", "seconds"), [(60_000, 0), (100_000, 9)])
async def test_what_is_queued_is_not_waited_for_but_for_what_exceeds_the_high_water_mark(
    size: int, seconds: float, log: list[Line], autojump_clock: MockClock
) -> None:
    async with not_reading(giving(lambda: Response(200, b"x" * size))) as client:
        await client.send_all(get("/", "Connection: close"))
        await trio.sleep(9)
        await receive_rest(client)
    assert [(line.size, line.seconds) for line in log] == [(str(size), seconds)]


async def test_a_stream_waits_for_its_client(log: list[Line], autojump_clock: MockClock) -> None:
    async with not_reading(giving(lambda: Response(200, pieces(b"x" * 100_000, b"y")))) as client:
        await client.send_all(get("/", "Connection: close"))
        await trio.sleep(9)
        assert log == []
        await receive_rest(client)
    assert [(line.size, line.seconds) for line in log] == [("100001", 9)]


# ---------------------------------------------------------------- the line


def entry(**fields: Any) -> AccessEntry:
    values: dict[str, Any] = {
        "client": ("127.0.0.1", 5), "request_line": "GET / HTTP/1.1", "request": None, "status": 200, "sent_bytes": 5,
        "seconds": 0.25,
    }  # fmt: skip
    return AccessEntry(**{**values, **fields})


@pytest.mark.parametrize(
    ("client", "text"),
    [
        (("127.0.0.1", 5), "127.0.0.1"),
        (("::1", 5, 0, 0), "::1"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::1%eth0"),
        ("/run/a.sock", "-"),
        ("", "-"),
        (b"\0abstract", "-"),
        (None, "-"),
    ],
)
def test_the_client(client: Any, text: str) -> None:
    assert entry(client=client).common_log_format().startswith(f"{text} - - [")


def test_numbers() -> None:
    assert entry(status=None, sent_bytes=0, seconds=0.0).common_log_format().endswith('" - - 0.000000')
    assert (
        entry(status=HTTPStatus.NOT_FOUND, sent_bytes=10**10).common_log_format().endswith('" 404 10000000000 0.250000')
    )
    assert entry(seconds=12345.6789).common_log_format().endswith(" 12345.678900")


@pytest.mark.parametrize(("zone", "offset"), [("UTC0", 0), ("XXX-5:30", 330), ("YYY3", -180)])
def test_the_time_is_that_of_the_zone(zone: str, offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        before = datetime.now(UTC).replace(microsecond=0)
        line = parse(entry().common_log_format())
        assert before <= line.time <= datetime.now(UTC)
        assert line.time.utcoffset() == timedelta(minutes=offset)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("sent", "logged_as"),
    [
        ('"', r"\x22"),
        ("\\", r"\x5c"),
        (r"\x22", r"\x5cx22"),
        ("\r\n", r"\x0d\x0a"),
        ("\0\t\x1b\x7f", r"\x00\x09\x1b\x7f"),
        ("\x85\xa0\xe9\xff", r"\x85\xa0\xe9\xff"),
        (" !#$%&'()*+,-./:;<=>?@[]^_`{|}~azAZ09", " !#$%&'()*+,-./:;<=>?@[]^_`{|}~azAZ09"),
    ],
)
def test_what_is_escaped(sent: str, logged_as: str) -> None:
    assert f'] "{logged_as}" 200 ' in entry(request_line=sent).common_log_format()


_TRICKY = [
    b'"',
    b"\\",
    b"\\x22",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b'" 200 5 0.1',
    b"\x1b[2J",
    b"\xff",
    b"GET /",
    b"HTTP/1.1",
]
tricky_bytes = st.lists(st.sampled_from(_TRICKY) | st.binary(max_size=5)).map(b"".join)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(line=st.text(st.characters(max_codepoint=255)))
def test_any_line_is_logged_such_that_it_can_be_read_again(line: str) -> None:
    assert parse(entry(request_line=line).common_log_format()).request == line


@settings(max_examples=80, deadline=None, derandomize=True)
@given(sent=tricky_bytes, cut=st.integers(0, 30))
async def test_nobody_can_forge_a_line(sent: bytes, cut: int) -> None:
    """What is logged is the beginning of what was sent, on one line, whatever it is."""
    raw = sent + b"\r\n\r\n"
    with logged() as lines:
        await talk([chunk for chunk in (raw[:cut], raw[cut:]) if chunk], echo)
    while raw.startswith(b"\r\n"):
        raw = raw.removeprefix(b"\r\n")  # empty lines are passed over
    assert bool(lines) == bool(raw)
    for line in lines[:1]:
        assert raw.startswith(line.request.encode("latin-1"))
        assert len(line.request) <= 200


@settings(max_examples=100, deadline=None, derandomize=True)
@given(target=tricky_bytes)
async def test_nobody_can_forge_a_line_by_a_target(target: bytes) -> None:
    with logged() as lines:
        await talk([b"GET /" + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"], echo)
    assert (b"GET /" + target + b" HTTP/1.1").startswith(lines[0].request.encode("latin-1"))


# ---------------------------------------------------------------- log_request


async def test_log_request_gets_an_entry(autojump_clock: MockClock) -> None:
    entries: list[AccessEntry] = []
    requests: list[Request] = []

    class Handler(HTTPRequestHandler):
        async def handle_request(self, request: Request) -> Response:
            requests.append(request)
            await trio.sleep(2)
            return Response(201, pieces(b"abc"))

        def log_request(self, entry: AccessEntry) -> None:
            entries.append(entry)

    await talk([get("/x") + b"nonsense\r\n\r\n"], Handler)
    (refused_size,) = [entry.sent_bytes for entry in entries[1:]]
    assert entries == [
        AccessEntry(None, "GET /x HTTP/1.1", requests[0], 201, 3, 2.0),
        AccessEntry(None, "nonsense", None, 400, refused_size, 0.0),
    ]
    assert refused_size > 0


async def test_log_request_instead_of_the_logger(log: list[Line]) -> None:
    class Handler(HTTPRequestHandler):
        def handle_request(self, request: Request) -> Response:
            return Response()

        def log_request(self, entry: AccessEntry) -> None:
            if entry.request_line != "GET /health HTTP/1.1":
                super().log_request(entry)

    await talk([get("/health") + get("/x")], Handler)
    assert [line.request for line in log] == ["GET /x HTTP/1.1"]


async def test_the_client_of_an_entry_is_that_of_the_request() -> None:
    entries: list[AccessEntry] = []

    class Handler(HTTPRequestHandler):
        def handle_request(self, request: Request) -> Response:
            return Response(200, repr(request.client))

        def log_request(self, entry: AccessEntry) -> None:
            entries.append(entry)

    with trio.fail_after(10):
        async with serving(Handler) as port, await trio.open_tcp_stream("127.0.0.1", port) as client:
            await client.send_all(get("/", "Connection: close"))
            (answer,) = read_answers((await receive_rest(client))[0])
            name = client.socket.getsockname()
    assert [entry.client for entry in entries] == [name]
    assert answer.text == repr(name)


class Counted(AccessEntry):
    """An entry that counts how often it is formatted."""

    formatted = 0

    def common_log_format(self) -> str:
        Counted.formatted += 1
        return super().common_log_format()


@pytest.mark.parametrize(("level", "times"), [(logging.INFO, 1), (logging.WARNING, 0)])
async def test_nothing_is_formatted_for_nobody(level: int, times: int, caplog: pytest.LogCaptureFixture) -> None:
    class Handler(HTTPRequestHandler):
        def handle_request(self, request: Request) -> Response:
            return Response()

        def log_request(self, entry: AccessEntry) -> None:
            super().log_request(Counted(*entry))

    caplog.set_level(level, LOGGER)
    Counted.formatted = 0
    await talk([get()], Handler)
    assert Counted.formatted == times
    assert len([record for record in caplog.records if record.name == LOGGER]) == times


async def test_by_default_nothing_is_logged_below_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    """A library does not configure logging: whoever wants the log asks for it."""
    assert logging.getLogger(LOGGER).level == logging.NOTSET
    assert logging.getLogger(LOGGER).handlers == []
    await talk([get()], echo)
    assert capsys.readouterr() == ("", "")


async def test_an_access_log_that_fails_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(HTTPRequestHandler):
        def handle_request(self, request: Request) -> Response:
            return Response(200, request.target)

        def log_request(self, entry: AccessEntry) -> None:
            raise OSError("the disk is full")

    assert [answer.text for answer in read_answers(await talk([get("/1") + get("/2")], Failing))] == ["/1", "/2"]
    assert [record.getMessage() for record in caplog.records] == ["the access log failed"] * 2
