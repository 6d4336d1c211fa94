"""`start_tls` against attackers, failures, and tasks that come in between: nothing in plaintext passes for TLS."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing
from bounded import put, run, say, talk
from starttls import (
    READY,
    Pair,
    Securing,
    Trying,
    after_turns,
    ask_for_tls,
    echoed,
    over_each_kind,
    shake_hands,
    socket_pair,
    talk_over,
)
from support import CountingStream, MemoryListener, StallingStream, receive_all, receive_exactly, splits

from trio_chat import PlaintextBeforeTLS, serve_listeners


@pytest.fixture(autouse=True)
def context(server_context: ssl.SSLContext) -> None:
    Securing.context = server_context


# ---------------------------------------------------------------------- command injection


COMMAND = b"EHLO\r\nSTARTTLS\r\n"


@pytest.mark.parametrize("terminator", [b"\r\n", (b"\r\n", b"\r\r\n")])
@pytest.mark.parametrize("chunks", splits(COMMAND + b"MAIL FROM\r\nRCPT TO\r\n\r"))
async def test_plaintext_behind_the_command_is_never_handed_over(
    autojump_clock: trio.testing.MockClock, terminator: bytes | tuple[bytes, ...], chunks: list[bytes]
) -> None:
    """What has come with the command is told; what comes later breaks the handshake."""

    class Attacked(Trying):
        pass

    Attacked.terminator = terminator
    client, server = trio.testing.memory_stream_pair()
    chat = Attacked(server)
    at, received_with_it = 0, False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        for chunk in chunks:
            received_with_it |= at < len(COMMAND) < at + len(chunk)
            at += len(chunk)
            await say(client, chunk)
            if chat.closing:
                break
        answer = await receive_all(client)
    assert chat.frames == [b"EHLO", b"STARTTLS"]
    assert isinstance(chat.failure, PlaintextBeforeTLS if received_with_it else trio.BrokenResourceError)
    assert answer == b"<EHLO>" + READY + b"554 no" * received_with_it


@pytest.mark.parametrize("held", [b"\r", b"\r\n", b"x\r", b"x"])
async def test_it_leaves_run(autojump_clock: trio.testing.MockClock, held: bytes) -> None:
    class Handling(Securing):
        terminator = b"\r\n\r\n"

        def handle_error(self, exc: Exception) -> None:
            self.calls.append(("error", str(exc)))
            raise exc

    client, server = trio.testing.memory_stream_pair()
    chat = Handling(server)
    await client.send_all(b"STARTTLS\r\n\r\n" + held)
    with pytest.raises(PlaintextBeforeTLS):
        await run(chat)
    told = f"{len(held)} bytes came in plaintext that were not handed over before start_tls()"
    assert chat.calls[2:] == [("found", b"STARTTLS"), ("error", told), ("close", None)]
    assert await receive_all(client) == READY


async def test_the_answer_can_be_taken_back(autojump_clock: trio.testing.MockClock) -> None:
    class Refusing(Securing):
        async def secure(self) -> None:
            try:
                await super().secure()
            except PlaintextBeforeTLS:
                self.discard_buffers()
                self.push(b"554 no")
                self.close_when_done()

    async with talk(Refusing) as (chat, client):
        await client.send_all(b"STARTTLS\r\nMAIL\r\n")
        assert await receive_all(client) == b"554 no"
    assert chat.frames == [b"STARTTLS"]


async def test_the_beginning_of_a_terminator_that_is_held_back(autojump_clock: trio.testing.MockClock) -> None:
    """It was looked at, and is not in a chunk any more."""

    class Waiting(Trying):
        async def secure(self) -> None:
            assert await self.receive_more(patience=1)
            await super().secure()

        def handle_timeout(self, kind: object) -> None:
            self.calls.append(("timeout", kind))

    async with talk(Waiting) as (chat, client):
        await say(client, b"STARTTLS\r\n")
        await client.send_all(b"\r")
        assert await receive_all(client) == READY + b"554 no"
    assert isinstance(chat.failure, PlaintextBeforeTLS)
    assert chat.names == ["connect", "data", "found", "timeout", "failed", "close"]


async def test_a_handler_may_go_on_in_plaintext(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    """Nothing has been lost: neither what has come, nor the limit for a frame, nor lookouts, nor ways to send."""

    class Lenient(Securing):
        max_frame_bytes = 10

        def handle_connect(self) -> None:
            super().handle_connect()
            self.nursery.start_soon(self.wait_eof)

        async def secure(self) -> None:
            try:
                await super().secure()
            except PlaintextBeforeTLS:
                self.push(b"again")

    async with talk_over(socket_pair, Lenient) as (chat, client, _):
        await client.send_all(b"STARTTLS\r\nMAIL\r\nRC")
        assert await receive_exactly(client, len(READY) + 11) == READY + b"again<MAIL>"
        await client.send_all(b"PT\r\n")
        assert await receive_exactly(client, 6) == b"<RCPT>"
        await echoed(await ask_for_tls(client, client_context), b"hello")
    assert chat.frames == [b"STARTTLS", b"MAIL", b"RCPT", b"STARTTLS", b"hello"]


# ---------------------------------------------------------------------- a client's handshake that has come already


class Flight(CountingStream):
    """Keeps what is sent before anything was received, to be sent in another way."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sends.append(bytes(data))


async def hello_of(context: ssl.SSLContext) -> tuple[trio.SSLStream[Flight], bytes]:
    """A client that has been cut short, and what it has sent."""
    _, nowhere = trio.testing.memory_stream_pair()
    flight = Flight(nowhere)
    tls = trio.SSLStream(flight, context, server_hostname="localhost")
    with trio.move_on_after(1):
        await tls.do_handshake()
    return tls, b"".join(flight.sends)


class AfterTheAnswer(CountingStream):
    """Sends something before what is sent first, with it, and does not see the answer to it."""

    first = b"STARTTLS\r\n"
    pauses: tuple[int, ...] = ()
    skip = len(READY)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        data, self.first = self.first + bytes(data), b""
        pauses, self.pauses = self.pauses, ()
        for begin, end in zip((0, *pauses), (*pauses, len(data)), strict=True):
            await say(self.inner, data[begin:end])

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self.skip:
            self.skip -= len(await receive_exactly(self.inner, self.skip))
        return await self.inner.receive_some(max_bytes)


class WithALookout(Securing):
    """Waits for something else between its answer and the handshake, while a lookout reads ahead."""

    async def secure(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.wait_eof)
            await self.drain()
            await trio.sleep(1)
            await super().secure()
            nursery.cancel_scope.cancel()


@over_each_kind
@pytest.mark.parametrize("kind", [Securing, WithALookout])
@pytest.mark.parametrize("pauses", [(), (10,), (11,), (12,), (15,), (16,), (10, 100), (9, 100)])
async def test_a_handshake_that_has_begun_already_goes_on(
    autojump_clock: trio.testing.MockClock,
    client_context: ssl.SSLContext,
    make_pair: Callable[[], Pair],
    kind: type[Securing],
    pauses: tuple[int, ...],
) -> None:
    """In whichever pieces it came, and before or after the answer: what is no plaintext was not taken for it."""
    async with talk_over(make_pair, kind) as (chat, client, wire):
        transport = AfterTheAnswer(client)
        transport.pauses = pauses
        tls = await shake_hands(transport, client_context)
        await echoed(tls, b"hello")
        assert wire.plaintext == READY
        chat.close_when_done()
        assert await receive_all(tls) == b""
    assert chat.frames == [b"STARTTLS", b"hello"]


@pytest.mark.parametrize("kind", [Trying, WithALookout])
async def test_what_only_begins_like_one_is_never_handed_over(
    autojump_clock: trio.testing.MockClock, kind: type[Securing]
) -> None:
    async with talk(kind) as (chat, client):
        await client.send_all(b"STARTTLS\r\n\x16\r\nMAIL FROM\r\nRCPT TO\r\n")
        assert await receive_all(client) == READY
    assert chat.frames == [b"STARTTLS"]
    assert not chat.secured


async def test_a_handshake_behind_an_injected_command_is_not_taken(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    _, hello = await hello_of(client_context)
    assert hello.startswith(b"\x16\x03")
    async with talk(Trying) as (chat, client):
        await client.send_all(b"STARTTLS\r\nMAIL\r\n" + hello)
        assert await receive_all(client) == READY + b"554 no"
    assert isinstance(chat.failure, PlaintextBeforeTLS)


async def test_a_handshake_in_the_middle_of_a_frame_is_not_taken(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    """What the attacker has begun the client must not end."""

    class Begun(WithALookout, Trying):
        async def secure(self) -> None:
            assert await self.receive_more()
            await super().secure()

    _, hello = await hello_of(client_context)
    async with talk(Begun) as (chat, client):
        await say(client, b"STARTTLS\r\n")
        await say(client, b"MAIL ")
        await client.send_all(hello)
        assert await receive_all(client) == READY + b"554 no"
    assert isinstance(chat.failure, PlaintextBeforeTLS)


async def test_nor_is_one_that_has_ended_already(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    class Late(WithALookout, Trying):
        pass

    _, hello = await hello_of(client_context)
    async with talk(Late) as (chat, client):
        await say(client, b"STARTTLS\r\n")
        await client.send_all(hello)
        await client.send_eof()
        assert await receive_all(client) == READY + b"554 no"
    assert isinstance(chat.failure, PlaintextBeforeTLS)


# ---------------------------------------------------------------------- lookouts


class Watched(Trying):
    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.told: list[float] = []

    def handle_connect(self) -> None:
        super().handle_connect()
        for _ in range(3):
            self.nursery.start_soon(self.watch)

    async def watch(self) -> None:
        await self.wait_eof()
        self.told.append(trio.current_time())


async def test_lookouts_go_on_over_tls(autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext) -> None:
    async with talk(Watched) as (chat, client):
        await client.send_all(b"STARTTLS\r\n")
        await trio.sleep(5)
        assert await receive_exactly(client, len(READY)) == READY
        tls = await shake_hands(client, client_context)
        await echoed(tls, b"hello")
        await trio.sleep(1)
        assert chat.told == []
        await tls.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert chat.told == [6, 6, 6]
    assert chat.names[-2:] == ["eof", "close"]


class SlowToLeave(CountingStream):
    """Who receives takes some turns to leave, cancelled or not, before the next one may."""

    receiving = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        assert not self.receiving
        self.receiving = True
        try:
            return await super().receive_some(max_bytes)
        finally:
            with trio.CancelScope(shield=True):
                for _ in range(20):
                    await trio.lowlevel.checkpoint()
            self.receiving = False


async def test_the_handshake_waits_until_they_have_left(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    class Late(Watched):
        async def secure(self) -> None:
            await trio.sleep(1)
            await super().secure()

    client, server = trio.testing.memory_stream_pair()
    chat = Late(SlowToLeave(server))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await client.send_all(b"STARTTLS\r\n")
        assert await receive_exactly(client, len(READY)) == READY
        await trio.sleep(2)
        tls = await shake_hands(client, client_context)
        await echoed(tls, b"hello")
        await tls.aclose()
    assert chat.failure is None


async def test_what_a_lookout_has_received_before_is_told(autojump_clock: trio.testing.MockClock) -> None:
    class Late(Watched):
        async def secure(self) -> None:
            await trio.sleep(1)
            await super().secure()

    async with talk(Late) as (chat, client):
        await say(client, b"STARTTLS\r\n")
        await say(client, b"MAIL\r\n")
        assert await receive_all(client) == READY + b"554 no"
    assert isinstance(chat.failure, PlaintextBeforeTLS)
    assert chat.frames == [b"STARTTLS"]


@pytest.mark.parametrize("turns", range(-1, 8))
@pytest.mark.parametrize("whole", [True, False])
async def test_what_comes_while_lookouts_are_sent_home_is_not_handed_over(
    autojump_clock: trio.testing.MockClock, turns: int, *, whole: bool
) -> None:
    """In whichever turn of the scheduler it comes, it is told or breaks the handshake."""
    injected = b"MAIL FROM\r\nRCPT TO\r\n" if whole else b"MAIL FROM "

    class Attacked(Watched):
        async def secure(self) -> None:
            await trio.testing.wait_all_tasks_blocked()
            if turns < 0:
                put(self, injected)
            else:
                self.nursery.start_soon(after_turns, turns, partial(put, self, injected))
            await super().secure()

    async with talk(Attacked) as (chat, client):
        await say(client, b"STARTTLS\r\n")
        if not chat.closing:
            await client.send_all(b"and more\r\n")
        await receive_all(client)
    assert isinstance(chat.failure, PlaintextBeforeTLS | trio.BrokenResourceError)
    assert isinstance(chat.failure, PlaintextBeforeTLS) or turns >= 0  # else a lookout has received it
    assert chat.frames == [b"STARTTLS"]


# ---------------------------------------------------------------------- handshakes that fail


async def garbage(client: trio.abc.HalfCloseableStream) -> None:
    await client.send_all(b"MAIL FROM:<a@b.example>\r\n")


async def end(client: trio.abc.HalfCloseableStream) -> None:
    await client.send_eof()


async def close(client: trio.abc.HalfCloseableStream) -> None:
    await client.aclose()


async def distrust(client: trio.abc.HalfCloseableStream) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await shake_hands(client, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    await client.aclose()


FAILURES = [garbage, end, close, distrust]


@over_each_kind
@pytest.mark.parametrize("fail", FAILURES)
async def test_a_handshake_that_fails(
    autojump_clock: trio.testing.MockClock,
    make_pair: Callable[[], Pair],
    fail: Callable[[trio.abc.HalfCloseableStream], object],
) -> None:
    class Failing(Trying):
        def handle_error(self, exc: Exception) -> None:
            self.calls.append(("error", exc))

    async with talk_over(make_pair, Failing) as (chat, client, _):
        await client.send_all(b"STARTTLS\r\n")
        assert await receive_exactly(client, len(READY)) == READY
        await fail(client)  # type: ignore[misc]
    assert isinstance(chat.failure, trio.BrokenResourceError)
    assert chat.names == ["connect", "data", "found", "failed", "close"]


@pytest.mark.parametrize("fail", FAILURES)
async def test_it_is_no_failure_of_the_handler(
    autojump_clock: trio.testing.MockClock,
    nursery: trio.Nursery,
    caplog: pytest.LogCaptureFixture,
    fail: Callable[[trio.abc.HalfCloseableStream], object],
) -> None:
    caplog.set_level(logging.INFO)
    listener = MemoryListener()
    await nursery.start(serve_listeners, Securing, [listener])
    client = await listener.connect()
    await client.send_all(b"STARTTLS\r\n")
    assert await receive_exactly(client, len(READY)) == READY
    await fail(client)  # type: ignore[misc]
    await trio.testing.wait_all_tasks_blocked()
    (record,) = caplog.records
    assert (record.levelno, record.name, record.exc_info) == (logging.INFO, "trio_chat.tls", None)
    assert record.getMessage().startswith("TLS handshake with None failed: ")
    nursery.cancel_scope.cancel()


async def test_a_client_without_the_certificate_that_is_asked_for(
    autojump_clock: trio.testing.MockClock, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    server_context.verify_mode = ssl.CERT_REQUIRED
    async with talk(Trying) as (chat, client):
        tls = await ask_for_tls(client, client_context)
        with pytest.raises(trio.BrokenResourceError):
            await tls.receive_some()
    assert isinstance(chat.failure, trio.BrokenResourceError)


async def test_why_it_has_failed(autojump_clock: trio.testing.MockClock) -> None:
    class Telling(Securing):
        async def secure(self) -> None:
            with pytest.raises(trio.BrokenResourceError, match=r"the TLS handshake failed: .*WRONG_VERSION") as raised:
                await super().secure()
            assert raised.value.__cause__ is not None
            assert isinstance(raised.value.__cause__.__cause__, ssl.SSLError)
            for again in (self.drain, super().secure, self.detach):
                with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
                    await again()
            assert self.closing
            assert not isinstance(self.stream, trio.SSLStream)
            self.calls.append(("told", None))

    async with talk(Telling) as (chat, client):
        await client.send_all(b"STARTTLS\r\n")
        assert await receive_exactly(client, len(READY)) == READY
        await garbage(client)
        assert await receive_all(client) == b""
    assert chat.names[-2:] == ["told", "close"]


@pytest.mark.parametrize("begun", [True, False])
async def test_a_handshake_has_a_time_limit(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext, *, begun: bool
) -> None:
    class Impatient(Securing):
        async def secure(self) -> None:
            with pytest.raises(trio.BrokenResourceError, match=r"the TLS handshake failed: it took more than 3\.5 s"):
                await self.start_tls(self.context, handshake_timeout=3.5)
            self.calls.append(("told", trio.current_time()))

    async with talk(Impatient) as (chat, client):
        await client.send_all(b"STARTTLS\r\n")
        assert await receive_exactly(client, len(READY)) == READY
        await trio.sleep(2)
        if begun:
            await client.send_all((await hello_of(client_context))[1])
        await receive_all(client)
        assert trio.current_time() == 3.5
    assert chat.calls[-2:] == [("told", 3.5), ("close", None)]


async def test_a_client_that_does_not_read_the_answer(autojump_clock: trio.testing.MockClock) -> None:
    class Stalled(Trying):
        write_timeout = 5

    client, server = trio.testing.memory_stream_pair()
    chat = Stalled(StallingStream(server))
    await client.send_all(b"STARTTLS\r\n")
    await run(chat)
    assert trio.current_time() == 5
    assert isinstance(chat.failure, trio.BrokenResourceError)
    assert chat.calls[-2:] == [("timeout", "write"), ("close", None)]


class Boom(Exception):
    pass


class StrangeStream(CountingStream):
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        raise Boom


async def test_a_stream_that_fails_while_the_answer_is_sent(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    chat = Trying(StrangeStream(server))
    await client.send_all(b"STARTTLS\r\n")
    with pytest.raises(Boom):
        await run(chat)
    assert isinstance(chat.failure, trio.BrokenResourceError)


async def test_a_producer_that_fails_before(autojump_clock: trio.testing.MockClock) -> None:
    class Producing(Trying):
        async def secure(self) -> None:
            self.push_with_producer(b"x" * (1 // n) for n in (0,))
            await super().secure()

    client, server = trio.testing.memory_stream_pair()
    chat = Producing(server)
    await client.send_all(b"STARTTLS\r\n")
    with pytest.raises(ZeroDivisionError):
        await run(chat)
    assert isinstance(chat.failure, trio.BrokenResourceError)
    assert await receive_all(client) == READY


class UnreadableStream(CountingStream):
    reads = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self.reads += 1
        if self.reads > 1:
            raise Boom
        return await super().receive_some(max_bytes)


async def test_a_stream_that_fails_in_the_handshake(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    chat = Trying(UnreadableStream(server))
    await client.send_all(b"STARTTLS\r\n")
    await run(chat)
    assert isinstance(chat.failure, Boom)
    assert await receive_all(client) == READY
