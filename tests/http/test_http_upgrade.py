"""Other protocols on the same connection: `Request.upgrade` and `Request.take_over`, with others' libraries."""

import base64
import hashlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import h11
import pytest
import trio
from http_answers import errors, not_reading, pieces, read_answer, read_answers, receive_rest, serving
from http_talk import answers, connected, get, post, read_to_end, talk, talk_split
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, wrap_client_stream, wrap_server_stream
from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection as WSFrames
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request as WSRequest,
    TextMessage,
)

from trio_chat.http import ClientDisconnected, HTTPError, HTTPRequestHandler, Request, Response

ASKING = get("/", "Upgrade: echo", "Connection: Upgrade")
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"
BEHIND = b"\r\n\r\nGET / HTTP/1.1\r\n\r\n\0\xff"  # whatever it looks like, it is HTTP no more


async def echo(request: Request) -> None:
    """Sends back what comes."""
    stream = await request.upgrade("echo")
    async for chunk in stream:
        await stream.send_all(chunk)


# ---------------------------------------------------------------- switching


async def test_the_answer_is_101_and_what_is_asked_for() -> None:
    assert await talk([ASKING], echo) == SWITCHING


async def test_header_fields_of_the_answer() -> None:
    async def app(request: Request) -> None:
        assert not request.upgraded
        await request.upgrade("Echo", [("X", "1"), ("Y", "2"), ("X", "3")])
        assert request.upgraded

    raw = await talk([ASKING], app)
    assert raw.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert read_answer(raw).fields == [
        ("X", "1"),
        ("Y", "2"),
        ("X", "3"),
        ("Upgrade", "Echo"),
        ("Connection", "Upgrade"),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        ["Upgrade: echo", "Connection: upgrade"],
        ["UPGRADE: ECHO", "CONNECTION: UPGRADE"],
        ["Upgrade: other, Echo ,third", "Connection: keep-alive,upgrade, x"],
        ["Upgrade: other", "Connection: x", "Upgrade: echo", "Connection: Upgrade"],
        ["Upgrade: echo", "Connection: Upgrade", "Content-Length: 0"],
    ],
)
async def test_how_clients_ask(fields: list[str]) -> None:
    """RFC 9110, sections 7.6.1 and 7.8: lists, in any case."""
    assert await talk([get("/", *fields) + b"hello"], echo) == SWITCHING + b"hello"


@pytest.mark.parametrize(
    "request_",
    [
        get(),
        get("/", "Connection: Upgrade"),
        get("/", "Upgrade: echo"),
        get("/", "Upgrade: echo", "Connection: keep-alive"),
        get("/", "Upgrade: other", "Connection: Upgrade"),
        get("/", "Upgrade: echo2, xecho, echo/1", "Connection: Upgrade"),
        get("/", "Upgrade: echo", "Connection: Upgrade, keep-alive", version="HTTP/1.0"),
    ],
)
async def test_who_has_not_asked_is_told_to(request_: bytes) -> None:
    """RFC 9110, sections 7.8 and 15.5.22: of HTTP/1.0 it is ignored; 426 names the protocol. The connection goes on."""
    request = request_.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: keep-alive\r\n")
    first, second = answers(await talk([request * 2], echo))
    assert first == second
    assert (first.status, first.text, first.headers["upgrade"]) == (426, "this is for echo\n", ["echo"])
    assert "upgrade" in ", ".join(first.headers["connection"]).lower()


async def test_an_application_can_serve_who_has_not_asked() -> None:
    async def app(request: Request) -> Response | None:
        try:
            await request.upgrade("echo")
        except HTTPError as error:
            return Response(200, f"instead of {error.status}")
        return None

    first, second = read_answers(await talk([get() * 2], app))
    assert first.text == second.text == "instead of 426"


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding"])
async def test_fields_that_a_101_cannot_have(name: str) -> None:
    """RFC 9110, section 8.6, and RFC 9112, section 6.1: a server MUST NOT send them with 1xx."""

    async def app(request: Request) -> None:
        await request.upgrade("echo", {name: "5"})

    answer = read_answer(await talk([ASKING], app))
    assert answer.status in {101, 500}


# ---------------------------------------------------------------- what comes behind


async def test_what_comes_behind_the_request_is_of_the_other_protocol() -> None:
    assert await talk_split(ASKING + BEHIND, echo) == SWITCHING + BEHIND


@pytest.mark.parametrize(
    "request_",
    [
        post(b"body", "Upgrade: echo", "Connection: Upgrade"),
        get("/", "Upgrade: echo", "Connection: Upgrade", "Transfer-Encoding: chunked", method="POST")
        + b"1\r\nb\r\n3;x=y\r\nody\r\n0\r\nTrailer: 1\r\n\r\n",
    ],
    ids=["counted", "chunked"],
)
async def test_a_body_stands_between_the_head_and_the_other_protocol(request_: bytes) -> None:
    async def app(request: Request) -> None:
        assert await request.read() == b"body"
        await echo(request)

    assert await talk_split(request_ + BEHIND, app) == SWITCHING + BEHIND


async def test_answers_to_earlier_requests_come_first() -> None:
    async def app(request: Request) -> Response | None:
        if request.target == "/":
            await echo(request)
            return None
        return Response(200, pieces(request.target.encode()))

    raw = await talk_split(get("/1") + get("/2") + ASKING + b"hello", app)
    earlier, switching, rest = raw.partition(SWITCHING)
    assert [answer.text for answer in read_answers(earlier)] == ["/1", "/2"]
    assert (switching, rest) == (SWITCHING, b"hello")


async def test_nothing_is_lost_of_much_that_came_early(autojump_clock: MockClock) -> None:
    sent = bytes(range(256)) * 4096

    async def app(request: Request) -> None:
        await trio.sleep(5)
        stream = await request.upgrade("echo")
        await trio.sleep(5)
        received = b"".join([bytes(chunk) async for chunk in stream])
        await stream.send_all(b"all of it" if received == sent else b"something else")

    async with connected(app) as client:
        await client.send_all(ASKING + sent)
        await client.send_eof()
        assert await read_to_end(client) == SWITCHING + b"all of it"


async def test_what_came_early_is_given_in_pieces_of_any_size_and_is_not_lost_by_a_cancellation() -> None:
    received = []

    async def app(request: Request) -> None:
        stream = await request.upgrade("echo")
        received.append(await stream.receive_some(2))
        with pytest.raises(ValueError, match="max_bytes"):
            await stream.receive_some(0)
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.receive_some(1)
        received.append(await stream.receive_some(1))
        received.append(await stream.receive_some())
        received.append(bytes(await stream.receive_some()))

    await talk([ASKING + b"abcdef"], app)
    assert received == [b"ab", b"c", b"def", b""]


async def test_the_stream_sends_and_receives_at_once_and_can_be_half_closed(autojump_clock: MockClock) -> None:
    async def app(request: Request) -> None:
        stream = await request.upgrade("echo")
        assert isinstance(stream, trio.abc.HalfCloseableStream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"x" * 1_000_000)
            received = await stream.receive_some()
        await stream.send_all(received)
        await stream.send_eof()
        await trio.sleep(5)
        log.append(bytes(await stream.receive_some()))

    log: list[bytes] = []
    async with connected(app) as client:
        await client.send_all(ASKING)
        await wait_all_tasks_blocked()
        await client.send_all(b"hello")
        assert await read_to_end(client) == SWITCHING + b"x" * 1_000_000 + b"hello"
        assert trio.current_time() == 0
        await client.send_all(b"still heard")
        await trio.sleep(6)
    assert log == [b"still heard"]


# ---------------------------------------------------------------- requests with a body that is not read


@pytest.mark.parametrize("how", ["upgrade", "take_over", "take_over with_head"])
async def test_the_body_has_to_be_read_before(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request) -> Response:
        if request.method == "GET":
            return Response(200, b"next")
        if how == "upgrade":
            await request.upgrade("echo")
        else:
            await request.take_over(with_head="with_head" in how)
        return Response(200, b"never")

    request = post(b"body", "Upgrade: echo", "Connection: Upgrade")
    first, second = read_answers(await talk([request + get("/next")], app))
    assert (first.status, second.body) == (500, b"next")
    assert errors(caplog) == ["trio_chat.http: no answer to POST / from None"]
    assert "read it first" in caplog.text


async def test_an_application_that_is_told_so_can_read_it_and_go_on() -> None:
    async def app(request: Request) -> None:
        with pytest.raises(RuntimeError, match="read it first"):
            await request.upgrade("echo")
        assert await request.read() == b"body"
        await echo(request)

    assert await talk([post(b"body", "Upgrade: echo", "Connection: Upgrade") + b"!"], app) == SWITCHING + b"!"


# ---------------------------------------------------------------- time


async def test_no_timeout_acts_any_more(autojump_clock: MockClock) -> None:
    async with connected(echo) as client:
        await client.send_all(ASKING)
        assert await client.receive_some() == SWITCHING
        for _ in range(3):
            await trio.sleep(1000)
            await client.send_all(b"still there?")
            assert await client.receive_some() == b"still there?"
            assert trio.current_time() % 1000 == 0


async def test_nor_does_one_for_writing(autojump_clock: MockClock) -> None:
    async def app(request: Request) -> None:
        stream = await request.upgrade("echo")
        await stream.send_all(b"x" * 1_000_000)
        await stream.send_all(b"end")

    async with not_reading(app) as client:
        await client.send_all(ASKING)
        received = b""
        while len(received) < len(SWITCHING):
            received += await client.receive_some()
        await trio.sleep(50_000)
        received += (await receive_rest(client))[0]
    assert received == SWITCHING + b"x" * 1_000_000 + b"end"


async def test_a_client_that_does_not_even_take_the_101_does_not_stay_for_ever(autojump_clock: MockClock) -> None:
    """Until it has been sent the connection is HTTP's, where `write_timeout` holds: the application has no stream."""
    log: list[float] = []

    async def app(request: Request) -> None:
        with pytest.raises(ClientDisconnected):
            await request.upgrade("echo")
        log.append(trio.current_time())

    async with not_reading(app) as client:
        await client.send_all(ASKING)
        await trio.sleep(1000)
        assert log == [30]


# ---------------------------------------------------------------- the end


class Kept:
    """An application that keeps its stream, and ends as it is told."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.stream: trio.abc.Stream | None = None

    async def __call__(self, request: Request) -> Any:
        self.stream = await request.upgrade("echo")
        await self.stream.send_all(b"hello")
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize("result", [None, 5, Response(404, "x"), Response(200, pieces(b"x"))])
async def test_the_stream_is_closed_when_the_application_returns_whatever_it_returns(
    result: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    app = Kept(result)
    async with connected(app) as client:
        await client.send_all(ASKING)
        assert await read_to_end(client) == SWITCHING + b"hello"
        assert trio.current_time() == 0
        assert app.stream is not None
        with pytest.raises(trio.ClosedResourceError):
            await app.stream.send_all(b"more")
        with pytest.raises(trio.ClosedResourceError):
            await app.stream.receive_some()
    assert errors(caplog) == []


@pytest.mark.parametrize("failure", [ValueError("of the application"), HTTPError(404), trio.BrokenResourceError()])
async def test_the_stream_is_closed_when_the_application_raises_which_is_logged_once(
    failure: Exception, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An HTTPError, too: nobody gets an answer by which it could be known."""
    app = Kept(failure)
    async with connected(app) as client:
        await client.send_all(ASKING)
        assert await read_to_end(client) == SWITCHING + b"hello"
        assert trio.current_time() == 0
        assert app.stream is not None
        with pytest.raises(trio.ClosedResourceError):
            await app.stream.send_all(b"more")
    assert len(errors(caplog)) == 1
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.exc_info is not None
    assert record.exc_info[1] is failure


async def test_a_stream_that_is_returned_is_closed_and_not_begun() -> None:
    begun = []

    async def body() -> AsyncIterator[bytes]:
        begun.append(True)
        yield b"x"

    parts = body()
    assert await talk([ASKING], Kept(Response(200, parts))) == SWITCHING + b"hello"
    with pytest.raises(StopAsyncIteration):
        await anext(parts)
    assert begun == []


@pytest.mark.parametrize("again", ["upgrade", "take_over"])
async def test_a_connection_can_be_taken_over_once(again: str) -> None:
    async def app(request: Request) -> None:
        stream = await request.upgrade("echo")
        with pytest.raises(RuntimeError, match="already"):
            await (request.upgrade("echo") if again == "upgrade" else request.take_over())
        await stream.send_all(b"still ours")

    assert await talk([ASKING], app) == SWITCHING + b"still ours"


async def test_a_client_that_is_gone(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    raised = []

    async def app(request: Request) -> None:
        await trio.sleep(5)
        try:
            await request.upgrade("echo")
        except ClientDisconnected as exc:
            raised.append(exc)
            raise

    async with connected(app) as client:
        await client.send_all(ASKING)
        await wait_all_tasks_blocked()
        await client.aclose()
    assert len(raised) == 1
    assert errors(caplog) == []


@pytest.mark.parametrize("how", ["upgrade", "take_over"])
async def test_a_client_that_is_known_to_be_gone(how: str, caplog: pytest.LogCaptureFixture) -> None:
    raised: list[BaseException] = []
    done = trio.Event()

    async def app(request: Request) -> None:
        await request.disconnected()
        try:
            await (request.upgrade("echo") if how == "upgrade" else request.take_over())
        except Exception as exc:
            raised.append(exc)
            raise
        finally:
            done.set()

    with trio.fail_after(10):
        async with serving(app) as port:
            client = await trio.open_tcp_stream("127.0.0.1", port)
            await client.send_all(ASKING)
            await wait_all_tasks_blocked()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await client.aclose()
            await done.wait()
            await wait_all_tasks_blocked()
    assert [type(exc) for exc in raised] == [ClientDisconnected]
    assert errors(caplog) == []


async def test_an_application_that_watched_the_client_before() -> None:
    """Somebody else was receiving when the connection was taken over: nothing of what came is lost."""

    async def app(request: Request) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(request.disconnected)
            await wait_all_tasks_blocked()
            await echo(request)
            nursery.cancel_scope.cancel()

    assert await talk_split(ASKING + BEHIND, app) == SWITCHING + BEHIND


# ---------------------------------------------------------------- a server that stops


async def test_a_server_that_stops_waits_for_the_other_protocol(mock_clock: MockClock) -> None:
    stop = trio.Event()
    ended: list[str] = []

    async def app(request: Request) -> None:
        try:
            await echo(request)
            ended.append("ended")
        except trio.Cancelled:
            ended.append("cancelled")
            raise

    with trio.fail_after(100):
        async with serving(app, stop=stop, shutdown_grace=10) as port:
            brief = await trio.open_tcp_stream("127.0.0.1", port)
            async with brief, await trio.open_tcp_stream("127.0.0.1", port) as patient:
                for client in (patient, brief):
                    await client.send_all(ASKING)
                    assert await client.receive_some() == SWITCHING
                stop.set()
                await wait_all_tasks_blocked()
                mock_clock.jump(9.9)
                await brief.send_all(b"still there?")
                assert await brief.receive_some() == b"still there?"
                await brief.send_eof()
                assert await brief.receive_some() == b""
                assert ended == ["ended"]
                mock_clock.jump(0.2)
                assert (await receive_rest(patient))[0] == b""
    assert ended == ["ended", "cancelled"]


async def test_a_connection_that_is_cancelled_closes_the_stream(autojump_clock: MockClock) -> None:
    app = Kept(None)

    async def waiting(request: Request) -> None:
        await app(request)
        await trio.sleep_forever()

    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HTTPRequestHandler(server, waiting).run)
        await client.send_all(ASKING)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert await read_to_end(client) == SWITCHING + b"hello"
    assert app.stream is not None
    with pytest.raises(trio.ClosedResourceError):
        await app.stream.send_all(b"more")


# ---------------------------------------------------------------- take_over


async def test_taking_over_says_nothing_and_asks_for_nothing() -> None:
    async def app(request: Request) -> None:
        stream = await request.take_over()
        assert not request.upgraded
        async for chunk in stream:
            await stream.send_all(chunk)

    for request in (get(), get(version="HTTP/1.0"), ASKING):
        assert await talk_split(request + BEHIND, app) == BEHIND


async def test_taking_over_and_saying_nothing(autojump_clock: MockClock) -> None:
    async def app(request: Request) -> None:
        await request.take_over()
        await trio.sleep(1000)

    async with connected(app) as client:
        await client.send_all(get() * 2)
        assert await read_to_end(client) == b""
        assert trio.current_time() == 1000


HEADS = [
    get("/a%20b?c=d", "X-Empty:", "X-A:  padded\t", "x-b: caf\xe9", "x-a:2", "Upgrade: x", "Connection: Upgrade, x"),
    get("*", method="OPTIONS"),
    get("http://b/x", "Content-Length: 0", method="POST"),
    get("/", version="HTTP/1.0", host=""),
    get("/", version="HTTP/1.0"),
]


@pytest.mark.parametrize("head", HEADS, ids=["fields", "star", "absolute", "1.0 without Host", "1.0"])
async def test_h11_reads_the_same_request_from_the_head(head: bytes) -> None:
    """What h11 makes of the request itself is what it makes of the head that the stream gives again."""

    def read(raw: bytes) -> tuple[h11.Request, bytes]:
        server = h11.Connection(h11.SERVER)
        server.receive_data(raw)
        request = server.next_event()
        assert isinstance(request, h11.Request)
        assert isinstance(server.next_event(), h11.EndOfMessage)
        return request, server.trailing_data[0]

    async def app(request: Request) -> None:
        stream = await request.take_over(with_head=True)
        found.append(read(b"".join([bytes(chunk) async for chunk in stream])))

    found: list[tuple[h11.Request, bytes]] = []
    assert await talk_split(head + BEHIND, app) == b""
    expected, behind = read(head + BEHIND)
    assert len(found) > len(head)
    for request, rest in found:
        assert (request.method, request.target, request.http_version, list(request.headers), rest) == (
            expected.method, expected.target, expected.http_version, list(expected.headers), behind,
        )  # fmt: skip


async def test_a_head_that_promises_a_body_is_not_given_without_it() -> None:
    """A library that reads it would wait for the body, and take what the client says next for it."""

    async def app(request: Request) -> Response | None:
        await request.read()
        stream = await request.take_over(with_head=True)
        server = h11.Connection(h11.SERVER)
        server.receive_data(b"".join([bytes(chunk) async for chunk in stream]))
        events = [server.next_event() for _ in range(3)]  # the request, the body, its end
        await stream.send_all(b"wrong" if h11.NEED_DATA in events else b"right")
        return None

    raw = await talk([post(b"body")], app)
    assert raw == b"right" or read_answer(raw).status == 500


# ---------------------------------------------------------------- WebSocket, by libraries


class WebSocketClient:
    """wsproto over a stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.CLIENT)

    async def send(self, event: Event) -> None:
        await self._stream.send_all(self._protocol.send(event))

    async def receive(self) -> Event:
        while (event := next(self._protocol.events(), None)) is None:
            data = await self._stream.receive_some()
            assert data
            self._protocol.receive_data(bytes(data))
        return event

    async def receive_bytes(self) -> bytes:
        data = b""
        while isinstance(event := await self.receive(), BytesMessage):
            data += event.data
            if event.message_finished:
                break
        return data


async def shout(stream: trio.abc.Stream, protocol: WSFrames | WSConnection) -> None:
    """The server's side of a WebSocket."""
    while True:
        data = await stream.receive_some()
        protocol.receive_data(bytes(data) or None)
        for event in protocol.events():
            if isinstance(event, WSRequest):
                await stream.send_all(protocol.send(AcceptConnection(subprotocol=event.subprotocols[0])))
            elif isinstance(event, TextMessage):
                reply = TextMessage(event.data.upper(), event.frame_finished, event.message_finished)
                await stream.send_all(protocol.send(reply))
            elif isinstance(event, BytesMessage):
                await stream.send_all(protocol.send(event))
            elif isinstance(event, Ping):
                await stream.send_all(protocol.send(event.response()))
            elif isinstance(event, CloseConnection):
                await stream.send_all(protocol.send(event.response()))
                return


async def websocket_by_upgrade(request: Request) -> None:
    key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 4.2.2
    fields = {
        "Sec-WebSocket-Accept": base64.b64encode(hashlib.sha1(key.encode()).digest()).decode(),
        "Sec-WebSocket-Protocol": request.headers["sec-websocket-protocol"],
    }
    await shout(await request.upgrade("websocket", fields), WSFrames(ConnectionType.SERVER))


async def websocket_by_wsproto(request: Request) -> None:
    await shout(await request.take_over(with_head=True), WSConnection(ConnectionType.SERVER))


@pytest.mark.parametrize("app", [websocket_by_upgrade, websocket_by_wsproto])
async def test_wsproto(app: Any, autojump_clock: MockClock) -> None:
    async def early(request: Request) -> Response | None:
        if request.path == "/chat":
            await app(request)
            return None
        return Response(200, b"a page")

    async with connected(early) as stream:
        await stream.send_all(get("/page"))
        assert read_answer(bytes(await stream.receive_some())).body == b"a page"
        client = WebSocketClient(stream)
        await client.send(WSRequest(host="a", target="/chat?x=y", subprotocols=["shout"]))
        accepted = await client.receive()
        assert isinstance(accepted, AcceptConnection)
        assert accepted.subprotocol == "shout"
        await client.send(TextMessage("hello, \u20ac"))
        assert await client.receive() == TextMessage("HELLO, \u20ac")
        await trio.sleep(1000)
        await client.send(Ping(b"there?"))
        assert await client.receive() == Pong(b"there?")
        big = bytes(range(256)) * 1000
        await client.send(BytesMessage(big))
        assert await client.receive_bytes() == big
        await client.send(CloseConnection(1000, "bye"))
        assert await client.receive() == CloseConnection(1000, "bye")
        assert await stream.receive_some() == b""


async def test_frames_right_behind_a_websocket_request_are_not_lost() -> None:
    """A client should wait for the answer; one that is sure of it does not."""
    client = WSConnection(ConnectionType.CLIENT)
    request = client.send(WSRequest(host="a", target="/", subprotocols=["shout"]))
    frames = WSFrames(ConnectionType.CLIENT)
    behind = frames.send(TextMessage("early")) + frames.send(CloseConnection(1000))
    for chunks in ([request + behind], [request, behind], [request[:-1], request[-1:] + behind[:3], behind[3:]]):
        raw = await talk(chunks, websocket_by_upgrade)  # wsproto's own handshake drops them, as a server
        heard = WSFrames(ConnectionType.CLIENT)
        heard.receive_data(raw.partition(b"\r\n\r\n")[2])
        assert list(heard.events()) == [TextMessage("EARLY"), CloseConnection(1000, "")]


async def trio_websocket(request: Request) -> None:
    stream = await request.take_over(with_head=True)
    async with trio.open_nursery() as nursery:
        handshake = await wrap_server_stream(nursery, stream)
        socket = await handshake.accept(subprotocol="shout")
        with pytest.raises(ConnectionClosed) as info:  # noqa: PT012 - that is how the conversation ends
            while True:
                message = await socket.get_message()
                await socket.send_message(message.upper())
    assert info.value.reason is not None
    assert (info.value.reason.code, info.value.reason.reason) == (1000, "bye")


async def converse_by_trio_websocket(stream: Any) -> None:
    async with trio.open_nursery() as nursery:
        client = await wrap_client_stream(nursery, stream, "a", "/chat?x=y", subprotocols=["shout"])
        assert client.subprotocol == "shout"
        for message in ("hello", "\u20ac", "x" * 300_000, b"bytes"):
            await client.send_message(message)
            assert await client.get_message() == message.upper()
        await client.ping(b"there?")
        await client.aclose(1000, "bye")


async def test_trio_websocket_in_memory(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(trio_websocket) as stream:
        await converse_by_trio_websocket(stream)
    assert errors(caplog) == []


async def test_trio_websocket_over_tcp(caplog: pytest.LogCaptureFixture) -> None:
    with trio.fail_after(20):
        async with serving(trio_websocket) as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await converse_by_trio_websocket(stream)
    assert errors(caplog) == []
