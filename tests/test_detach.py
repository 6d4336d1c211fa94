"""`detach`: a conversation hands its stream over, and the next protocol goes on where it ended."""

from __future__ import annotations

import array
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing
from bounded import LONG, run, say, talk
from support import (
    ChatT,
    CountingStream,
    MemoryListener,
    RecordingChat,
    receive_all,
    receive_exactly,
    splits,
)

from trio_chat import AsyncChat, serve_listeners, serve_ssl_over_tcp, serve_tcp
from trio_chat._replay import ReplayStream, replaying
from trio_chat.testing import BreakingStream, StallingStream, assert_same_under_every_split


class Boom(Exception):
    pass


async def converse(factory: Callable[[trio.abc.Stream], ChatT], chunks: list[bytes]) -> tuple[ChatT, bytes]:
    """Send the chunks, each to be received alone, then end of file; the handler and what it sent."""
    async with talk(factory) as (chat, client):
        for chunk in chunks:
            await say(client, chunk)
        await client.send_eof()
        return chat, await receive_all(client)


def memory_of(chat: RecordingChat) -> trio.testing.MemoryReceiveStream:
    """Where data can be put so that they arrive in this very turn of the scheduler."""
    assert isinstance(chat.stream, trio.StapledStream)
    memory = chat.stream.receive_stream
    assert isinstance(memory, trio.testing.MemoryReceiveStream)
    return memory


class Upgrading(RecordingChat):
    """At the frame "upgrade" it goes on with `speak`, by default to receive everything as ("raw", …)."""

    replay: bytes | bytearray | memoryview = b""

    async def found_terminator(self) -> None:
        frame = self._get_data()
        self.calls.append(("found", frame))
        if frame == b"upgrade":
            await self.upgrade()

    async def upgrade(self) -> None:
        await self.speak(await self.detach(self.replay))  # type: ignore[arg-type]

    async def speak(self, stream: trio.abc.Stream) -> None:
        self.calls.append(("raw", await receive_all(stream)))

    @property
    def raw(self) -> list[object]:
        return [argument for name, argument in self.calls if name == "raw"]

    @property
    def story(self) -> list[tuple[str, object]]:
        """The calls but for how the data was cut."""
        return [call for call in self.calls if call[0] != "data"]


async def echo(stream: trio.abc.Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


class EchoAfterUpgrade(Upgrading):
    async def speak(self, stream: trio.abc.Stream) -> None:
        await echo(stream)
        self.calls.append(("spoke", None))


# ---------------------------------------------------------------------- what was received


@pytest.mark.parametrize("terminator", [b"\r\n", (b"\r\n", b"\r\r\r\n")])
async def test_the_next_reader_gets_every_byte_whatever_the_split(
    autojump_clock: trio.testing.MockClock, terminator: bytes | tuple[bytes, ...]
) -> None:
    class Replaying(Upgrading):
        replay = b"<replay>"

    Replaying.terminator = terminator
    data = b"hi\r\nupgrade\r\nraw\r\n\r\rbytes\r"
    chat, _ = await converse(Replaying, [data])
    assert chat.story == [
        ("connect", None),
        ("found", b"hi"),
        ("found", b"upgrade"),
        ("raw", b"<replay>raw\r\n\r\rbytes\r"),
        ("close", None),
    ]
    await assert_same_under_every_split(Replaying, data, most=100, result=lambda chat: chat.story)


async def test_after_a_count(autojump_clock: trio.testing.MockClock) -> None:
    class Counting(Upgrading):
        terminator = 5

        async def found_terminator(self) -> None:
            self.replay = self._get_data()
            await self.upgrade()

    data = b"12345raw"
    chat, _ = await converse(Counting, [data])
    assert chat.raw == [b"12345raw"]
    await assert_same_under_every_split(Counting, data, most=100, result=lambda chat: chat.raw)


async def test_at_the_beginning(autojump_clock: trio.testing.MockClock) -> None:
    class AtOnce(Upgrading):
        async def handle_connect(self) -> None:  # type: ignore[override]
            await self.upgrade()

    chat, _ = await converse(AtOnce, [b"one\n", b"two"])
    assert chat.calls == [("raw", b"one\ntwo"), ("close", None)]


async def test_at_the_end(autojump_clock: trio.testing.MockClock) -> None:
    class AtTheEnd(Upgrading):
        async def handle_eof(self) -> None:  # type: ignore[override]
            stream = await self.detach()
            await stream.send_all(b"bye")
            await self.speak(stream)

    chat, output = await converse(AtTheEnd, [b"x"])
    assert chat.calls == [("connect", None), ("data", b"x"), ("raw", b""), ("close", None)]
    assert output == b"bye"


async def test_when_a_frame_is_too_long(autojump_clock: trio.testing.MockClock) -> None:
    class Limited(Upgrading):
        terminator = b"\r\n"
        max_frame_bytes = 5
        on_oversize = "answer"

        async def handle_oversize(self) -> None:  # type: ignore[override]
            self.replay = self._get_data()
            await self.upgrade()

    data = b"12345\r\n123456\r\nraw\r"
    chat, _ = await converse(Limited, [data])
    assert chat.frames == [b"12345"]
    assert chat.raw == [b"123456\r\nraw\r"]
    await assert_same_under_every_split(Limited, data, most=100, result=lambda chat: chat.story)


async def test_when_a_timeout_has_passed(autojump_clock: trio.testing.MockClock) -> None:
    class Silent(Upgrading):
        terminator = b"\r\n"
        message_timeout = 10

        async def handle_timeout(self, kind: str) -> None:  # type: ignore[override]
            await self.upgrade()

    async with talk(Silent) as (chat, client):
        await client.send_all(b"half\r")
        await trio.sleep(20)
        await client.send_all(b"\nrest")
        await client.send_eof()
        assert await receive_all(client) == b""
    assert chat.calls == [("connect", None), ("data", b"half"), ("raw", b"\r\nrest"), ("close", None)]


async def test_in_a_callback_within_another(autojump_clock: trio.testing.MockClock) -> None:
    class Nested(Upgrading):
        async def found_terminator(self) -> None:
            await super().found_terminator()
            if self.frames[-1] == b"ask":
                while await self.receive_more():
                    pass
                self.calls.append(("asked", None))

    data = b"ask\nx\nupgrade\nraw\n"
    chat, _ = await converse(Nested, [data])
    assert chat.story == [
        ("connect", None),
        ("found", b"ask"),
        ("found", b"x"),
        ("found", b"upgrade"),
        ("raw", b"raw\n"),
        ("asked", None),
        ("close", None),
    ]
    await assert_same_under_every_split(Nested, data, most=100, result=lambda chat: chat.story)


@pytest.mark.parametrize("replay", [b"ab", bytearray(b"ab"), memoryview(array.array("H", [0x6161, 0x6262]))])
async def test_what_is_replayed_is_bytes(
    autojump_clock: trio.testing.MockClock, replay: bytes | bytearray | memoryview
) -> None:
    class Replaying(Upgrading):
        pass

    Replaying.replay = replay
    chat, _ = await converse(Replaying, [b"upgrade\nraw"])
    assert chat.raw == [bytes(replay) + b"raw"]


@pytest.mark.parametrize("replay", ["text", 5, None])
async def test_what_is_no_bytes_is_refused_and_the_conversation_goes_on(
    autojump_clock: trio.testing.MockClock, replay: object
) -> None:
    class Mistaken(Upgrading):
        async def upgrade(self) -> None:
            with pytest.raises(TypeError, match=r"detach\(\) takes bytes; got"):
                await self.detach(replay)  # type: ignore[arg-type]
            self.push(b"still here")

    chat, output = await converse(Mistaken, [b"upgrade\nx\n"])
    assert (chat.frames, output) == ([b"upgrade", b"x"], b"still here")


async def test_a_second_conversation_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    class Numbers(RecordingChat):
        terminator = b"|"

        def found_terminator(self) -> None:
            self.push(b"<" + self._get_data() + b">")

    class Switching(Upgrading):
        async def speak(self, stream: trio.abc.Stream) -> None:
            await Numbers(stream).run()
            self.calls.append(("spoke", None))

    for chunks in splits(b"upgrade\n1|2\n|3|"):
        chat, output = await converse(Switching, chunks)
        assert output == b"<1><2\n><3>"
        assert chat.names[-2:] == ["spoke", "close"]


# ---------------------------------------------------------------------- what is queued


async def test_what_is_queued_is_sent_before_it_returns(autojump_clock: trio.testing.MockClock) -> None:
    class Pushing(Upgrading):
        def __init__(self, stream: trio.abc.Stream) -> None:
            super().__init__(stream)
            self.detached = False

        async def upgrade(self) -> None:
            self.push(b"a" * 150_000)
            self.push_with_producer([b"b" * 1000, b"c"])
            stream = await self.detach()
            self.detached = True
            assert self.queued_bytes == 0
            await stream.send_all(b"raw")

    client, server = trio.testing.lockstep_stream_pair()
    chat = Pushing(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await say(client, b"upgrade\n")
        received = await receive_exactly(client, 150_000 + 1000)
        assert not chat.detached
        received += await receive_all(client)
    assert received == b"a" * 150_000 + b"b" * 1000 + b"craw"


async def test_what_the_frames_before_pushed_comes_first(autojump_clock: trio.testing.MockClock) -> None:
    class Answering(EchoAfterUpgrade):
        async def found_terminator(self) -> None:
            self.push(b"<%s>" % b"".join(self.incoming))
            await super().found_terminator()

    _, output = await converse(Answering, [b"1\n2\nupgrade\nraw"])
    assert output == b"<1><2><upgrade>raw"


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("caught", [True, False])
async def test_if_the_peer_is_gone(autojump_clock: trio.testing.MockClock, when: str, *, caught: bool) -> None:
    class Pushing(Upgrading):
        async def upgrade(self) -> None:
            self.push(b"x")
            if when == "before":
                await trio.testing.wait_all_tasks_blocked()
            if caught:
                with pytest.raises(trio.BrokenResourceError):
                    await self.detach()
                self.calls.append(("caught", None))
            else:
                await self.detach()

    client, server = trio.testing.memory_stream_pair()
    chat = Pushing(BreakingStream(server, send_after=0, one_way=True))
    await client.send_all(b"upgrade\nnever\n")
    await run(chat)
    assert chat.names == ["connect", "data", "found", *(["caught"] if caught else []), "close"]


async def test_a_peer_that_does_not_read_what_is_queued(autojump_clock: trio.testing.MockClock) -> None:
    class Pushing(Upgrading):
        write_timeout = 5

        async def upgrade(self) -> None:
            self.push(b"x")
            with pytest.raises(trio.BrokenResourceError):
                await self.detach()
            self.calls.append(("caught", trio.current_time()))

    client, server = trio.testing.memory_stream_pair()
    chat = Pushing(StallingStream(server, send_after=0))
    await client.send_all(b"upgrade\n")
    await run(chat)
    assert ("caught", 5) in chat.calls


@pytest.mark.parametrize("method", ["close", "close_when_done"])
async def test_after_a_close_it_is_too_late(autojump_clock: trio.testing.MockClock, method: str) -> None:
    class Closing(Upgrading):
        async def upgrade(self) -> None:
            getattr(self, method)()
            with pytest.raises(trio.ClosedResourceError, match=r"detach\(\) after close"):
                await self.detach()
            self.calls.append(("refused", None))

    chat, _ = await converse(Closing, [b"upgrade\nx\n"])
    assert chat.names == ["connect", "data", "found", "refused", "close"]


async def test_once(autojump_clock: trio.testing.MockClock) -> None:
    class Twice(Upgrading):
        async def speak(self, stream: trio.abc.Stream) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await self.detach()
            await super().speak(stream)

    chat, _ = await converse(Twice, [b"upgrade\nraw"])
    assert chat.raw == [b"raw"]


async def test_afterwards_the_conversation_is_over(autojump_clock: trio.testing.MockClock) -> None:
    class After(Upgrading):
        async def speak(self, stream: trio.abc.Stream) -> None:
            assert self.closing
            with pytest.raises(trio.ClosedResourceError):
                self.push(b"x")
            with pytest.raises(trio.ClosedResourceError):
                self.push_with_producer([b"x"])
            assert not await self.receive_more()
            with trio.fail_after(1):
                await self.wait_eof()
                await self.drain()
            self.set_terminator(b"raw")
            self.close_when_idle()
            await super().speak(stream)

    chat, _ = await converse(After, [b"upgrade\nraw"])
    assert chat.raw == [b"raw"]


async def test_a_cancelled_detach_ends_the_conversation_all_the_same(autojump_clock: trio.testing.MockClock) -> None:
    class Impatient(Upgrading):
        async def upgrade(self) -> None:
            self.push(b"x" * 100)
            with trio.move_on_after(3) as scope:
                await self.detach()
            assert scope.cancelled_caught
            assert self.closing
            with pytest.raises(trio.ClosedResourceError):
                self.push(b"x")
            self.calls.append(("cancelled", trio.current_time()))

    client, server = trio.testing.lockstep_stream_pair()
    chat = Impatient(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await client.send_all(b"upgrade\nnever\n")
        await trio.sleep(4)
        assert await receive_all(client) == b"x" * 100
    assert chat.calls[2:] == [("found", b"upgrade"), ("cancelled", 3), ("close", None)]


# ---------------------------------------------------------------------- who else receives


@pytest.mark.parametrize("lookouts", [1, 3])
@pytest.mark.parametrize("place", ["child", "background", "outside"])
async def test_a_lookout_does_not_disturb_the_next_reader(
    autojump_clock: trio.testing.MockClock, place: str, lookouts: int
) -> None:
    class Watched(Upgrading):
        def __init__(self, stream: trio.abc.Stream) -> None:
            super().__init__(stream)
            self.told: list[float] = []

        async def upgrade(self) -> None:
            async with trio.open_nursery() as children:
                for _ in range(lookouts):
                    if place == "child":
                        children.start_soon(self.watch)
                    elif place == "background":
                        self.nursery.start_soon(self.watch)
                await trio.sleep(1)
                await super().upgrade()

        async def watch(self) -> None:
            await self.wait_eof()
            self.told.append(trio.current_time())

    async with talk(Watched) as (chat, client), trio.open_nursery() as outside:
        if place == "outside":
            for _ in range(lookouts):
                outside.start_soon(chat.watch)
        await client.send_all(b"upgrade\n")
        await trio.sleep(0.5)
        await client.send_all(b"one ")
        await trio.sleep(1)
        await client.send_all(b"two ")
        await trio.sleep(1)
        await client.send_eof()
        assert await receive_all(client) == b""
        assert chat.told == [1] * lookouts
    assert chat.raw == [b"one two "]
    assert chat.names == ["connect", "data", "found", "raw", "close"]


@pytest.mark.parametrize("turns", range(-1, 6))
@pytest.mark.parametrize("eof", [True, False])
async def test_what_comes_while_a_lookout_is_sent_home(
    autojump_clock: trio.testing.MockClock, turns: int, *, eof: bool
) -> None:
    """In whichever turn of the scheduler it comes."""

    class Watched(Upgrading):
        async def upgrade(self) -> None:
            async with trio.open_nursery() as children:
                children.start_soon(self.wait_eof)
                await trio.testing.wait_all_tasks_blocked()
                children.start_soon(self.send, memory_of(self))
                if turns < 0:
                    memory_of(self).put_data(b"late, ")
                await super().upgrade()

        async def send(self, memory: trio.testing.MemoryReceiveStream) -> None:
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            memory.put_data(b"later, ")
            if eof:
                memory.put_eof()

    async with talk(Watched) as (chat, client):
        await say(client, b"upgrade\nat once, ")
        await trio.testing.wait_all_tasks_blocked()
        if not eof:
            await client.send_all(b"latest")
            await client.send_eof()
        assert await receive_all(client) == b""
    late, latest = b"late, " * (turns < 0), b"latest" * (not eof)
    assert chat.raw == [b"at once, " + late + b"later, " + latest]


async def test_a_task_that_receives_more_is_sent_home(autojump_clock: trio.testing.MockClock) -> None:
    results = []

    class Busy(Upgrading):
        async def upgrade(self) -> None:
            async with trio.open_nursery() as children:
                children.start_soon(self.receive)
                await trio.sleep(1)
                await super().upgrade()

        async def receive(self) -> None:
            results.append(await self.receive_more())

    async with talk(Busy) as (chat, client):
        await client.send_all(b"upgrade\n")
        await trio.sleep(2)
        await client.send_all(b"raw")
        await client.send_eof()
        assert await receive_all(client) == b""
    assert results == [False]
    assert chat.raw == [b"raw"]


async def test_background_tasks_live_on_and_may_end_it(autojump_clock: trio.testing.MockClock) -> None:
    class Ticking(EchoAfterUpgrade):
        ticks = 0

        def handle_connect(self) -> None:
            super().handle_connect()
            self.nursery.start_soon(self.tick)

        async def tick(self) -> None:
            while True:
                await trio.sleep(1)
                self.ticks += 1
                if self.ticks % 5 == 0:
                    self.push(b"tick ")

    async with talk(Ticking) as (chat, client):
        await trio.sleep(5.5)
        await client.send_all(b"upgrade\nhello")
        assert await receive_all(client) == b"tick hello"
        assert trio.current_time() == 10
    assert chat.ticks == 10
    assert chat.names == ["connect", "data", "found", "close"]


# ---------------------------------------------------------------------- how long it lasts


async def test_no_timeout_looks_at_it_any_more(autojump_clock: trio.testing.MockClock) -> None:
    class Timed(EchoAfterUpgrade):
        idle_timeout = 10
        message_timeout = 30
        write_timeout = 5

    client, server = trio.testing.lockstep_stream_pair()
    chat = Timed(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await client.send_all(b"upgrade\npartial frame ")
        await trio.sleep(100)
        assert await receive_exactly(client, 14) == b"partial frame "
        for _ in range(3):
            await trio.sleep(100)
            await client.send_all(b"x")
            await trio.sleep(100)
            assert await client.receive_some(1) == b"x"
        await client.send_eof()
        assert await receive_all(client) == b""
    assert trio.current_time() == 700
    assert chat.names == ["connect", "data", "found", "spoke", "close"]


async def test_the_alarm_is_gone_when_the_connections_are(autojump_clock: trio.testing.MockClock) -> None:
    before = trio.lowlevel.current_statistics().tasks_living

    class Timed(Upgrading):
        idle_timeout = 10

    for _ in range(3):
        await converse(Timed, [b"x\n", b"upgrade\nraw"])
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_when_the_callback_has_returned_the_stream_is_closed_without_lingering(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Brief(Upgrading):
        async def speak(self, stream: trio.abc.Stream) -> None:
            await stream.send_all(b"bye")

    async with talk(Brief) as (chat, client):
        await client.send_all(b"upgrade\nraw")
        assert await receive_all(client) == b"bye"
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"x")
        assert trio.current_time() == 0
    assert chat.names == ["connect", "data", "found", "close"]


async def test_afterwards_the_stream_is_closed_for_who_has_kept_it(autojump_clock: trio.testing.MockClock) -> None:
    class Keeping(Upgrading):
        async def speak(self, stream: trio.abc.Stream) -> None:
            self.kept = stream

    chat, _ = await converse(Keeping, [b"upgrade\nraw"])
    with pytest.raises(trio.ClosedResourceError):
        await chat.kept.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await chat.kept.receive_some()


async def test_who_closes_it_earlier_does_no_harm(autojump_clock: trio.testing.MockClock) -> None:
    class Closing(Upgrading):
        async def speak(self, stream: trio.abc.Stream) -> None:
            await stream.aclose()
            await trio.sleep(1)

    async with talk(Closing) as (chat, client):
        await client.send_all(b"upgrade\nraw")
        assert await receive_all(client) == b""
        assert trio.current_time() == 0
    assert chat.names == ["connect", "data", "found", "close"]


async def test_an_exception_leaves_run_as_itself_and_closes_the_stream(autojump_clock: trio.testing.MockClock) -> None:
    class Failing(Upgrading):
        async def speak(self, stream: trio.abc.Stream) -> None:
            await stream.send_all(b"sent before")
            raise Boom

        def handle_error(self, exc: Exception) -> None:
            self.calls.append(("error", type(exc)))
            super().handle_error(exc)

    client, server = trio.testing.memory_stream_pair()
    chat = Failing(server)
    await client.send_all(b"upgrade\nraw")
    with pytest.raises(Boom):
        await run(chat)
    assert await receive_all(client) == b"sent before"
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"x")
    assert trio.current_time() == 0
    assert chat.calls[-2:] == [("error", Boom), ("close", None)]


@pytest.mark.parametrize("error", [trio.BrokenResourceError, trio.ClosedResourceError])
async def test_the_errors_of_the_next_protocol_are_its_own(
    autojump_clock: trio.testing.MockClock, error: type[Exception]
) -> None:
    class Failing(Upgrading):
        async def speak(self, stream: trio.abc.Stream) -> None:
            raise error("upstream")

    client, server = trio.testing.memory_stream_pair()
    await client.send_all(b"upgrade\nraw")
    with pytest.raises(error, match="upstream"):
        await run(Failing(server))
    assert await receive_all(client) == b""


async def test_a_cancellation_closes_the_stream(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    chat = EchoAfterUpgrade(server)
    with trio.move_on_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chat.run)
            await client.send_all(b"upgrade\nhello")
            assert await receive_exactly(client, 5) == b"hello"
    assert trio.current_time() == 5
    assert await receive_all(client) == b""
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"x")
    assert chat.names == ["connect", "data", "found", "close"]


# ---------------------------------------------------------------------- servers


@pytest.mark.parametrize("finishes", [True, False])
async def test_a_server_that_stops_waits_and_cancels_in_the_end(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, *, finishes: bool
) -> None:
    listener, stop, chats = MemoryListener(), trio.Event(), []

    def factory(stream: trio.abc.Stream) -> AsyncChat:
        chats.append(EchoAfterUpgrade(stream))
        return chats[-1]

    with trio.fail_after(LONG):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_listeners, factory, [listener], stop=stop, shutdown_grace=7))
            client = await listener.connect()
            await client.send_all(b"upgrade\nhello")
            assert await receive_exactly(client, 5) == b"hello"
            stop.set()
            await trio.sleep(6)
            await client.send_all(b"still there?")
            assert await receive_exactly(client, 12) == b"still there?"
            if finishes:
                await client.send_eof()
            assert await receive_all(client) == b""
    assert trio.current_time() == (6 if finishes else 7)
    assert [record.levelno for record in caplog.records] == ([] if finishes else [logging.WARNING])
    assert chats[0].names == ["connect", "data", "found", *(["spoke"] if finishes else []), "close"]


async def test_over_tcp(nursery: trio.Nursery) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as serving:
        (listener,) = await serving.start(partial(serve_tcp, EchoAfterUpgrade, 0, host="127.0.0.1", stop=stop))
        async with await trio.testing.open_stream_to_socket_listener(listener) as client:
            await client.send_all(b"upgrade\nhello")
            assert await receive_exactly(client, 5) == b"hello"
            stop.set()
            while listener.socket.fileno() >= 0:  # until nobody listens any more
                await trio.lowlevel.checkpoint()
            await client.send_all(b"still there?")
            assert await receive_exactly(client, 12) == b"still there?"
            await client.send_eof()
            assert await receive_all(client) == b""
    nursery.cancel_scope.cancel()


async def test_over_tcp_a_server_cancels_in_the_end(nursery: trio.Nursery) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as serving:
        (listener,) = await serving.start(
            partial(serve_tcp, EchoAfterUpgrade, 0, host="127.0.0.1", stop=stop, shutdown_grace=0)
        )
        async with await trio.testing.open_stream_to_socket_listener(listener) as client:
            await client.send_all(b"upgrade\nhello")
            assert await receive_exactly(client, 5) == b"hello"
            stop.set()
            assert await receive_all(client) == b""
    nursery.cancel_scope.cancel()


async def test_over_tcp_the_next_conversation_knows_its_addresses(nursery: trio.Nursery) -> None:
    class Telling(AsyncChat):
        def handle_connect(self) -> None:
            self.push(repr((self.peer, self.local)).encode())
            self.close_when_done()

    class Switching(Upgrading):
        async def speak(self, stream: trio.abc.Stream) -> None:
            await Telling(stream).run()

    (listener,) = await nursery.start(partial(serve_tcp, Switching, 0, host="127.0.0.1"))
    async with await trio.testing.open_stream_to_socket_listener(listener) as client:
        await client.send_all(b"upgrade\n")
        assert await receive_all(client) == repr((client.socket.getsockname(), client.socket.getpeername())).encode()
    nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- TLS


class EchoWithALookout(EchoAfterUpgrade):
    async def upgrade(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.wait_eof)
            await trio.lowlevel.checkpoint()
            await super().upgrade()


@pytest.mark.parametrize("handler", [EchoAfterUpgrade, EchoWithALookout])
async def test_over_tls(
    nursery: trio.Nursery,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    handler: type[EchoAfterUpgrade],
) -> None:
    (listener,) = await nursery.start(partial(serve_ssl_over_tcp, handler, 0, server_context, host="127.0.0.1"))
    port = listener.transport_listener.socket.getsockname()[1]
    tcp = await trio.open_tcp_stream("127.0.0.1", port)
    client = trio.SSLStream(tcp, client_context, server_hostname="localhost")
    await client.send_all(b"upgrade\nhello, ")
    assert await receive_exactly(client, 7) == b"hello, "
    await client.send_all(b"world" * 10_000)
    assert await receive_exactly(client, 50_000) == b"world" * 10_000
    await client.aclose()
    nursery.cancel_scope.cancel()


async def test_over_tls_the_stream_is_ended_and_not_cut_off(
    nursery: trio.Nursery, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    class Brief(Upgrading):
        async def speak(self, stream: trio.abc.Stream) -> None:
            assert not isinstance(stream, trio.abc.HalfCloseableStream)
            await stream.send_all(b"bye")

    (listener,) = await nursery.start(partial(serve_ssl_over_tcp, Brief, 0, server_context, host="127.0.0.1"))
    port = listener.transport_listener.socket.getsockname()[1]
    tcp = await trio.open_tcp_stream("127.0.0.1", port)
    client = trio.SSLStream(tcp, client_context, server_hostname="localhost")
    await client.send_all(b"upgrade\n")
    assert await receive_all(client) == b"bye"  # a truncated TLS stream would raise here
    await client.aclose()
    nursery.cancel_scope.cancel()


class PipeliningStream(CountingStream):
    """Sends a line before the first that is sent, together with it."""

    line = b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        line, self.line = self.line, b""
        await super().send_all(line + data)


@pytest.mark.parametrize("pipelined", [True, False])
async def test_from_plain_text_to_tls(
    autojump_clock: trio.testing.MockClock,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    *,
    pipelined: bool,
) -> None:
    """A client that does not wait for the answer: the beginning of its handshake has been received already."""

    class Lines(RecordingChat):
        def found_terminator(self) -> None:
            self.push(b"<" + self._get_data() + b">")

    class StartTls(Upgrading):
        async def upgrade(self) -> None:
            self.push(b"go ahead\n")
            await super().upgrade()

        async def speak(self, stream: trio.abc.Stream) -> None:
            tls = trio.SSLStream(stream, server_context, server_side=True)
            await tls.do_handshake()
            await Lines(tls).run()

    class AfterTheAnswer(PipeliningStream):
        """Does not see the answer to the line."""

        async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
            if self.answer:
                self.answer -= len(await receive_exactly(self.inner, self.answer))
            return await super().receive_some(max_bytes)

        answer = len(b"go ahead\n")

    async with talk(StartTls) as (chat, memory):
        transport = AfterTheAnswer(memory)
        if pipelined:
            transport.line = b"upgrade\n"
        else:
            await say(memory, b"upgrade\n")
        client = trio.SSLStream(transport, client_context, server_hostname="localhost")
        await client.send_all(b"one\ntwo\n")
        assert await receive_exactly(client, 10) == b"<one><two>"
        await client.aclose()
    assert chat.names == ["connect", "data", "found", "close"]


# ---------------------------------------------------------------------- the stream itself


class NoHalfClose(trio.abc.Stream):
    """Hides that a stream can be half-closed."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_it_is_as_good_a_stream_as_any() -> None:
    async def make() -> tuple[ReplayStream, ReplayStream]:
        one, other = trio.testing.lockstep_stream_pair()
        return replaying(NoHalfClose(one), b""), replaying(NoHalfClose(other), b"")

    await trio.testing.check_two_way_stream(make, make)


def full(sock: socket.socket) -> socket.socket:
    """A socket that takes no more."""
    sock.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            sock.send(b"x" * 65536)
    return sock


async def test_it_is_as_good_a_half_closeable_stream_as_any() -> None:
    def replaying_socket(sock: socket.socket) -> trio.abc.HalfCloseableStream:
        stream = replaying(trio.SocketStream(trio.socket.from_stdlib_socket(sock)), b"")
        assert isinstance(stream, trio.abc.HalfCloseableStream)
        return stream

    async def make() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
        one, other = socket.socketpair()
        return replaying_socket(one), replaying_socket(other)

    async def make_clogged() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
        one, other = socket.socketpair()
        return replaying_socket(full(one)), replaying_socket(full(other))

    await trio.testing.check_half_closeable_stream(make, make_clogged)


async def test_it_is_half_closeable_if_the_other_is() -> None:
    one, other = trio.testing.memory_stream_pair()
    assert isinstance(replaying(one, b""), trio.abc.HalfCloseableStream)
    assert not isinstance(replaying(NoHalfClose(other), b""), trio.abc.HalfCloseableStream)


async def test_what_was_received_comes_first_in_pieces_as_they_are_asked_for() -> None:
    client, server = trio.testing.memory_stream_pair()
    await client.send_all(b"new")
    stream = replaying(server, b"received")
    with trio.testing.assert_checkpoints():
        assert await stream.receive_some(3) == b"rec"
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="max_bytes"):
            await stream.receive_some(wrong)
    with pytest.raises(TypeError):
        await stream.receive_some(1.5)  # type: ignore[arg-type]
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.receive_some(3)
    assert await stream.receive_some() == b"eived"
    assert await stream.receive_some(2) == b"ne"
    assert await stream.receive_some() == b"w"
    await client.send_eof()
    assert await stream.receive_some() == b""


async def test_two_tasks_cannot_receive_at_a_time() -> None:
    """Above all the second must not take the empty rest for the end of file."""
    client, server = trio.testing.memory_stream_pair()
    stream = replaying(server, b"received")
    received = []

    async def receive() -> None:
        try:
            received.append(await stream.receive_some())
        except trio.BusyResourceError:
            received.append(b"busy")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(b"new")
    assert sorted(received) in ([b"busy", b"received"], [b"new", b"received"])


@pytest.mark.parametrize("close", [ReplayStream.aclose, trio.aclose_forcefully])
async def test_when_it_is_closed_nothing_is_received(close: Callable[[ReplayStream], Awaitable[None]]) -> None:
    _, server = trio.testing.memory_stream_pair()
    stream = replaying(server, b"received")
    await close(stream)
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")


# ---------------------------------------------------------------------- the end of what comes after


async def test_a_conversation_over_a_detached_stream_ends_as_others_do(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It ends its side, and waits for the peer's."""

    class Answering(AsyncChat):
        def handle_connect(self) -> None:
            self.push(b"answer")
            self.close_when_done()

    class Switching(Upgrading):
        async def speak(self, stream: trio.abc.Stream) -> None:
            await Answering(stream).run()
            self.calls.append(("ended", trio.current_time()))

    async with talk(Switching) as (chat, client):
        await client.send_all(b"upgrade\n")
        assert await receive_all(client) == b"answer"
        await client.send_all(b"more")
        await trio.sleep(1)
        await client.aclose()
    assert ("ended", 1) in chat.calls


async def test_a_close_while_it_waits_is_no_fault_of_the_peers(autojump_clock: trio.testing.MockClock) -> None:
    class Closed(Upgrading):
        async def upgrade(self) -> None:
            self.push(b"x")
            with pytest.raises(trio.ClosedResourceError):
                await self.detach()
            self.calls.append(("told", None))

    client, server = trio.testing.memory_stream_pair()
    chat = Closed(StallingStream(server, send_after=0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await client.send_all(b"upgrade\n")
        await trio.sleep(1)
        chat.close()
    assert "told" in chat.names
