"""`wait_eof`: a lookout knows when the peer has ended its side, whatever the conversation is busy with."""

from __future__ import annotations

import math
import random
import ssl

import pytest
import trio
import trio.testing
from bounded import LONG, converse, put, run, say, talk
from support import (
    CountingStream,
    RecordingChat,
    receive_all,
    receive_exactly,
    splits,
)

from trio_chat import TimeoutKind
from trio_chat.testing import BreakingStream


class CountedStream(BreakingStream):
    """Counts what was received."""

    received = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await super().receive_some(max_bytes)
        self.received += len(data)
        return data


class Watching(RecordingChat):
    """At the frame "work" it does what `work` does; `watch` records when a lookout was told of the end."""

    linger_timeout = 0

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.told: list[float] = []

    async def found_terminator(self) -> None:
        frame = self._get_data()
        self.calls.append(("found", frame))
        if frame == b"work":
            await self.work()

    async def work(self) -> None:
        await self.watch()

    async def watch(self) -> None:
        await self.wait_eof()
        self.told.append(trio.current_time())


class BusyWithALookout(Watching):
    """Works for ten seconds, whatever its lookout says."""

    async def work(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.watch)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()


class WatchedFromTheBackground(Watching):
    def handle_connect(self) -> None:
        super().handle_connect()
        self.nursery.start_soon(self.watch)

    async def work(self) -> None:
        await trio.sleep(10)


class WatchedFromOutside(Watching):
    async def work(self) -> None:
        await trio.sleep(10)


_LOOKOUTS = [Watching, BusyWithALookout, WatchedFromTheBackground, WatchedFromOutside]


@pytest.mark.parametrize("end", ["eof", "reset", "stream closed", "close", "close_when_done"])
@pytest.mark.parametrize("kind", _LOOKOUTS)
async def test_while_a_callback_works_a_lookout_is_told_of_the_end(
    autojump_clock: trio.testing.MockClock, kind: type[Watching], end: str
) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = CountedStream(server)
    chat = kind(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        if kind is WatchedFromOutside:
            nursery.start_soon(chat.watch)
        await client.send_all(b"work\n")
        await trio.sleep(1)
        if end == "eof":
            await client.send_eof()
        elif end == "reset":
            stream.break_now()
        elif end == "stream closed":
            await chat.stream.aclose()
        else:
            getattr(chat, end)()
        await trio.testing.wait_all_tasks_blocked()
        assert chat.told == [1]
    assert trio.current_time() == (1 if kind is Watching else 10)
    assert chat.names == ["connect", "data", "found", *(["eof"] if end == "eof" else []), "close"]


@pytest.mark.parametrize("end", ["eof", "reset", "close", "close_when_done"])
@pytest.mark.parametrize("kind", [WatchedFromTheBackground, WatchedFromOutside])
async def test_while_the_conversation_waits_a_lookout_is_told_of_the_end(
    autojump_clock: trio.testing.MockClock, kind: type[Watching], end: str
) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = CountedStream(server)
    chat = kind(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        if kind is WatchedFromOutside:
            nursery.start_soon(chat.watch)
        await say(client, b"one\npart")
        await trio.sleep(1)
        if end == "eof":
            await client.send_eof()
        elif end == "reset":
            stream.break_now()
        else:
            getattr(chat, end)()
        await trio.testing.wait_all_tasks_blocked()
        # What is in the background is cancelled with the conversation, and need not be told.
        assert chat.told == [1] or (kind is WatchedFromTheBackground and end == "close_when_done")
    assert trio.current_time() == 1
    assert chat.names.count("eof") == (end == "eof")
    assert chat.names[-1] == "close"


class FailingSends(CountingStream):
    """What is sent fails after a second, or never ends; what the peer has sent can be received."""

    def __init__(self, inner: trio.abc.HalfCloseableStream, how: str) -> None:
        super().__init__(inner)
        self.how = how

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(1 if self.how == "breaks" else math.inf)
        raise trio.BrokenResourceError("reset by peer")


@pytest.mark.parametrize("how", ["breaks", "stalls"])
@pytest.mark.parametrize("kind", _LOOKOUTS)
async def test_a_lookout_is_told_that_the_peer_does_not_read(
    autojump_clock: trio.testing.MockClock, kind: type[Watching], how: str
) -> None:
    class Pushing(kind):  # type: ignore[valid-type, misc]
        write_timeout = 1

        async def work(self) -> None:
            self.push(b"x")
            await super().work()

    client, server = trio.testing.memory_stream_pair()
    chat = Pushing(FailingSends(server, how))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        if kind is WatchedFromOutside:
            nursery.start_soon(chat.watch)
        await client.send_all(b"work\n")
        await trio.sleep(20)
        assert chat.told == [1]
        await client.aclose()
    assert chat.names[-1] == "close"


@pytest.mark.parametrize("lookout", [True, False])
async def test_what_a_peer_that_reads_no_more_has_sent_is_handed_over(
    autojump_clock: trio.testing.MockClock, *, lookout: bool
) -> None:
    class Pushing(Watching):
        def handle_connect(self) -> None:
            self.push(b"welcome")
            if lookout:
                self.nursery.start_soon(self.watch)

    client, server = trio.testing.memory_stream_pair()
    chat = Pushing(FailingSends(server, "breaks"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await trio.sleep(2)
        await say(client, b"one\n")
        await say(client, b"two\n")
        await client.send_eof()
    assert chat.frames == [b"one", b"two"]
    assert chat.names[-2:] == ["eof", "close"]


async def test_if_it_is_over_there_is_nothing_to_wait_for(autojump_clock: trio.testing.MockClock) -> None:
    chat, _ = await converse(Watching, [b"x\n"])
    await chat.watch()
    assert chat.told == [0]


@pytest.mark.parametrize("method", ["close", "close_when_done"])
async def test_after_a_close_there_is_nothing_to_wait_for(autojump_clock: trio.testing.MockClock, method: str) -> None:
    class Closing(Watching):
        async def work(self) -> None:
            getattr(self, method)()
            await self.watch()

    async with talk(Closing) as (chat, client):
        await client.send_all(b"work\n")
        assert await receive_all(client) == b""
    assert chat.told == [0]


async def test_after_the_end_of_file_there_is_nothing_to_wait_for(autojump_clock: trio.testing.MockClock) -> None:
    class HalfOpen(Watching):
        async def handle_eof(self) -> None:  # type: ignore[override]
            await self.watch()
            await self.watch()
            self.push(b"bye")
            self.close_when_done()

    chat, output = await converse(HalfOpen, [b"x\n"])
    assert (chat.told, output) == ([0, 0], b"bye")


async def test_it_may_begin_before_the_conversation(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    chat = Watching(server)
    with trio.fail_after(LONG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chat.watch)
            await say(client, b"one\ntwo")
            await client.send_eof()
        assert chat.told == [0]
    await run(chat)
    assert [call for call in chat.calls if call[0] != "data"] == [
        ("connect", None),
        ("found", b"one"),
        ("eof", b"two"),
        ("close", None),
    ]


async def test_several_lookouts_are_told(autojump_clock: trio.testing.MockClock) -> None:
    class Several(WatchedFromTheBackground):
        async def work(self) -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(self.watch)
                    self.nursery.start_soon(self.watch)

    async with talk(Several) as (chat, client):
        await client.send_all(b"work\n")
        await trio.sleep(1)
        await client.send_all(b"one\ntw")
        await trio.sleep(1)
        await client.send_eof()
        assert await receive_all(client) == b""
    assert chat.told == [2] * 7
    assert chat.frames == [b"work", b"one"]
    assert chat.calls[-2:] == [("eof", b"tw"), ("close", None)]


@pytest.mark.parametrize("turns", range(4))
async def test_if_one_lookout_is_cancelled_another_takes_its_place(
    autojump_clock: trio.testing.MockClock, turns: int
) -> None:
    class Relay(Watching):
        """One lookout after the other is cancelled; when the last is told of the end, it is over."""

        def __init__(self, stream: trio.abc.Stream) -> None:
            super().__init__(stream)
            self.scopes: list[trio.CancelScope] = []

        async def work(self) -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(self.watch_for_a_while)

        async def watch_for_a_while(self) -> None:
            with trio.CancelScope() as scope:
                self.scopes.append(scope)
                await self.watch()

    async with talk(Relay) as (chat, client):
        await say(client, b"work\n")
        for i in range(3):
            chat.scopes[i].cancel()
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            put(chat, b"%d\n" % i)
            if turns % 2:
                await trio.testing.wait_all_tasks_blocked()
        await client.send_eof()
        assert await receive_all(client) == b""
    assert chat.told == [0]
    assert chat.frames == [b"work", b"0", b"1", b"2"]


# ---------------------------------------------------------------------- what comes meanwhile


@pytest.mark.parametrize("chunks", splits(b"1\r\nwork\r\ntwo\r\n\r\nlast\r"))
@pytest.mark.parametrize("kind", [BusyWithALookout, WatchedFromTheBackground])
async def test_what_comes_meanwhile_is_handed_over_in_order(
    autojump_clock: trio.testing.MockClock, kind: type[Watching], chunks: list[bytes]
) -> None:
    class CrLf(kind):  # type: ignore[valid-type, misc]
        terminator = b"\r\n"

    chat, _ = await converse(CrLf, chunks)
    assert trio.current_time() == 10
    assert (
        b"".join(data for name, data in chat.calls if name == "data" and isinstance(data, bytes)) == b"1worktwolast\r"
    )
    assert [call for call in chat.calls if call[0] != "data"] == [
        ("connect", None),
        ("found", b"1"),
        ("found", b"work"),
        ("found", b"two"),
        ("found", b""),
        ("eof", b"last\r"),
        ("close", None),
    ]
    assert chat.told == [0]


@pytest.mark.parametrize("chunks", splits(b"1\nwork\n3\n4\nlast"))
async def test_another_task_of_the_callback_may_receive_more(
    autojump_clock: trio.testing.MockClock, chunks: list[bytes]
) -> None:
    class Both(Watching):
        async def work(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.watch)
                while await self.receive_more():
                    pass
            self.calls.append(("end", None))

    chat, _ = await converse(Both, chunks)
    assert b"".join(data for name, data in chat.calls if name == "data" and isinstance(data, bytes)) == b"1work34last"
    assert [call for call in chat.calls if call[0] != "data"] == [
        ("connect", None),
        ("found", b"1"),
        ("found", b"work"),
        ("found", b"3"),
        ("found", b"4"),
        ("end", None),
        ("eof", b"last"),
        ("close", None),
    ]
    assert chat.told == [0]


@pytest.mark.parametrize("lookout_first", [True, False])
@pytest.mark.parametrize("put_first", [True, False])
@pytest.mark.parametrize("turns", range(4))
async def test_whoever_receives_and_is_cancelled_loses_nothing(
    autojump_clock: trio.testing.MockClock, *, lookout_first: bool, put_first: bool, turns: int
) -> None:
    """A callback waits for more, and so does a lookout; whichever of the two receives is cancelled in that turn."""

    class Both(Watching):
        scopes: tuple[trio.CancelScope, ...] = ()

        async def work(self) -> None:
            while b"end" not in self.frames:
                self.scopes = trio.CancelScope(), trio.CancelScope()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.watch_in, self.scopes[0])
                    if lookout_first:
                        await trio.lowlevel.checkpoint()
                        await trio.lowlevel.checkpoint()
                    with self.scopes[1]:
                        await self.receive_more()
                    await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()

        async def watch_in(self, scope: trio.CancelScope) -> None:
            with scope:
                await self.wait_eof()

    async with talk(Both) as (chat, client):
        await say(client, b"work\n")
        for i in range(8):
            if put_first:
                put(chat, b"%d\n" % i)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            chat.scopes[i % 2].cancel()
            if not put_first:
                put(chat, b"%d\n" % i)
            await trio.testing.wait_all_tasks_blocked()
        await say(client, b"end\nx\n")
        assert chat.frames == [b"work", *(b"%d" % i for i in range(8)), b"end", b"x"]


@pytest.mark.parametrize("seed", range(60))
async def test_lookouts_that_come_and_go_change_nothing(autojump_clock: trio.testing.MockClock, seed: int) -> None:
    rng = random.Random(seed)
    lines = [bytes(rng.choices(b"ab", k=rng.randrange(6))) for _ in range(40)]
    data = b"\r\n".join([*lines, b"last\r"])
    cuts = sorted(rng.sample(range(1, len(data)), 25))
    chunks = [data[i:j] for i, j in zip([0, *cuts], [*cuts, None], strict=True)]

    class Slow(Watching):
        terminator = b"\r\n"
        high_water_bytes = rng.choice([0, 10, 65536])
        low_water_bytes = 0

        async def found_terminator(self) -> None:
            self.calls.append(("found", self._get_data()))
            async with trio.open_nursery() as nursery:
                for _ in range(rng.randrange(3)):
                    nursery.start_soon(self.watch_for, rng.random())
                await trio.sleep(rng.random())
                if rng.random() < 0.3:
                    nursery.cancel_scope.cancel()

        async def watch_for(self, seconds: float) -> None:
            with trio.move_on_after(seconds):
                await self.watch()

    async with talk(Slow) as (chat, client), trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(chat.watch_for, rng.random() * 20)
        for chunk in chunks:
            await client.send_all(chunk)
            await trio.sleep(rng.choice([0, 0, 0.3, 1.5]))
        await client.send_eof()
        assert await receive_all(client) == b""
    assert chat.frames == lines
    assert chat.calls[-2:] == [("eof", b"last\r"), ("close", None)]


class Narrow(Watching):
    """Has room for little; its first frame is "work"."""

    high_water_bytes = 1000
    low_water_bytes = 0
    ac_in_buffer_size = 100

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.go_on = trio.Event()

    async def work(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.watch)
            await self.go_on.wait()
            nursery.cancel_scope.cancel()


async def test_beyond_the_high_water_mark_nothing_is_read_ahead(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = CountedStream(server)
    chat = Narrow(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        lines = [b"%0100d" % i for i in range(50)]
        await say(client, b"work\n" + b"".join(line + b"\n" for line in lines))
        await client.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        assert 1000 < stream.received <= 5 + 1000 + 100
        assert chat.frames == [b"work"]
        assert chat.told == []
        chat.go_on.set()
        await receive_all(client)
    assert chat.frames == [b"work", *lines]
    assert chat.names[-2:] == ["eof", "close"]


async def test_when_a_callback_has_taken_what_was_read_ahead_more_is(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody but the lookout receives any more: it must go on by itself."""

    class Taking(Narrow):
        async def work(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.watch)
                await self.go_on.wait()
                for _ in range(10):
                    await self.receive_more()

    client, server = trio.testing.memory_stream_pair()
    chat = Taking(CountedStream(server))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await say(client, b"work\n" + b"x" * 1200)
        await client.send_eof()
        assert chat.told == []
        chat.go_on.set()
        with trio.move_on_after(1):
            await receive_all(client)
        assert chat.told == [0]
        nursery.cancel_scope.cancel()


async def test_when_the_conversation_has_taken_what_was_read_ahead_more_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The lookout is in the background: callbacks come and go."""

    class Taking(Narrow):
        async def found_terminator(self) -> None:
            frame = self._get_data()
            self.calls.append(("found", frame))
            if frame == b"work":
                self.nursery.start_soon(self.watch)
                await self.go_on.wait()
            elif frame == b"long work":
                await trio.sleep(10)

    client, server = trio.testing.memory_stream_pair()
    chat = Taking(CountedStream(server))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await say(client, b"work\n" + b"x" * 1050 + b"\nlong work\n")
        await client.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        assert chat.told == []
        chat.go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert chat.frames[2:] == [b"long work"]
        assert chat.told == [0]


async def test_nothing_is_read_ahead_without_a_lookout(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = CountedStream(server)
    chat = Narrow(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await client.send_all(b"work\n")
        await trio.testing.wait_all_tasks_blocked()
        received = stream.received
        chat.go_on.set()
        await say(client, b"work\n")
        for _ in range(20):
            await say(client, b"x" * 100)
        assert (received, stream.received) == (5, 5 + 5 + 2000)
        await client.aclose()
    assert chat.frames == [b"work", b"work"]


# ---------------------------------------------------------------------- what it must not disturb


class Timed(WatchedFromTheBackground):
    idle_timeout = 10
    message_timeout = 30

    @property
    def timeouts(self) -> list[object]:
        return [argument for name, argument in self.calls if name == "timeout"]


class Untold(Timed):
    """The same without a lookout."""

    async def watch(self) -> None:
        pass


@pytest.mark.parametrize("kind", [Timed, Untold])
async def test_an_idle_connection_is_closed(autojump_clock: trio.testing.MockClock, kind: type[Timed]) -> None:
    async with talk(kind) as (chat, client):
        for _ in range(3):
            await trio.sleep(9)
            await client.send_all(b"x\n")
        assert await receive_all(client) == b""
        assert trio.current_time() == 27 + 10
    assert chat.timeouts == ["idle"]


@pytest.mark.parametrize("kind", [Timed, Untold])
async def test_a_message_must_be_whole_in_time(autojump_clock: trio.testing.MockClock, kind: type[Timed]) -> None:
    async with talk(kind) as (chat, client):
        await client.send_all(b"whole\n")
        for _ in range(4):
            await trio.sleep(9)
            await client.send_all(b"x")
        assert await receive_all(client) == b""
        assert trio.current_time() == 9 + 30
    assert chat.timeouts == ["message"]


@pytest.mark.parametrize("kind", [Timed, Untold])
async def test_the_idle_timeout_begins_when_the_callback_has_ended(
    autojump_clock: trio.testing.MockClock, kind: type[Timed]
) -> None:
    async with talk(kind) as (chat, client):
        await client.send_all(b"work\n")
        await trio.sleep(5)
        await client.send_all(b"x\n")
        assert await receive_all(client) == b""
        assert trio.current_time() == 10 + 10
    assert chat.frames == [b"work", b"x"]
    assert chat.timeouts == ["idle"]


async def test_a_timeout_that_does_not_close_comes_again(autojump_clock: trio.testing.MockClock) -> None:
    class Staying(Timed):
        def handle_timeout(self, kind: TimeoutKind) -> None:
            self.calls.append(("timeout", trio.current_time()))

    async with talk(Staying) as (chat, client):
        await trio.sleep(35)
        assert chat.timeouts == [10, 20, 30]
        await say(client, b"x\n")
        assert chat.frames == [b"x"]
        await client.send_eof()
        await receive_all(client)
    assert chat.told == [35]


@pytest.mark.parametrize("mid_frame", [True, False])
async def test_a_graceful_stop(autojump_clock: trio.testing.MockClock, *, mid_frame: bool) -> None:
    async with talk(WatchedFromTheBackground) as (chat, client):
        await say(client, b"one\ntw" if mid_frame else b"one\n")
        chat.close_when_idle()
        await trio.testing.wait_all_tasks_blocked()
        assert chat.closing is not mid_frame
        if mid_frame:
            await client.send_all(b"o\n")
        assert await receive_all(client) == b""
        assert trio.current_time() == 0
    assert chat.frames == [b"one", b"two"][: 1 + mid_frame]


async def test_a_graceful_stop_while_a_callback_works(autojump_clock: trio.testing.MockClock) -> None:
    async with talk(WatchedFromTheBackground) as (chat, client):
        await say(client, b"work\n")
        chat.close_when_idle()
        await say(client, b"part")
        await trio.sleep(20)
        assert not chat.closing
        await client.send_all(b"ial\n")
        assert await receive_all(client) == b""
    assert chat.frames == [b"work", b"partial"]


async def test_a_terminator_that_is_set_meanwhile(autojump_clock: trio.testing.MockClock) -> None:
    class CrLf(WatchedFromTheBackground):
        terminator = b"\r\n"

    async with talk(CrLf) as (chat, client):
        await say(client, b"abc\r")
        chat.set_terminator(b"\r")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.frames == [b"abc"]
        await say(client, b"def\r")
        assert chat.frames == [b"abc", b"def"]


@pytest.mark.parametrize("linger_timeout", [0, 2])
@pytest.mark.parametrize("order", ["lookout first", "conversation first"])
async def test_a_lookout_from_outside_does_not_disturb_the_end(
    autojump_clock: trio.testing.MockClock, linger_timeout: int, order: str
) -> None:
    """While we wait for the peer to end its side, a lookout must not receive as well."""

    class Leaving(Watching):
        async def work(self) -> None:
            await trio.sleep(1)
            self.push(b"bye")
            self.close_when_done()

    Leaving.linger_timeout = linger_timeout
    client, server = trio.testing.memory_stream_pair()
    chat = Leaving(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        if order == "lookout first":
            nursery.start_soon(chat.watch)
        await say(client, b"work\n")
        if order == "conversation first":
            nursery.start_soon(chat.watch)
        with trio.fail_after(100):
            assert await receive_all(client) == b"bye"
        await trio.sleep(1)
        assert chat.told == [1]
        await client.aclose()
    assert chat.names == ["connect", "data", "found", "close"]


async def test_over_tls_neither(
    autojump_clock: trio.testing.MockClock, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    """In whichever order the tasks of that turn run: over and over again."""

    class Leaving(Watching):
        linger_timeout = 2

        async def work(self) -> None:
            self.push(b"bye")
            await trio.sleep(1)
            self.close_when_done()

    for _ in range(20):
        memory, server = trio.testing.memory_stream_pair()
        chat = Leaving(trio.SSLStream(server, server_context, server_side=True))
        client = trio.SSLStream(memory, client_context, server_hostname="localhost")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, chat)
            await client.send_all(b"work\n")
            nursery.start_soon(chat.watch)
            assert await receive_all(client) == b"bye"
            await client.aclose()
        assert chat.names == ["connect", "data", "found", "close"]


async def test_a_cancelled_conversation_ends_its_lookouts(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    chat = BusyWithALookout(server)
    with trio.fail_after(LONG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chat.watch)
            with trio.move_on_after(5):
                await client.send_all(b"work\n")
                await chat.run()
    assert trio.current_time() == 5
    assert chat.told == [5]
    assert chat.names == ["connect", "data", "found", "close"]


async def test_input_while_output_is_overfull_does_not_pass_the_mark(autojump_clock: trio.testing.MockClock) -> None:
    class Verbose(Narrow):
        def handle_connect(self) -> None:
            self.nursery.start_soon(self.watch)
            self.push(b"x" * 5000)

    client, server = trio.testing.lockstep_stream_pair()
    stream = CountedStream(server)
    chat = Verbose(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        lines = b"line\n" * 1000

        async def send() -> None:
            await client.send_all(lines)
            await client.send_eof()

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert stream.received <= 1000 + 2 * 100
        assert chat.frames == []
        assert await receive_exactly(client, 5000) == b"x" * 5000
        assert await receive_all(client) == b""
    assert chat.frames == [b"line"] * 1000
    assert trio.current_time() < math.inf


async def test_a_lookout_goes_on_when_the_buffers_are_discarded(autojump_clock: trio.testing.MockClock) -> None:
    class Discarding(Narrow):
        async def work(self) -> None:
            await trio.sleep(5)
            self.discard_buffers()
            await trio.sleep(20)

    async with talk(Discarding) as (chat, client):
        await say(client, b"work\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chat.watch)
            await say(client, b"x" * 1500)
            await client.send_eof()
    assert chat.told == [5]
