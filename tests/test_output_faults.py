"""Output whose sending goes wrong: above its limit, by a stream that answers nonsense, that calls back, that fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing
from bounded import LONG, say, talk
from sockets import NotingSocket, noting_pair, talk_over_sockets
from support import CountingStream, RecordingChat, receive_all, receive_exactly

from trio_chat import SocketStream

# ---------------------------------------------------------------------- above the high-water mark


class Held(CountingStream):
    """Sends nothing until it is let go; counts how often it was asked for input."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        assert isinstance(inner, trio.abc.HalfCloseableStream)
        super().__init__(inner)
        self.let_go = trio.Event()
        self.receives = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.let_go.wait()
        await super().send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self.receives += 1
        return await super().receive_some(max_bytes)


class Answering(RecordingChat):
    high_water_bytes = 100
    answer_bytes = 0

    def found_terminator(self) -> None:
        super().found_terminator()
        self.push(bytes(self.answer_bytes))


class AskingBack(Answering):
    async def found_terminator(self) -> None:  # type: ignore[override]
        super().found_terminator()
        if len(self.frames) == 1:
            await self.receive_more()


@pytest.mark.parametrize("factory", [Answering, AskingBack])
@pytest.mark.parametrize(("queued", "receives"), [(99, 2), (100, 2), (101, 1)])
async def test_nothing_is_received_above_the_high_water_mark(
    factory: type[Answering], queued: int, receives: int
) -> None:
    async with talk(lambda stream: factory(Held(stream))) as (chat, client):
        chat.answer_bytes = queued
        stream = chat.stream
        assert isinstance(stream, Held)
        await say(client, b"one\n")
        assert chat.queued_bytes == queued
        assert stream.receives == receives
        stream.let_go.set()
        await say(client, b"two\n")
        assert chat.frames == [b"one", b"two"]
        assert await receive_exactly(client, 2 * queued) == bytes(2 * queued)


# ---------------------------------------------------------------------- while a callback waits


async def check_that_a_callback_is_left_to_wait(make: Callable[[NotingSocket], SocketStream], match: str) -> None:
    """What fails when its output is sent, because it begins to wait, must not disturb that wait: Trio knows of it."""
    go_on, left = trio.Event(), trio.Event()

    class Waiting(RecordingChat):
        async def found_terminator(self) -> None:
            self.push(b"x" * 10)
            if type(self.stream) is SocketStream:
                self.ac_out_buffer_size = None  # type: ignore[assignment]
            await go_on.wait()
            left.set()

    async def run() -> None:
        with pytest.raises(TypeError, match=match):
            await Waiting(make(sock)).run()
        assert left.is_set()
        await trio.sleep_forever()  # raises if something else wakes this task

    sock, client = noting_pair()
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await client.send_all(b"line\n")
        await trio.testing.wait_all_tasks_blocked()
        assert not left.is_set()
        go_on.set()
        with trio.fail_after(LONG):
            assert await receive_all(client) == b""
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_a_limit_that_becomes_no_number_does_not_disturb_what_a_callback_waits_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    await check_that_a_callback_is_left_to_wait(SocketStream, "'NoneType'")


@pytest.mark.parametrize("nonsense", [None, -1, 11, True, 2.0])
async def test_a_send_nowait_that_returns_no_count_is_refused(
    autojump_clock: trio.testing.MockClock, nonsense: object
) -> None:
    class Nonsense(SocketStream):
        def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
            return nonsense  # type: ignore[return-value]

    await check_that_a_callback_is_left_to_wait(
        Nonsense, rf"send_nowait\(\) returns how many bytes were sent; got {nonsense}"
    )


# ---------------------------------------------------------------------- a stream that calls back


class CallingBack(SocketStream):
    """Sends at most so many bytes at once, and calls the conversation back meanwhile, the first time."""

    most_bytes = 5

    def __init__(self, stream: SocketStream) -> None:
        super().__init__(stream.socket)
        self.call: Callable[[], object] = self.nothing

    def nothing(self) -> None:
        pass

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        sent = super().send_nowait(bytes(data)[: self.most_bytes])
        call, self.call = self.call, self.nothing
        call()
        return sent


class CallingBackAfterAll(CallingBack):
    most_bytes = 100


class Digits(RecordingChat):
    ac_out_buffer_size = 10

    def found_terminator(self) -> None:
        super().found_terminator()
        self.push(b"0123456789")
        self.push(b"behind\n")


class WaitingDigits(Digits):
    async def found_terminator(self) -> None:  # type: ignore[override]
        super().found_terminator()
        await trio.lowlevel.checkpoint()  # sends
        self.calls.append(("queued", self.queued_bytes))


def digits_over(
    kind: type[CallingBack], act: Callable[[RecordingChat], object], factory: type[Digits] = Digits
) -> Callable[[SocketStream], Digits]:
    def make(stream: SocketStream) -> Digits:
        calling = kind(stream)
        chat = factory(calling)
        calling.call = lambda: act(chat)
        return chat

    return make


@pytest.mark.parametrize("kind", [CallingBack, CallingBackAfterAll])
async def test_what_is_discarded_while_it_is_sent_is_counted_once(kind: type[CallingBack]) -> None:
    async with talk_over_sockets(digits_over(kind, RecordingChat.discard_buffers)) as (chat, client, _):  # type: ignore[arg-type]
        await say(client, b"line\n")
        assert await client.receive_some() == b"0123456789"  # what was being sent, and nothing else
        assert chat.queued_bytes == 0
        await say(client, b"line\n")
        assert await receive_exactly(client, 17) == b"0123456789behind\n"
        assert chat.queued_bytes == 0


@pytest.mark.parametrize(("kind", "sent"), [(CallingBack, b"01234"), (CallingBackAfterAll, b"0123456789")])
async def test_who_closes_while_output_is_sent_leaves_nothing_queued(kind: type[CallingBack], sent: bytes) -> None:
    async with talk_over_sockets(digits_over(kind, RecordingChat.close, WaitingDigits)) as (chat, client, _):  # type: ignore[arg-type]
        await say(client, b"line\n")
        assert await receive_all(client) == sent
        assert chat.calls[-2:] == [("queued", 0), ("close", None)]


# ---------------------------------------------------------------------- what is told of a failure


class Boom(Exception):
    pass


class Failing(CountingStream):
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("strange")


async def test_a_failure_that_is_among_those_of_the_background_tasks_is_not_told_twice() -> None:
    class Resentful(Answering):
        answer_bytes = 10

        def handle_connect(self) -> None:
            self.nursery.start_soon(self.fail_when_cancelled)

        async def fail_when_cancelled(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise Boom

    client, server = trio.testing.memory_stream_pair()
    await client.send_all(b"line\n")
    with pytest.raises(ExceptionGroup) as raised:
        await Resentful(Failing(server)).run()
    assert sorted(type(exc).__name__ for exc in raised.value.exceptions) == ["Boom", "ValueError"]


# ---------------------------------------------------------------------- lively output


async def test_a_background_task_that_pushes_and_drains_keeps_a_connection_from_being_idle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Who sends, the writer's task or the one that drains, is drawn by lot each time: there are many turns."""

    class Ticking(RecordingChat):
        idle_timeout = 3

        def handle_connect(self) -> None:
            self.nursery.start_soon(self.tick)

        async def tick(self) -> None:
            for _ in range(30):
                await trio.sleep(2)
                self.push(b".")
                await self.drain()

    with trio.fail_after(LONG):
        async with talk_over_sockets(Ticking) as (chat, client, _):
            assert await receive_all(client) == b"." * 30
            assert trio.current_time() == 30 * 2 + 3
    assert ("timeout", "idle") in chat.calls
