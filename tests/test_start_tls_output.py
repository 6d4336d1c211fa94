"""`start_tls` and what is queued: in plaintext what was pushed before, over TLS what anyone pushes later."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing
from bounded import run, talk
from starttls import (
    READY,
    TURNS,
    Noisy,
    Pair,
    Securing,
    Wire,
    ask_for_tls,
    echoed,
    over_each_kind,
    shake_hands,
    talk_over,
)
from support import receive_exactly

pytestmark = pytest.mark.usefixtures("securing")


async def test_what_was_pushed_before_is_sent_in_plaintext(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    class Verbose(Securing):
        async def secure(self) -> None:
            self.push(b"a" * 200_000)
            self.push_with_producer([b"b" * 1000, b"c"])
            self.push(b"d")
            await super().secure()
            assert self.queued_bytes == 0

    expected = READY + b"a" * 200_000 + b"b" * 1000 + b"cd"
    client, server = trio.testing.lockstep_stream_pair()
    wire = Wire(server)
    chat = Verbose(wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await client.send_all(b"STARTTLS\r\n")
        await trio.sleep(20)  # which is none of the handshake's time
        assert await receive_exactly(client, len(expected)) == expected
        await echoed(await shake_hands(client, client_context), b"hello")
        assert wire.plaintext == expected
        await trio.aclose_forcefully(client)
    assert chat.secured


async def receive_plaintext(client: trio.abc.Stream) -> bytes:
    """What comes within a second, before the handshake is begun."""
    with trio.move_on_after(1):
        return bytes(await client.receive_some())
    return b""


@over_each_kind
@pytest.mark.parametrize("turns", TURNS)
async def test_what_others_push_meanwhile_is_sent_over_tls(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext, make_pair: Callable[[], Pair], turns: int
) -> None:
    async with talk_over(make_pair, partial(Noisy, turns=turns)) as (_, client, wire):
        tls = await ask_for_tls(client, client_context)
        assert await receive_exactly(tls, 17) == b"noise,more noise."
        await echoed(tls, b"hello")
        assert wire.plaintext == READY
        assert set(wire.records) <= {0x14, 0x16, 0x17}


@over_each_kind
@pytest.mark.parametrize("turns", TURNS)
async def test_while_the_client_takes_its_time_too(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext, make_pair: Callable[[], Pair], turns: int
) -> None:
    """Every step of the handshake comes when all others are through with theirs."""
    async with talk_over(make_pair, partial(Noisy, turns=turns)) as (_, client, wire):
        await client.send_all(b"STARTTLS\r\n")
        await trio.sleep(1)
        assert await receive_exactly(client, len(READY)) == READY
        tls = await shake_hands(client, client_context)
        assert await receive_exactly(tls, 17) == b"noise,more noise."
        assert wire.plaintext == READY
        assert wire.records


@over_each_kind
@pytest.mark.parametrize("turns", TURNS)
async def test_nothing_escapes_if_another_task_discards_what_is_queued(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext, make_pair: Callable[[], Pair], turns: int
) -> None:
    """The answer may be lost, but what is pushed later must not be in plaintext for that."""

    class Discarding(Noisy):
        def act(self) -> None:
            self.discard_buffers()
            super().act()

    async with talk_over(make_pair, partial(Discarding, turns=turns)) as (chat, client, wire):
        await client.send_all(b"STARTTLS\r\n")
        plaintext = await receive_plaintext(client)
        assert plaintext in (b"", READY)
        tls = await shake_hands(client, client_context)
        assert await receive_exactly(tls, 17) == b"noise,more noise."
        assert wire.plaintext == plaintext
        assert wire.records
        assert chat.secured


@over_each_kind
async def test_a_file_is_not_sent_past_the_handshake(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext, make_pair: Callable[[], Pair]
) -> None:
    class Sending(Noisy):
        def act(self) -> None:
            assert not self.takes_files
            with open(__file__, "rb") as file:
                assert self.send_file_nowait(file.fileno(), 0, 100) == 0
            self.push(b"instead")

    for turns in TURNS:
        async with talk_over(make_pair, partial(Sending, turns=turns)) as (_, client, wire):
            tls = await ask_for_tls(client, client_context)
            assert await receive_exactly(tls, 7) == b"instead"
            assert wire.plaintext == READY


async def test_who_drains_meanwhile_waits_for_the_handshake(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    class Draining(Securing):
        low_water_bytes = 10

        async def secure(self) -> None:
            self.nursery.start_soon(self.drain_noise)
            await super().secure()

        async def drain_noise(self) -> None:
            self.push(b"x" * 100)
            await self.drain()
            self.calls.append(("drained", trio.current_time()))

    async with talk(Draining) as (chat, client):
        await client.send_all(b"STARTTLS\r\n")
        await trio.sleep(7)
        assert await receive_exactly(client, len(READY)) == READY
        tls = await shake_hands(client, client_context)
        assert await receive_exactly(tls, 100) == b"x" * 100
        await trio.testing.wait_all_tasks_blocked()
        assert ("drained", 7) in chat.calls
