"""What a handler is called with, and when."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest
import trio
import trio.testing
from support import RecordingChat, converse, receive_all, receive_exactly, talk

from trio_chat import AsyncChat, Terminator
from trio_chat.testing import assert_same_under_every_split


class Echo(RecordingChat):
    def found_terminator(self) -> None:
        line = self._get_data()
        self.calls.append(("found", line))
        self.push(b"<" + line + b">")


async def test_every_line_is_answered_and_every_callback_comes_in_its_place() -> None:
    chat, output = await converse(Echo, [b"one\ntw", b"o\n\nrest"])
    assert output == b"<one><two><>"
    assert chat.calls == [
        ("connect", None),
        ("data", b"one"),
        ("found", b"one"),
        ("data", b"tw"),
        ("data", b"o"),
        ("found", b"two"),
        ("found", b""),
        ("data", b"rest"),
        ("eof", b"rest"),
        ("close", None),
    ]


async def test_async_callbacks_run_one_after_the_other() -> None:
    running = 0

    class Slow(RecordingChat):
        async def found_terminator(self) -> None:
            nonlocal running
            running += 1
            assert running == 1
            await trio.testing.wait_all_tasks_blocked()
            super().found_terminator()
            running -= 1

        async def handle_close(self) -> None:  # type: ignore[override]
            await trio.lowlevel.checkpoint()
            super().handle_close()

    chat, _ = await converse(Slow, [b"a\nb\nc\n", b"d\n"])
    assert chat.frames == [b"a", b"b", b"c", b"d"]
    assert chat.names[-2:] == ["eof", "close"]


async def test_while_a_callback_awaits_nothing_is_received() -> None:
    class Waiting(RecordingChat):
        def __init__(self, stream: trio.abc.Stream) -> None:
            super().__init__(stream)
            self.go_on = trio.Event()

        async def found_terminator(self) -> None:
            super().found_terminator()
            await self.go_on.wait()

    client, server = trio.testing.lockstep_stream_pair()
    chat = Waiting(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await client.send_all(b"one\n")
        sent_two = trio.Event()

        async def send_two() -> None:
            await client.send_all(b"two\n")
            sent_two.set()

        nursery.start_soon(send_two)
        await trio.testing.wait_all_tasks_blocked()
        assert not sent_two.is_set()
        chat.go_on.set()
        await sent_two.wait()
        await client.send_eof()
        assert await receive_all(client) == b""
    assert chat.frames == [b"one", b"two"]


async def test_a_callback_that_returns_something_is_tolerated() -> None:
    class Returning(RecordingChat):
        def found_terminator(self) -> bool:  # type: ignore[override]
            super().found_terminator()
            return True

    chat, _ = await converse(Returning, [b"a\nb\n"])
    assert chat.frames == [b"a", b"b"]


async def test_terminators_change_between_frames_whatever_the_split() -> None:
    class LinesAndCounts(RecordingChat):
        """A line says how many bytes follow it; an empty one says nothing."""

        def found_terminator(self) -> None:
            super().found_terminator()
            frame = self.frames[-1]
            assert isinstance(frame, bytes)
            is_line = self.get_terminator() == b"\n"  # after a count it is None
            self.set_terminator(int(frame) if is_line and frame else b"\n")

    data = b"3\nabc\n0\n\n2\n\n\n5\n"
    chat, _ = await converse(LinesAndCounts, [data])
    assert chat.frames == [b"3", b"abc", b"", b"0", b"", b"", b"2", b"\n\n", b"5"]
    await assert_same_under_every_split(LinesAndCounts, data)


async def test_count_zero_is_found_at_once() -> None:
    class Zero(RecordingChat):
        terminator = 0

        def found_terminator(self) -> None:
            super().found_terminator()
            self.push(b"found")
            self.set_terminator(b"\n")

    async with talk(Zero) as (chat, client):
        assert await receive_exactly(client, 5) == b"found"
        assert chat.frames == [b""]


async def test_a_terminator_set_by_another_task_applies_to_what_is_held_back() -> None:
    async with talk(RecordingChat) as (chat, client):
        chat.set_terminator(b"\r\n")
        await client.send_all(b"abc\r")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.calls[-1] == ("data", b"abc")
        chat.set_terminator(b"\r")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.frames == [b"abc"]


async def test_a_terminator_set_in_the_constructor_counts() -> None:
    class Constructed(RecordingChat):
        def __init__(self, stream: trio.abc.Stream) -> None:
            super().__init__(stream)
            self.set_terminator(b"|")
            self.push(b"hello")

    chat, output = await converse(Constructed, [b"a|b|"])
    assert (chat.frames, output) == ([b"a", b"b"], b"hello")


async def test_of_several_terminators_the_one_that_was_found_is_known() -> None:
    class Prompted(RecordingChat):
        terminator = (b"login:", b"Password:")

        def found_terminator(self) -> None:
            self.push(b"me\n" if self.matched_terminator == b"login:" else b"secret\n")

    _, output = await converse(Prompted, [b"Welcome!\nlogin:", b" Pass", b"word: "])
    assert output == b"me\nsecret\n"


@pytest.mark.parametrize(
    ("terminator", "error", "said"),
    [
        ("\r\n", TypeError, r"did you mean b'\\r\\n'"),
        (True, TypeError, "got True"),
        (-1, ValueError, "got -1"),
        (b"", ValueError, "use None"),
        ((), ValueError, "at least one"),
        ([b"\n"], TypeError, "tuple of bytes"),
        ((b"\n", "x"), TypeError, "'x'"),
        (1.5, TypeError, "1.5"),
    ],
)
async def test_a_wrong_terminator_is_refused_at_the_call(
    terminator: Terminator, error: type[Exception], said: str
) -> None:
    chat = RecordingChat(trio.testing.memory_stream_pair()[0])
    with pytest.raises(error, match=said):
        chat.set_terminator(terminator)
    assert chat.get_terminator() == b"\n"


async def test_a_stream_is_needed() -> None:
    with pytest.raises(TypeError, match=r"takes a trio\.abc\.Stream; got None"):
        AsyncChat(None)  # type: ignore[arg-type]


async def test_a_conversation_is_held_once() -> None:
    chat, _ = await converse(RecordingChat, [])
    with pytest.raises(RuntimeError, match="once"):
        await chat.run()


async def test_callbacks_that_must_be_overridden_say_so() -> None:
    client, server = trio.testing.memory_stream_pair()
    chat = AsyncChat(server)
    chat.set_terminator(b"\n")
    await client.send_all(b"x\n")
    with pytest.raises(NotImplementedError, match=r"AsyncChat must override found_terminator\(\)"):
        await chat.run()


async def test_long_runs_of_tiny_frames_let_other_tasks_run() -> None:
    turns = 0

    class Lines(RecordingChat):
        def found_terminator(self) -> None:
            self.push(b".")

    async def other_task() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with talk(Lines) as (_, client), trio.open_nursery() as nursery:
        nursery.start_soon(other_task)
        await client.send_all(b"\n" * 65536)
        assert await receive_exactly(client, 65536) == b"." * 65536
        nursery.cancel_scope.cancel()
    assert turns > 65536 // 1024


async def test_discard_buffers_drops_what_was_received_and_what_is_queued() -> None:
    class Discarding(RecordingChat):
        def found_terminator(self) -> None:
            super().found_terminator()
            self.push(b"answer")
            if self.frames[-1] == b"b":
                self.discard_buffers()

    chat, output = await converse(Discarding, [b"a\nb\nc\nd", b"e\n"])
    assert chat.frames == [b"a", b"b", b"e"]
    assert output == b"answer"  # to "e"


async def test_a_callback_that_collects_may_await_for_one_frame_and_raise_at_once_for_the_next() -> None:
    class Fickle(RecordingChat):
        def collect_incoming_data(self, data: bytes) -> Awaitable[None] | None:  # type: ignore[override]
            super().collect_incoming_data(data)
            if data == b"bad":
                raise ValueError(data)
            return trio.lowlevel.checkpoint() if data == b"slow" else None

        def handle_error(self, exc: Exception) -> None:
            self.calls.append(("error", str(exc)))

    for chunks in ([b"slow\nbad\nlast\n"], [b"slow\n", b"bad\n", b"last\n"]):
        chat, _ = await converse(Fickle, chunks)
        assert chat.frames == [b"slow", b"bad", b"last"]
        assert chat.names.count("error") == 1
