"""The message timeout, in a message of several frames: each has its own time, from the end of the one before."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, repeat

import pytest
import trio
import trio.testing
from bounded import talk
from support import RecordingChat, receive_all


class InOneMessage(RecordingChat):
    message_timeout = 8

    def between_messages(self) -> bool:
        return False


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([b"frame\n"], id="whole"),
        pytest.param([b"fra", b"me\n"], id="in two"),
        pytest.param([b"frame", b"\n"], id="its end alone"),
        pytest.param([b"frame\nframe\n"], id="two at once"),
        pytest.param([b"fra", b"me\nframe\n"], id="two ends at once"),
        pytest.param([b"frame\nfra", b"me\n"], id="two in two"),
    ],
)
async def test_it_starts_again_when_a_frame_ends_at_the_end_of_a_chunk(
    autojump_clock: trio.testing.MockClock, chunks: list[bytes]
) -> None:
    async with talk(InOneMessage) as (chat, client):
        for i in range(6):
            for chunk in chunks:
                await trio.sleep(6 / len(chunks))
                await client.send_all(chunk)
            await trio.testing.wait_all_tasks_blocked()
            assert chat.frames == [b"frame"] * (b"".join(chunks).count(b"\n") * (i + 1))
            assert "timeout" not in chat.names
        assert await receive_all(client) == b""
        assert trio.current_time() == 6 * 6 + 8
    assert ("timeout", "message") in chat.calls


async def test_it_starts_again_when_a_counted_frame_ends_at_the_end_of_a_chunk(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Counting(InOneMessage):
        terminator = 5

        def found_terminator(self) -> None:
            super().found_terminator()
            self.set_terminator(5)

    async with talk(Counting) as (chat, client):
        for _ in range(6):
            await trio.sleep(3)
            await client.send_all(b"fra")
            await trio.sleep(3)
            await client.send_all(b"me")
        assert await receive_all(client) == b""
        assert trio.current_time() == 6 * 6 + 8
    assert chat.frames == [b"frame"] * 6


async def test_it_does_not_start_again_for_a_chunk_that_ends_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with talk(InOneMessage) as (chat, client):
        await trio.sleep(1)
        await client.send_all(b"frame\n")
        for _ in range(3):
            await trio.sleep(2)
            await client.send_all(b"x")
        assert await receive_all(client) == b""
        assert trio.current_time() == 1 + 8
    assert chat.frames == [b"frame"]


class TimedStream(trio.abc.ReceiveStream):
    """Brings pieces, each after so many seconds, and as if in the turn in which a timeout passes by then."""

    def __init__(self, clock: trio.testing.MockClock, pieces: Iterable[tuple[float, bytes]]) -> None:
        self._clock = clock
        self._pieces = iter(pieces)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        seconds, piece = next(self._pieces, (0, None))
        if piece is None:
            await trio.sleep_forever()
        self._clock.jump(seconds)
        for _ in range(5):  # until it has passed: it would interrupt the wait, but something is there
            await trio.lowlevel.cancel_shielded_checkpoint()
        return piece

    async def aclose(self) -> None:
        pass


class TooLong(RecordingChat):
    message_timeout = 1
    max_frame_bytes = 3
    on_oversize = "skip"


@pytest.mark.parametrize(
    ("piece", "times_out"), [(b"x", True), (b"\n", False), (b"\nx", False)], ids=["no end", "ends", "beginnings"]
)
async def test_a_peer_that_never_stops_sending_does_not_put_it_off(
    mock_clock: trio.testing.MockClock, piece: bytes, times_out: bool
) -> None:
    _, sending = trio.testing.memory_stream_pair()
    pieces = ((0.1, each) for each in chain([b"x"], repeat(piece, 99), [b""]))
    chat = TooLong(trio.StapledStream(sending, TimedStream(mock_clock, pieces)))
    await chat.run()
    assert chat.calls.count(("timeout", "message")) == times_out
    assert trio.current_time() < 1.5 if times_out else trio.current_time() >= 10


@pytest.mark.parametrize(
    ("pieces", "frames"),
    [
        pytest.param([(0, b"x"), (1.5, b"y\n")], [b"xy"], id="the end"),
        pytest.param([(0, b"x"), (1.5, b"y\nz"), (0.5, b"\n")], [b"xy", b"z"], id="the end, and a beginning"),
        pytest.param([(0, b"x"), (1.5, b"y\nz"), (1.5, b"\n")], [b"xy", b"z"], id="both again"),
        pytest.param([(0, b"x"), (1.5, b"y"), (0.1, b"\n")], [], id="more of it"),
    ],
)
async def test_what_comes_in_the_turn_in_which_it_passes_may_end_the_frame(
    mock_clock: trio.testing.MockClock, pieces: list[tuple[float, bytes]], frames: list[bytes]
) -> None:
    _, sending = trio.testing.memory_stream_pair()
    chat = TooLong(trio.StapledStream(sending, TimedStream(mock_clock, [*pieces, (0, b"")])))
    await chat.run()
    assert chat.frames == frames
    assert chat.calls.count(("timeout", "message")) == (not frames)


async def test_what_has_passed_for_the_frame_before_is_not_told_to_who_waits_for_more(
    mock_clock: trio.testing.MockClock,
) -> None:
    class Asking(TooLong):
        async def found_terminator(self) -> None:
            super().found_terminator()
            self.nursery.start_soon(self.interrupt)
            await self.receive_more()

        async def interrupt(self) -> None:
            await trio.testing.wait_all_tasks_blocked()
            self.set_terminator(5)
            await trio.testing.wait_all_tasks_blocked()
            self.close_when_done()

    _, sending = trio.testing.memory_stream_pair()
    chat = Asking(trio.StapledStream(sending, TimedStream(mock_clock, [(0, b"x"), (1.5, b"y\n")])))
    await chat.run()
    assert chat.names == ["connect", "data", "data", "found", "close"]
