"""Bodies that stream: at whose pace they run, how they are closed, and what a client sees of one that fails."""

import shutil
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Any, TypeAlias

import pytest
import trio
from http_answers import (
    CUT_OFF,
    errors,
    giving,
    not_reading,
    pieces,
    read_answer,
    read_answers,
    receive_rest,
    serving,
)
from http_talk import connected, get, read_to_end, talk
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trio_chat.http import App, EventSourceResponse, HTTPRequestHandler, Request, Response

CURL = shutil.which("curl")
KIB = b"x" * 1024


# ---------------------------------------------------------------- what is told about a body


class Tale:
    """What a body has done: how many pieces it has given, and when its `finally` ran, or its `aclose`."""

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.given = 0
        self.closed: list[float] = []
        self.parts: AsyncGenerator[Any, None] | None = None  # held, so that it is not collected before it is closed

    async def tell(self) -> AsyncGenerator[Any, None]:
        try:
            for item in self.items:
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, int):
                    await trio.sleep(item)
                else:
                    self.given += 1
                    yield item
        finally:
            self.closed.append(trio.current_time())


class Closable:
    """An iterator with `aclose`, as a channel is one."""

    def __init__(self, tale: Tale) -> None:
        self.tale = tale
        self.parts = tale.tell()

    def __aiter__(self) -> "Closable":
        return self

    async def __anext__(self) -> Any:
        return await self.parts.__anext__()

    async def aclose(self) -> None:
        await self.parts.aclose()
        if not self.tale.closed:  # a generator that has not begun has nothing to close
            self.tale.closed.append(trio.current_time())


class Iterable:
    """Has no `aclose` itself, but makes a generator of its own for who iterates over it."""

    def __init__(self, tale: Tale) -> None:
        self.tale = tale

    def __aiter__(self) -> AsyncGenerator[Any, None]:
        self.tale.parts = self.tale.tell()
        return self.tale.parts


Kind: TypeAlias = Callable[[Tale], Any]
BODIES: list[Kind] = [Tale.tell, Closable, Iterable]
each_body = pytest.mark.parametrize("body_of", BODIES, ids=["generator", "iterator", "iterable"])


def plain(items: Any) -> Response:
    return Response(200, items)


each_kind = pytest.mark.parametrize("respond", [plain, EventSourceResponse], ids=["Response", "EventSourceResponse"])


def text_for(respond: Callable[[Any], Response], length: int) -> Any:
    """A piece for such a response."""
    return "x" * length if respond is EventSourceResponse else b"x" * length


# ---------------------------------------------------------------- closing


@each_body
@pytest.mark.parametrize(
    ("items", "headers"),
    [
        ((b"abc",), {}),
        ((), {}),
        ((b"abc",), {"Content-Length": "3"}),
        ((b"abc",), {"Content-Length": "4"}),
        ((b"abc", b"d", b"e"), {"Content-Length": "3"}),
        ((b"abc", "text", b"e"), {}),
        ((b"abc", ValueError("of the body")), {}),
        ((ValueError("of the body"),), {}),
    ],
    ids=["finished", "empty", "of its length", "too short", "too long", "no bytes", "failed", "failed at once"],
)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_a_body_is_closed_in_the_end(
    items: tuple[Any, ...], headers: dict[str, str], version: str, body_of: Kind, autojump_clock: MockClock
) -> None:
    tale = Tale(*items)
    await talk([get(version=version)], giving(lambda: Response(200, body_of(tale), headers)))
    assert tale.closed == [0]


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 205), ("GET", 304), ("HEAD", 304), ("HEAD", 206)]
)
async def test_a_body_that_is_not_sent_is_closed_and_not_begun(method: str, status: int) -> None:
    tale = Tale(b"abc")
    await talk([get(method=method)], giving(lambda: Response(status, Closable(tale))))
    assert (tale.given, len(tale.closed)) == (0, 1)

    generator = tale.tell()
    await talk([get(method=method)], giving(lambda: Response(status, generator)))
    assert tale.given == 0
    with pytest.raises(StopAsyncIteration):  # closed: it gives nothing more
        await generator.__anext__()


@each_body
async def test_a_body_is_closed_if_the_client_is_gone(
    body_of: Kind, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """That is no fault of the body's: nothing is logged."""
    tale = Tale(*[b"piece", 1] * 1000)
    async with connected(giving(lambda: Response(200, body_of(tale)))) as client:
        await client.send_all(get())
        await trio.sleep(9.5)
    assert tale.closed in ([10], [11])  # as soon as there is something to send, and the system says that it cannot be
    assert errors(caplog) == []


@each_body
async def test_a_body_is_closed_if_the_client_has_stopped_reading(
    body_of: Kind, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    tale = Tale(*[KIB] * 1000)
    async with not_reading(giving(lambda: Response(200, body_of(tale)))) as client:
        await client.send_all(get())
        await trio.sleep(29)
        assert tale.closed == []
        await trio.sleep(2)
        assert tale.closed == [30]  # write_timeout
        assert (await receive_rest(client))[1] == "end"
    assert errors(caplog) == []


@each_body
@pytest.mark.parametrize("items", [(5, b"abc"), (b"abc", 5, b"def")])
async def test_a_body_is_closed_if_the_connection_is_cancelled(
    items: tuple[Any, ...], body_of: Kind, autojump_clock: MockClock
) -> None:
    tale = Tale(*items)
    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HTTPRequestHandler(server, giving(lambda: Response(200, body_of(tale)))).run)
        await client.send_all(get())
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert tale.closed == [1]


@each_body
async def test_a_body_is_closed_if_it_waits_for_the_client_when_the_connection_is_cancelled(
    body_of: Kind, autojump_clock: MockClock
) -> None:
    tale = Tale(*[KIB] * 1000)
    with trio.move_on_after(1):
        async with not_reading(giving(lambda: Response(200, body_of(tale)))) as client:
            await client.send_all(get())
            await trio.sleep_forever()
    assert tale.closed == [1]


async def test_a_body_that_nobody_gets_is_closed() -> None:
    tale = Tale(b"abc")

    async def app(request: Request) -> Response:
        await request.take_over()
        return Response(200, Closable(tale))

    assert await talk([get()], app) == b""
    assert (tale.given, len(tale.closed)) == (0, 1)


async def test_closing_may_take_its_time(autojump_clock: MockClock) -> None:
    log = []

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"abc"
        finally:
            await trio.sleep(5)
            log.append(trio.current_time())

    for make in (lambda: Response(200, body()), lambda: Response(200, body(), {"Content-Length": "1"})):
        await talk([get("/", "Connection: close")], giving(make))
    assert log == [5, 10]


@each_kind
async def test_closing_is_not_cancelled_when_all_went_well(
    respond: Callable[[Any], Response], autojump_clock: MockClock
) -> None:
    class Body:
        closings = 0
        closed = False

        def __aiter__(self) -> "Body":
            return self

        async def __anext__(self) -> Any:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            self.closings += 1
            if self.closings == 1:  # as most do: a second call has nothing to do
                await trio.sleep(1)
                self.closed = True

    body = Body()
    await talk([get()], giving(lambda: respond(body)))
    assert body.closed


@each_kind
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_closing_that_fails_is_logged_and_ends_nothing_but_the_answer(
    respond: Callable[[Any], Response], method: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Body:
        def __aiter__(self) -> "Body":
            return self

        async def __anext__(self) -> Any:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            raise ValueError("of aclose")

    client, server = memory_stream_pair()
    await client.send_all(get(method=method))
    await client.send_eof()
    failures = []
    try:
        await HTTPRequestHandler(server, giving(lambda: respond(Body()))).run()
    except ValueError as exc:
        failures.append(exc)
    assert failures == []
    assert "of aclose" in caplog.text
    assert read_answer(await read_to_end(client), method).status in {200, 500}  # 500, if nothing has been said before


# ---------------------------------------------------------------- bodies that catch everything


class Robust:
    """What is raised while it makes a piece it survives, and what is raised where it gives one, too."""

    def __init__(self, piece: Any) -> None:
        self.piece = piece
        self.survived = 0

    async def tell(self) -> AsyncGenerator[Any, None]:
        while self.survived < 100:
            try:
                yield self.piece
            except Exception:
                self.survived += 1


@each_kind
async def test_a_body_that_survives_everything_ends_with_its_client(
    respond: Callable[[Any], Response], autojump_clock: MockClock
) -> None:
    """Or else it would go on for ever, for nobody."""
    body = Robust(text_for(respond, 100_000))
    async with connected(giving(lambda: respond(body.tell()))) as client:
        await client.send_all(get())
        await client.receive_some()
    assert body.survived <= 1


@each_kind
async def test_a_body_that_survives_its_client_is_closed_and_not_awaited_any_further(
    respond: Callable[[Any], Response], autojump_clock: MockClock
) -> None:
    ends = []

    async def body() -> AsyncIterator[Any]:
        try:
            while True:
                with suppress(Exception):
                    yield text_for(respond, 100_000)
                await trio.sleep(1000)
        finally:
            ends.append(trio.current_time())

    async with not_reading(giving(lambda: respond(body()))) as client:
        await client.send_all(get())
        await trio.sleep(5)
        await client.aclose()
        await trio.sleep(100)
        assert ends == [5]


@pytest.mark.parametrize(("piece", "headers"), [("text", {}), (b"12345", {"Content-Length": "3"})])
@pytest.mark.parametrize("before", [[], [b"1"]])
async def test_a_body_that_survives_its_own_mistakes_ends_with_the_first(
    before: list[bytes], piece: Any, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    body = Robust(piece)

    async def tell() -> AsyncIterator[Any]:
        for item in before:
            yield item
        while body.survived < 100:
            try:
                yield piece
            except Exception:
                body.survived += 1

    answer = read_answer(await talk([get()], giving(lambda: Response(200, tell(), headers))))
    assert (answer.status, answer.complete) == ((200, False) if before else (500, True))
    assert len(errors(caplog)) == 1
    assert body.survived <= 1


async def test_a_body_that_survives_its_own_mistake_and_ends_is_not_whole(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> AsyncIterator[Any]:
        yield b"one"
        try:
            yield "two"
        except TypeError:
            return

    answer = read_answer(await talk([get()], giving(lambda: Response(200, body()))))
    assert (answer.body, answer.complete) == (b"one", False)
    assert errors(caplog) == CUT_OFF


# ---------------------------------------------------------------- the client's pace


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("size", [7, 100, 1024, 16384, 65536, 2**20])
async def test_a_body_does_not_run_ahead_of_a_client_that_does_not_read(
    size: int, version: str, autojump_clock: MockClock
) -> None:
    """No further than `low_water_bytes`, but for the piece with which it gets there."""
    tale = Tale(*[bytes(size)] * (20_000 // size + 10))
    async with not_reading(giving(lambda: Response(200, tale.tell()))) as client:
        await client.send_all(get("/", "Connection: close", version=version))
        await wait_all_tasks_blocked()
        assert 1 <= tale.given <= 16384 // size + 1
        raw = await read_to_end(client)
    assert read_answer(raw).body == bytes(size) * len(tale.items)
    assert tale.given == len(tale.items)


async def test_pieces_are_sent_when_they_come(autojump_clock: MockClock) -> None:
    """Not when there are enough of them. The head comes with the first; who wants it sooner gives an empty one."""
    for first, begin in ((b"a", b"1\r\na\r\n"), (b"", b"")):
        heard: list[tuple[float, bytes]] = []
        async with connected(giving(lambda piece=first: Response(200, pieces(1, piece, 1, b"b", 1)))) as client:  # type: ignore[misc]
            await client.send_all(get())
            start = trio.current_time()
            while not heard or not heard[-1][1].endswith(b"0\r\n\r\n"):
                data = bytes(await client.receive_some())
                heard.append((trio.current_time() - start, data.partition(b"\r\n\r\n")[2] if not heard else data))
        assert heard == [(1, begin), (2, b"1\r\nb\r\n"), (3, b"0\r\n\r\n")]


async def test_a_body_may_be_silent_for_as_long_as_it_likes(autojump_clock: MockClock) -> None:
    async with connected(giving(lambda: Response(200, pieces(1000, b"a", 1000, b"b", 1000)))) as client:
        await client.send_all(get("/", "Connection: close"))
        answer = read_answer(await read_to_end(client))
        assert (answer.body, answer.complete, trio.current_time()) == (b"ab", True, 3000)


# ---------------------------------------------------------------- scopes that are held across yields


@each_kind
async def test_a_body_with_a_nursery(respond: Callable[[Any], Response]) -> None:
    """Producers in tasks of their own, and a channel: how several sources are merged."""
    piece = text_for(respond, 10)

    async def body() -> AsyncIterator[Any]:
        sending, receiving = trio.open_memory_channel[Any](0)
        async with trio.open_nursery() as nursery:

            async def produce(channel: trio.MemorySendChannel[Any]) -> None:
                async with channel:
                    for _ in range(5):
                        await channel.send(piece)

            async with sending:
                for _ in range(3):
                    nursery.start_soon(produce, sending.clone())
            async for item in receiving:
                yield item

    first, second = read_answers(await talk([get() + get()], giving(lambda: respond(body()))))
    assert first == second
    assert (first.complete, first.body.count(b"x")) == (True, 150)


@each_kind
async def test_a_body_with_a_nursery_is_closed_if_the_client_is_gone(
    respond: Callable[[Any], Response], autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    cancelled = []

    async def body() -> AsyncIterator[Any]:
        async def helper() -> None:
            try:
                await trio.sleep_forever()
            finally:
                cancelled.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(helper)
            while True:
                yield text_for(respond, 10)
                await trio.sleep(1)

    async with connected(giving(lambda: respond(body()))) as client:
        await client.send_all(get())
        await trio.sleep(2.5)
    assert len(cancelled) == 1
    assert errors(caplog) == []


class Wrapped:
    """Another iterator over a generator."""

    def __init__(self, parts: AsyncGenerator[Any, None]) -> None:
        self.parts = parts

    def __aiter__(self) -> "Wrapped":
        return self

    async def __anext__(self) -> Any:
        return await self.parts.__anext__()

    async def aclose(self) -> None:
        await self.parts.aclose()


async def nested(parts: AsyncGenerator[Any, None]) -> AsyncIterator[Any]:
    async with aclosing(parts):
        async for part in parts:
            yield part


@each_kind
@pytest.mark.parametrize("wrap", [lambda parts: parts, Wrapped, nested], ids=["itself", "wrapped", "nested"])
async def test_no_client_can_end_the_server_by_going_away(respond: Callable[[Any], Response], wrap: Any) -> None:
    """A nursery puts the GeneratorExit by which a generator is closed into a group, which `aclose` does not expect."""
    gone = trio.Event()

    async def app(request: Request) -> Response:
        async def body() -> AsyncGenerator[Any, None]:
            try:
                async with trio.open_nursery():
                    while True:
                        yield text_for(respond, 100_000)
            finally:
                gone.set()

        return respond(wrap(body())) if request.target == "/" else Response(200, b"alive")

    with trio.fail_after(10):
        async with serving(app) as port:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(get())
            await stream.receive_some()
            await reset(stream)
            await gone.wait()
            await wait_all_tasks_blocked()
            async with await trio.open_tcp_stream("127.0.0.1", port) as other:
                await other.send_all(get("/other", "Connection: close"))
                assert read_answer((await receive_rest(other))[0]).body == b"alive"


async def test_nor_by_what_an_application_does_with_generators_of_its_own() -> None:
    """The same group, from an application that has closed one early."""

    async def parts() -> AsyncGenerator[int, None]:
        async with trio.open_nursery():
            yield 1
            yield 2

    async def app(request: Request) -> Response:
        if request.target == "/":
            async with aclosing(parts()) as some:
                return Response(200, str(await anext(some)))
        return Response(200, b"alive")

    with trio.fail_after(10):
        async with serving(app) as port:
            for target, status in (("/", 500), ("/other", 200)):
                async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                    await client.send_all(get(target, "Connection: close"))
                    assert read_answer((await receive_rest(client))[0]).status == status


@each_kind
async def test_a_task_of_the_bodys_that_fails_while_the_body_waits_for_the_client(
    respond: Callable[[Any], Response], autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> AsyncIterator[Any]:
        async def fail() -> None:
            await trio.sleep(1)
            raise ValueError("of a task")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            while True:
                yield text_for(respond, 100_000)

    async with not_reading(giving(lambda: respond(body()))) as client:
        await client.send_all(get())
        await trio.sleep(2)
        raw, _ = await receive_rest(client)
    assert not read_answer(raw).complete
    assert errors(caplog) == CUT_OFF
    assert "of a task" in caplog.text


@each_kind
async def test_a_time_limit_of_the_bodys_that_passes_while_the_body_waits_for_the_client(
    respond: Callable[[Any], Response], autojump_clock: MockClock
) -> None:
    """It ends what the body does within the limit, and nothing else: what stands behind it is sent."""

    async def body() -> AsyncIterator[Any]:
        with trio.move_on_after(1):
            while True:
                yield text_for(respond, 100_000)
        yield text_for(respond, 3)

    async with not_reading(giving(lambda: respond(body()))) as client:
        await client.send_all(get("/", "Connection: close"))
        await trio.sleep(2)
        answer = read_answer(await read_to_end(client))
    assert answer.complete
    assert answer.body.count(b"x") % 100_000 == 3


@each_kind
async def test_a_strict_time_limit_of_the_bodys_cuts_the_answer_off(
    respond: Callable[[Any], Response], autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> AsyncIterator[Any]:
        with trio.fail_after(1):
            while True:
                yield text_for(respond, 100_000)

    async with not_reading(giving(lambda: respond(body()))) as client:
        await client.send_all(get("/", "Connection: close"))
        await trio.sleep(2)
        answer = read_answer((await receive_rest(client))[0])
    assert not answer.complete
    assert errors(caplog) == CUT_OFF


@each_kind
async def test_a_time_limit_of_the_bodys_that_passes_within_the_body(
    respond: Callable[[Any], Response], autojump_clock: MockClock
) -> None:
    async def body() -> AsyncIterator[Any]:
        with trio.move_on_after(2.5):
            while True:
                yield text_for(respond, 1)
                await trio.sleep(1)
        yield text_for(respond, 3)

    first, second = read_answers(await talk([get() + get()], giving(lambda: respond(body()))))
    assert (first.complete, first.body.count(b"x"), first == second) == (True, 6, True)


async def test_a_body_that_watches_whether_the_client_is_there(autojump_clock: MockClock) -> None:
    """One that waits for something else does not see it otherwise, before it has something to say."""
    log: list[Any] = []

    async def app(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            async with trio.open_nursery() as nursery:

                async def watch() -> None:
                    await request.disconnected()
                    log.append(trio.current_time())
                    nursery.cancel_scope.cancel()

                nursery.start_soon(watch)
                yield b"begin"
                await trio.sleep_forever()
            log.append("end")

        return Response(200, body())

    async with connected(app) as client:
        await client.send_all(get())
        await trio.sleep(7)
        await client.send_eof()
        answer = read_answer(await read_to_end(client))
    assert (answer.body, answer.complete, log) == (b"begin", True, [7, "end"])


@each_kind
async def test_a_body_with_a_nursery_that_is_cancelled_from_outside(
    respond: Callable[[Any], Response], autojump_clock: MockClock
) -> None:
    async def body() -> AsyncIterator[Any]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            while True:
                yield text_for(respond, 100_000)

    async with AsyncExitStack() as stack:
        scope = stack.enter_context(trio.CancelScope())
        client = await stack.enter_async_context(not_reading(giving(lambda: respond(body()))))
        await client.send_all(get())
        await wait_all_tasks_blocked()
        scope.cancel()
    assert scope.cancelled_caught


# ---------------------------------------------------------------- what the client sees, over TCP


async def reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


async def ending(request: bytes, app: App, act: Callable[[], Awaitable[None]], **options: Any) -> tuple[bytes, str]:
    """The body that a client gets if, after "begin", `act` is awaited; and how it ends."""
    with trio.fail_after(200):
        async with serving(app, **options) as port, await trio.open_tcp_stream("127.0.0.1", port) as client:
            await client.send_all(request)
            begin = b""
            while b"begin" not in begin:
                begin += await client.receive_some()
            await act()
            rest, how = await receive_rest(client)
    return (begin + rest).partition(b"\r\n\r\n")[2], how


def set_event(event: trio.Event) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        event.set()

    return act


@pytest.mark.parametrize("failure", [ValueError("of the body"), ExceptionGroup("", [ValueError()])])
async def test_a_failure_to_an_http_1_0_client_is_a_reset(failure: Exception) -> None:
    """An end would be the end of the body (RFC 9112, section 6.3, number 8): only a reset says that it is not whole."""
    go_on = trio.Event()
    app = giving(lambda: Response(200, pieces(b"begin", go_on, failure)))
    assert await ending(get(version="HTTP/1.0"), app, set_event(go_on)) == (b"begin", "reset")


async def test_an_http_1_0_client_sees_an_end_if_all_went_well() -> None:
    go_on = trio.Event()
    app = giving(lambda: Response(200, pieces(b"begin", go_on, b" end")))
    assert await ending(get(version="HTTP/1.0"), app, set_event(go_on)) == (b"begin end", "end")


async def test_a_failure_to_an_http_1_1_client_is_an_end_without_the_last_chunk() -> None:
    go_on = trio.Event()
    app = giving(lambda: Response(200, pieces(b"begin", go_on, b"more", ValueError("of the body"))))
    assert await ending(get(), app, set_event(go_on)) == (b"5\r\nbegin\r\n4\r\nmore\r\n", "end")


async def test_an_http_1_0_client_sees_that_a_server_which_stops_has_cut_its_answer_off(mock_clock: MockClock) -> None:
    stop = trio.Event()

    async def act() -> None:
        stop.set()
        await wait_all_tasks_blocked()
        mock_clock.jump(11)

    app = giving(lambda: Response(200, pieces(b"begin", 1000, b"end")))
    request = get(version="HTTP/1.0")
    assert await ending(request, app, act, stop=stop, shutdown_grace=10) == (b"begin", "reset")


async def test_an_http_1_0_client_that_has_stopped_reading_sees_that_its_answer_was_cut_off(
    mock_clock: MockClock,
) -> None:
    """Or else it would take what the system has buffered for the whole, should it go on to read."""
    tale = Tale(b"begin", *[bytes(2**20)] * 100)

    async def act() -> None:
        given = 0
        while given < tale.given:  # until the system's buffers are full
            given = tale.given
            await wait_all_tasks_blocked(0.02)
        mock_clock.jump(31)
        await wait_all_tasks_blocked(0.02)
        assert tale.closed

    body, how = await ending(get(version="HTTP/1.0"), giving(lambda: Response(200, tale.tell())), act)
    assert len(body) < 100 * 2**20
    assert how == "reset"


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
@pytest.mark.parametrize(
    ("target", "version", "status", "output"),
    [
        ("/whole", "--http1.1", 0, b"onetwo"),
        ("/whole", "--http1.0", 0, b"onetwo"),
        ("/length", "--http1.1", 0, b"onetwo"),
        ("/failing", "--http1.1", 18, b"one"),
        ("/failing", "--http1.0", 56, None),
        ("/short", "--http1.1", 18, b"one"),
        ("/short", "--http1.0", 18, b"one"),
        ("/204", "--http1.1", 0, b""),
    ],
)
async def test_curl_knows_whether_it_has_got_the_whole(
    target: str, version: str, status: int, output: bytes | None
) -> None:
    """18: the transfer is partial; 56: it was broken off, and what has come before is uncertain."""
    makes = {
        "/whole": lambda: Response(200, pieces(b"one", b"two")),
        "/length": lambda: Response(200, pieces(b"one", b"two"), {"Content-Length": "6"}),
        "/short": lambda: Response(200, pieces(b"one"), {"Content-Length": "6"}),
        "/failing": lambda: Response(200, pieces(b"one", ValueError("of the body"))),
        "/204": lambda: Response(204, pieces(b"one")),
    }

    async def app(request: Request) -> Response:
        return makes[request.target]()

    async with serving(app) as port:
        url = f"http://127.0.0.1:{port}{target}"
        command = [CURL or "", "-q", "--silent", version, "--noproxy", "*", "--max-time", "20", url]
        done = await trio.run_process(command, capture_stdout=True, check=False)
    assert done.returncode == status
    assert output is None or done.stdout == output
