"""`start_tls` that is cancelled, or the conversation closed, at any moment of it."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing
from bounded import LONG, run, talk
from starttls import (
    READY,
    TURNS,
    Pair,
    Securing,
    Trying,
    Wire,
    after_turns,
    ask_for_tls,
    echoed,
    memory_pair,
    over_each_kind,
    shake_hands,
    talk_over,
)
from support import CountingStream, MemoryListener, receive_all, receive_exactly

from trio_chat import AsyncChat, serve_listeners

pytestmark = pytest.mark.usefixtures("securing")


# ---------------------------------------------------------------------- cancelled


class Cancelled(Securing):
    def __init__(self, stream: trio.abc.Stream, turns: int) -> None:
        super().__init__(stream)
        self.turns = turns

    def handle_connect(self) -> None:
        self.nursery.start_soon(self.wait_eof)

    async def secure(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(after_turns, self.turns, nursery.cancel_scope.cancel)
            try:
                await super().secure()
            finally:
                nursery.cancel_scope.cancel()
        if not self.secured:
            assert self.closing
            with pytest.raises(trio.ClosedResourceError):
                self.push(b"x")
            self.calls.append(("cancelled", None))


@over_each_kind
@pytest.mark.parametrize("turns", TURNS)
async def test_if_cancelled_it_is_closed(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext, make_pair: Callable[[], Pair], turns: int
) -> None:
    """At whichever turn: either all is done, or the connection is closed and nothing more comes of it."""
    async with talk_over(make_pair, partial(Cancelled, turns=turns)) as (chat, client, wire):
        try:
            tls = await ask_for_tls(client, client_context)
            await echoed(tls, b"hello")
        except (trio.BrokenResourceError, AssertionError):
            assert not chat.secured
        else:
            assert chat.secured
        assert wire.plaintext in (b"", READY)
        assert set(wire.records) <= {0x14, 0x16, 0x17}
    assert chat.secured is not ("cancelled" in chat.names)
    assert chat.names.count("close") == 1


async def test_if_it_is_cancelled_before_it_is_called(autojump_clock: trio.testing.MockClock) -> None:
    class Late(Securing):
        async def secure(self) -> None:
            with trio.CancelScope() as scope:
                scope.cancel()
                await super().secure()
            self.calls.append(("closing", self.closing))

    async with talk(Late) as (chat, client):
        await client.send_all(b"STARTTLS\r\n")
        await receive_all(client)
    assert ("closing", True) in chat.calls


async def test_no_peer_holds_a_server_up(autojump_clock: trio.testing.MockClock) -> None:
    """Even if nothing else limits the time of a handshake."""

    class Patient(Securing):
        async def secure(self) -> None:
            await self.start_tls(self.context, handshake_timeout=float("inf"))

    listener, stop = MemoryListener(), trio.Event()
    with trio.fail_after(LONG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(serve_listeners, Patient, [listener], stop=stop, shutdown_grace=5))
            client = await listener.connect()
            await client.send_all(b"STARTTLS\r\n")
            await trio.sleep(1000)
            stop.set()
            assert await receive_all(client) == READY
    assert trio.current_time() == 1005


# ---------------------------------------------------------------------- closed by another task


class Closed(Trying):
    def __init__(self, stream: trio.abc.Stream, turns: int, how: str) -> None:
        super().__init__(stream)
        self.turns = turns
        self.how = how

    async def secure(self) -> None:
        self.nursery.start_soon(after_turns, self.turns, self.act)
        await super().secure()

    def act(self) -> None:
        match self.how:
            case "close":
                self.close()
            case "abort":
                self.abort()
            case "discard and close":
                self.discard_buffers()
                self.push(b"never seen")
                self.nursery.start_soon(after_turns, 2, self.close)
            case "fail":
                self.nursery.cancel_scope.cancel()


@over_each_kind
@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("how", ["close", "abort", "discard and close", "fail"])
async def test_if_it_is_closed_meanwhile(
    autojump_clock: trio.testing.MockClock, make_pair: Callable[[], Pair], how: str, turns: int
) -> None:
    """At once, although the client says nothing."""
    async with talk_over(make_pair, partial(Closed, turns=turns, how=how)) as (chat, client, wire):
        await client.send_all(b"STARTTLS\r\n")
        try:
            assert await receive_all(client) in (b"", READY)
        except trio.BrokenResourceError:
            assert how == "abort"
        assert trio.current_time() == 0
        assert b"never" not in b"".join(wire.sends)
    assert isinstance(chat.failure, trio.ClosedResourceError) or how == "fail"
    assert not chat.secured
    assert chat.names[-1] == "close"


@over_each_kind
@pytest.mark.parametrize("turns", TURNS)
async def test_what_is_queued_before_a_close_when_done_is_sent_over_tls(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext, make_pair: Callable[[], Pair], turns: int
) -> None:
    class Leaving(Closed):
        def act(self) -> None:
            self.push(b"bye")
            self.close_when_done()

    async with talk_over(make_pair, partial(Leaving, turns=turns, how="")) as (chat, client, wire):
        tls = await ask_for_tls(client, client_context)
        assert await receive_all(tls) == b"bye"
        assert wire.plaintext == READY
    assert chat.failure is None


class Closing(CountingStream):
    """Closes the conversation when the handshake's first bytes are sent."""

    chat: AsyncChat

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await super().send_all(data)
        if data[0] == 0x16:
            self.chat.close()


async def test_if_it_is_closed_in_the_midst_of_the_handshake(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    client, server = memory_pair()
    stream = Closing(Wire(server))
    chat = stream.chat = Trying(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await client.send_all(b"STARTTLS\r\n")
        assert await receive_exactly(client, len(READY)) == READY
        with pytest.raises(trio.BrokenResourceError):
            await (await shake_hands(client, client_context)).receive_some()
    assert isinstance(chat.failure, trio.ClosedResourceError)


class Breaking(Closing):
    """Breaks in the handshake, in the very moment in which the conversation is closed."""

    received = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self.received:
            self.chat.close()
            raise trio.BrokenResourceError
        self.received = True
        return await super().receive_some(max_bytes)


async def test_if_it_is_closed_and_broken(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It was closed: that is no failure of the peer's."""
    caplog.set_level(logging.INFO)
    client, server = memory_pair()
    stream = Breaking(Wire(server))
    chat = stream.chat = Trying(stream)
    await client.send_all(b"STARTTLS\r\n")
    await run(chat)
    assert isinstance(chat.failure, trio.ClosedResourceError)
    assert not caplog.records
