"""Frames that are too long: the verdict, the policy, and what is left, under every split."""

from __future__ import annotations

from typing import ClassVar

import pytest
import trio
from support import RecordingChat, converse

from trio_chat import Terminator
from trio_chat.testing import assert_same_under_every_split


class Limited(RecordingChat):
    terminator: ClassVar[Terminator] = b"\r\n"
    max_frame_bytes: int | None = 5

    def found_terminator(self) -> None:
        super().found_terminator()
        self.push(b"ok ")

    def handle_oversize(self) -> None:
        super().handle_oversize()
        self.push(b"too long ")

    @property
    def story(self) -> list[tuple[str, object]]:
        """The calls but for how the data was cut."""
        return [call for call in self.calls if call[0] != "data"]


INPUT = b"12345\r\n123456\r\n1\r\n"


async def test_close() -> None:
    class Closing(Limited):
        on_oversize = "close"

    chat, output = await converse(Closing, [INPUT])
    assert output == b"ok "
    assert chat.story == [("connect", None), ("found", b"12345"), ("close", None)]
    assert chat.incoming == [b"12345"]
    await assert_same_under_every_split(Closing, INPUT)


async def test_answer_and_close() -> None:
    class Answering(Limited):
        on_oversize = "answer"

    chat, output = await converse(Answering, [INPUT])
    assert output == b"ok too long "
    assert chat.story == [("connect", None), ("found", b"12345"), ("oversize", b"12345"), ("close", None)]
    await assert_same_under_every_split(Answering, INPUT)


async def test_skip_and_go_on() -> None:
    class Skipping(Limited):
        on_oversize = "skip"

    input_ = INPUT + b"x" * 20 + b"\r\r\n" + b"y" * 6 + b"\r\nlast!\r\n" + b"z" * 6
    chat, output = await converse(Skipping, [input_])
    assert output == b"ok too long ok too long too long ok too long "
    assert chat.story == [
        ("connect", None),
        ("found", b"12345"),
        ("oversize", b"12345"),
        ("found", b"1"),
        ("oversize", b"xxxxx"),
        ("oversize", b"yyyyy"),
        ("found", b"last!"),
        ("oversize", b"zzzzz"),
        ("eof", b""),
        ("close", None),
    ]
    await assert_same_under_every_split(Skipping, input_, most=700)


@pytest.mark.parametrize("length", [4, 5, 6])
async def test_the_limit_is_the_longest_frame_that_is_taken(length: int) -> None:
    frame = b"x" * length
    chat, _ = await converse(Limited, [frame + b"\r\n"])
    assert chat.frames == [frame] * (length <= 5)
    await assert_same_under_every_split(Limited, frame + b"\r\n")


async def test_an_instance_may_have_its_own_limit() -> None:
    def unlimited(stream: trio.abc.Stream) -> Limited:
        chat = Limited(stream)
        chat.max_frame_bytes = None
        return chat

    chat, _ = await converse(unlimited, [b"x" * 100_000 + b"\r\n"])
    assert len(chat.frames) == 1


async def test_counts_are_not_limited() -> None:
    class Counting(Limited):
        terminator = 10

        def found_terminator(self) -> None:
            super().found_terminator()
            self.set_terminator(10)

    chat, _ = await converse(Counting, [b"x" * 20])
    assert chat.frames == [b"x" * 10] * 2


async def test_the_policy_may_close_by_itself() -> None:
    class Closing(Limited):
        on_oversize = "skip"

        def handle_oversize(self) -> None:
            self.push(b"go away")
            self.close_when_done()

    chat, output = await converse(Closing, [INPUT])
    assert output == b"ok go away"
    assert chat.frames == [b"12345"]


async def test_an_async_answer() -> None:
    class Answering(Limited):
        on_oversize = "answer"

        async def handle_oversize(self) -> None:  # type: ignore[override]
            await trio.lowlevel.checkpoint()
            self.push(b"too long")

    _, output = await converse(Answering, [INPUT])
    assert output == b"ok too long"


async def test_an_answer_may_change_the_terminator() -> None:
    class Changing(Limited):
        on_oversize = "skip"

        def handle_oversize(self) -> None:
            super().handle_oversize()
            self.set_terminator(b"|")

    chat, _ = await converse(Changing, [b"123456\r\n|abc|"])
    assert [call for call in chat.story if call[0] in ("found", "oversize")] == [
        ("oversize", b"12345"),
        ("found", b"abc"),
    ]


@pytest.mark.parametrize("input_", [b"123456\r\nabc\r\n", b"123456\r\n\r\n\r\n"])
async def test_nothing_is_handed_over_after_a_close_in_the_answer(input_: bytes) -> None:
    class Closing(Limited):
        on_oversize = "skip"

        def handle_oversize(self) -> None:
            super().handle_oversize()
            self.close_when_done()

    chat, _ = await converse(Closing, [input_])
    assert chat.story == [("connect", None), ("oversize", b"12345"), ("close", None)]


async def test_a_limit_of_nothing() -> None:
    class Empty(Limited):
        max_frame_bytes = 0
        on_oversize = "skip"

    chat, _ = await converse(Empty, [b"long\r\n\r\nlonger\r\n"])
    assert [name for name, _ in chat.story] == ["connect", "oversize", "found", "oversize", "eof", "close"]
