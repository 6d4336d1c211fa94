"""`start_tls` and attackers: nothing that came in plaintext is ever handed over behind the handshake."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
import trio
import trio.testing
from bounded import run, say, talk
from starttls import (
    READY,
    Pair,
    Securing,
    Trying,
    ask_for_tls,
    echoed,
    hello_of,
    over_each_kind,
    shake_hands,
    socket_pair,
    talk_over,
)
from support import CountingStream, receive_all, receive_exactly, splits

from trio_chat import PlaintextBeforeTLS

pytestmark = pytest.mark.usefixtures("securing")


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
