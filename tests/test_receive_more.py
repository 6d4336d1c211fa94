"""`receive_more`: a callback goes on with the conversation before it returns."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import ClassVar

import pytest
import trio
import trio.testing
from bounded import converse, put, run, say, talk
from support import (
    CountingStream,
    RecordingChat,
    receive_all,
    receive_exactly,
    splits,
)

from trio_chat import FrameTooLong, OversizePolicy, Terminator, TimeoutKind
from trio_chat.testing import BreakingStream, StallingStream, assert_same_under_every_split


class Boom(Exception):
    pass


class Asking(RecordingChat):
    """At the frame "ask" it does what `ask` does; "asked" is recorded when that has returned."""

    linger_timeout = 0

    async def found_terminator(self) -> None:
        frame = self._get_data()
        self.calls.append(("found", frame))
        if frame == b"ask":
            await self.ask()
            self.calls.append(("asked", None))

    async def ask(self) -> None:
        await self.more()

    async def more(self, patience: float = math.inf) -> bool:
        """`receive_more`, recorded, whose result must be right."""
        before = len(self.calls)
        result = await self.receive_more(patience)
        assert result is (len(self.calls) > before)
        self.calls.append(("more", result))
        return result

    def count(self, name: str) -> int:
        return self.names.count(name)


class Staying(Asking):
    """No timeout closes it."""

    def handle_timeout(self, kind: TimeoutKind) -> None:
        self.calls.append(("timeout", (kind, trio.current_time())))

    @property
    def timeouts(self) -> list[object]:
        return [argument for name, argument in self.calls if name == "timeout"]


def merged(calls: list[tuple[str, object]]) -> list[tuple[str, object]]:
    """The calls, whatever the pieces were in which the data came."""
    story: list[tuple[str, object]] = []
    for name, argument in calls:
        if name == "data" and story and story[-1][0] == "data":
            assert isinstance(argument, bytes)
            before = story[-1][1]
            assert isinstance(before, bytes)
            story[-1] = (name, before + argument)
        else:
            story.append((name, argument))
    return story


# ---------------------------------------------------------------------- the same as without


class Scripted(Asking):
    """Frame after frame the terminators of a script, and for each frame so many steps asked for within its callback."""

    script: ClassVar[list[Terminator]] = []
    plan: ClassVar[dict[int, int]] = {}

    async def found_terminator(self) -> None:
        number = len(self.frames)
        self.calls.append(("found", self._get_data()))
        if number < len(self.script):
            self.set_terminator(self.script[number])
        elif not isinstance(self.get_terminator(), bytes):
            self.set_terminator(b"\n")
        for _ in range(self.plan.get(number, 0)):
            before = len(self.calls)
            assert await self.receive_more(enough=self.enough) is (len(self.calls) > before)

    def enough(self) -> bool:
        return True


_TERMINATORS: list[Terminator] = [b"\n", b"\r\n", (b"\n", b"."), (b"\r\n", b"\r\r", b"\n"), 0, 1, 3, 7]


@pytest.mark.parametrize("seed", range(150))
async def test_what_is_handed_over_is_the_same_with_it_or_without(
    autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    rng = random.Random(seed)

    class Plain(Scripted):
        script: ClassVar[list[Terminator]] = [rng.choice(_TERMINATORS) for _ in range(12)]

    class Nested(Plain):
        plan: ClassVar[dict[int, int]] = {number: rng.randrange(4) for number in range(0, 30, rng.choice([1, 2, 5]))}

        def enough(self) -> bool:
            return rng.random() < likely

    likely = rng.choice([0, 0.5, 1])

    data = bytes(rng.choices(b"ab\r\n.", k=60))
    cuts = sorted(rng.sample(range(61), rng.choice([0, 1, 3, 20])))
    chunks = [data[i:j] for i, j in zip([0, *cuts], [*cuts, 60], strict=True) if i < j]
    plain, _ = await converse(Plain, [data])
    nested, _ = await converse(Nested, chunks)
    assert merged(nested.calls) == merged(plain.calls)
    assert plain.names[-2:] == ["eof", "close"]


class Bodies(Asking):
    """A line says how many bytes follow it, which its callback waits for."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.messages: list[bytes] = []
        self.in_body = False

    async def found_terminator(self) -> None:
        frame = self._get_data()
        self.calls.append(("found", frame))
        if self.in_body:
            self.in_body = False
            self.set_terminator(b"\n")
            self.messages.append(frame)
        else:
            self.in_body = True
            self.set_terminator(int(frame))
            while self.in_body:
                assert await self.more()
            self.push(b"<" + self.messages[-1] + b">")


async def test_a_callback_may_take_the_body_whatever_the_split(autojump_clock: trio.testing.MockClock) -> None:
    data = b"3\nabc2\n\n\n0\n11\n0123456789x1\nx"
    chat, output = await converse(Bodies, [data])
    assert chat.messages == [b"abc", b"\n\n", b"", b"0123456789x", b"x"]
    assert output == b"".join(b"<" + message + b">" for message in chat.messages)
    assert chat.names[-2:] == ["eof", "close"]
    await assert_same_under_every_split(Bodies, data, most=100, result=lambda chat: chat.messages)


async def test_it_hands_over_one_step(autojump_clock: trio.testing.MockClock) -> None:
    async with talk(Bodies) as (chat, client):
        await say(client, b"3\nabc2\n")
        assert chat.calls == [
            ("connect", None),
            ("data", b"3"),
            ("found", b"3"),
            ("data", b"abc"),
            ("found", b"abc"),
            ("more", True),
            ("data", b"2"),
            ("found", b"2"),
        ]
        await say(client, b"x")
        assert chat.calls[-2:] == [("data", b"x"), ("more", True)]
        await client.send_all(b"y")


async def test_some_data_is_a_step(autojump_clock: trio.testing.MockClock) -> None:
    async with talk(Asking) as (chat, client):
        await say(client, b"ask\npart")
        assert chat.calls[-3:] == [("data", b"part"), ("more", True), ("asked", None)]


async def test_the_frames_of_a_chunk_are_neither_lost_nor_doubled(autojump_clock: trio.testing.MockClock) -> None:
    data = b"1\n2\nask\n4\n5\nask\nask\n8\n9\n"
    chat, _ = await converse(Asking, [data])
    assert chat.frames == [b"1", b"2", b"ask", b"4", b"5", b"ask", b"ask", b"8", b"9"]
    assert (chat.count("asked"), chat.count("eof")) == (3, 1)
    await assert_same_under_every_split(Asking, data, most=100, result=lambda chat: (chat.frames, chat.count("asked")))


async def test_of_a_long_chunk_too(autojump_clock: trio.testing.MockClock) -> None:
    frames = [b"ask" if i % 50 == 0 else b"%d" % i for i in range(2000)]
    chat, _ = await converse(Asking, [b"".join(frame + b"\n" for frame in frames)])
    assert chat.frames == frames
    assert chat.count("asked") == 40


async def test_frames_that_set_other_terminators_end_the_step(autojump_clock: trio.testing.MockClock) -> None:
    class OneByOne(Asking):
        async def found_terminator(self) -> None:
            await super().found_terminator()
            self.set_terminator(b"|" if self.get_terminator() == b"\n" else b"\n")

        async def ask(self) -> None:
            self.set_terminator(b"|")
            for expected in (b"1", b"2", b"3"):
                assert await self.more()
                assert self.frames[-1] == expected
            self.set_terminator(b"|")

    chat, _ = await converse(OneByOne, [b"ask\n1|2\n3|4\n5|"])
    assert chat.frames == [b"ask", b"1", b"2", b"3", b"4", b"5"]


async def test_without_a_terminator_every_chunk_is_a_step(autojump_clock: trio.testing.MockClock) -> None:
    class Raw(Asking):
        async def ask(self) -> None:
            self.set_terminator(None)
            while len(b"".join(self.incoming)) < 6:
                assert await self.more()
            self.set_terminator(b"\n")

    async with talk(Raw) as (chat, client):
        for chunk in (b"ask\na\n", b"b\n", b"c\n", b"d\n"):
            await say(client, chunk)
        await client.send_eof()
        assert await receive_all(client) == b""
    assert chat.calls[3:10] == [
        ("data", b"a\n"),
        ("more", True),
        ("data", b"b\n"),
        ("more", True),
        ("data", b"c\n"),
        ("more", True),
        ("asked", None),
    ]
    assert chat.frames == [b"ask", b"a\nb\nc\nd"]


async def test_a_count_of_zero_is_a_step_that_needs_no_input(autojump_clock: trio.testing.MockClock) -> None:
    class Zero(Asking):
        async def ask(self) -> None:
            self.set_terminator(0)
            assert await self.more()
            self.set_terminator(b"\n")

    async with talk(Zero) as (chat, client):
        await say(client, b"ask\n")
        assert chat.calls[3:] == [("found", b""), ("more", True), ("asked", None)]


async def test_one_callback_within_another(autojump_clock: trio.testing.MockClock) -> None:
    class Countdown(Asking):
        """Each number asks for the next."""

        async def found_terminator(self) -> None:
            frame = self._get_data()
            self.calls.append(("found", frame))
            if frame != b"0":
                assert await self.receive_more()
            self.calls.append(("done", frame))

    for chunks in splits(b"3\n2\n1\n0\nx\n"):
        chunks[-1] += b"0\n"
        chat, _ = await converse(Countdown, chunks)
        assert chat.frames == [b"3", b"2", b"1", b"0", b"x", b"0"]
        assert sorted(str(frame) for name, frame in chat.calls if name == "done") == sorted(map(str, chat.frames))


async def test_a_dialogue_before_the_conversation(autojump_clock: trio.testing.MockClock) -> None:
    class Login(Asking):
        async def handle_connect(self) -> None:  # type: ignore[override]
            self.push(b"login: ")
            while not self.frames:
                if not await self.receive_more():
                    return
            self.push(b"hello %s" % str(self.frames[0]).encode())

    data = b"me\nx\ny\n"
    chat, output = await converse(Login, [data])
    assert output == b"login: hello b'me'"
    assert chat.frames == [b"me", b"x", b"y"]
    await assert_same_under_every_split(Login, data, most=100)
    chat, output = await converse(Login, [])
    assert output == b"login: "
    assert chat.names == ["eof", "close"]


async def test_nothing_is_received_but_by_it(autojump_clock: trio.testing.MockClock) -> None:
    class Once(Asking):
        def __init__(self, stream: trio.abc.Stream) -> None:
            super().__init__(stream)
            self.go_on = trio.Event()

        async def ask(self) -> None:
            await self.more()
            await self.go_on.wait()

    client, server = trio.testing.lockstep_stream_pair()
    chat = Once(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await client.send_all(b"ask\n")
        await client.send_all(b"two\n")
        sent = trio.Event()

        async def send_three() -> None:
            await client.send_all(b"three\n")
            sent.set()

        nursery.start_soon(send_three)
        await trio.testing.wait_all_tasks_blocked()
        assert chat.frames == [b"ask", b"two"]
        assert not sent.is_set()
        chat.go_on.set()
        await sent.wait()
        await client.aclose()
    assert chat.frames == [b"ask", b"two", b"three"]


async def test_a_long_run_of_tiny_steps_lets_other_tasks_run(autojump_clock: trio.testing.MockClock) -> None:
    turns = 0

    class OneByOne(Asking):
        terminator = 1

        def found_terminator(self) -> None:  # type: ignore[override]
            self._get_data()
            self.set_terminator(1)

        async def handle_connect(self) -> None:  # type: ignore[override]
            await trio.testing.wait_all_tasks_blocked()
            while await self.receive_more():
                pass

    async def other_task() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with talk(OneByOne) as (_, client), trio.open_nursery() as nursery:
        await client.send_all(b"x" * 20_000)
        await client.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(other_task)
        await receive_all(client)
        nursery.cancel_scope.cancel()
    assert turns > 20_000 // 1024


# ---------------------------------------------------------------------- enough


class OneByOne(RecordingChat):
    """Each byte is a step; takes them until it has had `enough`."""

    terminator = 1
    enough_at = 4

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.asked: list[int] = []
        self.found = 0

    def found_terminator(self) -> None:
        super().found_terminator()
        self.found += 1
        self.push(b"<%d>" % self.found)
        self.set_terminator(1)

    def enough(self) -> bool:
        self.asked.append(self.found)
        return self.found >= self.enough_at

    async def handle_connect(self) -> None:  # type: ignore[override]
        self.calls.append(("more", await self.receive_more(enough=self.enough)))


@pytest.mark.parametrize(("received", "taken"), [(b"a", 1), (b"ab", 2), (b"abcd", 4), (b"abcdef", 4)])
async def test_it_goes_on_until_it_is_enough_or_all_that_has_been_received(
    autojump_clock: trio.testing.MockClock, received: bytes, taken: int
) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = CountingStream(server)
    chat = OneByOne(stream)
    async with trio.open_nursery() as nursery:
        await client.send_all(received)
        nursery.start_soon(run, chat)
        await trio.testing.wait_all_tasks_blocked()
        assert chat.names.index("more") == 2 * taken
        assert chat.asked == list(range(1, taken + 1))
        assert stream.sends[0].startswith(b"".join(b"<%d>" % i for i in range(1, taken + 1)))  # in one send
        await client.send_eof()
        assert await receive_all(client) == b"".join(b"<%d>" % i for i in range(1, len(received) + 1))
    assert chat.frames == [received[i : i + 1] for i in range(len(received))]


async def test_without_input_nobody_is_asked_whether_it_is_enough(autojump_clock: trio.testing.MockClock) -> None:
    chat, _ = await converse(OneByOne, [])
    assert chat.calls == [("more", False), ("eof", b""), ("close", None)]
    assert chat.asked == []


@pytest.mark.parametrize("method", ["close", "close_when_done"])
async def test_a_close_is_enough(autojump_clock: trio.testing.MockClock, method: str) -> None:
    class Closing(OneByOne):
        enough_at = 100

        def found_terminator(self) -> None:
            super().found_terminator()
            if self.found == 3:
                getattr(self, method)()

    chat, _ = await converse(Closing, [b"abcdef"])
    assert chat.frames == [b"a", b"b", b"c"]
    assert chat.calls[-2:] == [("more", True), ("close", None)]


async def test_what_asking_raises_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    class Failing(OneByOne):
        def enough(self) -> bool:
            if self.found == 2:
                raise Boom
            return False

        async def handle_connect(self) -> None:  # type: ignore[override]
            with pytest.raises(Boom):
                await super().handle_connect()
            self.calls.append(("caught", None))

    chat, output = await converse(Failing, [b"abcd"])
    assert chat.names.index("caught") == 4
    assert chat.frames == [b"a", b"b", b"c", b"d"]
    assert output == b"<1><2><3><4>"


async def test_a_long_way_until_it_is_enough_lets_other_tasks_run(autojump_clock: trio.testing.MockClock) -> None:
    class Greedier(OneByOne):
        enough_at = 1_000_000

    turns = 0

    async def other_task() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    client, server = trio.testing.memory_stream_pair()
    await client.send_all(b"x" * 20_000)
    await client.send_eof()
    chat = Greedier(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other_task)
        await run(chat)
        nursery.cancel_scope.cancel()
    assert turns > 20_000 // 1024
    assert len(chat.frames) == 20_000


# ---------------------------------------------------------------------- the end


class Greedy(Asking):
    """Takes everything that comes after "ask"."""

    async def ask(self) -> None:
        while await self.more():
            pass
        self.calls.append(("end", b"".join(self.incoming)))
        assert not await self.more()


async def test_at_end_of_file_it_gives_what_was_held_back_then_false_then_comes_handle_eof(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class CrLf(Greedy):
        terminator = b"\r\n"

    data = b"ask\r\none\r\ntail\r"
    chat, _ = await converse(CrLf, [data])
    assert chat.frames == [b"ask", b"one"]
    assert [call for call in chat.calls if call[0] not in ("data", "more", "found")] == [
        ("connect", None),
        ("end", b"tail\r"),
        ("asked", None),
        ("eof", b"tail\r"),
        ("close", None),
    ]
    await assert_same_under_every_split(
        CrLf,
        data,
        most=100,
        result=lambda chat: [call for call in chat.calls if call[0] not in ("data", "more", "found")],
    )


async def test_in_handle_eof_there_is_no_more(autojump_clock: trio.testing.MockClock) -> None:
    class Late(Asking):
        async def handle_eof(self) -> None:  # type: ignore[override]
            self.calls.append(("eof", None))
            assert not await self.more()
            self.close_when_done()

    chat, _ = await converse(Late, [b"x\n"])
    assert chat.names[-3:] == ["eof", "more", "close"]


async def test_in_handle_close_there_is_no_more(autojump_clock: trio.testing.MockClock) -> None:
    class Late(Asking):
        async def handle_close(self) -> None:  # type: ignore[override]
            assert not await self.more()
            super().handle_close()

    async with talk(Late) as (chat, client):
        await say(client, b"x\npart")
        chat.close()
        assert await receive_all(client) == b""
    assert chat.names[-3:] == ["data", "more", "close"]


@pytest.mark.parametrize("method", ["close", "close_when_done"])
async def test_after_a_close_there_is_no_more(autojump_clock: trio.testing.MockClock, method: str) -> None:
    class Closing(Asking):
        async def ask(self) -> None:
            getattr(self, method)()
            assert not await self.more()

    chat, _ = await converse(Closing, [b"ask\nmore\n"])
    assert chat.names == ["connect", "data", "found", "more", "asked", "close"]


@pytest.mark.parametrize("method", ["close", "close_when_done"])
async def test_a_close_by_another_task_ends_the_wait(autojump_clock: trio.testing.MockClock, method: str) -> None:
    async with talk(Asking) as (chat, client):
        await say(client, b"ask\n")
        getattr(chat, method)()
        assert await receive_all(client) == b""
    assert chat.calls[2:] == [("found", b"ask"), ("more", False), ("asked", None), ("close", None)]


@pytest.mark.parametrize("method", ["close", "close_when_done"])
async def test_a_close_by_a_callback_within_ends_the_step(autojump_clock: trio.testing.MockClock, method: str) -> None:
    class Closing(Greedy):
        async def found_terminator(self) -> None:
            await super().found_terminator()
            if self.frames[-1] == b"quit":
                getattr(self, method)()

    chat, _ = await converse(Closing, [b"ask\nx\nquit\nnever\nnever\n"])
    assert chat.frames == [b"ask", b"x", b"quit"]
    assert chat.names[-5:] == ["more", "end", "more", "asked", "close"]
    assert chat.calls[-5] == ("more", False)


@pytest.mark.parametrize("put_first", [True, False])
@pytest.mark.parametrize("method", ["close", "close_when_done"])
async def test_what_comes_in_the_turn_of_a_close_is_not_handed_over(
    autojump_clock: trio.testing.MockClock, method: str, *, put_first: bool
) -> None:
    async with talk(Asking) as (chat, client):
        await say(client, b"ask\n")
        if put_first:
            put(chat, b"late\n")
        getattr(chat, method)()
        if not put_first:
            put(chat, b"late\n")
        assert await receive_all(client) == b""
    assert chat.frames == [b"ask"]
    assert chat.count("asked") == 1


async def raise_broken() -> None:
    raise trio.BrokenResourceError("reset by peer")


async def test_a_peer_that_breaks_off_ends_the_wait(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    chat = Asking(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await say(client, b"ask\n")
        server.receive_stream.receive_some_hook = raise_broken
        server.receive_stream.put_data(b"x")  # wakes this wait; the next one breaks
        await trio.testing.wait_all_tasks_blocked()
        chat.set_terminator(b"x")
    assert chat.names[-1] == "close"
    assert "eof" not in chat.names


async def test_a_peer_that_breaks_off_while_it_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = BreakingStream(server)
    chat = Greedy(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await say(client, b"ask\nx\n")
        stream.break_now()
    assert chat.calls[-5:] == [
        ("more", False),
        ("end", b""),
        ("more", False),
        ("asked", None),
        ("close", None),
    ]


async def test_whoever_closes_the_stream_ends_the_wait(autojump_clock: trio.testing.MockClock) -> None:
    async with talk(Greedy) as (chat, client):
        await say(client, b"ask\nx")
        await chat.stream.aclose()
        assert await receive_all(client) == b""
    assert chat.names[-4:] == ["end", "more", "asked", "close"]


async def test_it_is_for_callbacks(autojump_clock: trio.testing.MockClock) -> None:
    failed: list[str] = []

    class Background(Asking):
        def handle_connect(self) -> None:
            self.nursery.start_soon(self.background)

        async def background(self) -> None:
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="callback"):
                await self.receive_more()
            failed.append("receive_more")

    chat = Background(trio.testing.memory_stream_pair()[0])
    with pytest.raises(RuntimeError, match="callback"):
        await chat.receive_more()
    async with talk(Background) as (chat, client):
        await say(client, b"x\n")
    assert failed == ["receive_more"]
    assert chat.frames == [b"x"]
    with pytest.raises(RuntimeError, match="callback"):
        await chat.receive_more()


async def test_a_conversation_that_pauses_for_output_runs_no_callback(autojump_clock: trio.testing.MockClock) -> None:
    class Verbose(Asking):
        high_water_bytes = 10
        low_water_bytes = 0

        async def found_terminator(self) -> None:
            self.calls.append(("found", self._get_data()))
            self.push(b"x" * 100)

    client, server = trio.testing.lockstep_stream_pair()
    chat = Verbose(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await say(client, b"1\n2\n")
        assert chat.frames == [b"1"]
        with trio.fail_after(1), pytest.raises(RuntimeError, match="callback"):
            await chat.receive_more()
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- timeouts


async def test_the_patience_with_the_peer(autojump_clock: trio.testing.MockClock) -> None:
    class Patient(Staying):
        message_timeout = 3

        async def ask(self) -> None:
            assert await self.more(10)
            assert await self.more(20)
            assert await self.more(5)

    async with talk(Patient) as (chat, client):
        await client.send_all(b"ask\n")
        await trio.sleep(10 + 19)
        await say(client, b"x\n")
        assert chat.frames == [b"ask", b"x"]
        await trio.sleep(100)
        assert chat.timeouts == [("message", 10), ("message", 29 + 5)]
        assert chat.count("asked") == 1


async def test_what_has_come_already_needs_no_patience(autojump_clock: trio.testing.MockClock) -> None:
    class Impatient(Staying):
        async def ask(self) -> None:
            assert await self.more(0)
            self.calls.append(("first", None))
            assert await self.more(0)

    async with talk(Impatient) as (chat, client):
        await say(client, b"ask\nx\n")
        assert chat.names[3:6] == ["data", "found", "more"]
        assert chat.timeouts == [("message", 0)]


async def test_by_default_a_timeout_closes(autojump_clock: trio.testing.MockClock) -> None:
    class Patient(Asking):
        async def ask(self) -> None:
            assert await self.more(10)
            assert not await self.more(10)

    async with talk(Patient) as (chat, client):
        await client.send_all(b"ask\n")
        assert await receive_all(client) == b""
        assert trio.current_time() == 10
    assert chat.calls[3:] == [
        ("timeout", "message"),
        ("more", True),
        ("more", False),
        ("asked", None),
        ("close", None),
    ]


@pytest.mark.parametrize("interruption", ["close_when_idle", "set_terminator"])
async def test_an_interruption_does_not_make_it_more_patient(
    autojump_clock: trio.testing.MockClock, interruption: str
) -> None:
    class Patient(Staying):
        async def ask(self) -> None:
            assert await self.more(10)

    async with talk(Patient) as (chat, client):
        await client.send_all(b"ask\n")
        await trio.sleep(6)
        if interruption == "close_when_idle":
            chat.close_when_idle()
        else:
            chat.set_terminator(b"|")
        await trio.sleep(100)
        assert chat.timeouts == [("message", 10)]


@pytest.mark.parametrize("patience", [math.inf, 10, 11])
async def test_the_idle_timeout_runs_as_well(autojump_clock: trio.testing.MockClock, patience: float) -> None:
    class Idle(Staying):
        idle_timeout = 10 if patience != 10 else 11

        async def ask(self) -> None:
            assert await self.more(patience)

    async with talk(Idle) as (chat, client):
        await client.send_all(b"ask\n")
        await trio.sleep(10.5)
        assert chat.timeouts == [("message" if patience == 10 else "idle", 10)]
        assert chat.count("asked") == 1


async def test_what_comes_starts_the_idle_timeout_again(autojump_clock: trio.testing.MockClock) -> None:
    class Idle(Staying):
        idle_timeout = 10

        async def ask(self) -> None:
            while await self.more():
                pass

    async with talk(Idle) as (chat, client):
        await client.send_all(b"ask\n")
        for _ in range(4):
            await trio.sleep(9)
            await client.send_all(b"x")
        await trio.sleep(10.5)
        assert chat.timeouts == [("idle", 46)]


async def test_the_time_a_callback_takes_is_not_idle(autojump_clock: trio.testing.MockClock) -> None:
    """As after a callback, the idle timeout counts from when input is waited for."""

    class Interrupted(Staying):
        idle_timeout = 10

        async def ask(self) -> None:
            with trio.move_on_after(5):
                await self.more()
            await trio.sleep(20)
            assert await self.more()

    async with talk(Interrupted) as (chat, client):
        await client.send_all(b"ask\n")
        await trio.sleep(5 + 20 + 9)
        assert chat.timeouts == []
        await say(client, b"x\n")
        assert chat.count("asked") == 1


async def test_a_peer_that_stops_reading(autojump_clock: trio.testing.MockClock) -> None:
    class Pushing(Asking):
        write_timeout = 5

        async def ask(self) -> None:
            self.push(b"x")
            assert await self.more()
            assert not await self.more()

    client, server = trio.testing.memory_stream_pair()
    chat = Pushing(StallingStream(server, send_after=0))
    await client.send_all(b"ask\n")
    await run(chat)
    assert trio.current_time() == 5
    assert chat.calls[3:] == [("timeout", "write"), ("more", True), ("more", False), ("asked", None), ("close", None)]


class Narrow(Asking):
    """Has room for little output; whoever asks for ever whether there is room hangs all tasks, and is told so."""

    low_water_bytes = 0
    looks = 0

    @property
    def high_water_bytes(self) -> int:  # type: ignore[override]
        self.looks += 1
        assert self.looks < 1000, "it spins"
        return 1000


@pytest.mark.parametrize("marks", ["by default", "narrow"])
async def test_a_peer_that_stops_reading_more_than_the_high_water_mark(
    autojump_clock: trio.testing.MockClock, marks: str
) -> None:
    class Pushing(Asking if marks == "by default" else Narrow):  # type: ignore[misc]
        write_timeout = 5

        async def ask(self) -> None:
            self.push(b"x" * 200_000)
            while await self.more():
                pass

    client, server = trio.testing.memory_stream_pair()
    chat = Pushing(StallingStream(server, send_after=0))
    await client.send_all(b"ask\n")
    await run(chat)
    assert trio.current_time() == 5
    assert chat.calls[3:] == [("timeout", "write"), ("more", True), ("more", False), ("asked", None), ("close", None)]


@pytest.mark.parametrize("method", ["close", "close_when_idle", "close_when_done"])
async def test_a_close_while_it_waits_for_the_queue_to_become_shorter(
    autojump_clock: trio.testing.MockClock, method: str
) -> None:
    class Pushing(Narrow):
        write_timeout = 100
        idle_timeout = 500

        async def ask(self) -> None:
            self.push(b"x" * 2000)
            while await self.more():
                pass

    client, server = trio.testing.memory_stream_pair()
    chat = Pushing(StallingStream(server, send_after=0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await client.send_all(b"ask\n")
        await trio.sleep(1)
        getattr(chat, method)()
    assert trio.current_time() == (1 if method == "close" else 100)
    assert chat.count("asked") == 1


async def test_the_message_timeout_of_the_frame_that_follows(autojump_clock: trio.testing.MockClock) -> None:
    class Patient(Staying):
        message_timeout = 30

    async with talk(Patient) as (chat, client):
        await client.send_all(b"ask\n")
        await trio.sleep(20)
        await say(client, b"answer\npart")
        assert chat.count("asked") == 1
        await trio.sleep(20)
        await client.send_all(b"ial")
        await trio.sleep(11)
        assert chat.timeouts == [("message", 20 + 30)]


async def test_the_message_timeout_of_a_frame_that_began_within_it(autojump_clock: trio.testing.MockClock) -> None:
    """From its first byte, not from when it was waited for."""

    class Dialogue(Staying):
        message_timeout = 30

        async def handle_connect(self) -> None:  # type: ignore[override]
            await self.more()

    async with talk(Dialogue) as (chat, client):
        await trio.sleep(20)
        await say(client, b"part")
        assert chat.calls == [("data", b"part"), ("more", True)]
        await trio.sleep(31)
        assert chat.timeouts == [("message", 20 + 30)]


async def test_patience_is_for_this_wait_only(autojump_clock: trio.testing.MockClock) -> None:
    class Patient(Staying):
        message_timeout = 30

        async def ask(self) -> None:
            with trio.move_on_after(1):
                await self.more(2)

    async with talk(Patient) as (chat, client):
        await client.send_all(b"ask\n")
        await trio.sleep(100)
        assert chat.timeouts == []
        await client.send_all(b"part")
        await trio.sleep(31)
        assert chat.timeouts == [("message", 130)]


@pytest.mark.parametrize("answer", [True, False])
async def test_a_timeout_may_ask_whether_the_peer_is_there(
    autojump_clock: trio.testing.MockClock, *, answer: bool
) -> None:
    class Pinging(Asking):
        idle_timeout = 10

        async def handle_timeout(self, kind: TimeoutKind) -> None:  # type: ignore[override]
            self.calls.append(("timeout", kind))
            if kind == "message":
                self.close_when_done()
            elif kind == "idle":
                self.push(b"ping\n")
                await self.more(5)

    async with talk(Pinging) as (chat, client):
        assert await receive_exactly(client, 5) == b"ping\n"
        assert trio.current_time() == 10
        if answer:
            await client.send_all(b"pong\n")
            assert await receive_exactly(client, 5) == b"ping\n"
            assert trio.current_time() == 20
        assert await receive_all(client) == b""
        assert trio.current_time() == (25 if answer else 15)
    assert chat.names[-4:] == ["timeout", "timeout", "more", "close"]


@pytest.mark.parametrize("first", ["chunk", "timeout"])
@pytest.mark.parametrize("limit", ["patience", "idle"])
async def test_a_chunk_in_the_instant_of_a_timeout_is_not_lost(
    autojump_clock: trio.testing.MockClock, first: str, limit: str
) -> None:
    class Timed(Staying):
        idle_timeout = 10 if limit == "idle" else math.inf

        async def ask(self) -> None:
            while not self.frames[1:]:
                assert await self.more(10 if limit == "patience" else math.inf)

    async with talk(Timed) as (chat, client):
        await client.send_all(b"ask\n")
        await trio.sleep(10 - (1e-9 if first == "chunk" else 0))
        put(chat, b"now\n")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.frames == [b"ask", b"now"]
        assert chat.count("asked") == 1


# ---------------------------------------------------------------------- interruptions


async def test_a_terminator_set_by_another_task_applies_to_what_is_held_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class CrLf(Asking):
        terminator = b"\r\n"

        async def ask(self) -> None:
            while len(self.frames) < 2:
                assert await self.more()

    async with talk(CrLf) as (chat, client):
        await say(client, b"ask\r\nabc\r")
        assert chat.calls[3:] == [("data", b"abc"), ("more", True)]
        chat.set_terminator(b"\r")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.frames == [b"ask", b"abc"]
        assert chat.count("asked") == 1


async def test_close_when_idle_does_not_interrupt_it_but_closes_afterwards(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Dialogue(Asking):
        async def ask(self) -> None:
            self.push(b"?")
            while self.frames[-1] != b"end":
                assert await self.more()
            self.push(b"!")

    async with talk(Dialogue) as (chat, client):
        await client.send_all(b"ask\n")
        assert await receive_exactly(client, 1) == b"?"
        chat.close_when_idle()
        for line in (b"x\n", b"y\n", b"end\n"):
            await trio.sleep(1)
            assert not chat.closing
            await say(client, line)
        assert await receive_all(client) == b"!"
        assert trio.current_time() == 3
    assert chat.frames == [b"ask", b"x", b"y", b"end"]


async def test_close_when_idle_waits_for_the_frame_that_was_begun_within_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with talk(Asking) as (chat, client):
        await say(client, b"ask\n")
        chat.close_when_idle()
        await say(client, b"part")
        assert chat.count("asked") == 1
        assert not chat.closing
        await client.send_all(b"ial\n")
        assert await receive_all(client) == b""
    assert chat.frames == [b"ask", b"partial"]


class Interruptible(Asking):
    """Its waits are cancelled by `scope`, and begin again."""

    interruptions = 0

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.scope = trio.CancelScope()

    async def ask(self) -> None:
        while b"end" not in self.frames:
            with trio.CancelScope() as self.scope:
                assert await self.more()
            self.interruptions += self.scope.cancelled_caught


@pytest.mark.parametrize("chunks", splits(b"ask\nabc\n\nend\nx\n"))
async def test_if_it_is_cancelled_while_waiting_nothing_is_lost(
    autojump_clock: trio.testing.MockClock, chunks: list[bytes]
) -> None:
    async with talk(Interruptible) as (chat, client):
        for chunk in chunks:
            chat.scope.cancel()
            await say(client, chunk)
        await client.send_eof()
        await receive_all(client)
    assert chat.frames == [b"ask", b"abc", b"", b"end", b"x"]
    assert b"".join(data for name, data in chat.calls if name == "data" and isinstance(data, bytes)) == b"askabcendx"
    assert chat.count("eof") == 1


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("cancel_first", [True, False])
async def test_a_chunk_in_the_turn_of_a_cancellation_is_not_lost(
    autojump_clock: trio.testing.MockClock, *, cancel_first: bool, turns: int
) -> None:
    async with talk(Interruptible) as (chat, client):
        await say(client, b"ask\n")
        for i in range(10):
            if cancel_first:
                chat.scope.cancel()
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
            put(chat, b"%d\n" % i)
            if not cancel_first:
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                chat.scope.cancel()
            if turns % 2:
                await trio.testing.wait_all_tasks_blocked()
        await say(client, b"end\n")
        assert chat.frames == [b"ask", *(b"%d" % i for i in range(10)), b"end"]
        assert chat.interruptions > 0 or not cancel_first
        assert chat.count("asked") == 1


async def test_after_a_cancellation_the_conversation_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    class Brief(Asking):
        async def ask(self) -> None:
            with trio.move_on_after(5):
                await self.more()

    async with talk(Brief) as (chat, client):
        await client.send_all(b"ask\n")
        await trio.sleep(6)
        assert chat.count("asked") == 1
        await say(client, b"x\nask\n")
        await trio.sleep(1)
        await say(client, b"y\n")
        await client.send_eof()
        assert await receive_all(client) == b""
    assert chat.frames == [b"ask", b"x", b"ask", b"y"]
    assert (chat.count("more"), chat.count("asked"), chat.count("eof")) == (1, 2, 1)


async def test_if_it_is_cancelled_before_it_begins_nothing_is_lost(autojump_clock: trio.testing.MockClock) -> None:
    class Cancelled(Asking):
        async def ask(self) -> None:
            for _ in range(3):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await self.more()
                assert scope.cancelled_caught

    chat, _ = await converse(Cancelled, [b"ask\nx\ny\n"])
    assert chat.names == ["connect", "data", "found", "asked", "data", "found", "data", "found", "eof", "close"]


class SlowToCollect(Asking):
    """Collecting takes a second."""

    async def collect_incoming_data(self, data: bytes) -> None:  # type: ignore[override]
        super().collect_incoming_data(data)
        if b"ask" not in self.frames or data == b"ask":
            return
        await trio.sleep(1)

    async def ask(self) -> None:
        with trio.move_on_after(0.5) as scope:
            await self.more()
        assert scope.cancelled_caught


@pytest.mark.parametrize("chunks", [[b"ask\none\ntwo\n"], [b"ask\n", b"one\ntwo\n"], [b"ask\n", b"one", b"\ntwo\n"]])
async def test_if_a_callback_within_it_is_cancelled_no_frame_is_lost(
    autojump_clock: trio.testing.MockClock, chunks: list[bytes]
) -> None:
    """What was handed over was handed over; the terminator behind it was not."""
    async with talk(SlowToCollect) as (chat, client):
        for chunk in chunks:
            await say(client, chunk)
        await trio.sleep(10)
        assert chat.frames == [b"ask", b"one", b"two"]


async def test_a_cancellation_of_the_conversation(autojump_clock: trio.testing.MockClock) -> None:
    cancelled = []

    class Cancelled(Asking):
        async def ask(self) -> None:
            try:
                await self.more()
            except trio.Cancelled:
                cancelled.append(True)
                raise

    client, server = trio.testing.memory_stream_pair()
    chat = Cancelled(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await say(client, b"ask\n")
        nursery.cancel_scope.cancel()
    assert cancelled == [True]
    assert chat.names == ["connect", "data", "found", "close"]
    assert await receive_all(client) == b""


# ---------------------------------------------------------------------- errors


class Failing(Greedy):
    """The frame "bad" is an error."""

    async def found_terminator(self) -> None:
        await super().found_terminator()
        if self.frames[-1] == b"bad":
            raise Boom

    def handle_error(self, exc: Exception) -> None:
        self.calls.append(("error", type(exc)))
        super().handle_error(exc)


async def test_an_exception_of_a_callback_within_leaves_run_as_itself(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    chat = Failing(server)
    await client.send_all(b"ask\nx\nbad\nnever\n")
    with pytest.raises(Boom):
        await run(chat)
    assert chat.frames == [b"ask", b"x", b"bad"]
    assert ("error", Boom) in chat.calls
    assert chat.names[-1] == "close"
    assert await receive_all(client) == b""


async def test_a_handled_exception_does_not_end_it(autojump_clock: trio.testing.MockClock) -> None:
    class Tolerant(Failing):
        def handle_error(self, exc: Exception) -> None:
            self.calls.append(("error", type(exc)))

    data = b"ask\nx\nbad\ny\n"
    chat, _ = await converse(Tolerant, [data])
    assert chat.frames == [b"ask", b"x", b"bad", b"y"]
    assert (chat.count("error"), chat.count("asked"), chat.count("eof")) == (1, 1, 1)
    await assert_same_under_every_split(
        Tolerant, data, most=100, result=lambda chat: (chat.frames, chat.count("error"), chat.count("asked"))
    )


async def test_a_callback_may_catch_what_one_within_it_raised(autojump_clock: trio.testing.MockClock) -> None:
    class Catching(Failing):
        async def ask(self) -> None:
            more = True
            while more:
                try:
                    more = await self.receive_more()
                except Boom:
                    self.calls.append(("caught", None))

    data = b"ask\nx\nbad\ny\nbad\nz\n"
    chat, _ = await converse(Catching, [data])
    assert chat.frames == [b"ask", b"x", b"bad", b"y", b"bad", b"z"]
    assert (chat.count("error"), chat.count("caught"), chat.count("asked"), chat.count("eof")) == (2, 2, 1, 1)
    await assert_same_under_every_split(
        Catching, data, most=100, result=lambda chat: [name for name in chat.names if name not in ("data", "more")]
    )


async def test_what_collecting_raised_may_be_caught_without_losing_the_frames_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Choosy(Asking):
        def collect_incoming_data(self, data: bytes) -> None:
            if data == b"bad":
                raise Boom
            super().collect_incoming_data(data)

        async def ask(self) -> None:
            with pytest.raises(Boom):
                await self.receive_more()

    for chunks in ([b"ask\nbad\ngood\n"], [b"ask\n", b"bad", b"\ngood\n"]):
        chat, _ = await converse(Choosy, chunks)
        assert chat.frames == [b"ask", b"", b"good"]


async def test_a_handled_error_of_collecting_ends_the_frame_once(autojump_clock: trio.testing.MockClock) -> None:
    """Even if what handles it goes on with the conversation."""

    class Choosy(Asking):
        def collect_incoming_data(self, data: bytes) -> None:
            if data == b"bad":
                raise Boom
            super().collect_incoming_data(data)

        async def handle_error(self, exc: Exception) -> None:
            assert isinstance(exc, Boom)
            await self.receive_more()

    for chunks in splits(b"1\nbad\ngood\nlast\n"):
        if b"bad" not in b"|".join(chunks):
            continue
        chat, _ = await converse(Choosy, chunks)
        assert chat.frames == [b"1", b"", b"good", b"last"], chunks


async def test_an_exception_of_a_background_task_ends_it(autojump_clock: trio.testing.MockClock) -> None:
    class Background(Asking):
        def handle_connect(self) -> None:
            self.nursery.start_soon(self.fail)

        async def fail(self) -> None:
            await trio.sleep(1)
            raise Boom

    client, server = trio.testing.memory_stream_pair()
    chat = Background(server)
    await client.send_all(b"ask\n")
    with pytest.raises(Boom):
        await run(chat)
    assert chat.names == ["data", "found", "close"]


def failing_producer() -> Iterator[bytes]:
    yield b"x"
    raise Boom


async def test_the_exception_of_a_producer_comes_out_of_it(autojump_clock: trio.testing.MockClock) -> None:
    class Producing(Asking):
        async def ask(self) -> None:
            self.push_with_producer(failing_producer())
            await self.more()

    client, server = trio.testing.memory_stream_pair()
    chat = Producing(server)
    await client.send_all(b"ask\n")
    with pytest.raises(Boom):
        await run(chat)
    assert chat.names == ["connect", "data", "found", "close"]


@pytest.mark.parametrize("by", ["handle_error", "the callback"])
async def test_after_the_exception_of_a_producer_it_closes_in_any_case(
    autojump_clock: trio.testing.MockClock, by: str
) -> None:
    class Producing(Asking):
        async def ask(self) -> None:
            self.push_with_producer(failing_producer())
            try:
                await self.receive_more()
            except Boom:
                assert by == "the callback"
            assert not await self.receive_more()

        def handle_error(self, exc: Exception) -> None:
            if by != "handle_error":
                super().handle_error(exc)

    async with talk(Producing) as (chat, client):
        await client.send_all(b"ask\n")
        with trio.move_on_after(10):
            assert await receive_all(client) in (b"", b"x")
        assert chat.closing
    assert chat.names == ["connect", "data", "found", "asked", "close"]


# ---------------------------------------------------------------------- output


async def test_what_callbacks_within_it_push_goes_out_while_the_outer_one_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Echo(Greedy):
        async def found_terminator(self) -> None:
            await super().found_terminator()
            self.push(b"<%s>" % str(self.frames[-1]).encode())

        async def ask(self) -> None:
            self.push(b"?")
            await super().ask()

    async with talk(Echo) as (chat, client):
        await client.send_all(b"ask\n")
        assert await receive_exactly(client, 1) == b"?"
        for line in (b"one", b"two"):
            await client.send_all(line + b"\n")
            expected = b"<%s>" % str(line).encode()
            assert await receive_exactly(client, len(expected)) == expected
        assert chat.count("asked") == 0


async def test_what_one_step_brings_leaves_in_one_send(autojump_clock: trio.testing.MockClock) -> None:
    class Echo(RecordingChat):
        def found_terminator(self) -> None:
            self.push(b"<" + self._get_data() + b">")

        async def handle_connect(self) -> None:  # type: ignore[override]
            while await self.receive_more():
                pass

    client, server = trio.testing.memory_stream_pair()
    counting = CountingStream(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, Echo(counting))
        await say(client, b"a\n")
        await say(client, b"b\nc\nd\n")
        await client.send_eof()
        await receive_all(client)
    assert b"".join(counting.sends) == b"<a><b><c><d>"
    assert len(counting.sends) <= 3  # the first frame after a pause is a step of its own


async def test_above_the_high_water_mark_nothing_more_is_handed_over(autojump_clock: trio.testing.MockClock) -> None:
    class Verbose(RecordingChat):
        high_water_bytes = 10_000
        low_water_bytes = 2_000

        def found_terminator(self) -> None:
            self.calls.append(("found", self._get_data()))
            self.push(b"x" * 1000)

        async def handle_connect(self) -> None:  # type: ignore[override]
            while await self.receive_more():
                pass

    client, server = trio.testing.lockstep_stream_pair()
    chat = Verbose(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await say(client, b"line\n" * 100)
        assert len(chat.frames) == 11
        received = len(await client.receive_some(8_999))
        await trio.testing.wait_all_tasks_blocked()
        assert len(chat.frames) == 11
        while received < 100_000:
            received += len(await client.receive_some(1000))
            assert chat.queued_bytes <= 11_000
        await client.aclose()
    assert chat.frames == [b"line"] * 100


@pytest.mark.parametrize("in_a_callback", [True, False])
async def test_a_stall_of_more_than_the_high_water_mark_does_not_spin(
    autojump_clock: trio.testing.MockClock, *, in_a_callback: bool
) -> None:
    class Pushing(Narrow):
        write_timeout = 5

        def handle_connect(self) -> None:
            self.push(b"x" * 2000)

        async def ask(self) -> None:
            if in_a_callback:
                await self.receive_more()

    client, server = trio.testing.memory_stream_pair()
    chat = Pushing(StallingStream(server, send_after=0))
    await client.send_all(b"ask\n1\n2\n")
    await run(chat)
    assert trio.current_time() == 5
    assert ("timeout", "write") in chat.calls


async def test_a_high_water_mark_below_the_low_one_does_not_spin(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever lowers the one alone is told that it is no limit, or served."""

    class Pushing(Narrow):
        low_water_bytes = 1500

        async def ask(self) -> None:
            self.push(b"x" * 1200)
            await self.receive_more()

    with suppress(ValueError):
        chat, output = await converse(Pushing, [b"ask\n1\n"])
        assert output == b"x" * 1200
        assert chat.frames == [b"ask", b"1"]


# ---------------------------------------------------------------------- frames that are too long


class Limited(Asking):
    max_frame_bytes: int | None = 5

    async def ask(self) -> None:
        while await self.receive_more():
            pass


@pytest.mark.parametrize("policy", ["close", "answer", "skip"])
async def test_a_frame_that_is_too_long(autojump_clock: trio.testing.MockClock, policy: OversizePolicy) -> None:
    class WithPolicy(Limited):
        on_oversize = policy

    data = b"ask\n12345\n123456\nx\n"
    chat, _ = await converse(WithPolicy, [data])
    story = [call for call in chat.calls if call[0] != "data"]
    expected: list[tuple[str, object]] = [("connect", None), ("found", b"ask"), ("found", b"12345")]
    if policy != "close":
        expected.append(("oversize", b"12345"))
    if policy == "skip":
        expected.append(("found", b"x"))
    expected.append(("asked", None))
    if policy == "skip":
        expected.append(("eof", b""))
    assert story == [*expected, ("close", None)]
    await assert_same_under_every_split(
        WithPolicy, data, most=100, result=lambda chat: [call for call in chat.calls if call[0] != "data"]
    )


@pytest.mark.parametrize("policy", ["close", "answer"])
async def test_a_frame_that_is_too_long_ends_the_wait_of_a_peer_that_says_no_more(
    autojump_clock: trio.testing.MockClock, policy: OversizePolicy
) -> None:
    class WithPolicy(Limited):
        on_oversize = policy

    async with talk(WithPolicy) as (chat, client):
        await client.send_all(b"ask\n123456")
        assert await receive_all(client) == b""
        assert trio.current_time() == 0
    assert chat.names[-2:] == ["asked", "close"]


@pytest.mark.parametrize("policy", ["answer", "skip"])
@pytest.mark.parametrize("chunks", splits(b"1\n123456\n2\n3\n"))
async def test_handle_oversize_receives_more(
    autojump_clock: trio.testing.MockClock, policy: OversizePolicy, chunks: list[bytes]
) -> None:
    """Or may be told that it may not; but it is not called again for the same frame."""

    class Asking(RecordingChat):
        max_frame_bytes = 5
        on_oversize = policy

        async def handle_oversize(self) -> None:  # type: ignore[override]
            assert "oversize" not in self.names, "once for each such frame"
            self.calls.append(("oversize", self._get_data()))
            with suppress(RuntimeError):
                await self.receive_more()

    chat, _ = await converse(Asking, chunks)
    story = [call for call in chat.calls if call[0] != "data"]
    assert story[:3] == [("connect", None), ("found", b"1"), ("oversize", b"12345")]
    if policy == "skip":
        assert story[3:] == [("found", b"2"), ("found", b"3"), ("eof", b""), ("close", None)]
    else:
        assert story[-1] == ("close", None)


async def test_what_handle_oversize_raises(autojump_clock: trio.testing.MockClock) -> None:
    class Raising(Limited):
        on_oversize = "skip"

        def handle_oversize(self) -> None:
            raise FrameTooLong(7)

    client, server = trio.testing.memory_stream_pair()
    await client.send_all(b"ask\n123456\n")
    with pytest.raises(FrameTooLong):
        await run(Raising(server))


# ---------------------------------------------------------------------- two at a time


class Twofold(Asking):
    """Two tasks of one callback take everything by turns, and may be slow with it."""

    pause = 0

    async def collect_incoming_data(self, data: bytes) -> None:  # type: ignore[override]
        self.calls.append(("data", data))
        for _ in range(self.pause):
            await trio.lowlevel.checkpoint()

    async def handle_connect(self) -> None:  # type: ignore[override]
        async with trio.open_nursery() as tasks:
            for _ in range(2):
                tasks.start_soon(self.take_everything)

    async def take_everything(self) -> None:
        more = True
        while more:
            try:
                more = await self.receive_more()
            except trio.BusyResourceError:
                await trio.sleep(1)
        self.calls.append(("end", None))

    @property
    def data(self) -> bytes:
        return b"".join(data for name, data in self.calls if name == "data" and isinstance(data, bytes))


@pytest.mark.parametrize("pause", [0, 1, 5])
async def test_two_tasks_of_a_callback_lose_and_double_nothing(
    autojump_clock: trio.testing.MockClock, pause: int
) -> None:
    class Raw(Twofold):
        terminator = None

    Raw.pause = pause
    data = bytes(range(40))
    for chunks in (*splits(data)[:5], [data[i : i + 7] for i in range(0, 40, 7)]):
        chat, _ = await converse(Raw, chunks)
        assert chat.data == data
        assert (chat.count("end"), chat.count("eof"), chat.names[-1]) == (2, 1, "close")


async def test_two_tasks_of_a_callback_get_every_frame_once(autojump_clock: trio.testing.MockClock) -> None:
    class Lines(Twofold):
        async def found_terminator(self) -> None:
            self.calls.append(("found", self.data))

    data = b"one\ntwo\n\nfour\n"
    chat, _ = await converse(Lines, [data])
    assert chat.frames == [b"one", b"onetwo", b"onetwo", b"onetwofour"]
    assert (chat.count("end"), chat.count("eof"), chat.names[-1]) == (2, 1, "close")
    await assert_same_under_every_split(Lines, data, most=100, result=lambda chat: (chat.frames, chat.count("end")))


async def test_one_task_at_a_time_can_wait(autojump_clock: trio.testing.MockClock) -> None:
    class Conflict(Asking):
        async def ask(self) -> None:
            async with trio.open_nursery() as tasks:
                tasks.start_soon(self.more)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(trio.BusyResourceError):
                    await self.receive_more()
                self.calls.append(("busy", None))

    async with talk(Conflict) as (chat, client):
        await say(client, b"ask\n")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.names[3:] == ["busy"]
        await say(client, b"x\ny\n")
        await client.send_eof()
        assert await receive_all(client) == b""
    assert chat.frames == [b"ask", b"x", b"y"]
    assert (chat.count("more"), chat.count("asked"), chat.count("eof")) == (1, 1, 1)


class Both(Asking):
    """Two tasks of one callback wait for a step each, the second of which comes when the first does something else.

    How they share the input is left open, but afterwards the conversation must live and end as ever.
    """

    high_water_bytes = 1000
    low_water_bytes = 0

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.done = 0

    async def ask(self) -> None:
        async with trio.open_nursery() as tasks:
            tasks.start_soon(self.one_step)
            await trio.sleep(2)
            tasks.start_soon(self.one_step)

    async def one_step(self) -> None:
        with suppress(trio.BusyResourceError):
            await self.receive_more()
        self.done += 1


class WhileOutputIsOverfull(Both):
    beginning = b"ask\n"

    async def ask(self) -> None:
        self.push(b"x" * 2000)
        await super().ask()


class WhileItIsNobodysTurn(Both):
    """The second comes when the first has been interrupted."""

    beginning = b"ask\n"

    async def ask(self) -> None:
        async with trio.open_nursery() as tasks:
            tasks.start_soon(self.one_step)
            await trio.sleep(3)
            self.close_when_idle()
            tasks.start_soon(self.one_step)


class SlowToRead(CountingStream):
    """A send takes three seconds."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(3)
        await super().send_all(data)


@pytest.mark.parametrize("end", ["close", "close_when_done", "close_when_idle", "idle", "eof", "reset"])
@pytest.mark.parametrize("input_", [[], [b"a\n"], [b"a\n", b"b\n"]])
@pytest.mark.parametrize("kind", [WhileOutputIsOverfull, WhileItIsNobodysTurn])
async def test_if_a_second_task_comes_in_between_nothing_hangs(
    autojump_clock: trio.testing.MockClock,
    kind: type[WhileOutputIsOverfull | WhileItIsNobodysTurn],
    input_: list[bytes],
    end: str,
) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = BreakingStream(SlowToRead(server))
    chat = kind(stream)
    chat.idle_timeout = 20 if end == "idle" else math.inf
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, chat)
        await client.send_all(kind.beginning)
        await trio.sleep(10)
        sent = [b"ask"]
        for chunk in input_:
            if not chat.closing:
                await client.send_all(chunk)
                sent.append(chunk[:-1])
            await trio.sleep(1)
        assert chat.frames == sent
        if end == "eof":
            await client.send_eof()
        elif end == "reset":
            stream.break_now()
        elif end != "idle":
            getattr(chat, end)()
        if end == "close_when_idle" and not input_:
            await client.send_all(b"a\nb\n")  # what the callback asks for comes after all
        await trio.sleep(100)
        assert chat.names[-1] == "close", "it hangs"
        assert (chat.done, chat.count("asked")) == (2, 1)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("end", ["close", "close_when_done", "close_when_idle", "eof", "idle"])
async def test_a_background_task_that_waits_when_the_callback_has_returned(
    autojump_clock: trio.testing.MockClock, end: str
) -> None:
    """It is no callback, and should not; but nothing is lost, and nothing hangs."""

    class Background(Asking):
        idle_timeout = 20 if end == "idle" else math.inf

        async def ask(self) -> None:
            self.nursery.start_soon(self.one_step)
            await trio.sleep(1)

        async def one_step(self) -> None:
            with suppress(RuntimeError, trio.BusyResourceError):
                await self.receive_more()

    async with talk(Background) as (chat, client):
        await say(client, b"1\nask\n")
        await trio.sleep(2)
        if end == "close_when_idle":
            chat.close_when_idle()
        await say(client, b"2\n")
        if end != "close_when_idle":
            await say(client, b"ask\n")
            await trio.sleep(2)
        if end == "eof":
            await client.send_eof()
        elif end in ("close", "close_when_done"):
            getattr(chat, end)()
        await trio.sleep(100)
        assert chat.names[-1] == "close", "it hangs"
    assert chat.frames[:3] in ([b"1", b"ask", b"2"], [b"1", b"ask"])


# ---------------------------------------------------------------------- what a review has found


async def test_a_callback_that_collects_and_goes_on_ends_its_own_frame_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Collecting(Asking):
        async def collect_incoming_data(self, data: bytes) -> None:  # type: ignore[override]
            self.incoming.append(data)
            if b"".join(self.incoming) == b"one":
                await self.receive_more()

    data = b"one\ntwo\nthree\n"
    chat, _ = await converse(Collecting, [data])
    assert chat.frames == [b"one", b"two", b"three"]
    await assert_same_under_every_split(Collecting, data, most=100, result=lambda chat: chat.frames)


async def test_a_frame_that_is_owed_counts_as_a_step(autojump_clock: trio.testing.MockClock) -> None:
    class Slow(Asking):
        slow = True

        async def collect_incoming_data(self, data: bytes) -> None:  # type: ignore[override]
            self.incoming.append(data)
            if data == b"one" and self.slow:
                self.slow = False
                await trio.sleep_forever()

        async def ask(self) -> None:
            with trio.move_on_after(1):
                await self.receive_more()
            assert await self.receive_more()
            assert self.frames[-1] == b"one"
            self.push(b"answer")

    async with talk(Slow) as (chat, client):
        await client.send_all(b"ask\none\n")
        assert await receive_exactly(client, 6) == b"answer"
        assert (trio.current_time(), chat.frames) == (1, [b"ask", b"one"])


async def test_a_verdict_counts_as_a_step_even_if_it_raises(autojump_clock: trio.testing.MockClock) -> None:
    class Judging(Asking):
        max_frame_bytes = 3
        on_oversize = "skip"

        def handle_oversize(self) -> None:
            self.calls.append(("oversize", self._get_data()))
            raise Boom

        async def ask(self) -> None:
            assert await self.receive_more()  # as much of it as may be
            with pytest.raises(Boom):
                await self.receive_more()
            assert await self.receive_more()

    async with talk(Judging) as (chat, client):
        await client.send_all(b"ask\nlonger\n")
        await trio.sleep(1)
        await client.send_all(b"x\n")
        await trio.sleep(1)
        assert (chat.count("oversize"), chat.frames) == (1, [b"ask", b"x"])


async def test_a_task_that_goes_on_for_a_callback_that_has_returned_is_told_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    told = []

    class Leaving(Asking):
        async def ask(self) -> None:
            self.nursery.start_soon(self.stay)
            await trio.sleep(1)
            self.set_terminator(0)

        async def stay(self) -> None:
            try:
                await self.receive_more()
            except RuntimeError as exc:
                told.append(str(exc))

    async with talk(Leaving) as (_, client):
        await client.send_all(b"ask\n")
        await trio.sleep(5)
    assert told == ["the callback for which receive_more() was called has returned"]


async def test_a_timeout_of_a_wait_that_was_cancelled_is_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    """Whichever of the two comes first: over and over again."""

    class Impatient(Staying):
        async def ask(self) -> None:
            with trio.move_on_after(5):
                await self.receive_more(5)

    for _ in range(20):
        async with talk(Impatient) as (chat, client):
            await client.send_all(b"ask\n")
            await trio.sleep(5)
            await trio.testing.wait_all_tasks_blocked()
            within = chat.count("timeout")
            await trio.sleep(100)
            asked = chat.names.index("asked")
            assert within in (0, 1)
            assert "timeout" not in chat.names[asked:]


async def test_an_idle_timeout_that_asks_the_peer_is_not_called_within_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Pinging(Asking):
        idle_timeout = 10

        async def handle_timeout(self, kind: TimeoutKind) -> None:  # type: ignore[override]
            self.calls.append(("timeout", trio.current_time()))
            await self.receive_more()

    async with talk(Pinging) as (chat, _):
        await trio.sleep(10_000 - 1)
        assert 400 < chat.count("timeout") < 1000


async def test_the_failure_of_a_producer_is_noticed_after_the_peer_has_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Unclosable:
        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            raise StopIteration

        def close(self) -> None:
            raise Boom

    class Producing(Asking):
        write_timeout = 5

        def handle_connect(self) -> None:
            self.push(b"x")
            self.push_with_producer(Unclosable())

    _, server = trio.testing.memory_stream_pair()
    with pytest.raises(Boom):
        await run(Producing(StallingStream(server, send_after=0)))
    assert trio.current_time() == 5
