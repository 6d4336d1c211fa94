"""`start_tls` when the handshake fails, or what comes before it."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable

import pytest
import trio
import trio.testing
from bounded import run, talk
from starttls import (
    READY,
    Pair,
    Securing,
    Trying,
    ask_for_tls,
    hello_of,
    over_each_kind,
    shake_hands,
    talk_over,
)
from support import CountingStream, MemoryListener, receive_all, receive_exactly

from trio_chat import serve_listeners
from trio_chat.testing import StallingStream

pytestmark = pytest.mark.usefixtures("securing")


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
            with pytest.raises(trio.BrokenResourceError):
                await self.drain()
            for again in (super().secure, self.detach):
                with pytest.raises(trio.ClosedResourceError):
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
    chat = Stalled(StallingStream(server, send_after=0))
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
