"""Whether a handler cares how its input was split."""

from __future__ import annotations

import random
import re
from collections import Counter
from contextlib import suppress
from itertools import combinations, count
from typing import Any

import pytest
import trio
from hypothesis import find, given, settings, strategies as st
from trio.testing import MockClock

from trio_chat import AsyncChat
from trio_chat.testing import Call, RecordingChat, assert_same_under_every_split, check_handler
from trio_chat.testing._cuts import cut, ways_to_cut
from trio_chat.testing.strategies import chunkings

INPUT = b"a\r\nbb\r\r\n\r\nccc\rd\r\nx\r"


class Right(AsyncChat):
    terminator = b"\r\n"

    def found_terminator(self) -> None:
        self.push(self._get_data() + b"|")

    def handle_eof(self) -> None:
        self.push(self._get_data() + b".")
        super().handle_eof()


class LosesHeldBackBytes(AsyncChat):
    """Looks for the line end by itself, and forgets a CR whose LF does not come."""

    terminator = None
    received = b""

    def collect_incoming_data(self, data: bytes) -> None:
        *lines, self.received = (self.received + data).split(b"\r\n")
        self.received = self.received.removesuffix(b"\r")
        for line in lines:
            self.push(line + b"|")


class CutsFramesWhereChunksEnd(AsyncChat):
    """Takes each chunk for whole lines."""

    terminator = None

    def collect_incoming_data(self, data: bytes) -> None:
        for line in data.split(b"\r\n"):
            self.push(line + b"|")


class CountsItsChunks(Right):
    """Fails with the third piece of a line."""

    def collect_incoming_data(self, data: bytes) -> None:
        super().collect_incoming_data(data)
        if len(self.incoming) == 3:
            raise OverflowError("too many pieces")


async def difference(factory: Any, data: bytes = INPUT, **options: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        await assert_same_under_every_split(factory, data, **options)
    return str(caught.value)


async def test_a_right_handler() -> None:
    tried = await assert_same_under_every_split(Right, INPUT)
    singles, pairs = 20, 190
    assert tried == 500 > 2 + singles + pairs
    assert await assert_same_under_every_split(Right, b"a\r\n") == 4
    assert await assert_same_under_every_split(Right, b"x") == 1
    assert await assert_same_under_every_split(Right, b"") == 1
    for most in (1, 2, 10):
        assert await assert_same_under_every_split(Right, INPUT, most=most) == most


async def test_held_back_bytes_that_are_lost() -> None:
    told = await difference(LosesHeldBackBytes)
    assert told.startswith("the handler does not do the same if its input is split as\n")
    assert len(told.splitlines()[1].split(" | ")) == 2  # no more cuts than are needed
    assert "the output is not the same\nexpected  b'" in told


async def test_frames_that_end_where_chunks_do() -> None:
    told = await difference(CutsFramesWhereChunksEnd)
    assert len(told.splitlines()[1].split(" | ")) == 2


async def test_a_difference_that_needs_two_cuts_has_two() -> None:
    told = await difference(CountsItsChunks, b"abcdefgh\r\n")
    assert len(told.splitlines()[1].split(" | ")) == 3
    assert "from run() comes OverflowError('too many pieces'), and None if the input comes whole" in told


async def test_an_exception_counts_with_its_words() -> None:
    class Quoting(AsyncChat):
        terminator = None

        def collect_incoming_data(self, data: bytes) -> None:
            raise LookupError(data)

    told = await difference(Quoting, b"ab")
    assert told.endswith("from run() comes LookupError(b'a'), and LookupError(b'ab') if the input comes whole")


async def test_callbacks_count_as_output_does() -> None:
    class Impatient(RecordingChat):
        terminator = b"\r\n"

        def collect_incoming_data(self, data: bytes) -> None:
            if data == b"a":
                self.set_terminator(b"\n")
            super().collect_incoming_data(data)

    told = await difference(Impatient, b"abc\r\n")
    assert told.splitlines()[1:] == [
        r"  a | bc\r\n",
        "from callback 1 on there are called",
        "  whole     connect(), data(b'abc'), found(), eof(), close()",
        r"  split     connect(), data(b'abc\r'), found(), eof(), close()",
    ]


async def test_a_handler_that_does_not_end(autojump_clock: MockClock) -> None:
    class Stubborn(Right):
        async def handle_eof(self) -> None:  # type: ignore[override]
            await trio.sleep_forever()

    assert "goes on for more than 5 seconds" in await difference(Stubborn)

    class StubbornIfItCameInPieces(Right):
        async def handle_eof(self) -> None:  # type: ignore[override]
            if len(self.incoming) > 1:
                await trio.sleep_forever()
            super().handle_eof()

    assert "it does not end" in await difference(StubbornIfItCameInPieces, b"ab")


async def test_a_handler_that_closes_early() -> None:
    class OneLine(Right):
        def found_terminator(self) -> None:
            super().found_terminator()
            self.close_when_done()

    await assert_same_under_every_split(OneLine, INPUT)


async def test_what_cannot_be_the_same() -> None:
    class Dated(Right):
        count = 0

        def found_terminator(self) -> None:
            Dated.count += 1
            self.push(b"Date: %d|" % self.count)

    assert "see `comparable`" in await difference(Dated)
    undated = re.compile(rb"Date: \d+")
    await assert_same_under_every_split(Dated, INPUT, comparable=lambda output: undated.sub(b"", output))


@pytest.mark.parametrize(("refused", "same"), [(b"!", True), (b"!?", False)])
async def test_a_handler_may_close_in_the_middle_of_a_frame(refused: bytes, *, same: bool) -> None:
    class Choosy(AsyncChat):
        terminator = b"\n"

        def collect_incoming_data(self, data: bytes) -> None:
            if refused in data:
                self.push(b"no")
                self.close_when_done()

        def found_terminator(self) -> None:
            self.push(b"yes")

    if same:
        await assert_same_under_every_split(Choosy, b"a\nbc!?d\ne\n")
    else:
        with pytest.raises(AssertionError, match=r"!\ \|\ \?"):
            await assert_same_under_every_split(Choosy, b"a\nbc!?d\ne\n")


async def test_what_a_handler_has_in_the_end() -> None:
    class Counting(AsyncChat):
        terminator = b"\n"
        pieces = 0
        lines = 0

        def collect_incoming_data(self, data: bytes) -> None:
            self.pieces += 1

        def found_terminator(self) -> None:
            self.lines += 1

    await assert_same_under_every_split(Counting, b"one\ntwo\n", result=lambda chat: chat.lines)
    with pytest.raises(AssertionError) as caught:
        await assert_same_under_every_split(Counting, b"one\ntwo\n", result=lambda chat: chat.pieces)
    assert "split as\n  one\\ntw | o\\n\nthe result is 3, and 2 if the input comes whole" in str(caught.value)


def test_the_ways_to_cut() -> None:
    ways = list(ways_to_cut(5, 1000, random.Random(0)))
    assert ways[:5] == [(1, 2, 3, 4), (1,), (2,), (3,), (4,)]
    assert ways[5:11] == [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]
    assert ways[11:] == [(1, 2, 3), (1, 2, 4), (1, 3, 4), (2, 3, 4)]
    assert list(ways_to_cut(1, 1000, random.Random(0))) == []
    assert len(list(ways_to_cut(1000, 100, random.Random(0)))) == 99
    assert list(ways_to_cut(10_000, 500, random.Random(1))) == list(ways_to_cut(10_000, 500, random.Random(1)))
    assert cut(b"abcd", (1, 3)) == [b"a", b"bc", b"d"]


@pytest.mark.parametrize("length", range(1, 8))
def test_ways_of_each_kind_come_as_long_as_there_may_be_more(length: int) -> None:
    places = range(1, length)
    in_turn = dict.fromkeys([tuple(places), *combinations(places, 1), *combinations(places, 2)] if places else [])
    for most in range(1, 100):
        ways = list(ways_to_cut(length, most, random.Random(0)))
        assert len(ways) < most
        if len(in_turn) < most:
            assert ways[: len(in_turn)] == list(in_turn)


def test_if_not_all_pairs_can_be_tried_there_is_room_for_more_than_pairs() -> None:
    ways = list(ways_to_cut(100, 500, random.Random(0)))
    assert len([way for way in ways if len(way) == 2]) == (499 - 100) // 2
    assert len([way for way in ways if 3 <= len(way) < 99]) > 100


@pytest.mark.parametrize("length", [445, 446, 447, 498, 499, 500, 5000])
def test_pairs_and_more_cuts_are_tried_however_long_the_input_is(length: int) -> None:
    counts = Counter(min(len(way), 3) for way in ways_to_cut(length, 500, random.Random(0)) if len(way) < length - 1)
    assert counts.total() == 498
    assert counts[1] == (length - 1 if length - 1 <= 449 else 249)
    assert abs(counts[2] - counts[3]) <= 1


@given(st.integers(0, 30), st.integers(0, 200), st.integers())
def test_no_way_is_tried_twice_and_none_left_out_as_long_as_there_is_room(length: int, most: int, seed: int) -> None:
    ways = list(ways_to_cut(length, most, random.Random(seed)))
    assert len(set(ways)) == len(ways) == max(min(most, 2 ** max(length - 1, 0)) - 1, 0)
    for way in ways:
        assert list(way) == sorted(set(way) & set(range(1, length)))


async def test_what_is_chosen_at_random_is_chosen_by_the_seed() -> None:
    async def pieces(seed: int) -> list[bytes]:
        received: list[bytes] = []

        class Noting(AsyncChat):
            terminator = None

            def collect_incoming_data(self, data: bytes) -> None:
                received.append(data)

        with suppress(AssertionError):
            await assert_same_under_every_split(Noting, bytes(range(100)), most=10, seed=seed)
        return received

    assert await pieces(1) == await pieces(1) != await pieces(2)


@pytest.mark.parametrize("check", [check_handler, assert_same_under_every_split])
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"data": "abc"}, TypeError, r"data is bytes, or like bytes; got 'abc'"),
        ({"handler_factory": lambda stream: None}, TypeError, r"returned None, not an AsyncChat"),
        ({"most": -1}, ValueError, r"most is at least 0; got -1"),
        ({"most": 1.5}, TypeError, r"most is a whole number; got 1\.5"),
        ({"comparable": lambda output: None}, TypeError, r"what comparable\(\) returns is bytes, .*; got None"),
    ],
)
async def test_wrong_arguments(check: Any, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        await check(**{"handler_factory": Right, "data": b"a\r\n", **options})


async def test_what_is_like_bytes_is_taken_for_them() -> None:
    assert await assert_same_under_every_split(Right, bytearray(b"a\r\n")) == 4  # type: ignore[arg-type]
    assert find(chunkings(bytearray(b"ab")), lambda chunks: len(chunks) == 2) == [b"a", b"b"]


def test_chunkings_of_text_are_refused() -> None:
    with pytest.raises(TypeError, match="data is bytes, or like bytes; got 'abc'"):
        chunkings("abc")  # type: ignore[arg-type]


@given(chunkings(b"a\r\nb\r\n"))
@settings(deadline=None)
def test_chunkings_for_hypothesis(chunks: list[bytes]) -> None:
    assert b"".join(chunks) == b"a\r\nb\r\n"
    assert all(chunks)


def test_chunkings_shrink_to_few_pieces() -> None:
    assert find(chunkings(b"abcdef"), lambda chunks: True) == [b"abcdef"]
    assert find(chunkings(b"abcdef"), lambda chunks: any(chunk.startswith(b"d") for chunk in chunks)) == [
        b"abc",
        b"def",
    ]
    assert find(chunkings(b""), lambda chunks: True) == []


def test_chunkings_may_be_cut_anywhere() -> None:
    for chunks in ([b"a", b"bc"], [b"ab", b"c"], [b"a", b"b", b"c"]):
        assert find(chunkings(b"abc"), chunks.__eq__) == chunks
    assert find(chunkings(b"ab"), lambda chunks: len(chunks) == 2) == [b"a", b"b"]


def test_chunkings_of_what_another_strategy_gives() -> None:
    assert find(chunkings(st.binary(min_size=2)), lambda chunks: len(chunks) == 2) == [b"\0", b"\0"]


async def test_a_recording_handler() -> None:
    class Recorder(RecordingChat):
        terminator = b"\n"

        def handle_connect(self) -> None:
            self.push(b"hi")

    client, server = trio.testing.memory_stream_pair()
    chat = Recorder(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await client.send_all(b"one\ntwo\nthree")
        await client.send_eof()
    assert chat.calls == [
        Call("connect"),
        Call("data", b"one"),
        Call("found"),
        Call("data", b"two"),
        Call("found"),
        Call("data", b"three"),
        Call("eof"),
        Call("close"),
    ]
    assert chat.frames == [b"one", b"two"]
    assert chat.names == ["connect", "data", "found", "data", "found", "data", "eof", "close"]


async def test_a_recording_handler_notes_each_callback_before_it_does_what_it_does(autojump_clock: MockClock) -> None:
    class Failing(RecordingChat):
        terminator = b"\n"
        max_frame_bytes = 3
        on_oversize = "skip"
        idle_timeout = 5

        def found_terminator(self) -> None:
            raise LookupError

        def handle_error(self, exc: Exception) -> None:
            pass

    client, server = trio.testing.memory_stream_pair()
    chat = Failing(server)
    await client.send_all(b"one\nthree\n")
    await chat.run()
    assert chat.names == ["connect", "data", "found", "error", "data", "oversize", "timeout", "close"]
    assert [call.argument for call in chat.calls if call.name == "timeout"] == ["idle"]


class TakesChunksForLines(AsyncChat):
    """And takes its time before it reads: all is there by then."""

    terminator = None

    async def handle_connect(self) -> None:
        await trio.sleep(0.01)
        self.push(b"220 hello\r\n")

    def collect_incoming_data(self, data: bytes) -> None:
        for line in data.split(b"\r\n"):
            self.push(line + b"|")


async def test_a_handler_that_waits_is_given_its_pieces_one_by_one(autojump_clock: MockClock) -> None:
    assert "does not do the same" in await difference(TakesChunksForLines)


class RunsByItself(AsyncChat):
    """Leaves its stream open, and fails with the third chunk."""

    async def run(self) -> None:
        count = 0
        while await self.stream.receive_some():
            count += 1
            if count == 3:
                raise OverflowError("too many chunks")
            await trio.sleep(1)


async def test_a_piece_comes_when_it_is_asked_for(autojump_clock: MockClock) -> None:
    assert await assert_same_under_every_split(RunsByItself, b"ab") == 2
    told = await difference(RunsByItself, b"abc")
    assert "split as\n  a | b | c\nfrom run() comes OverflowError('too many chunks')" in told


async def test_who_does_not_ask_in_time_is_given_the_rest_at_once(autojump_clock: MockClock) -> None:
    class Late(TakesChunksForLines):
        async def handle_connect(self) -> None:
            await trio.sleep(7)

    assert await assert_same_under_every_split(Late, INPUT, most=10, patience=5) == 10


async def test_a_piece_comes_when_nothing_more_happens() -> None:
    class Busy(AsyncChat):
        terminator = None
        busy = False

        def collect_incoming_data(self, data: bytes) -> None:
            assert not self.busy
            self.busy = True
            self.nursery.start_soon(self.work)

        async def work(self) -> None:
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            self.busy = False

    assert await assert_same_under_every_split(Busy, b"abc") == 4


async def test_a_clock_that_stands_still_is_moved_until_the_handler_has_ended(mock_clock: MockClock) -> None:
    class Slow(Right):
        async def handle_close(self) -> None:
            await trio.sleep(3)

    assert await assert_same_under_every_split(Slow, b"a") == 1
    assert trio.current_time() == 2 * 3


async def test_on_a_clock_that_stands_still(mock_clock: MockClock) -> None:
    assert "does not do the same" in await difference(TakesChunksForLines)
    assert await assert_same_under_every_split(Right, INPUT, most=20) == 20


async def test_a_handler_that_never_does_the_same() -> None:
    class Numbered(Right):
        def handle_connect(self) -> None:
            self.push(b"220 %d\r\n" % id(self))

    assert "does not do the same twice with the same input: see `comparable`" in await difference(Numbered)


async def test_what_comparable_has_no_say_in_is_no_reason_to_name_it() -> None:
    class Numbered(Right):
        def handle_eof(self) -> None:
            raise LookupError(id(self))

    assert (await difference(Numbered)).startswith(
        "the handler does not do the same twice with the same input\nfrom run"
    )
    numbers = count()
    told = await difference(Right, result=lambda chat: next(numbers))
    assert told.startswith("the handler does not do the same twice with the same input\nthe result is ")


async def test_the_address_of_an_object_makes_no_difference() -> None:
    class Fails(RecordingChat):
        def handle_eof(self) -> None:
            raise LookupError(object(), self)

        def handle_error(self, exc: Exception) -> None:
            raise exc

    assert await assert_same_under_every_split(Fails, b"abc") == 4
