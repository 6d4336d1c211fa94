"""`start_tls` and `wait_eof`: lookouts are sent home, and go on over TLS."""

from __future__ import annotations

import ssl
from functools import partial

import pytest
import trio
import trio.testing
from bounded import put, run, say, talk
from starttls import (
    READY,
    Trying,
    after_turns,
    echoed,
    shake_hands,
)
from support import CountingStream, receive_all, receive_exactly

from trio_chat import PlaintextBeforeTLS

pytestmark = pytest.mark.usefixtures("securing")


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
