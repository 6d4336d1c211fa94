"""Server-sent events, read as the standard wants a browser to read them.

The standard: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.
"""

import math
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
import trio
from http_answers import CUT_OFF, Answer, errors, giving, not_reading, pieces, read_answer, read_answers, receive_rest
from http_talk import connected, get, read_to_end, talk
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trio_chat.http import EventSourceResponse, HTTPRequestHandler, Request, Response, ServerSentEvent

# ---------------------------------------------------------------- a browser


class Message(NamedTuple):
    """What a browser dispatches."""

    data: str
    type: str = "message"
    last_event_id: str = ""


class EventSource:
    """Section 9.2.6, "Interpreting an event stream", as it stands there."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.comments: list[str] = []
        self.reconnection_time: int | None = None
        self._last_event_id = ""
        self._data, self._type, self._id = "", "", ""

    def read(self, raw: bytes) -> "EventSource":
        text = raw.decode("utf-8", "replace").removeprefix("\ufeff")
        *lines, _unfinished = re.split("\r\n|\n|\r", text)
        for line in lines:
            if not line:
                self._dispatch()
            elif line.startswith(":"):
                self.comments.append(line[1:])
            elif ":" in line:
                field, _, value = line.partition(":")
                self._process(field, value.removeprefix(" "))
            else:
                self._process(line, "")
        return self  # once the end of the file is reached, pending data are discarded

    def _process(self, field: str, value: str) -> None:
        match field:
            case "event":
                self._type = value
            case "data":
                self._data += value + "\n"
            case "id":
                if "\0" not in value:
                    self._id = value
            case "retry":
                if re.fullmatch("[0-9]+", value):
                    self.reconnection_time = int(value)

    def _dispatch(self) -> None:
        self._last_event_id = self._id
        if self._data:
            self.messages.append(Message(self._data.removesuffix("\n"), self._type or "message", self._last_event_id))
        self._data, self._type = "", ""


def test_the_browser_reads_the_examples_of_the_standard() -> None:
    """Section 9.2.6 has them."""

    def read(text: str) -> list[Message]:
        return EventSource().read(text.encode()).messages

    assert read("data: YHOO\ndata: +2\ndata: 10\n\n") == [Message("YHOO\n+2\n10")]
    stream = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event"
    assert read(stream) == [Message("first event", last_event_id="1"), Message("second event")]
    assert read("data\n\ndata\ndata\n\ndata:") == [Message(""), Message("\n")]
    assert read("data:test\n\ndata: test\n\n") == [Message("test")] * 2


def as_browsers_have_it(text: str) -> str:
    return re.sub("\r\n|\r", "\n", text)


# ---------------------------------------------------------------- the wire format


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        (ServerSentEvent("abc"), "data: abc\n\n"),
        (ServerSentEvent(""), "data: \n\n"),
        (ServerSentEvent("a\nb"), "data: a\ndata: b\n\n"),
        (ServerSentEvent("a\n"), "data: a\ndata: \n\n"),
        (ServerSentEvent("a", "type", "5", 1000), "event: type\nid: 5\nretry: 1000\ndata: a\n\n"),
        (ServerSentEvent("a", id=""), "id: \ndata: a\n\n"),
        (ServerSentEvent("\u20ac", retry=0), "retry: 0\ndata: \u20ac\n\n"),
    ],
)
def test_events_on_the_wire(event: ServerSentEvent, wire: str) -> None:
    assert event.encode() == wire.encode()


@pytest.mark.parametrize(
    "data",
    [
        "", " ", "  leading", "a", "\xe9\u20ac\U0001f600", "a\nb", "a\rb", "a\r\nb", "a\n\nb", "\n", "\r", "\r\n",
        "\n\r", "\n\n", "a\n", "\na", "a\r\r\nb", "data: x", ":", ": comment", "id: 5", "a\nid: 5\nevent: x\n\ndata: b",
        "\0", "\ufeff",
        "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei", "x" * 100_000, "\n" * 1000,
    ],
)  # fmt: skip
def test_any_text_is_data(data: str) -> None:
    browser = EventSource().read(ServerSentEvent(data).encode() + ServerSentEvent("next").encode())
    assert browser.messages == [Message(as_browsers_have_it(data)), Message("next")]


@pytest.mark.parametrize("text", ["x", "a b", " leading", "\xe9\u20ac", "a:b", ":", "\u2028\x85\x0b", "data: x"])
def test_type_and_id_are_any_line(text: str) -> None:
    browser = EventSource().read(ServerSentEvent("a", event=text, id=text).encode())
    assert browser.messages == [Message("a", text, text)]


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\r\nb", "\n", "\r", "a\n", "\na", "x\n\ndata: forged"])
@pytest.mark.parametrize("field", ["event", "id"])
def test_type_and_id_are_one_line(text: str, field: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        ServerSentEvent("a", **{field: text}).encode()  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["\0", "a\0", "\0a"])
def test_an_id_with_nul_would_be_ignored_and_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="without NUL"):
        ServerSentEvent("a", id=text).encode()
    assert EventSource().read(ServerSentEvent("a", event=text).encode()).messages == [Message("a", text)]


def test_an_id_stays_until_there_is_another() -> None:
    events = [ServerSentEvent("a", id="1"), ServerSentEvent("b"), ServerSentEvent("c", id=""), ServerSentEvent("d")]
    browser = EventSource().read(b"".join(event.encode() for event in events))
    assert [message.last_event_id for message in browser.messages] == ["1", "1", "", ""]


def test_an_empty_type_is_that_of_a_message() -> None:
    assert EventSource().read(ServerSentEvent("a", event="").encode()).messages == [Message("a")]


@pytest.mark.parametrize("retry", [0, 1, 10**6])
def test_retry(retry: int) -> None:
    assert EventSource().read(ServerSentEvent("a", retry=retry).encode()).reconnection_time == retry


@pytest.mark.parametrize("retry", [1.5, "1", "1\ndata: forged", -1])
def test_retry_is_a_number_of_milliseconds(retry: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        ServerSentEvent("a", retry=retry).encode()


line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))
nasty = st.text(st.sampled_from("\r\n\0: \t\u2028\x85\ufeffadeintvy") | st.characters(exclude_categories=["Cs"]))
events = st.builds(
    ServerSentEvent,
    nasty,
    st.none() | line,
    st.none() | line.filter(lambda text: "\0" not in text),
    st.none() | st.integers(0, 10**6),
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(sent=st.lists(events, max_size=6))
def test_a_browser_reads_what_was_sent(sent: list[ServerSentEvent]) -> None:
    last_event_id = ""
    expected = []
    for event in sent:
        last_event_id = last_event_id if event.id is None else event.id
        expected.append(Message(as_browsers_have_it(event.data), event.event or "message", last_event_id))
    assert EventSource().read(b"".join(event.encode() for event in sent)).messages == expected


@settings(max_examples=80, deadline=None, derandomize=True)
@given(data=nasty, event=nasty, id_=nasty)
def test_no_text_forges_an_event(data: str, event: str, id_: str) -> None:
    try:
        raw = ServerSentEvent(data, event, id_).encode()
    except ValueError:
        assert re.search("[\r\n]", event + id_) or "\0" in id_
        return
    browser = EventSource().read(raw)
    assert browser.messages == [Message(as_browsers_have_it(data), event or "message", id_)]
    assert (browser.comments, browser.reconnection_time) == ([], None)


# ---------------------------------------------------------------- the response


async def answer_to(request: bytes, make: Callable[[], Response]) -> Answer:
    return read_answer(await talk([request], giving(make)))


async def test_events_and_strings_are_sent_as_they_come() -> None:
    answer = await answer_to(
        get(), lambda: EventSourceResponse(pieces("a\nb", ServerSentEvent("c", "type", "5", 9), ""))
    )
    assert (answer.status, answer.framing, answer.complete) == (200, "chunked", True)
    assert answer.chunks == [b"data: a\ndata: b\n\n", b"event: type\nid: 5\nretry: 9\ndata: c\n\n", b"data: \n\n"]
    assert EventSource().read(answer.body).messages == [
        Message("a\nb"),
        Message("c", "type", "5"),
        Message("", last_event_id="5"),
    ]


async def test_the_head_comes_before_the_first_event(autojump_clock: MockClock) -> None:
    """A browser says "open" when it has the head."""
    async with connected(giving(lambda: EventSourceResponse(pieces(10, "a")))) as client:
        await client.send_all(get())
        head = bytes(await client.receive_some())
        assert trio.current_time() == 0
        assert head.endswith(b"\r\n\r\n")
        assert b"data" in await client.receive_some()
        assert trio.current_time() == 10


async def test_after_the_last_event_the_connection_goes_on() -> None:
    answers = read_answers(await talk([get() * 3], giving(lambda: EventSourceResponse(pieces("a", "b")))))
    assert [EventSource().read(answer.body).messages for answer in answers] == [[Message("a"), Message("b")]] * 3


async def test_events_to_an_http_1_0_client() -> None:
    answer = await answer_to(get(version="HTTP/1.0"), lambda: EventSourceResponse(pieces("a", "b")))
    assert (answer.framing, answer.connection, answer.body) == ("end", {"close"}, b"data: a\n\ndata: b\n\n")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, {"cache-control": "no-store", "x-accel-buffering": "no", "content-type": "text/event-stream"}),
        ({"X": "y"}, {"x": "y", "cache-control": "no-store"}),
        ({"CACHE-control": "no-cache"}, {"cache-control": "no-cache", "x-accel-buffering": "no"}),
        ({"x-accel-buffering": "yes"}, {"cache-control": "no-store", "x-accel-buffering": "yes"}),
        ({"content-type": "text/event-stream; x=y"}, {"content-type": "text/event-stream; x=y"}),
        ({"Connection": "close"}, {"connection": "close"}),
    ],
)
async def test_fields_and_what_overrides_them(headers: dict[str, str], expected: dict[str, str]) -> None:
    answer = await answer_to(get(), lambda: EventSourceResponse(pieces("a"), headers))
    assert {name: answer.field(name) for name in expected} == expected


@pytest.mark.parametrize("before", [(), ("a", "b")])
@pytest.mark.parametrize(
    "failure", [ValueError("of the events"), ServerSentEvent("x", id="\0"), "\ud800", b"bytes", None, 5.5j]
)
async def test_events_that_fail(before: tuple[str, ...], failure: Any, caplog: pytest.LogCaptureFixture) -> None:
    answer = await answer_to(get() + get(), lambda: EventSourceResponse(pieces(*before, failure, "never")))
    assert EventSource().read(answer.body).messages == [Message(data) for data in before]
    assert not answer.complete
    assert errors(caplog) == CUT_OFF


@pytest.mark.parametrize("events", [None, 5, ["a"], iter(["a"])])
def test_what_are_no_events(events: Any) -> None:
    with pytest.raises(TypeError, match="async iterable"):
        EventSourceResponse(events)


async def test_head_of_events() -> None:
    raw = await talk([get(method="HEAD")], giving(lambda: EventSourceResponse(pieces("a"))))
    assert read_answer(raw, "HEAD").field("content-type") == "text/event-stream"
    assert raw.endswith(b"\r\n\r\n")


async def test_a_client_that_comes_back_says_what_it_had_last() -> None:
    async def app(request: Request) -> Response:
        start = int(request.headers.get("last-event-id", "0"))
        return EventSourceResponse(pieces(*[ServerSentEvent(str(n), id=str(n)) for n in range(start + 1, start + 3)]))

    first = EventSource().read(read_answer(await talk([get()], app)).body).messages[-1]
    again = read_answer(await talk([get("/", f"Last-Event-ID: {first.last_event_id}")], app))
    assert [message.data for message in EventSource().read(again.body).messages] == ["3", "4"]


# ---------------------------------------------------------------- pings


async def timeline(make: Callable[[], Response], until: float) -> list[tuple[float, bytes]]:
    """When which chunk of the body came."""
    heard = []
    async with connected(giving(make)) as client:
        await client.send_all(get())
        await client.receive_some()  # the head
        with trio.move_on_at(until + 0.1):
            while True:
                data = bytes(await client.receive_some())
                heard.append((trio.current_time(), data.split(b"\r\n", 1)[1].removesuffix(b"\r\n")))
    return heard


PING = b":\n\n"


async def test_a_ping_after_every_15_seconds_of_silence(autojump_clock: MockClock) -> None:
    make = lambda: EventSourceResponse(pieces(100))  # noqa: E731
    assert await timeline(make, 60) == [(15, PING), (30, PING), (45, PING), (60, PING)]


async def test_an_event_breaks_the_silence(autojump_clock: MockClock) -> None:
    make = lambda: EventSourceResponse(pieces(10, "a", 14, "b", 14.5, "c", 20, "d", 100))  # noqa: E731
    a, b, c, d = (f"data: {letter}\n\n".encode() for letter in "abcd")
    assert await timeline(make, 80) == [(10, a), (24, b), (38.5, c), (53.5, PING), (58.5, d), (73.5, PING)]


@pytest.mark.parametrize("seconds", [0.25, 1, 100])
async def test_how_long_the_silence_may_be(seconds: float, autojump_clock: MockClock) -> None:
    make = lambda: EventSourceResponse(pieces(1000), ping_seconds=seconds)  # noqa: E731
    assert await timeline(make, 3 * seconds) == [(seconds, PING), (2 * seconds, PING), (3 * seconds, PING)]


async def test_no_pings(autojump_clock: MockClock) -> None:
    make = lambda: EventSourceResponse(pieces(1000, "a"), ping_seconds=math.inf)  # noqa: E731
    assert await timeline(make, 1000) == [(1000, b"data: a\n\n"), (1000, b"")]


async def test_a_ping_means_nothing_to_a_browser(autojump_clock: MockClock) -> None:
    make = lambda: EventSourceResponse(pieces("a", 40, ServerSentEvent("b", id="1"), 20, "c"))  # noqa: E731
    async with connected(giving(make)) as client:
        await client.send_all(get("/", "Connection: close"))
        browser = EventSource().read(read_answer(await read_to_end(client)).body)
    assert browser.messages == [Message("a"), Message("b", last_event_id="1"), Message("c", last_event_id="1")]
    assert browser.comments == ["", "", ""]


async def test_no_ping_after_the_end(autojump_clock: MockClock) -> None:
    async with connected(giving(lambda: EventSourceResponse(pieces("a")))) as client:
        await client.send_all(get())
        await wait_all_tasks_blocked()
        raw = bytes(await client.receive_some())
        assert raw.endswith(b"\r\n0\r\n\r\n")
        assert await client.receive_some() == b""
        assert trio.current_time() == 60  # idle_timeout


# ---------------------------------------------------------------- clients that go


async def silent(log: list[float], *before: str) -> AsyncIterator[str]:
    try:
        for data in before:
            yield data
        await trio.sleep_forever()
    finally:
        log.append(trio.current_time())


@pytest.mark.parametrize("before", [(), ("a", "b")])
async def test_a_ping_finds_out_that_the_client_is_gone(
    before: tuple[str, ...], autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Or the second one, if the first is sent before the system knows."""
    closed: list[float] = []
    async with connected(giving(lambda: EventSourceResponse(silent(closed, *before)))) as client:
        await client.send_all(get())
        await trio.sleep(1)
        await client.aclose()
    assert closed in ([15], [30])
    assert trio.current_time() == closed[0]
    assert errors(caplog) == []


async def test_a_client_that_has_ended_its_side_still_gets_events(autojump_clock: MockClock) -> None:
    async with connected(giving(lambda: EventSourceResponse(pieces(20, "a")))) as client:
        await client.send_all(get())
        await client.send_eof()
        answer = read_answer(await read_to_end(client))
    assert answer.chunks == [PING, b"data: a\n\n"]


async def test_a_ping_finds_out_that_the_client_has_stopped_reading(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[float] = []
    async with not_reading(giving(lambda: EventSourceResponse(silent(closed)))) as client:
        await client.send_all(get())
        while not (await client.receive_some()).endswith(b"\r\n\r\n"):
            pass
        await trio.sleep(100)
        assert closed in (
            [45],
            [60],
        )  # the ping at 15 s was not taken within write_timeout, 30 s; the next one finds out
        assert (await receive_rest(client))[1] == "end"
    assert errors(caplog) == []


async def test_pings_do_not_pile_up_for_a_client_that_does_not_read(autojump_clock: MockClock) -> None:
    class Patient(HTTPRequestHandler):
        write_timeout = math.inf

        def handle_request(self, request: Request) -> Response:
            return EventSourceResponse(pieces("x" * 100_000, "end"))

    async with not_reading(Patient) as client:
        await client.send_all(get("/", "Connection: close"))
        await trio.sleep(9_999)
        answer = read_answer(await read_to_end(client))
    assert len(EventSource().read(answer.body).comments) <= 2
    assert answer.complete


async def test_events_do_not_run_ahead_of_a_client_that_does_not_read(autojump_clock: MockClock) -> None:
    count = 0

    async def counted() -> AsyncIterator[str]:
        nonlocal count
        while True:
            count += 1
            yield "x" * 1000

    async with not_reading(giving(lambda: EventSourceResponse(counted()))) as client:
        await client.send_all(get())
        await trio.sleep(29)
        assert 1 <= count <= 17


@pytest.mark.parametrize("sent", [0, 1])
async def test_events_are_closed_if_the_connection_is_cancelled(sent: int, autojump_clock: MockClock) -> None:
    closed: list[float] = []
    with trio.move_on_after(7):
        async with connected(giving(lambda: EventSourceResponse(silent(closed, *["a"] * sent)))) as client:
            await client.send_all(get())
            await trio.sleep_forever()
    assert closed == [7]


async def test_a_graceful_stop_waits_for_events_to_end(autojump_clock: MockClock) -> None:
    client, server = memory_stream_pair()
    handler = HTTPRequestHandler(server, giving(lambda: EventSourceResponse(pieces("a", 5, "b"))))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(handler.run)
        await client.send_all(get())
        await trio.sleep(1)
        handler.close_when_idle()
        answer = read_answer(await read_to_end(client))
        assert (answer.body, answer.complete) == (b"data: a\n\ndata: b\n\n", True)
        assert trio.current_time() == 5
        await client.aclose()


@pytest.mark.parametrize("events", ["text", b"bytes", ["list"], None])
def test_events_come_from_an_async_iterable(events: Any) -> None:
    with pytest.raises(TypeError, match="async iterable"):
        EventSourceResponse(events)


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_pings_need_a_while(seconds: float) -> None:
    with pytest.raises(ValueError, match="ping_seconds"):
        EventSourceResponse(pieces(), ping_seconds=seconds)
