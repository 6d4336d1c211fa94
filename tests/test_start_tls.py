"""`start_tls`: a conversation goes on over TLS, on the connection that it has."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing
from bounded import run, say, talk
from starttls import (
    READY,
    TURNS,
    Noisy,
    Pair,
    Securing,
    ask_for_tls,
    echoed,
    memory_pair,
    over_each_kind,
    shake_hands,
    talk_over,
)
from support import RecordingChat, receive_all, receive_exactly, splits

from trio_chat import PlaintextBeforeTLS, TimeoutKind

pytestmark = pytest.mark.usefixtures("securing")


# ---------------------------------------------------------------------- the conversation goes on


@over_each_kind
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_it_goes_on_over_tls(
    client_context: ssl.SSLContext, make_pair: Callable[[], Pair], version: ssl.TLSVersion
) -> None:
    client_context.maximum_version = version
    async with talk_over(make_pair, Securing) as (chat, client, wire):
        await echoed(client, b"EHLO")
        tls = await ask_for_tls(client, client_context)
        for line in (b"EHLO", b"MAIL", b"x" * 50_000):
            await echoed(tls, line)
        assert isinstance(chat.stream, trio.SSLStream)
        assert chat.stream.transport_stream is wire
        assert wire.plaintext == b"<EHLO>" + READY
        assert 0x17 in wire.records
        chat.close_when_done()
        assert await receive_all(tls) == b""  # a truncated TLS stream would raise here
        await tls.aclose()
    assert chat.frames == [b"EHLO", b"STARTTLS", b"EHLO", b"MAIL", b"x" * 50_000]
    assert chat.names[-1] == "close"
    assert "eof" not in chat.names


@pytest.mark.parametrize("chunks", splits(b"one\r\n\r\n\rtwo\r\nthree\r"))
async def test_frames_are_the_same_however_tls_has_split_them(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext, chunks: list[bytes]
) -> None:
    async with talk(Securing) as (chat, client):
        tls = await ask_for_tls(client, client_context)
        for chunk in chunks:
            await say(tls, chunk)
        assert await receive_exactly(tls, 13) == b"<one><><\rtwo>"
    assert chat.frames == [b"STARTTLS", b"one", b"", b"\rtwo"]


async def test_in_the_first_callback_there_is(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    class AtOnce(Securing):
        async def handle_connect(self) -> None:  # type: ignore[override]
            await self.secure()

    async with talk(AtOnce) as (_, client):
        await echoed(await shake_hands(client, client_context), b"hello")


async def test_in_a_callback_within_another(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    class Nested(Securing):
        async def found_terminator(self) -> None:
            await super().found_terminator()
            if self.frames[-1] == b"ask":
                while not self.secured:
                    await self.receive_more()
                self.push(b"asked")

    async with talk(Nested) as (_, client):
        await client.send_all(b"ask\r\n")
        assert await receive_exactly(client, 5) == b"<ask>"
        tls = await ask_for_tls(client, client_context)
        assert await receive_exactly(tls, 5) == b"asked"
        await echoed(tls, b"more")


@over_each_kind
async def test_in_a_child_task_of_the_callback(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext, make_pair: Callable[[], Pair]
) -> None:
    class Parent(Securing):
        async def secure(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(super().secure)

    async with talk_over(make_pair, Parent) as (_, client, _):
        await echoed(await ask_for_tls(client, client_context), b"hello")


async def test_the_callback_can_receive_more_afterwards(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    class Asking(Securing):
        async def secure(self) -> None:
            await super().secure()
            self.push(b"who?")
            assert await self.receive_more()
            self.push(b"!")

    async with talk(Asking) as (chat, client):
        tls = await ask_for_tls(client, client_context)
        assert await receive_exactly(tls, 4) == b"who?"
        await tls.send_all(b"me\r\n")
        assert await receive_exactly(tls, 5) == b"<me>!"
    assert chat.frames == [b"STARTTLS", b"me"]


async def test_the_stream_can_be_detached_afterwards(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    class Detaching(Securing):
        async def secure(self) -> None:
            await super().secure()
            self.push(b"bye")
            stream = await self.detach(b"<")
            await stream.send_all(await receive_exactly(stream, 4))

    async with talk(Detaching) as (_, client):
        tls = await ask_for_tls(client, client_context)
        await tls.send_all(b"raw")
        assert await receive_all(tls) == b"bye<raw"


async def test_a_connection_that_was_detached_can_begin_tls(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    class Switching(Securing):
        async def found_terminator(self) -> None:
            await Securing(await self.detach(b"STARTTLS\r\n")).run()

    async with talk(Switching) as (_, client):
        await client.send_all(b"switch\r\n")
        assert await receive_exactly(client, len(READY)) == READY
        await echoed(await shake_hands(client, client_context), b"hello")


# ---------------------------------------------------------------------- as a client


class Client(RecordingChat):
    """Asks for TLS, and then for an echo."""

    terminator = b"\r\n"
    linger_timeout = 0
    hostname = "localhost"

    def __init__(self, stream: trio.abc.Stream, context: ssl.SSLContext) -> None:
        super().__init__(stream)
        self.context = context

    def handle_connect(self) -> None:
        self.push(b"STARTTLS\r\n")

    async def found_terminator(self) -> None:
        frame = self._get_data()
        self.calls.append(("found", frame))
        if frame == READY.rstrip():
            await self.secure()

    async def secure(self) -> None:
        await self.start_tls(self.context, server_side=False, server_hostname=self.hostname)
        self.push(b"hello\r\n")
        self.set_terminator(len(b"<hello>"))
        assert await self.receive_more()
        self.close_when_done()


async def test_the_other_side(autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext) -> None:
    one, other = memory_pair()
    client, server = Client(one, client_context), Securing(other)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, client)
        nursery.start_soon(run, server)
    assert client.frames == [READY.rstrip(), b"<hello>"]
    assert server.frames == [b"STARTTLS", b"hello"]
    assert other.plaintext == READY


async def test_a_server_with_another_name(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    class Elsewhere(Client):
        hostname = "example.org"

        async def secure(self) -> None:
            with pytest.raises(trio.BrokenResourceError, match="CERTIFICATE_VERIFY_FAILED") as raised:
                await super().secure()
            assert raised.value.__cause__ is not None
            assert isinstance(raised.value.__cause__.__cause__, ssl.SSLCertVerificationError)
            self.calls.append(("refused", None))

    one, other = memory_pair()
    client, server = Elsewhere(one, client_context), Securing(other)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, client)
        nursery.start_soon(run, server)
    assert client.names[-2:] == ["refused", "close"]
    assert server.names == ["connect", "data", "found", "close"]


@pytest.mark.parametrize("more", [b"250 injected\r\n", b"\r", b"\x16\x03\x01"])
async def test_a_server_says_nothing_in_plaintext_behind_its_answer(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext, more: bytes
) -> None:
    one, server = trio.testing.memory_stream_pair()
    chat = Client(one, client_context)
    await server.send_all(READY + more)
    with pytest.raises(PlaintextBeforeTLS, match=rf"^{len(more)} bytes"):
        await run(chat)
    assert await receive_all(server) == b"STARTTLS\r\n"
    assert chat.frames == [READY.rstrip()]


# ---------------------------------------------------------------------- timeouts and the end


async def test_timeouts_run_over_tls(autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext) -> None:
    class Timed(Securing):
        idle_timeout = 10
        message_timeout = 15

        def handle_timeout(self, kind: TimeoutKind) -> None:
            self.calls.append(("timeout", (kind, trio.current_time())))
            if kind == "message":
                self.close_when_done()

    async with talk(Timed) as (chat, client):
        await client.send_all(b"STARTTLS\r\n")
        await trio.sleep(9)
        tls = await shake_hands_after(client, client_context)
        await trio.sleep(11)
        for _ in range(3):
            await tls.send_all(b"x")
            await trio.sleep(6)
        assert await receive_all(tls) == b""
    assert [argument for name, argument in chat.calls if name == "timeout"] == [("idle", 19), ("message", 35)]


async def shake_hands_after(client: trio.abc.Stream, context: ssl.SSLContext) -> trio.SSLStream[trio.abc.Stream]:
    assert await receive_exactly(client, len(READY)) == READY
    return await shake_hands(client, context)


async def test_the_end_is_awaited_over_tls(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    """The client sees TLS end, and has some time to end its side."""

    class Lingering(Securing):
        linger_timeout = 2

        async def found_terminator(self) -> None:
            await super().found_terminator()
            if self.secured:
                self.close_when_done()

        def handle_close(self) -> None:
            self.calls.append(("close", trio.current_time()))

    async with talk(Lingering) as (chat, client):
        tls = await ask_for_tls(client, client_context)
        assert await receive_all(tls) == b""
        await trio.sleep(1)
        await tls.aclose()
    assert chat.calls[-1] == ("close", 1)


async def test_a_client_that_ends_tls_ends_its_side(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    async with talk(Securing) as (chat, client):
        tls = await ask_for_tls(client, client_context)
        await tls.send_all(b"half a frame")
        await tls.aclose()
    assert chat.calls[-2:] == [("eof", b"half a frame"), ("close", None)]


@pytest.mark.parametrize("turns", TURNS)
async def test_a_graceful_stop_waits_for_the_callback(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext, turns: int
) -> None:
    class Stopped(Noisy):
        def act(self) -> None:
            self.close_when_idle()

        async def secure(self) -> None:
            await super().secure()
            self.push(b"done")

    async with talk(partial(Stopped, turns=turns)) as (chat, client):
        tls = await ask_for_tls(client, client_context)
        assert await receive_all(tls) == b"done"
    assert chat.secured


async def test_the_task_may_outlive_its_callback(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    """It should not; but if so, the conversation waits for it, and never goes on in plaintext."""

    class Leaving(Securing):
        async def secure(self) -> None:
            self.nursery.start_soon(self.start_tls, self.context)
            await trio.sleep(1)

    async with talk(Leaving) as (chat, client):
        await client.send_all(b"STARTTLS\r\n")
        await trio.sleep(5)
        tls = await shake_hands_after(client, client_context)
        await echoed(tls, b"hello")
    assert chat.frames == [b"STARTTLS", b"hello"]
