"""Timeouts, on a mock clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.testing
from support import RecordingChat, receive_all, talk

from trio_chat import TimeoutKind
from trio_chat._alarm import current_alarm
from trio_chat.testing import StallingStream

Jump = Callable[[float], object]


class Timed(RecordingChat):
    idle_timeout = 10
    message_timeout = 30
    write_timeout = 5
    linger_timeout = 0


@pytest.fixture
def pass_time(mock_clock: trio.testing.MockClock) -> Callable[[float], object]:
    async def pass_time(seconds: float) -> None:
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(seconds)
        await trio.testing.wait_all_tasks_blocked()

    return pass_time


def timeouts(chat: RecordingChat) -> list[object]:
    return [argument for name, argument in chat.calls if name == "timeout"]


async def test_an_idle_connection_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    async with talk(Timed) as (chat, client):
        assert await receive_all(client) == b""
        assert trio.current_time() == 10
    assert timeouts(chat) == ["idle"]


async def test_every_chunk_starts_the_idle_timeout_again(autojump_clock: trio.testing.MockClock) -> None:
    async with talk(Timed) as (chat, client):
        for _ in range(5):
            await trio.sleep(9)
            await client.send_all(b"x\n")
        assert await receive_all(client) == b""
        assert trio.current_time() == 55
    assert timeouts(chat) == ["idle"]


async def test_a_message_must_be_whole_in_time_however_it_drips(autojump_clock: trio.testing.MockClock) -> None:
    async with talk(Timed) as (chat, client):
        await client.send_all(b"whole\n")
        for _ in range(4):
            await trio.sleep(9)
            await client.send_all(b"x")
        assert await receive_all(client) == b""
        assert trio.current_time() == 9 + 30
    assert timeouts(chat) == ["message"]


async def test_the_message_timeout_counts_from_the_first_byte_of_the_message_in_progress(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Patient(Timed):
        idle_timeout = 100

    async with talk(Patient) as (chat, client):
        await client.send_all(b"one, ")
        await trio.sleep(20)
        await client.send_all(b"one\ntwo, ")
        assert await receive_all(client) == b""
        assert trio.current_time() == 20 + 30
    assert timeouts(chat) == ["message"]


async def test_a_count_that_is_not_reached_is_a_message_in_progress(autojump_clock: trio.testing.MockClock) -> None:
    class Counting(Timed):
        idle_timeout = 100

        def found_terminator(self) -> None:
            self.set_terminator(1000)

        def between_messages(self) -> bool:
            return self.get_terminator() == b"\n"

    async with talk(Counting) as (chat, client):
        await client.send_all(b"x\n")
        await trio.sleep(20)
        await client.send_all(b"x" * 500)
        assert await receive_all(client) == b""
        assert trio.current_time() == 30
    assert timeouts(chat) == ["message"]


async def test_a_held_back_byte_is_a_message_in_progress(autojump_clock: trio.testing.MockClock) -> None:
    class CrLf(Timed):
        terminator = b"\r\n"
        idle_timeout = 100

    async with talk(CrLf) as (chat, client):
        await client.send_all(b"\r")
        assert await receive_all(client) == b""
        assert trio.current_time() == 30
    assert timeouts(chat) == ["message"]


async def test_a_handler_that_does_not_close_is_called_again(autojump_clock: trio.testing.MockClock) -> None:
    class Pinging(Timed):
        def handle_timeout(self, kind: TimeoutKind) -> None:
            self.calls.append(("timeout", kind))
            self.push(b"ping\n")
            if len(timeouts(self)) == 3:
                self.close_when_done()

    async with talk(Pinging) as (chat, client):
        assert await receive_all(client) == b"ping\n" * 3
        assert trio.current_time() == 30
    assert timeouts(chat) == ["idle"] * 3


async def test_a_callback_is_never_cut_short_by_a_timeout(autojump_clock: trio.testing.MockClock) -> None:
    class Busy(Timed):
        async def found_terminator(self) -> None:
            super().found_terminator()
            await trio.sleep(1000)
            self.push(b"done")

    async with talk(Busy) as (chat, client):
        await client.send_all(b"x\n")
        assert await receive_all(client) == b"done"
        assert trio.current_time() == 1010
    assert timeouts(chat) == ["idle"]


async def test_a_peer_that_stops_reading_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    _, server = trio.testing.memory_stream_pair()
    chat = Timed(StallingStream(server, send_after=0))
    chat.push(b"x" * 100)
    await chat.run()
    assert trio.current_time() == 5
    assert timeouts(chat) == ["write"]
    assert chat.names[-1] == "close"


async def test_a_handler_that_waits_for_output_learns_of_the_stall(autojump_clock: trio.testing.MockClock) -> None:
    class Streaming(Timed):
        async def handle_connect(self) -> None:  # type: ignore[override]
            self.push(b"x" * 100_000)
            await self.drain()

    _, server = trio.testing.memory_stream_pair()
    chat = Streaming(StallingStream(server, send_after=0))
    await chat.run()
    assert trio.current_time() == 5
    assert chat.names == ["timeout", "close"]


async def test_a_stall_while_closing_is_reported_and_ends_it(autojump_clock: trio.testing.MockClock) -> None:
    _, server = trio.testing.memory_stream_pair()
    chat = Timed(StallingStream(server, send_after=0))
    chat.push(b"x" * 100)
    chat.close_when_done()
    await chat.run()
    assert trio.current_time() == 5
    assert timeouts(chat) == ["write"]


async def test_a_slow_peer_is_no_stalled_one(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.lockstep_stream_pair()
    chat = Timed(server)
    chat.ac_out_buffer_size = 10
    chat.push(b"x" * 100)
    chat.close_when_done()
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        while data := await client.receive_some(10):
            received += data
            await trio.sleep(4)
        await client.aclose()
    assert received == b"x" * 100
    assert timeouts(chat) == []


async def test_a_connection_with_output_to_send_is_not_idle(autojump_clock: trio.testing.MockClock) -> None:
    class SlowToSend(Timed):
        write_timeout = 100

    client, server = trio.testing.lockstep_stream_pair()
    chat = SlowToSend(server)
    chat.push(b"x" * 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await trio.sleep(50)
        await client.receive_some(10)
        assert await receive_all(client) == b""
        assert trio.current_time() == 60
        await client.aclose()
    assert timeouts(chat) == ["idle"]


@pytest.mark.parametrize("first", ["chunk", "timeout"])
async def test_a_chunk_in_the_instant_of_the_timeout_is_not_lost(
    mock_clock: trio.testing.MockClock, first: str
) -> None:
    class Staying(Timed):
        def handle_timeout(self, kind: TimeoutKind) -> None:
            self.calls.append(("timeout", kind))

    async with talk(Staying) as (chat, client):
        await trio.testing.wait_all_tasks_blocked()
        if first == "chunk":
            await client.send_all(b"now\n")
            mock_clock.jump(10)
        else:
            mock_clock.jump(10)
            await client.send_all(b"now\n")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.frames == [b"now"]


async def test_the_alarm_is_gone_when_the_connections_are(autojump_clock: trio.testing.MockClock) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    for _ in range(3):
        async with talk(Timed) as (_, client):
            await client.send_all(b"x\n")
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_many_connections_are_each_timed_for_themselves(autojump_clock: trio.testing.MockClock) -> None:
    async def one(delay: float) -> None:
        await trio.sleep(delay)
        async with talk(Timed) as (chat, client):
            if delay % 2:
                await client.aclose()
            else:
                await receive_all(client)
                assert trio.current_time() == delay + 10
                assert timeouts(chat) == ["idle"]

    async with trio.open_nursery() as nursery:
        for delay in range(500):
            nursery.start_soon(one, delay / 10)


async def test_the_write_timeout_holds_after_another_one_has_passed(autojump_clock: trio.testing.MockClock) -> None:
    class Stalled(Timed):
        message_timeout = 5
        write_timeout = 20

    client, server = trio.testing.lockstep_stream_pair()
    chat = Stalled(server)
    chat.push(b"never read")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await client.send_all(b"partial")
    assert trio.current_time() == 20
    assert timeouts(chat) == ["message", "write"]


async def test_an_int_terminator_of_which_nothing_has_come_is_idle(autojump_clock: trio.testing.MockClock) -> None:
    class LengthPrefixed(Timed):
        terminator = 4
        message_timeout = 1

    async with talk(LengthPrefixed) as (chat, client):
        assert await receive_all(client) == b""
        assert trio.current_time() == 10
    assert timeouts(chat) == ["idle"]


async def test_an_interruption_is_no_input(autojump_clock: trio.testing.MockClock) -> None:
    async with talk(Timed) as (chat, client):
        for terminator in (b"|", b";"):
            await trio.sleep(4)
            chat.set_terminator(terminator)
        assert await receive_all(client) == b""
        assert trio.current_time() == 10
    assert timeouts(chat) == ["idle"]


async def test_no_timeout_is_handled_after_the_end(autojump_clock: trio.testing.MockClock) -> None:
    class Pushing(Timed):
        def handle_connect(self) -> None:
            self.nursery.start_soon(self.close_later)

        async def close_later(self) -> None:
            await trio.sleep(10)
            self.close_when_done()

        def handle_timeout(self, kind: TimeoutKind) -> None:
            self.push(b"late")
            self.close_when_done()

    async with talk(Pushing) as (_, client):
        assert await receive_all(client) in (b"", b"late")


@pytest.mark.parametrize("name", ["idle_timeout", "message_timeout", "write_timeout", "linger_timeout"])
@pytest.mark.parametrize(
    ("limit", "error", "message"),
    [
        (None, TypeError, "is a number of seconds, math.inf for no limit; got None"),
        (-1, ValueError, "must be at least 0; got -1"),
        (float("nan"), ValueError, "must be at least 0; got nan"),
    ],
)
async def test_a_limit_that_is_no_time_is_refused(
    name: str, limit: object, error: type[Exception], message: str
) -> None:
    _, server = trio.testing.memory_stream_pair()
    chat = Timed(server)
    setattr(chat, name, limit)
    with pytest.raises(error, match=f"{name} {message}"):
        await chat.run()


async def test_a_limit_that_becomes_no_number_ends_that_connection_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, server = trio.testing.memory_stream_pair()
    chat = Timed(server)

    async def change_while_it_waits() -> None:
        await trio.testing.wait_all_tasks_blocked()
        chat.idle_timeout = None  # type: ignore[assignment]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change_while_it_waits)
        with pytest.raises(TypeError):
            await chat.run()
    assert trio.current_time() == 10
    assert await receive_all(client) == b""


async def test_what_the_alarm_remembers_does_not_grow(autojump_clock: trio.testing.MockClock) -> None:
    class Patient(Timed):
        idle_timeout = 86_400
        write_timeout = 60

        def found_terminator(self) -> None:
            self.push(b"pong\n")

    async with talk(Patient) as (_, client):
        for _ in range(500):
            await client.send_all(b"ping\n")
            assert await client.receive_some() == b"pong\n"
            await trio.sleep(61)
        assert len(current_alarm()._looks) < 100


@pytest.mark.parametrize("turn", range(10))
async def test_drain_says_who_has_ended_it(autojump_clock: trio.testing.MockClock, turn: int) -> None:
    _, server = trio.testing.memory_stream_pair()
    chat = Timed(StallingStream(server, send_after=0))
    chat.low_water_bytes = 0
    chat.push(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        with pytest.raises(trio.BrokenResourceError):
            await chat.drain()
    assert trio.current_time() == 5


async def test_callbacks_start_the_idle_timeout_again(autojump_clock: trio.testing.MockClock) -> None:
    class Slow(Timed):
        async def found_terminator(self) -> None:
            await trio.sleep(20)

    async with talk(Slow) as (chat, client):
        await trio.sleep(5)
        chat.set_terminator(0)
        assert await receive_all(client) == b""
        assert trio.current_time() == 5 + 20 + 10


async def test_the_end_of_a_producer_starts_the_idle_timeout_again(autojump_clock: trio.testing.MockClock) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await trio.sleep(99)

    async with talk(Timed) as (chat, client):
        chat.push_with_producer(slow())
        assert await receive_all(client) == b"x"
        assert trio.current_time() == 99 + 10
