"""What is pushed: in order, in few sends, bounded, and never lost without a word."""

from __future__ import annotations

import array

import pytest
import trio
import trio.testing
from support import CountingStream, RecordingChat, converse, receive_all, receive_exactly, talk

from trio_chat.testing import StallingStream


class Echo(RecordingChat):
    def found_terminator(self) -> None:
        self.push(self._get_data() + b"\n")


async def test_what_one_chunk_brings_leaves_in_one_send() -> None:
    client, server = trio.testing.memory_stream_pair()
    counting = CountingStream(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Echo(counting).run)
        await client.send_all(b"a\nb\nc\n")
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(b"line\n" * 2000)
        await trio.testing.wait_all_tasks_blocked()
        await client.send_eof()
        await receive_all(client)
    assert counting.sends == [b"a\nb\nc\n", b"line\n" * 2000]


async def test_what_a_callback_pushes_before_it_awaits_leaves_meanwhile() -> None:
    class Slow(RecordingChat):
        async def found_terminator(self) -> None:
            self.push(b"wait a moment\n")
            await trio.sleep_forever()

    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Slow(server).run)
        await client.send_all(b"x\n")
        assert await receive_exactly(client, 14) == b"wait a moment\n"
        nursery.cancel_scope.cancel()


async def test_other_tasks_may_push_at_any_time() -> None:
    async with talk(RecordingChat) as (chat, client):
        await trio.testing.wait_all_tasks_blocked()
        chat.push(b"one")
        assert await receive_exactly(client, 3) == b"one"
        chat.push(b"two")
        assert await receive_exactly(client, 3) == b"two"


@pytest.mark.parametrize("data", ["text", 5, None, [b"x"]])
async def test_only_bytes_can_be_pushed(data: object) -> None:
    chat = RecordingChat(trio.testing.memory_stream_pair()[0])
    with pytest.raises(TypeError, match=r"push\(\) takes bytes; got"):
        chat.push(data)  # type: ignore[arg-type]
    assert chat.queued_bytes == 0


async def test_bytes_are_taken_as_they_are_at_the_call() -> None:
    mutable = bytearray(b"before")
    wide = memoryview(array.array("H", [0x4141, 0x4242]))
    async with talk(RecordingChat) as (chat, client):
        chat.push(mutable)
        chat.push(wide)
        mutable[:] = b"after!"
        assert await receive_exactly(client, 10) == b"beforeAABB"


async def test_long_output_is_sent_in_pieces() -> None:
    class Long(RecordingChat):
        ac_out_buffer_size = 1000

        def handle_connect(self) -> None:
            self.push(b"a" * 2500)
            self.push(b"b" * 400)
            self.push(b"c" * 10)
            self.close_when_done()

    client, server = trio.testing.memory_stream_pair()
    counting = CountingStream(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Long(counting).run)
        assert await receive_all(client) == b"a" * 2500 + b"b" * 400 + b"c" * 10
        await client.aclose()
    assert [len(data) for data in counting.sends] == [1000, 1000, 910]


class Verbose(RecordingChat):
    """Answers every line with 1,000 bytes."""

    high_water_bytes = 10_000
    low_water_bytes = 2_000

    def found_terminator(self) -> None:
        super().found_terminator()
        self.push(b"x" * 1000)


async def test_above_the_high_water_mark_nothing_more_is_handled_until_below_the_low_one() -> None:
    client, server = trio.testing.lockstep_stream_pair()
    chat = Verbose(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await client.send_all(b"line\n" * 100)
        await trio.testing.wait_all_tasks_blocked()
        assert chat.queued_bytes == 11_000
        assert len(chat.frames) == 11
        received = len(await client.receive_some(8_999))
        await trio.testing.wait_all_tasks_blocked()
        assert len(chat.frames) == 11  # a send is not over before it is received
        while received < 100_000:
            received += len(await client.receive_some(1000))
            assert chat.queued_bytes <= 11_000
        await client.aclose()
    assert len(chat.frames) == 100


async def test_a_peer_that_sends_everything_before_it_reads_is_served_within_the_marks() -> None:
    client, server = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Echo(server).run)
        for _ in range(60):
            await client.send_all(b"x" * 999 + b"\n")
        with trio.testing.assert_checkpoints():
            received = await receive_exactly(client, 60_000)
        assert received == (b"x" * 999 + b"\n") * 60
        await client.aclose()


async def test_close_when_done_sends_what_is_queued_and_hands_over_nothing_more() -> None:
    class Quitting(RecordingChat):
        def found_terminator(self) -> None:
            super().found_terminator()
            self.push(b"bye " * 50_000)
            self.close_when_done()
            with pytest.raises(trio.ClosedResourceError, match=r"push\(\) after close"):
                self.push(b"more")
            with pytest.raises(trio.ClosedResourceError, match="push_with_producer"):
                self.push_with_producer([b"more"])

    chat, output = await converse(Quitting, [b"quit\nanother\npart", b"more\n"])
    assert output == b"bye " * 50_000
    assert chat.calls == [("connect", None), ("data", b"quit"), ("found", b"quit"), ("close", None)]
    assert chat.closing


async def test_close_drops_what_is_queued() -> None:
    class Closing(RecordingChat):
        def collect_incoming_data(self, data: bytes) -> None:
            super().collect_incoming_data(data)
            self.push(b"lost")
            self.close()

    chat, output = await converse(Closing, [b"x\ny\n"])
    assert output == b""
    assert chat.names == ["connect", "data", "close"]


@pytest.mark.parametrize("method", ["close", "close_when_done"])
async def test_another_task_may_close(method: str) -> None:
    async with talk(RecordingChat) as (chat, client):
        await trio.testing.wait_all_tasks_blocked()
        getattr(chat, method)()
        assert await receive_all(client) == b""
    assert chat.names == ["connect", "close"]


async def test_drain_waits_until_the_queue_is_below_the_low_water_mark() -> None:
    class Draining(RecordingChat):
        low_water_bytes = 100
        drained = False

        async def handle_connect(self) -> None:  # type: ignore[override]
            self.push(b"x" * 1000)
            await self.drain()
            self.drained = True

    client, server = trio.testing.lockstep_stream_pair()
    chat = Draining(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await receive_exactly(client, 999)
        await trio.testing.wait_all_tasks_blocked()
        assert not chat.drained
        await receive_exactly(client, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert chat.drained
        await client.aclose()


async def test_drain_after_a_cancellation_leaves_the_output_alone() -> None:
    client, server = trio.testing.lockstep_stream_pair()
    chat = RecordingChat(server)
    chat.low_water_bytes = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        chat.push(b"kept")
        with trio.CancelScope() as scope:
            scope.cancel()
            await chat.drain()
        assert scope.cancelled_caught
        assert await receive_exactly(client, 4) == b"kept"
        await chat.drain()
        await client.aclose()


async def test_drain_tells_that_the_peer_is_gone_and_that_is_no_error_of_the_handler() -> None:
    class Streaming(RecordingChat):
        told = False

        async def handle_connect(self) -> None:  # type: ignore[override]
            try:
                while True:
                    self.push(b"x" * 10_000)
                    await self.drain()
            except trio.BrokenResourceError:
                self.told = True
                self.push(b"into the void")
                raise

    client, server = trio.testing.lockstep_stream_pair()
    chat = Streaming(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await receive_exactly(client, 25_000)
        await client.aclose()
    assert chat.told
    assert chat.names == ["eof", "close"]


async def test_drain_after_close_raises() -> None:
    chat, _ = await converse(RecordingChat, [])
    with pytest.raises(trio.ClosedResourceError):
        await chat.drain()


async def test_input_that_came_before_the_peer_was_gone_is_handed_over() -> None:
    """The peer sends and vanishes without reading: our answers are lost, its words are not."""
    client, server = trio.testing.memory_stream_pair()
    chat = Echo(server)
    await client.send_all(b"one\ntwo\n")
    await client.aclose()
    await chat.run()
    assert [argument for name, argument in chat.calls if name == "data"] == [b"one", b"two"]
    assert chat.names[-1] == "close"


async def test_output_that_nobody_takes_is_dropped_when_the_connection_is_cancelled() -> None:
    client, server = trio.testing.memory_stream_pair()
    chat = Echo(StallingStream(server, send_after=0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await client.send_all(b"x\n")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert chat.names[-1] == "close"
    assert chat.queued_bytes == 0
