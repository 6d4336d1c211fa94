"""The message timeout, in a message of several frames: each has its own time, from the end of the one before."""

from __future__ import annotations

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
