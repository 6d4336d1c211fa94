"""Handlers with a fault that perfect streams do not show, and the tools that find it; right ones that they let pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing
from support import MemoryStream, receive_all

from trio_chat import AsyncChat
from trio_chat.testing import (
    BreakingStream,
    ClosingStream,
    RandomlyFaultyStream,
    ShortPiecesStream,
    StallingStream,
    WrappedStream,
    cancel_at_every_checkpoint,
)

seated: set[AsyncChat] = set()


class Guest(AsyncChat):
    """Has a seat while it is connected, and echoes lines."""

    terminator = b"\n"
    idle_timeout: float = 5
    linger_timeout = 0

    def handle_connect(self) -> None:
        seated.add(self)

    def found_terminator(self) -> None:
        self.push(self._get_data() + b"\n")

    def handle_close(self) -> None:
        seated.discard(self)


class Impatient(Guest):
    """Takes what comes at once for a line."""

    def collect_incoming_data(self, data: bytes) -> None:
        self.push(data + b"\n")

    def found_terminator(self) -> None:
        pass


class Trusting(Guest):
    """Gives its seat back when the peer says that it goes."""

    def handle_eof(self) -> None:
        seated.discard(self)
        super().handle_eof()

    def handle_close(self) -> None:
        pass


class Patient(Guest):
    """Waits for ever."""

    idle_timeout = write_timeout = math.inf


async def has_no_fault(kind: type[Guest], make: Callable[[MemoryStream], trio.abc.Stream]) -> bool:
    """Whether what was answered is the beginning of the right answer, and the seat free within a minute."""
    seated.clear()
    client, server = trio.testing.memory_stream_pair()
    await client.send_all(b"hello\nworld\n")
    await client.send_eof()
    with trio.move_on_after(120) as hanging:
        await kind(make(server)).run()
    await server.aclose()
    return b"hello\nworld\n".startswith(await receive_all(client)) and not seated and not hanging.cancelled_caught


FAULTS: list[Callable[[MemoryStream], WrappedStream]] = [
    partial(ShortPiecesStream, receive_bytes=2, send_bytes=2),
    partial(BreakingStream, receive_after=8),
    partial(BreakingStream, send_after=8, one_way=True),
    partial(ClosingStream, at_receive=1),
    partial(StallingStream, receive_after=8),
    partial(StallingStream, send_after=8),
    *(partial(RandomlyFaultyStream, seed=seed, within_bytes=12, within_calls=3) for seed in range(30)),
]


@pytest.mark.parametrize("make", FAULTS)
async def test_a_right_handler_bears_them_all(
    autojump_clock: trio.testing.MockClock, make: Callable[[MemoryStream], WrappedStream]
) -> None:
    assert await has_no_fault(Guest, make)


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (Impatient, FAULTS[0]),
        (Trusting, FAULTS[1]),
        (Trusting, FAULTS[3]),
        (Patient, FAULTS[4]),
        (Patient, FAULTS[5]),
    ],
)
async def test_a_handler_with_a_fault_is_found_out(
    autojump_clock: trio.testing.MockClock, kind: type[Guest], make: Callable[[MemoryStream], WrappedStream]
) -> None:
    assert await has_no_fault(kind, lambda stream: stream)
    assert not await has_no_fault(kind, make)


@pytest.mark.parametrize("kind", [Impatient, Trusting, Patient])
async def test_chance_finds_them_too(autojump_clock: trio.testing.MockClock, kind: type[Guest]) -> None:
    found = [make for make in FAULTS[6:] if not await has_no_fault(kind, make)]
    assert found
    assert not await has_no_fault(kind, found[0])  # and again, with the same seed


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_a_message_of_which_a_cancellation_sends_a_part(*, one_by_one: bool) -> None:
    """Over a memory stream, a message is sent in one go; over a network it may not be, and the next one is spoilt."""
    ends: list[tuple[MemoryStream, trio.abc.Stream]] = []

    async def scenario() -> None:
        client, server = trio.testing.memory_stream_pair()
        ends.append((client, ShortPiecesStream(server, send_bytes=2) if one_by_one else server))
        await ends[-1][1].send_all(b"message\n")

    async def check() -> None:
        client, server = ends[-1]
        await server.send_all(b"the next\n")
        await server.aclose()
        assert set((await receive_all(client)).splitlines()) <= {b"message", b"the next"}

    if one_by_one:
        with pytest.raises(AssertionError, match="at checkpoint "):
            await cancel_at_every_checkpoint(scenario, check=check)
    else:
        assert await cancel_at_every_checkpoint(scenario, check=check) >= 1
