"""Request bodies as applications read them: limits, streaming, errors, cancellation, expectations, and unread rests.

That a body is framed rightly is the matter of test_http_framing.py and test_http_vectors.py.
"""

import http.client
import math
import random
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

import pytest
import trio
from http_talk import (
    AppOrFactory,
    answers,
    connected,
    dateless,
    echo,
    factory_of,
    get,
    post,
    read_to_end,
    say,
    say_once,
    talk,
    the_answer,
)
from http_wire import (
    Framed,
    chunked,
    chunked_head,
    framing_name,
    hear,
    hear_one,
    post_in_chunks,
    responses,
)
from trio.testing import (
    MockClock,
    lockstep_stream_one_way_pair,
    lockstep_stream_pair,
    memory_stream_one_way_pair,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

from trio_chat.http import App, ClientDisconnected, HTTPError, HTTPRequestHandler, Request, Response
from trio_chat.testing import BreakingStream

each_framing = pytest.mark.parametrize("framed", [post, post_in_chunks], ids=framing_name)

RECEIVE = 65536  # bytes at the most that the server takes from the stream at once
LINGERING = 2  # seconds
BODY = bytes(range(65, 91)) * 2


async def stream_echo(request: Request) -> Response:
    """Answers with the body while it comes."""
    return Response(body=request.stream())


async def blind(request: Request) -> Response:
    """Does not look at the body."""
    return Response(200, request.target)


async def streaming(request: Request) -> Response:
    """Does not look at the body, and streams its answer."""

    async def content() -> AsyncGenerator[bytes, None]:
        yield request.target.encode()

    return Response(body=content())


async def take(request: Request, count: int) -> bytes:
    """The next `count` bytes of the body and what came with them, by a `stream` that is left early."""
    content = b""
    async with aclosing(request.stream()) as stream:
        async for piece in stream:
            content += piece
            if len(content) >= count:
                break
    return content


async def rest_of(request: Request) -> bytes:
    return b"".join([piece async for piece in request.stream()])


async def reset_behind(sent: bytes, what: AppOrFactory) -> None:
    """Serve a client that is gone a second after it has sent this."""
    client, inner = memory_stream_pair()
    server = BreakingStream(inner)
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(factory_of(what)(server).run)
            await client.send_all(sent)
            await trio.sleep(1)
            server.break_now()


def unbuffered_upload() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
    """A client's stream and the server's; what the client sends waits until the server has received it."""
    client_sends, server_receives = lockstep_stream_one_way_pair()
    server_sends, client_receives = memory_stream_one_way_pair()
    return trio.StapledStream(client_sends, client_receives), trio.StapledStream(server_sends, server_receives)


# ---------------------------------------------------------------- read(), and how much it takes


@each_framing
@pytest.mark.parametrize(("length", "status"), [(0, 200), (9, 200), (10, 200), (11, 413), (12, 413)])
async def test_read_takes_up_to_max_bytes(length: int, status: int, framed: Framed) -> None:
    """A short rest whose length is known is dropped, so the connection goes on."""

    async def app(request: Request) -> Response:
        return Response(200, await request.read(10))

    first, *others = await hear(framed(b"x" * length) + get("/2"), app)
    assert (first.status, len(first.body)) == (status, length if status == 200 else len("Content Too Large\n"))
    goes_on = status == 200 or framed is post or first.field("connection") is None
    assert [(answer.status, answer.body) for answer in others] == [(200, b"")] * goes_on


@each_framing
@pytest.mark.parametrize(("length", "status"), [(9, 200), (10, 200), (11, 413)])
async def test_read_takes_up_to_max_read_bytes(length: int, status: int, framed: Framed) -> None:
    class Small(HTTPRequestHandler):
        max_read_bytes = 10

        async def handle_request(self, request: Request) -> Response:
            return await echo(request)

    assert (await hear_one(framed(b"x" * length), Small)).status == status


@pytest.mark.parametrize(("length", "status"), [(2**20, 200), (2**20 + 1, 413)])
async def test_read_takes_1_mib_of_a_chunked_body_by_default(length: int, status: int) -> None:
    async def app(request: Request) -> Response:
        return Response(200, str(len(await request.read())))

    (answer,) = await say_once(post_in_chunks(bytes(length)), app)
    assert (answer.status, answer.text) == (status, str(length) if status == 200 else "Content Too Large\n")


@each_framing
async def test_read_may_take_more_than_the_default(framed: Framed) -> None:
    async def app(request: Request) -> Response:
        return Response(200, str(len(await request.read(2**21))))

    (answer,) = await say_once(framed(bytes(2**21)), app)
    assert answer.text == str(2**21)


async def test_a_body_of_known_length_that_is_too_long_is_not_asked_for(autojump_clock: MockClock) -> None:
    async def app(request: Request) -> Response:
        return Response(200, await request.read(10))

    async with connected(app) as client:
        await client.send_all(get("/", "Content-Length: 11", "Expect: 100-continue", method="POST"))
        (answer,) = answers(await read_to_end(client))
        assert trio.current_time() == 0
    assert (answer.status, answer.field("connection")) == (413, "close")


async def test_a_chunked_body_is_asked_for_and_refused_when_it_is_too_long(autojump_clock: MockClock) -> None:
    async def app(request: Request) -> Response:
        return Response(200, await request.read(10))

    async with connected(app) as client:
        await client.send_all(chunked_head("Expect: 100-continue"))
        assert [answer.status for answer in answers(bytes(await client.receive_some()))] == [100]
        await client.send_all(b"b\r\n" + b"x" * 11)
        (answer,) = answers(await read_to_end(client))
        assert trio.current_time() <= LINGERING
    assert (answer.status, answer.field("connection")) == (413, "close")


@each_framing
async def test_what_has_been_read_can_be_read_and_streamed_again(framed: Framed) -> None:
    async def app(request: Request) -> Response:
        first = await request.read()
        streamed = [[piece async for piece in request.stream()] for _ in range(2)]
        assert streamed == [[BODY], [BODY]]
        assert await request.read() is first
        assert await request.read(max_bytes=1) is first
        return Response(200, first)

    first, second = await hear(framed(BODY) * 2, app)
    assert first.body == second.body == BODY


# ---------------------------------------------------------------- stream()


@each_framing
async def test_pieces_are_the_body_and_never_empty(framed: Framed) -> None:
    async def app(request: Request) -> Response:
        pieces = [piece async for piece in request.stream()]
        assert all(pieces)
        assert [piece async for piece in request.stream()] == []
        return Response(200, b"".join(pieces))

    first, second, third = await hear(framed(BODY) + framed(b"") + get(), app)
    assert (first.body, second.body, third.body) == (BODY, b"", b"")


@each_framing
async def test_stream_goes_on_where_it_was_left(framed: Framed) -> None:
    async def app(request: Request) -> Response:
        parts = [await take(request, 1) for _ in range(3)]
        parts.append(await rest_of(request))
        assert await rest_of(request) == b""
        return Response(200, b"".join(parts))

    first, second = await hear(framed(BODY) + get("/2"), app)
    assert (first.body, second.body) == (BODY, b"")


@each_framing
async def test_read_after_a_part_was_streamed_is_an_error_that_loses_nothing(framed: Framed) -> None:
    async def app(request: Request) -> Response:
        begun = await take(request, 1)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="taken already"):
                await request.read()
        return Response(200, begun + await rest_of(request))

    assert (await hear_one(framed(BODY), app)).body == BODY


@each_framing
async def test_read_after_the_whole_was_streamed_is_an_error(framed: Framed) -> None:
    async def app(request: Request) -> Response:
        assert await rest_of(request) == BODY
        with pytest.raises(RuntimeError, match="taken already"):
            await request.read()
        return Response()

    assert (await hear_one(framed(BODY), app)).status == 200


async def test_chunks_of_every_size_up_to_300() -> None:
    pieces = [bytes([size % 256]) * size for size in range(1, 300)]
    body = chunked(*pieces)

    async def app(request: Request) -> Response:
        return Response(200, await rest_of(request))

    (whole,) = answers(await talk([chunked_head() + body], app))
    chunks = [body[at : at + 997] for at in range(0, len(body), 997)]
    (cut,) = answers(await talk([chunked_head(), *chunks], app))
    assert whole.body == cut.body == b"".join(pieces)


async def test_thousands_of_chunks_of_one_byte_let_other_tasks_have_their_turn() -> None:
    count, turns = 10_000, 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async def app(request: Request) -> Response:
        return Response(200, str(len(await request.read())))

    async with trio.open_nursery() as nursery:
        request = chunked_head() + b"1\r\nx\r\n" * count + b"0\r\n\r\n" + get("/2")
        nursery.start_soon(other)
        client, server = memory_stream_pair()
        nursery.start_soon(factory_of(app)(server).run)
        await client.send_all(request)
        await client.send_eof()
        first, second = answers(await read_to_end(client))
        nursery.cancel_scope.cancel()
    assert (first.text, second.text) == (str(count), "0")
    assert turns > 3 * count / 1000


@pytest.mark.parametrize("whole", [True, False])
async def test_a_huge_chunk_comes_in_pieces_of_what_was_received(whole: bool) -> None:
    lengths = []

    async def app(request: Request) -> Response:
        async for piece in request.stream():
            lengths.append(len(piece))
        return Response()

    data = chunked_head() + chunked(bytes(300_000))
    sent = [data] if whole else [data[at : at + 10_000] for at in range(0, len(data), 10_000)]
    assert [answer.status for answer in answers(await talk(sent, app))] == [200]
    assert sum(lengths) == 300_000
    assert max(lengths) <= (4 * RECEIVE if whole else 10_000)


# ---------------------------------------------------------------- backpressure


class Slow:
    """An application that takes a piece of the body whenever it is told to, and may watch the client meanwhile."""

    def __init__(self, *, watches: bool = False) -> None:
        self.taken = 0
        self.watches = watches
        self._go, self._gone = trio.open_memory_channel[None](math.inf)

    async def __call__(self, request: Request) -> Response:
        async with trio.open_nursery() as nursery:
            if self.watches:
                nursery.start_soon(request.disconnected)
            async with aclosing(request.stream()) as stream:
                async for _ in self._gone:
                    self.taken += len(await anext(stream))
                    await wait_all_tasks_blocked()
        return Response()

    async def take_a_piece(self) -> None:
        await self._go.send(None)
        await wait_all_tasks_blocked(0.001)


@each_framing
@pytest.mark.parametrize("watches", [False, True])
async def test_nothing_is_received_that_is_not_asked_for(
    watches: bool, framed: Framed, autojump_clock: MockClock
) -> None:
    """But for what came with the head, and, for an application that watches the client, `high_water_bytes`."""
    app = Slow(watches=watches)
    ahead = RECEIVE + (65536 + 1 if watches else 0)
    client, server = lockstep_stream_pair()
    received = 0

    async def send() -> None:
        nonlocal received
        data = framed(bytes(2**20))
        for at in range(0, len(data), 1000):
            await client.send_all(data[at : at + 1000])
            received += 1000

    async with trio.open_nursery() as nursery:
        nursery.start_soon(factory_of(app)(server).run)
        nursery.start_soon(send)
        for _ in range(5):
            await wait_all_tasks_blocked(0.001)
            assert received <= app.taken + ahead
            before = app.taken
            await app.take_a_piece()
            assert app.taken > before
        nursery.cancel_scope.cancel()


@each_framing
async def test_a_body_that_is_longer_than_every_buffer_needs_no_more_memory(framed: Framed) -> None:
    total = 0

    async def app(request: Request) -> Response:
        nonlocal total
        async for piece in request.stream():
            total += len(piece)
        return Response()

    client, server = lockstep_stream_pair()
    block = bytes(50_000)
    request = framed(block * 400)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(factory_of(app)(server).run)
        tracemalloc.start()
        try:
            for at in range(0, len(request), len(block)):
                await client.send_all(memoryview(request)[at : at + len(block)])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (await client.receive_some()).startswith(b"HTTP/1.1 200 ")
        await client.aclose()
    assert total == 400 * len(block)
    assert peak < 20 * RECEIVE


# ---------------------------------------------------------------- trailers


@pytest.mark.parametrize("reads", ["read", "stream"])
async def test_trailers_are_there_only_when_the_body_has_been_read(reads: str) -> None:
    async def app(request: Request) -> Response:
        assert len(request.trailers) == 0
        content = await (request.read() if reads == "read" else rest_of(request))
        assert request.trailers.raw == [(b"X-Sum", b"1"), (b"x-sum", b"2"), (b"X-End", b"")]
        assert request.trailers["X-SUM"] == "1, 2"
        return Response(200, content)

    body = chunked(b"hello", trailers=b"X-Sum: 1\r\nx-sum:\t2 \r\nX-End:\r\n")
    first, second = await hear(chunked_head() + body + chunked_head() + body, app)
    assert first.body == second.body == b"hello"


@each_framing
async def test_without_trailers_there_are_none(framed: Framed) -> None:
    async def app(request: Request) -> Response:
        await request.read()
        return Response(200, repr(request.trailers))

    assert (await hear_one(framed(BODY), app)).text == "Headers([])"


# ---------------------------------------------------------------- max_body_bytes


class Small(HTTPRequestHandler):
    """Takes bodies of up to 10 bytes, and counts them."""

    max_body_bytes = 10

    async def handle_request(self, request: Request) -> Response:
        return Response(200, str(len(await rest_of(request))))


@pytest.mark.parametrize("framed", [post_in_chunks, lambda body: chunked_head() + chunked(body)])
@pytest.mark.parametrize(("length", "status"), [(9, 200), (10, 200), (11, 413), (12, 413)])
async def test_chunked_body_up_to_max_body_bytes(length: int, status: int, framed: Callable[[bytes], bytes]) -> None:
    heard = await hear(framed(b"x" * length) + get("/2"), Small)
    assert [answer.status for answer in heard] == ([200, 200] if status == 200 else [413])
    assert heard[0].field("connection") == (None if status == 200 else "close")


async def test_a_chunk_that_makes_the_body_too_long_is_not_received(autojump_clock: MockClock) -> None:
    pieces = []

    class Noting(Small):
        async def handle_request(self, request: Request) -> Response:
            async for piece in request.stream():
                pieces.append(piece)
            return Response()

    async with connected(Noting) as client:
        await client.send_all(chunked_head() + b"4\r\nabcd\r\n7\r\n")
        (answer,) = answers(await read_to_end(client))
        assert trio.current_time() <= LINGERING
    assert (answer.status, pieces) == (413, [b"abcd"])


async def test_a_body_of_known_length_that_is_too_long_never_reaches_the_application() -> None:
    handled = []

    class Noting(Small):
        async def handle_request(self, request: Request) -> Response:
            handled.append(request.target)
            return Response()

    statuses = [answer.status for answer in await say_once(post(bytes(10)) + post(bytes(11)) + get(), Noting)]
    assert (statuses, handled) == ([200, 413], ["/"])


async def test_max_body_bytes_holds_for_a_chunked_body_that_is_dropped() -> None:
    class Blind(Small):
        async def handle_request(self, request: Request) -> Response:
            return Response()

    for length, statuses in ((10, [200, 200]), (11, [413])):
        heard = await hear(post_in_chunks(bytes(length)) + get(), Blind)
        assert [answer.status for answer in heard] == statuses


# ---------------------------------------------------------------- bodies that go wrong

MALFORMED = chunked_head() + b"2\r\nhi\r\nzz\r\n" + get("/evil")
TOO_LONG_A_CHUNK = chunked_head() + b"2\r\nhi!\r\n0\r\n\r\n" + get("/evil")
UNENDED = [post(b"hi, all")[:-5], chunked_head() + b"7\r\nhi"]
_UNENDED_IDS = ["counted, unended", "chunked, unended"]

each_fault = pytest.mark.parametrize(
    ("request_", "kind"),
    [(MALFORMED, HTTPError), (TOO_LONG_A_CHUNK, HTTPError), *((request, ClientDisconnected) for request in UNENDED)],
    ids=["malformed", "chunk too long", *_UNENDED_IDS],
)


@each_fault
@pytest.mark.parametrize("reads", ["read", "stream"])
async def test_a_fault_that_the_application_lets_pass_is_400(
    request_: bytes, kind: type[HTTPError], reads: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(request: Request) -> Response:
        return Response(200, await (request.read() if reads == "read" else rest_of(request)))

    answer = await hear_one(request_, app)
    assert (answer.status, answer.field("connection")) == (400, "close")
    assert caplog.records == []


@each_fault
@pytest.mark.parametrize("reads", ["read", "stream"])
async def test_an_application_may_answer_a_fault_itself(request_: bytes, kind: type[HTTPError], reads: str) -> None:
    """What follows is no request all the same."""

    async def app(request: Request) -> Response:
        content = b""
        try:
            if reads == "read":
                await request.read()
            else:
                async for piece in request.stream():
                    content += piece
        except HTTPError as exc:
            return Response(299 if (type(exc), exc.status) == (kind, 400) else 500, content)
        return Response()

    answer = await hear_one(request_, app)
    assert (answer.status, answer.field("connection")) == (299, "close")
    assert answer.body == (b"" if reads == "read" else b"hi")


@each_fault
async def test_an_application_may_stream_its_answer_to_a_fault(request_: bytes, kind: type[HTTPError]) -> None:
    async def app(request: Request) -> Response:
        async def content() -> AsyncGenerator[bytes, None]:
            yield b"sorry"

        with pytest.raises(kind):
            await request.read()
        return Response(299, content())

    answer = await hear_one(request_, app)
    assert (answer.status, answer.text, answer.field("connection")) == (299, "sorry", "close")


@each_fault
async def test_whoever_streams_on_is_told_the_same(request_: bytes, kind: type[HTTPError]) -> None:
    async def app(request: Request) -> Response:
        told = []
        for _ in range(3):
            with pytest.raises(kind) as info:
                await rest_of(request)
            told.append(info.value)
        assert told == [told[0]] * 3
        return Response(299)

    assert (await hear_one(request_, app)).status == 299


@each_fault
async def test_whoever_reads_again_is_told_the_same(request_: bytes, kind: type[HTTPError]) -> None:
    """As middleware that logs the body, and lets the application find out for itself."""

    async def app(request: Request) -> Response:
        told = []
        for _ in range(3):
            with pytest.raises(kind) as info:
                await request.read()
            told.append((info.value.status, info.value.detail))
        assert told == [told[0]] * 3
        return Response(299)

    assert (await hear_one(request_, app)).status == 299


@each_framing
async def test_whoever_reads_too_much_again_is_told_the_same(framed: Framed) -> None:
    async def app(request: Request) -> Response:
        for _ in range(2):
            with pytest.raises(HTTPError) as info:
                await request.read(10)
            assert info.value.status == 413
        return Response(299)

    assert (await hear_one(framed(BODY), app)).status == 299


@each_framing
async def test_a_body_that_is_too_slow_is_408_for_every_further_read(framed: Framed, autojump_clock: MockClock) -> None:
    async def app(request: Request) -> Response:
        for _ in range(3):
            with pytest.raises(HTTPError) as info:
                await rest_of(request)
            assert info.value.status == 408
        return Response(299)

    async with connected(app) as client:
        await client.send_all(framed(b"hi")[:-9] if framed is post_in_chunks else framed(b"hi")[:-2])
        (answer,) = answers(await read_to_end(client))
        assert trio.current_time() == pytest.approx(30)
    assert (answer.status, answer.field("connection")) == (299, "close")


@pytest.mark.parametrize("request_", UNENDED, ids=_UNENDED_IDS)
async def test_a_client_that_ends_its_side_within_a_body_gets_the_answer_at_once(
    request_: bytes, autojump_clock: MockClock
) -> None:
    async with connected() as client:
        await client.send_all(request_)
        await trio.sleep(5)
        await client.send_eof()
        (answer,) = answers(await read_to_end(client))
        assert trio.current_time() == 5
    assert (answer.status, answer.text) == (400, "the request is not complete\n")


async def read_it(request: Request) -> Response:
    return Response(200, await request.read())


async def catch_it(request: Request) -> Response:
    with pytest.raises(ClientDisconnected):
        await rest_of(request)
    return Response()


async def stream_it_back(request: Request) -> Response:
    return Response(body=request.stream(), headers={"Content-Length": "7"})


@pytest.mark.parametrize("request_", UNENDED, ids=_UNENDED_IDS)
@pytest.mark.parametrize("app", [read_it, catch_it, blind, stream_echo, stream_it_back])
async def test_a_client_that_goes_away_within_a_body_is_no_error_of_the_server(
    request_: bytes, app: App, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await reset_behind(request_, app)
    assert caplog.records == []


@pytest.mark.parametrize("request_", [MALFORMED, *UNENDED], ids=["malformed", *_UNENDED_IDS])
async def test_a_body_that_goes_wrong_while_it_is_echoed_cuts_the_echo_off(request_: bytes) -> None:
    """The answer has begun: that its last chunk is missing is all that the client can be told."""
    raw = await talk([request_], stream_echo)
    with pytest.raises(http.client.IncompleteRead) as info:
        responses(raw)
    assert b"".join([info.value.partial]) in (b"hi", b"2\r\nhi\r\n")
    assert b"evil" not in raw


@pytest.mark.parametrize("request_", [MALFORMED, *UNENDED], ids=["malformed", *_UNENDED_IDS])
async def test_a_body_that_goes_wrong_while_it_is_echoed_is_no_error_of_the_server(
    request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Anyone could fill the log with tracebacks."""
    await talk([request_], stream_echo)
    assert [record.levelname for record in caplog.records if record.exc_info] == []


# ---------------------------------------------------------------- cancellation


@each_framing
async def test_a_stream_that_is_cancelled_loses_nothing(framed: Framed, autojump_clock: MockClock) -> None:
    """The application waits for 70 ms, then again; the client sends a byte every 100 ms."""
    waits = 0

    async def app(request: Request) -> Response:
        nonlocal waits
        content = b""
        while len(content) < len(BODY):
            waits += 1
            with trio.move_on_after(0.07):
                async with aclosing(request.stream()) as stream:
                    async for piece in stream:
                        content += piece
        return Response(200, content)

    request = framed(BODY)
    head = request.index(b"\r\n\r\n") + 4
    async with connected(app) as client:
        await client.send_all(request[:head])
        for at in range(head, len(request)):
            await client.send_all(request[at : at + 1])
            await trio.sleep(0.1)
        (answer,) = answers(bytes(await client.receive_some()))
    assert answer.body == BODY
    assert waits > len(BODY)


@each_framing
@pytest.mark.parametrize("seed", range(10))
async def test_a_stream_that_is_cancelled_at_any_step_loses_nothing(framed: Framed, seed: int) -> None:
    """Cancelled before, after, and in the same turn of the scheduler as something comes."""
    chance = random.Random(seed)
    scope = trio.CancelScope()

    async def app(request: Request) -> Response:
        nonlocal scope
        content = b""
        while len(content) < len(BODY):
            with trio.CancelScope() as scope:
                async with aclosing(request.stream()) as stream:
                    async for piece in stream:
                        content += piece
        return Response(200, content)

    async def cancel() -> None:
        while True:
            for _ in range(chance.randrange(4)):
                await trio.lowlevel.checkpoint()
            scope.cancel()
            await trio.lowlevel.checkpoint()

    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel)
        nursery.start_soon(factory_of(app)(server).run)
        data = framed(BODY) + framed(BODY)
        while data:
            count = chance.randrange(1, 7)
            await client.send_all(data[:count])
            data = data[count:]
            for _ in range(chance.randrange(4)):
                await trio.lowlevel.checkpoint()
        await client.send_eof()
        found = [answer.body for answer in answers(await read_to_end(client))]
        nursery.cancel_scope.cancel()
    assert found == [BODY, BODY]


@each_framing
async def test_a_read_that_is_cancelled_before_anything_came_can_be_repeated(
    framed: Framed, autojump_clock: MockClock
) -> None:
    async def app(request: Request) -> Response:
        with trio.move_on_after(5) as scope:
            await request.read()
        assert scope.cancelled_caught
        return Response(200, await request.read())

    request = framed(BODY)
    head = request.index(b"\r\n\r\n") + 4
    async with connected(app) as client:
        await client.send_all(request[:head])
        await trio.sleep(10)
        await client.send_all(request[head:])
        (answer,) = answers(bytes(await client.receive_some()))
    assert answer.body == BODY


@each_framing
async def test_a_body_whose_reading_was_cancelled_is_dropped_like_any_other(
    framed: Framed, autojump_clock: MockClock
) -> None:
    async def app(request: Request) -> Response:
        with trio.move_on_after(5):
            await request.read()
        return Response(200, request.target)

    async with connected(app) as client:
        await client.send_all(framed(BODY)[:-20])
        await trio.sleep(6)
        await client.send_all(framed(BODY)[-20:] + get("/2"))
        await wait_all_tasks_blocked()
        texts = [answer.text for answer in answers(bytes(await client.receive_some()))]
    assert texts == ["/", "/2"]


@each_framing
async def test_a_child_task_may_read(framed: Framed) -> None:
    async def app(request: Request) -> Response:
        pieces = []

        async def read() -> None:
            async for piece in request.stream():
                pieces.append(piece)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
        return Response(200, b"".join(pieces))

    first, second = await hear(framed(BODY) * 2, app)
    assert first.body == second.body == BODY


class Twofold:
    """An application with two tasks that take the body at once, each until it is told that it cannot."""

    def __init__(self) -> None:
        self.handled: list[str] = []

    async def __call__(self, request: Request) -> Response:
        self.handled.append(request.target)
        pieces: list[bytes] = []

        async def take_pieces() -> None:
            with suppress(trio.BusyResourceError, HTTPError):
                async for piece in request.stream():
                    pieces.append(piece)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_pieces)
            nursery.start_soon(take_pieces)
        return Response(200, request.target.encode() + b"".join(pieces))


@each_framing
async def test_two_tasks_that_take_a_body_do_not_let_the_next_request_overtake(framed: Framed) -> None:
    first, second = await hear(framed(BODY, target="/1") + get("/2"), Twofold())
    assert (first.body, second.body) == (b"/1" + BODY, b"/2")


async def test_two_tasks_that_take_a_body_do_not_go_on_behind_what_is_malformed() -> None:
    """Nobody knows where the next request begins: what follows must not be taken for one."""
    app = Twofold()
    await talk([chunked_head(), b"2\r\nhi\r\nzz\r\n" + get("/evil")], app)
    assert app.handled == ["/"]


@each_framing
async def test_two_tasks_that_read_get_the_whole_or_an_error(framed: Framed) -> None:
    async def app(request: Request) -> Response:
        contents: list[bytes] = []

        async def read() -> None:
            with suppress(RuntimeError, trio.BusyResourceError):
                contents.append(await request.read())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(read)
        assert contents in ([BODY], [BODY, BODY])
        return Response(200, await request.read())

    assert (await hear_one(framed(BODY), app)).body == BODY


# ---------------------------------------------------------------- bodies that are streamed back


@each_framing
@pytest.mark.parametrize("fields", [{}, {"Content-Length": str(len(BODY))}])
async def test_echo(framed: Framed, fields: dict[str, str]) -> None:
    async def app(request: Request) -> Response:
        return Response(200, request.stream(), fields)

    request = framed(BODY)
    heard = [responses(await talk([request[:at], request[at:] + request], app)) for at in range(1, len(request), 7)]
    assert heard == [heard[0]] * len(heard)
    assert [answer.body for answer in heard[0]] == [BODY, BODY]
    assert heard[0][0].field("transfer-encoding") == (None if fields else "chunked")
    assert heard[0][0].field("connection") is None


async def test_echo_to_an_http_1_0_client_ends_with_the_connection() -> None:
    request = get("/", f"Content-Length: {len(BODY)}", method="POST", version="HTTP/1.0") + BODY
    answer = await hear_one(request, stream_echo)
    assert (answer.body, answer.field("connection")) == (BODY, "close")


@each_framing
@pytest.mark.parametrize("fields", [{}, {"Content-Length": str(2**20)}])
async def test_an_echo_that_is_longer_than_every_buffer(
    framed: Framed, fields: dict[str, str], autojump_clock: MockClock
) -> None:
    """Over a stream without a buffer: what has been sent, the other end has received."""
    content = random.Random(1).randbytes(2**20)
    raw = bytearray()

    async def app(request: Request) -> Response:
        return Response(200, request.stream(), fields if request.target == "/" else {})

    async def receive() -> None:
        async for chunk in client:
            raw.extend(chunk)

    client, server = lockstep_stream_pair()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(factory_of(app)(server).run)
            nursery.start_soon(receive)
            await client.send_all(framed(content))
            await client.send_all(get("/2", "Connection: close"))
    first, second = responses(bytes(raw))
    assert first.body == content
    assert (second.status, second.body) == (200, b"")


@each_framing
@pytest.mark.parametrize(("size", "count"), [(16_000, 1), (1000, 16), (100, 150)])
async def test_an_echo_to_a_client_that_sends_everything_before_it_reads(
    size: int, count: int, framed: Framed, autojump_clock: MockClock
) -> None:
    """Up to `low_water_bytes`, over a stream without a buffer."""
    request = framed(bytes(size * count))
    client, server = lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(factory_of(stream_echo)(server).run)
        for at in range(0, len(request), size):
            await client.send_all(request[at : at + size])
        assert trio.current_time() == 0
        raw = b""
        while not raw.endswith(b"0\r\n\r\n"):
            raw += await client.receive_some()
        await client.aclose()
    (answer,) = responses(raw)
    assert len(answer.body) == size * count


@each_framing
async def test_a_response_may_end_before_the_body_that_it_streams(framed: Framed) -> None:
    """The rest is dropped behind it, and the connection goes on."""

    async def app(request: Request) -> Response:
        async def first_byte() -> AsyncGenerator[bytes, None]:
            yield (await take(request, 1))[:1]

        return Response(body=first_byte())

    first, second = await hear(framed(BODY) * 2, app)
    assert first.body == second.body == BODY[:1]


@each_framing
async def test_an_echo_that_is_not_sent_is_dropped(framed: Framed) -> None:
    """The answer to HEAD has no body, and 304 neither."""

    async def app(request: Request) -> Response:
        return Response(304 if request.method == "POST" else 200, request.stream())

    head = framed(BODY).replace(b"POST", b"HEAD")
    heard = await hear(head + framed(BODY) + get(), app, methods=["HEAD", "POST", "GET"])
    assert [(answer.status, answer.body) for answer in heard] == [(200, b""), (304, b""), (200, b"")]


# ---------------------------------------------------------------- Expect: 100-continue


class Expecting:
    """Sends a head that expects 100-continue, and notes what comes when."""

    def __init__(self, *, length: str = "Content-Length: 4") -> None:
        self.head = get("/", length, "Expect: 100-continue", method="POST")
        self.heard: list[tuple[float, bytes]] = []

    async def converse(self, app: App, body: bytes = b"body") -> list[tuple[float, bytes]]:
        """Send the body when it is asked for; what came, by second, with the beginning of the status line."""
        async with connected(app) as client:
            await client.send_all(self.head)
            while chunk := await client.receive_some():
                self.heard.append((trio.current_time(), bytes(chunk[9:12])))
                if chunk.startswith(b"HTTP/1.1 100 "):
                    assert chunk == b"HTTP/1.1 100 Continue\r\n\r\n"
                    await trio.sleep(1)
                    await client.send_all(body[:1])
                    await trio.sleep(1)
                    await client.send_all(body[1:])
                    await client.send_eof()
        return self.heard


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("length", "body"), [("Content-Length: 4", b"body"), (CHUNKED, chunked(b"body"))], ids=["counted", "chunked"]
)
async def test_100_continue_is_sent_once_when_the_body_is_first_asked_for(
    length: str, body: bytes, autojump_clock: MockClock
) -> None:
    async def app(request: Request) -> Response:
        await trio.sleep(5)
        content = await take(request, 1)
        return Response(200, content + await rest_of(request))

    assert await Expecting(length=length).converse(app, body) == [(5, b"100"), (7, b"200")]


@pytest.mark.parametrize("length", ["Content-Length: 4", CHUNKED])
async def test_without_reading_there_is_no_100_continue_and_the_end_comes_at_once(
    length: str, autojump_clock: MockClock
) -> None:
    async with connected(blind) as client:
        await client.send_all(get("/", length, "Expect: 100-continue", method="POST"))
        (answer,) = answers(await read_to_end(client))
        assert trio.current_time() == 0
    assert (answer.status, answer.field("connection")) == (200, "close")


async def test_a_body_that_came_although_it_was_not_asked_for_is_no_request() -> None:
    answer = await hear_one(post(get("/evil"), "Expect: 100-continue") + get("/2"), blind)
    assert (answer.text, answer.field("connection")) == ("/", "close")


async def test_100_continue_comes_behind_the_answers_before_it() -> None:
    statuses = [answer.status for answer in await say(get("/1") + post(b"hi", "Expect: 100-continue") + get("/3"))]
    assert statuses == [200, 100, 200, 200]


@pytest.mark.parametrize("fields", [{}, {"Connection": "close"}])
async def test_100_continue_does_not_come_when_the_response_has_begun(
    fields: dict[str, str], autojump_clock: MockClock
) -> None:
    """RFC 9110, section 15.2: an interim response precedes the final one."""

    async def app(request: Request) -> Response:
        async def content() -> AsyncGenerator[bytes, None]:
            yield b"begun "
            async for piece in request.stream():
                yield piece

        return Response(200, content(), fields)

    raw = await talk([post(b"body", "Expect: 100-continue")], app)
    assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b" 100 " not in raw
    (answer,) = responses(raw)
    assert answer.body == b"begun body"


@pytest.mark.parametrize("fields", [{}, {"Content-Length": "4"}])
async def test_100_continue_does_not_come_within_the_response(
    fields: dict[str, str], autojump_clock: MockClock
) -> None:
    """RFC 9110, section 15.2: an interim response precedes the final one."""

    async def app(request: Request) -> Response:
        return Response(200, request.stream(), fields)

    raw = await talk([post(b"body", "Expect: 100-continue")], app)
    _before, final, response = dateless(raw).partition(b"HTTP/1.1 200 OK\r\n")
    assert final
    assert b"HTTP/1.1 " not in response
    (answer,) = responses(final + response)
    assert answer.body == b"body"


@pytest.mark.parametrize(
    ("length", "body"), [("Content-Length: 4", b"body"), (CHUNKED, chunked(b"body"))], ids=["counted", "chunked"]
)
async def test_a_body_that_comes_only_when_it_is_asked_for_can_be_echoed(
    length: str, body: bytes, autojump_clock: MockClock
) -> None:
    """As that of aiohttp with `expect100`, which waits for ever; curl waits for a second."""
    async with connected(stream_echo) as client:
        await client.send_all(get("/", length, "Expect: 100-continue", method="POST"))
        assert bytes(await client.receive_some()).startswith(b"HTTP/1.1 100 ")
        await client.send_all(body)
        await client.send_eof()
        (answer,) = responses(await read_to_end(client))
    assert answer.body == b"body"


async def test_an_expectation_of_an_http_1_0_client_does_not_matter_when_the_body_is_not_read() -> None:
    request = get("/", "Content-Length: 2", "Expect: 100-continue", "Connection: keep-alive", version="HTTP/1.0")
    first, second = await hear(request + b"hi" + get("/2"), blind)
    assert (first.field("connection"), second.text) == ("keep-alive", "/2")


async def test_asking_for_the_body_of_a_client_that_is_gone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[BaseException] = []

    async def app(request: Request) -> Response:
        await request.disconnected()
        try:
            return Response(200, await request.read())
        except Exception as exc:
            told.append(exc)
            raise

    await reset_behind(get("/", "Content-Length: 4", "Expect: 100-continue", method="POST"), app)
    assert [type(exc) for exc in told] == [ClientDisconnected]
    assert caplog.records == []


# ---------------------------------------------------------------- what the application leaves unread


class Blind(HTTPRequestHandler):
    """Leaves bodies unread, and drops 10 bytes of them."""

    max_unread_bytes = 10

    async def handle_request(self, request: Request) -> Response:
        return await blind(request)


@each_framing
@pytest.mark.parametrize(("length", "goes_on"), [(0, True), (9, True), (10, True), (11, False), (12, False)])
async def test_unread_body_up_to_max_unread_bytes_is_dropped(length: int, goes_on: bool, framed: Framed) -> None:
    first, *others = await hear(framed(b"x" * length) + get("/2"), Blind)
    assert (first.text, first.field("connection")) == ("/", None if goes_on else "close")
    assert [answer.text for answer in others] == (["/2"] if goes_on else [])


@each_framing
@pytest.mark.parametrize(("length", "goes_on"), [(0, True), (9, True), (10, True), (11, False), (12, False)])
async def test_unread_body_up_to_max_unread_bytes_is_dropped_behind_a_streamed_response(
    length: int, goes_on: bool, framed: Framed
) -> None:
    class Streaming(Blind):
        async def handle_request(self, request: Request) -> Response:
            return await streaming(request)

    heard = await hear(framed(b"x" * length) + get("/2"), Streaming)
    assert [answer.text for answer in heard] == (["/", "/2"] if goes_on else ["/"])


@each_fault
async def test_an_unread_body_that_goes_wrong_behind_a_streamed_response_is_the_end(
    request_: bytes, kind: type[HTTPError]
) -> None:
    assert (await hear_one(request_, streaming)).text == "/"


@each_framing
@pytest.mark.parametrize(("length", "goes_on"), [(65_536, True), (65_537, False)])
async def test_64_kib_of_an_unread_body_are_dropped_by_default(length: int, goes_on: bool, framed: Framed) -> None:
    request = framed(bytes(length), "Connection: x") + get("/2")
    for chunks in ([request], [request[:1000], request[1000:70_000], request[70_000:]]):
        assert len(answers(await talk(chunks, blind))) == (2 if goes_on else 1)


@each_framing
async def test_the_rest_of_a_body_that_was_partly_read_is_dropped(framed: Framed) -> None:
    async def app(request: Request) -> Response:
        return Response(200, (await take(request, 5))[:5])

    first, second, third = await hear(framed(BODY) + framed(BODY) + get(), app)
    assert (first.body, second.body, third.body) == (BODY[:5], BODY[:5], b"")


@each_framing
async def test_what_was_read_does_not_count_as_unread(framed: Framed) -> None:
    class Partly(Blind):
        async def handle_request(self, request: Request) -> Response:
            return Response(200, await take(request, 30))

    request = framed(b"x" * 40)
    head = request.index(b"\r\n\r\n") + 4
    raw = await talk([request[:head], *(request[at : at + 1] for at in range(head, len(request))), get("/2")], Partly)
    assert [len(answer.body) for answer in answers(raw)] == [30, 0]


@pytest.mark.parametrize(
    "app_status", [200, 404, 500], ids=["answer", "HTTPError", "exception"]
)  # whatever the application makes of it
async def test_the_rest_is_dropped_whatever_the_answer_is(app_status: int) -> None:
    async def app(request: Request) -> Response:
        if app_status == 404:
            raise HTTPError(404)
        if app_status == 500:
            raise LookupError
        return Response()

    statuses = [answer.status for answer in await say_once(post(BODY) + post_in_chunks(BODY) + get(), app)]
    assert statuses == [app_status] * 3


@each_fault
async def test_an_unread_body_that_goes_wrong_is_400(request_: bytes, kind: type[HTTPError]) -> None:
    answer = await hear_one(request_, blind)
    assert (answer.status, answer.field("connection")) == (400, "close")


@pytest.mark.parametrize("rest", [b"Content-Length: 4\r\n\r\nbo", b"Transfer-Encoding: chunked\r\n\r\n4\r\nbo"])
async def test_a_rest_that_does_not_come_is_waited_for_a_little(rest: bytes, autojump_clock: MockClock) -> None:
    async with connected(blind) as client:
        await client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\n" + rest)
        (answer,) = answers(bytes(await client.receive_some()))
        assert trio.current_time() == LINGERING
    assert (answer.status, answer.text, answer.field("connection")) == (200, "/", "close")


async def test_a_rest_that_drips_is_waited_for_no_longer(autojump_clock: MockClock) -> None:
    async with connected(blind) as client, trio.open_nursery() as nursery:

        async def drip() -> None:
            while True:
                await client.send_all(b"x")
                await trio.sleep(0.3)

        await client.send_all(get("/", "Content-Length: 100"))
        nursery.start_soon(drip)
        (answer,) = answers(bytes(await client.receive_some()))
        assert trio.current_time() == LINGERING
        assert answer.field("connection") == "close"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("limit", ["body_timeout", "idle_timeout"])
async def test_the_answer_is_the_applications_even_if_the_time_of_the_rest_is_up(
    limit: str, autojump_clock: MockClock
) -> None:
    """It has waited for 9 of 10 seconds, and decided itself what to say."""

    class Impatient(HTTPRequestHandler):
        async def handle_request(self, request: Request) -> Response:
            with trio.move_on_after(9):
                await request.read()
            return Response(299)

    class Limited(Impatient):
        body_timeout = 10.0 if limit == "body_timeout" else math.inf
        idle_timeout = 10.0 if limit == "idle_timeout" else math.inf

    async with connected(Limited) as client:
        await client.send_all(get("/", "Content-Length: 4", method="POST"))
        (answer,) = answers(await read_to_end(client))
        assert trio.current_time() <= 9 + LINGERING
    assert (answer.status, answer.field("connection")) == (299, "close")


async def test_a_rest_that_comes_a_little_later_is_dropped(autojump_clock: MockClock) -> None:
    async with connected(blind) as client:
        await client.send_all(get("/", "Content-Length: 4"))
        await trio.sleep(1.5)
        await client.send_all(b"body" + get("/2"))
        await wait_all_tasks_blocked()
        texts = [answer.text for answer in answers(bytes(await client.receive_some()))]
        assert (texts, trio.current_time()) == (["/", "/2"], 1.5)


async def test_a_rest_that_is_known_to_be_long_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with connected(blind) as client:
        await client.send_all(get("/", "Content-Length: 65537"))
        (answer,) = answers(await read_to_end(client))
        assert trio.current_time() == 0
    assert (answer.text, answer.field("connection")) == ("/", "close")


async def test_a_rest_that_turns_out_to_be_long_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with connected(blind) as client:
        await client.send_all(post_in_chunks(bytes(100_000))[:-5])
        (answer,) = answers(bytes(await client.receive_some()))
        assert trio.current_time() == 0
    assert (answer.text, answer.field("connection")) == ("/", "close")


@each_framing
@pytest.mark.parametrize("app", [blind, read_it], ids=["200", "413"])
async def test_a_client_that_sends_everything_before_it_reads_gets_the_answer(
    framed: Framed, app: App, autojump_clock: MockClock
) -> None:
    """The client's stream has no buffer: the server has to go on receiving."""
    request = framed(bytes(3 * 2**20))
    client, server = unbuffered_upload()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(factory_of(app)(server).run)
        for at in range(0, len(request), 60_000):
            await client.send_all(request[at : at + 60_000])
        await client.send_eof()
        (answer,) = answers(await read_to_end(client))
    assert (answer.status, answer.field("connection")) == (200 if app is blind else 413, "close")
    assert trio.current_time() == 0


async def test_a_refused_body_is_not_read_to_its_end(autojump_clock: MockClock) -> None:
    """The client that goes on sending is heard for 20 seconds, and then no longer."""
    async with connected(blind) as client:
        await client.send_all(get("/", "Content-Length: 99999999"))
        assert (await client.receive_some()).startswith(b"HTTP/1.1 200 ")

        async def go_on() -> None:
            for _ in range(1000):
                await client.send_all(bytes(1000))
                await trio.sleep(0.1)

        with pytest.raises(trio.BrokenResourceError):
            await go_on()
        assert trio.current_time() == pytest.approx(10 * LINGERING, abs=0.2)


@each_framing
async def test_a_client_that_goes_away_while_the_rest_is_dropped(
    framed: Framed, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await reset_behind(framed(BODY)[:-20], blind)
    assert caplog.records == []


async def test_an_answer_of_the_application_is_not_lost_with_a_body_of_nothing() -> None:
    assert (await the_answer(post(b""), blind)).text == "/"
