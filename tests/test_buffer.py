"""`TerminatorBuffer`: the same frames, verdicts and leftovers however the input was split; nothing lost or doubled.

Most tests compare `drive` (the buffer) with `model` (a naive search of the unsplit bytes). Both give a list of events,
(data of the frame, what ended it), and the bytes that were not handed over.
"""

from __future__ import annotations

import array
import enum
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations_with_replacement, islice
from types import FrameType
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from trio_chat import Batch, FrameTooLong, TerminatorBuffer
from trio_chat._buffer import _BATCH_FRAMES
from trio_chat._terminators import Terminator, needles_for

TOO_LONG, OPEN = "too long", "open"  # what ends a frame, besides its terminator (b"" for a count)
Event: TypeAlias = tuple[bytes, bytes | str]
Result: TypeAlias = tuple[list[Event], bytes]

CRLF2 = b"\r\n\r\n"


# ------------------------------------------------------------------ the model


def locate(text: bytes, terminator: Terminator, *, eof: bool) -> tuple[int, bytes | None]:
    """How many bytes of the text are data of this frame, and the terminator behind them, if it is there."""
    if isinstance(terminator, int):
        return (terminator, b"") if terminator <= len(text) else (len(text), None)
    alternatives = (terminator,) if isinstance(terminator, bytes) else terminator or ()
    for at in range(len(text)):
        rest = text[at:]
        if not eof and any(len(one) > len(rest) and one.startswith(rest) for one in alternatives):
            return at, None
        if found := [one for one in alternatives if rest.startswith(one)]:
            return at, max(found, key=len)
    return len(text), None


def model(
    data: bytes, script: Sequence[Terminator], *, limit: int | None = None, skip: bool = False, eof: bool = False
) -> Result:
    """Find the terminators of the script one after the other; the last one stays (a count is followed by None)."""
    events: list[Event] = []
    terminator, *later = script
    while True:
        at, found = locate(data, terminator, eof=eof)
        if limit is not None and at > limit and isinstance(terminator, bytes | tuple):
            events.append((data[:limit], TOO_LONG))
            data = data[limit:]
            if not skip:
                return events, data
            at, found = locate(data, terminator, eof=eof)
            if found is None:
                return events, data[at:]
        elif found is None:
            return events + [(data[:at], OPEN)] * (at > 0), data[at:]
        else:
            events.append((data[:at], found))
            if later:
                terminator = later.pop(0)
            elif isinstance(terminator, int):
                terminator = None
        data = data[at + len(found) :]


def drive(
    chunks: Iterable[bytes],
    script: Sequence[Terminator],
    *,
    limit: int | None = None,
    skip: bool = False,
    eof: bool = False,
    lazy: bool = False,
) -> Result:
    """What a buffer makes of the chunks; a lazy consumer looks only when everything has been fed."""
    events: list[Event] = []
    current, *later = script
    buffer = TerminatorBuffer(current, max_frame_bytes=limit)
    frame = b""

    def pull() -> None:
        nonlocal frame, current
        for pieces, ended in buffer:
            for piece in pieces:
                assert piece or ended
                frame += piece
                if ended:
                    events.append((frame, b"" if isinstance(current, int) else buffer.matched or "none"))
                    frame = b""
                    if later:
                        buffer.terminator = current = later.pop(0)

    def pull_all() -> None:
        nonlocal frame
        while not (events and events[-1][1] == TOO_LONG and not skip):
            try:
                pull()
                break
            except FrameTooLong:
                events.append((frame, TOO_LONG))
                frame = b""
                if skip:
                    buffer.skip_frame()

    for chunk in chunks:
        buffer.feed(chunk)
        if not lazy:
            pull_all()
    if eof:
        buffer.feed_eof()
    pull_all()
    if frame:
        events.append((frame, OPEN))
    return events, buffer.take()


def every_split(data: bytes) -> Iterator[list[bytes]]:
    """All in one, byte by byte, and every pair of cut points."""
    yield [data[at : at + 1] for at in range(len(data))]
    for one, two in combinations_with_replacement(range(len(data) + 1), 2):
        yield [data[:one], data[one:two], data[two:]]


def pulled(buffer: TerminatorBuffer) -> list[tuple[bytes, bool]]:
    return [(piece, ended) for pieces, ended in buffer for piece in pieces]


def fed(terminator: Terminator, *chunks: bytes, limit: int | None = None) -> TerminatorBuffer:
    buffer = TerminatorBuffer(terminator, max_frame_bytes=limit)
    for chunk in chunks:
        buffer.feed(chunk)
    return buffer


def handed_until_too_long(buffer: TerminatorBuffer) -> list[tuple[bytes, bool]]:
    handed: list[tuple[bytes, bool]] = []
    pieces = ((piece, batch.ended) for batch in buffer for piece in batch.pieces)
    with pytest.raises(FrameTooLong):
        handed.extend(pieces)
    return handed


# ------------------------------------------------------------------ the buffer is the model, however the input is split

one_string = st.lists(st.sampled_from(b"ab"), min_size=1, max_size=6).map(bytes)
any_bytes = one_string | st.lists(one_string, min_size=1, max_size=3).map(tuple)
any_terminator = any_bytes | st.integers(0, 5) | st.none()
limits = st.none() | st.integers(0, 8)


@st.composite
def conversations(draw: st.DrawFn, *, longest_script: int) -> tuple[list[bytes], list[Terminator]]:
    """Chunks and a script: letters mixed with beginnings of the terminators, cut anywhere, sometimes many frames."""
    script = draw(st.lists(any_terminator, min_size=1, max_size=longest_script))
    wanted = [b"ab"]
    for terminator in script:
        wanted += terminator if isinstance(terminator, tuple) else [terminator] if isinstance(terminator, bytes) else []
    prefixes = [one[:length] for one in wanted for length in range(1, len(one) + 1)] + [b"b", b"c"]
    data = b"".join(draw(st.lists(st.sampled_from(prefixes), max_size=12))) * draw(st.sampled_from([1, 1, 1, 40]))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[one:two] for one, two in zip([0, *cuts], [*cuts, len(data)], strict=True)], script


@settings(max_examples=400, deadline=None)
@given(conversation=conversations(longest_script=1), limit=limits, skip=st.booleans(), eof=st.booleans())
def test_one_terminator_is_found_as_in_the_unsplit_input(
    conversation: tuple[list[bytes], list[Terminator]], limit: int | None, skip: bool, eof: bool
) -> None:
    chunks, script = conversation
    data = b"".join(chunks)
    expected = model(data, script, limit=limit, skip=skip, eof=eof)
    for way in (chunks, [data], [bytes([byte]) for byte in data]):
        for lazy in (False, True):
            assert drive(way, script, limit=limit, skip=skip, eof=eof, lazy=lazy) == expected


@settings(max_examples=400, deadline=None)
@given(conversation=conversations(longest_script=6), limit=limits, skip=st.booleans(), eof=st.booleans())
def test_terminators_changed_after_each_frame_are_found_as_in_the_unsplit_input(
    conversation: tuple[list[bytes], list[Terminator]], limit: int | None, skip: bool, eof: bool
) -> None:
    chunks, script = conversation
    data = b"".join(chunks)
    expected = model(data, script, limit=limit, skip=skip, eof=eof)
    for way in (chunks, [data]):
        for lazy in (False, True):
            assert drive(way, script, limit=limit, skip=skip, eof=eof, lazy=lazy) == expected


TRICKY: list[tuple[bytes, Terminator]] = [
    (b"\r\r\n\r\n\n", CRLF2),
    (b"\r\n\r\r\n\r\n\r\n\r", CRLF2),
    (b"aaaaabaaa", b"aa"),
    (b"ababaababa", b"aba"),
    (b"aabaaabaabaab", b"aabaab"),
    (b"x\r\ny\rz\n\r\r\n\n\r", (b"\r\n", b"\n", b"\r")),
    (b"xabyababzabaab", (b"ab", b"abab")),
    (b"abcxabcdbcabc", (b"abcd", b"bc")),
    (b"aababcab", (b"abc", b"b", b"aabab")),
]


@pytest.mark.parametrize("eof", [False, True])
@pytest.mark.parametrize("limit", [None, 0, 1, 2, 5])
@pytest.mark.parametrize(("data", "terminator"), TRICKY)
def test_tricky_terminators_under_every_split(
    data: bytes, terminator: Terminator, limit: int | None, eof: bool
) -> None:
    for skip in (False, True):
        expected = model(data, [terminator], limit=limit, skip=skip, eof=eof)
        for chunks in every_split(data):
            for lazy in (False, True):
                result = drive(chunks, [terminator], limit=limit, skip=skip, eof=eof, lazy=lazy)
                assert result == expected, chunks


def test_the_model_by_example() -> None:
    assert model(b"\r\r\n\r\n\n", [CRLF2]) == ([(b"\r", CRLF2), (b"\n", OPEN)], b"")
    assert model(b"xababyab", [(b"ab", b"abab")]) == ([(b"x", b"abab"), (b"y", OPEN)], b"ab")
    assert model(b"xababyab", [(b"ab", b"abab")], eof=True) == ([(b"x", b"abab"), (b"y", b"ab")], b"")
    assert model(b"abc1234\r\n", [b"c", 3, 0, b"\r\n"])[0] == [
        (b"ab", b"c"),
        (b"123", b""),
        (b"", b""),
        (b"4", b"\r\n"),
    ]
    assert model(b"abcd\nef\n", [b"\n"], limit=2) == ([(b"ab", TOO_LONG)], b"cd\nef\n")
    assert model(b"abcd\nef\n", [b"\n"], limit=2, skip=True) == ([(b"ab", TOO_LONG), (b"ef", b"\n")], b"")


def test_what_is_held_back_comes_at_end_of_file() -> None:
    for terminator in (b"\r\n.\r\n", (b"\r\n.\r\n", b"\x00")):
        buffer = fed(terminator, b"data\r\n", b".\r")
        assert pulled(buffer) == [(b"data", False)]
        buffer.feed_eof()
        assert b"".join(piece for piece, _ in pulled(buffer)) == b"\r\n.\r"
        assert (len(buffer), buffer.next_batch()) == (0, None)


# ------------------------------------------------------------------ limits


@pytest.mark.parametrize("terminator", [b"\n", CRLF2, (CRLF2, b"\n"), b"aab"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_frame_may_have_exactly_the_limit_under_every_split(size: int, terminator: bytes | tuple[bytes, ...]) -> None:
    end = terminator if isinstance(terminator, bytes) else terminator[0]
    data = b"a" * size + end + b"b" + end
    for chunks in every_split(data):
        assert drive(chunks, [terminator], limit=size - 1) == ([(b"a" * (size - 1), TOO_LONG)], data[size - 1 :])
        for enough in (size, size + 1, None):
            assert drive(chunks, [terminator], limit=enough) == ([(b"a" * size, end), (b"b", end)], b"")


@pytest.mark.parametrize("terminator", [b"\r\n", (b"\r\n", b"\n")])
def test_the_limit_0_allows_empty_frames_only(terminator: Terminator) -> None:
    for chunks in every_split(b"\r\n\r\nx\r\n"):
        assert drive(chunks, [terminator], limit=0) == ([(b"", b"\r\n")] * 2 + [(b"", TOO_LONG)], b"x\r\n")


@pytest.mark.parametrize("terminator", [b"\r\n", (b"\r\n", b"\x00")])
def test_frames_too_long_are_skipped_one_after_the_other_under_every_split(terminator: Terminator) -> None:
    frames = (b"ab", b"abcd", b"abc", b"", b"abcde", b"c")
    expected = [(frame[:2], TOO_LONG if len(frame) > 2 else b"\r\n") for frame in frames]
    for chunks in every_split(b"".join(frame + b"\r\n" for frame in frames)):
        assert drive(chunks, [terminator], limit=2, skip=True) == (expected, b"")


def test_skipping_goes_on_through_later_chunks() -> None:
    buffer = fed(b"\r\n", b"abc", limit=2)
    assert handed_until_too_long(buffer) == [(b"ab", False)]
    buffer.skip_frame()
    for chunk in (b"d" * 100, b"e\r", b"\r", b"x"):
        buffer.feed(chunk)
        assert pulled(buffer) == []
        assert buffer.mid_frame
    buffer.feed(b"\r\nok\r\n")
    assert pulled(buffer) == [(b"ok", True)]
    assert not buffer.mid_frame


def test_a_frame_can_be_skipped_before_it_has_begun_and_in_its_middle() -> None:
    buffer = fed(b"\n", b"one\ntwo\nthree\nfo")
    buffer.skip_frame()
    pieces, _ = next(iter(buffer))
    assert next(pieces) == b"two"
    buffer.skip_frame()
    assert pulled(buffer) == [(b"fo", False)]
    buffer.skip_frame()
    buffer.feed(b"ur\nfive\n")
    assert pulled(buffer) == [(b"five", True)]


def change_the_terminator(buffer: TerminatorBuffer) -> None:
    buffer.terminator = 6


def raise_the_limit(buffer: TerminatorBuffer) -> None:
    buffer.max_frame_bytes = 4


def lift_the_limit(buffer: TerminatorBuffer) -> None:
    buffer.max_frame_bytes = None


@pytest.mark.parametrize(
    ("remedy", "then"),
    [
        (TerminatorBuffer.skip_frame, [(b"ef", True)]),
        (change_the_terminator, [(b"cd\nef\n", True)]),
        (raise_the_limit, [(b"cd", True), (b"ef", True)]),
        (lift_the_limit, [(b"cd", True), (b"ef", True)]),
    ],
)
@pytest.mark.parametrize("terminator", [b"\n", (b"\n", b"\r")])
def test_the_error_comes_again_until_something_is_done_about_it(
    terminator: Terminator, remedy: Callable[[TerminatorBuffer], None], then: list[tuple[bytes, bool]]
) -> None:
    buffer = fed(terminator, b"abcd\nef\n", limit=2)
    assert handed_until_too_long(buffer) == [(b"ab", False)]
    for _ in range(3):
        assert handed_until_too_long(buffer) == []
        assert len(buffer) == 6
    remedy(buffer)
    assert pulled(buffer) == then


def test_a_limit_set_lower_than_what_came_is_exceeded_by_the_next_byte() -> None:
    buffer = fed(b"\r\n", b"abcd", limit=9)
    assert pulled(buffer) == [(b"abcd", False)]
    buffer.max_frame_bytes = 2
    assert pulled(buffer) == []
    buffer.feed(b"\r\n")
    assert handed_until_too_long(buffer) == []


def test_counts_and_none_are_not_limited() -> None:
    assert drive([b"abcdefgh"], [5, None], limit=2) == ([(b"abcde", b""), (b"fgh", OPEN)], b"")


@pytest.mark.parametrize("wrong", [-1, True, 1.0, "1", b"1"])
def test_a_wrong_limit_is_refused(wrong: Any) -> None:
    buffer = TerminatorBuffer(b"\n", max_frame_bytes=7)
    with pytest.raises(ValueError, match=r"max_frame_bytes is a number of bytes, or None for no limit; got "):
        buffer.max_frame_bytes = wrong
    assert buffer.max_frame_bytes == 7
    assert TerminatorBuffer(b"\n").max_frame_bytes is None


def test_frame_too_long_says_the_limit_and_pickles() -> None:
    error = pickle.loads(pickle.dumps(FrameTooLong(42)))
    assert (type(error), error.max_frame_bytes) == (FrameTooLong, 42)
    assert str(error) == str(FrameTooLong(42)) == "no terminator within max_frame_bytes=42 bytes"


# ------------------------------------------------------------------ batches

FRAMES = [b"%d" % number for number in range(40)] + [b""] * 3 + [b"last"]
DATA = b"".join(frame + b"\n" for frame in FRAMES)


def steady() -> tuple[TerminatorBuffer, list[bytes]]:
    """A buffer whose next batch has many frames, and the frame that made it so."""
    buffer = fed(b"\n", DATA)
    return buffer, list(next(iter(buffer)).pieces)


def test_many_frames_come_in_one_batch() -> None:
    buffer, first = steady()
    batch = buffer.next_batch()
    assert isinstance(batch, Batch)
    assert (first + list(batch.pieces), batch.ended, buffer.next_batch()) == (FRAMES, True, None)


@pytest.mark.parametrize("at", range(len(FRAMES)))
def test_a_terminator_changed_at_any_frame_of_a_batch_applies_to_the_next_byte(at: int) -> None:
    behind = DATA[sum(len(frame) + 1 for frame in FRAMES[: at + 1]) :]
    changes: list[Terminator] = [None, 3, 0, b"\n1", (b"\n", b"5"), b"\n"]
    for change in changes:
        script = [b"\n"] * (at + 1) + [change]
        assert drive([DATA], script) == model(DATA, script)
        events, _ = drive([DATA], [*script[:-1], None])
        assert [frame for frame, _ in events] == FRAMES[: at + 1] + [behind] * bool(behind)


def interrupt_nothing(buffer: TerminatorBuffer) -> None:
    """The loop is left by `break` alone."""


def interrupt_by_new_terminator(buffer: TerminatorBuffer) -> None:
    buffer.terminator = (b"\n",)
    buffer.terminator = b"\n"


def interrupt_by_feeding(buffer: TerminatorBuffer) -> None:
    buffer.feed(b"\n")


@pytest.mark.parametrize("at", range(1, len(FRAMES)))
@pytest.mark.parametrize("leave", [False, True], ids=["loop on", "break"])
@pytest.mark.parametrize(
    "interrupt", [interrupt_nothing, interrupt_by_new_terminator, TerminatorBuffer.stop, len, interrupt_by_feeding]
)
def test_a_batch_interrupted_at_any_frame_loses_and_doubles_nothing(
    interrupt: Callable[[TerminatorBuffer], object], leave: bool, at: int
) -> None:
    buffer, frames = steady()
    for piece in next(iter(buffer)).pieces:
        frames.append(piece)
        if len(frames) == at + 1:
            interrupt(buffer)
            if leave:
                break
    if interrupt is not interrupt_nothing:
        assert frames == FRAMES[: at + 1]  # the loop has ended there, with or without the break
    frames += [piece for piece, _ in pulled(buffer)]
    assert frames == FRAMES + [b""] * (interrupt is interrupt_by_feeding)


@pytest.mark.parametrize("at", range(1, 39))
def test_a_limit_set_at_any_frame_of_a_batch_applies_to_the_next_frame(at: int) -> None:
    buffer, frames = steady()
    for piece in next(iter(buffer)).pieces:
        frames.append(piece)
        if len(frames) == at + 1:
            buffer.max_frame_bytes = 0
    assert frames == FRAMES[: at + 1]
    assert handed_until_too_long(buffer) == []
    buffer.max_frame_bytes = None
    assert frames + [piece for piece, _ in pulled(buffer)] == FRAMES


def test_a_batch_of_which_nothing_was_taken_comes_again() -> None:
    for terminator in (b"\n", (b"\n", b"\r"), 2, 0, None):
        buffer = fed(terminator, b"one\ntwo\n")
        first, second = (buffer.next_batch() for _ in range(2))
        assert first is not None
        assert second is not None
        assert list(first.pieces) == []
        assert buffer.terminator in (terminator, None)
        buffer.stop()
        assert buffer.terminator == terminator
        assert buffer.take() == b"one\ntwo\n"


def test_the_same_terminator_set_again_does_not_end_the_batch() -> None:
    buffer, frames = steady()
    for piece in next(iter(buffer)).pieces:
        frames.append(piece)
        buffer.terminator = bytes(bytearray(b"\n"))
    assert frames == FRAMES


@pytest.mark.parametrize("at", [1, 2, 20, len(FRAMES) - 1])
@pytest.mark.parametrize("skip", [False, True])
def test_a_frame_too_long_in_the_middle_of_a_batch(at: int, skip: bool) -> None:
    frames = [*FRAMES[:at], b"too long", *FRAMES[at:]]
    data = b"".join(frame + b"\n" for frame in frames)
    events, rest = drive([data], [b"\n"], limit=4, skip=skip)
    expected: list[Event] = [(frame, b"\n") for frame in FRAMES]
    expected[at:] = [(b"too ", TOO_LONG), *(expected[at:] if skip else [])]
    assert events == expected
    assert rest == (b"" if skip else data[data.index(b"long") :])


@pytest.mark.parametrize("frames", [[b""], [b"x"], [b"x" * 21], [b"x" * 5000] * 40 + [b""] * 20000 + [b"y" * 99] * 500])
def test_a_batch_begins_with_one_frame_and_never_has_more_than_allowed(frames: list[bytes]) -> None:
    frames = frames * (10000 // len(frames) or 1)
    buffer = fed(b"\n", b"".join(frame + b"\n" for frame in frames))
    batches = [list(pieces) for pieces, _ in buffer]
    assert [frame for batch in batches for frame in batch] == frames
    assert _BATCH_FRAMES == 512
    sizes = [len(batch) for batch in batches]
    assert sizes[0] == 1
    assert 256 < max(sizes) <= 512


# ------------------------------------------------------------------ input


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(b"-" + data)[1:]])
def test_every_kind_of_bytes_is_taken(kind: Callable[[bytes], bytes]) -> None:
    assert pulled(fed(b"\n", kind(b"one\ntw"), kind(b"o\n"))) == [(b"one", True), (b"tw", False), (b"o", True)]


@pytest.mark.parametrize("kind", [lambda data: data, memoryview])
def test_bytes_are_taken_as_they_are_when_fed(kind: Callable[[bytearray], bytes]) -> None:
    chunks = [bytearray(b"one\n"), bytearray(b"two\n")]
    buffer = fed(b"\n", *map(kind, chunks))
    for chunk in chunks:
        chunk[:] = b"????"
    assert pulled(buffer) == [(b"one", True), (b"two", True)]


def test_a_memoryview_of_wide_items_gives_its_raw_bytes() -> None:
    items = array.array("I", [0x61626364, 0x0A0A0A0A])
    buffer = TerminatorBuffer()
    buffer.feed(memoryview(items))
    buffer.feed(memoryview(b"abcdef")[::2])
    assert len(buffer) == items.itemsize * 2 + 3
    assert buffer.take() == items.tobytes() + b"ace"


@pytest.mark.parametrize("wrong", ["text", 3, None, [1], array.array("B", b"x")])
def test_what_is_not_bytes_is_refused(wrong: Any) -> None:
    buffer = TerminatorBuffer()
    with pytest.raises(TypeError, match="a buffer is fed with bytes; got "):
        buffer.feed(wrong)
    assert len(buffer) == 0


def test_nothing_can_be_fed_after_end_of_file() -> None:
    buffer = fed(b"\n", b"abc")
    buffer.feed_eof()
    for data in (b"d", b""):
        with pytest.raises(ValueError, match="no input can follow the end of file"):
            buffer.feed(data)
    buffer.feed_eof()
    assert buffer.take() == b"abc"


def test_empty_chunks_change_nothing() -> None:
    assert drive([b"", b"a\r", b"", b"\nb", b""], [b"\r\n"]) == ([(b"a", b"\r\n"), (b"b", OPEN)], b"")


# ------------------------------------------------------------------ what is buffered


@pytest.mark.parametrize(
    ("terminator", "chunks", "pulls", "rest"),
    [
        (b"\r\n", [], 1, b""),
        (b"\r\n", [b"abc\r"], 0, b"abc\r"),
        (b"\r\n", [b"abc\r"], 1, b"\r"),
        (CRLF2, [b"abc\r", b"\n", b"\r"], 9, b"\r\n\r"),
        (CRLF2, [b"abc\r", b"\n", b"\r"], 1, b"\r\n\r"),
        ((b"abcd", b"bc"), [b"xabc"], 9, b"abc"),
        (b"\n", [b"1\n2\n3\n4\n", b"5", b"6\n"], 1, b"2\n3\n4\n56\n"),
        (b"\n", [b"1\n2\n3\n4\n", b"5", b"6\n"], 3, b"4\n56\n"),
        (10, [b"abc", b"def"], 1, b"def"),
        (10, [b"abc", b"def"], 9, b""),
        (None, [b"abc", b"def"], 1, b"def"),
    ],
)
def test_take_gives_what_was_not_handed_over_and_len_tells_how_much(
    terminator: Terminator, chunks: list[bytes], pulls: int, rest: bytes
) -> None:
    ways: list[Callable[[TerminatorBuffer], object]] = [len, TerminatorBuffer.stop, TerminatorBuffer.take]
    for first in ways:
        buffer = fed(terminator, *chunks)
        pieces = (piece for batch in buffer for piece in batch.pieces)
        list(islice(pieces, pulls))
        assert first(buffer) == {len: len(rest), TerminatorBuffer.take: rest}.get(first)
        if first is not TerminatorBuffer.take:
            assert len(buffer) == len(rest)
            assert buffer.take() == rest
        assert (len(buffer), buffer.take(), buffer.frame_bytes, buffer.next_batch()) == (0, b"", 0, None)


def test_the_buffer_can_be_used_again_after_take() -> None:
    for terminator in (b"\r\n", (b"\r\n", b"\n")):
        buffer = fed(terminator, b"abc\r", limit=3)
        assert pulled(buffer) == [(b"abc", False)]
        assert buffer.take() == b"\r"
        buffer.feed(b"\nxy\r\n" if terminator == b"\r\n" else b"nxy\n")
        assert pulled(buffer) == [(b"\nxy" if terminator == b"\r\n" else b"nxy", True)]


def test_take_mid_count_leaves_the_rest_of_the_count() -> None:
    buffer = fed(10, b"abc", b"def")
    assert next(buffer.next_batch().pieces) == b"abc"  # type: ignore[union-attr]
    assert (buffer.take(), buffer.terminator) == (b"def", 7)


def test_a_count_goes_down_and_becomes_none() -> None:
    buffer = TerminatorBuffer(5)
    seen: list[tuple[bytes, bool, Terminator]] = []
    for chunk in (b"ab", b"c", b"defg", b"h"):
        buffer.feed(chunk)
        for pieces, ended in buffer:
            seen += [(piece, ended, buffer.terminator) for piece in pieces]
    assert seen == [(b"ab", False, 3), (b"c", False, 2), (b"de", True, None), (b"fg", False, None), (b"h", False, None)]


def test_the_count_0_is_found_at_once() -> None:
    buffer = TerminatorBuffer(0)
    assert buffer.mid_frame is False
    assert pulled(buffer) == [(b"", True)]
    assert (buffer.terminator, pulled(buffer)) == (None, [])
    buffer.terminator = 0
    buffer.feed(b"ab")
    assert pulled(buffer) == [(b"", True), (b"ab", False)]
    buffer.feed_eof()
    buffer.terminator = 0
    assert pulled(buffer) == [(b"", True)]


@pytest.mark.parametrize(
    ("terminator", "chunks", "mid_frame", "frame_bytes"),
    [
        (b"\r\n", [], False, 0),
        (b"\r\n", [b"ab"], True, 2),
        (b"\r\n", [b"ab\r"], True, 3),
        (b"\r\n", [b"\r"], True, 1),
        (b"\r\n", [b"ab\r", b"c"], True, 4),
        (b"\r\n", [b"ab\r", b"\n"], False, 0),
        (b"\r\n", [b"1\r\n2\r\n3\r\n"], False, 0),
        (b"\r\n", [b"1\r\n2\r\n3\r\nabc\r"], True, 4),
        ((b"\r\n", b"\n"), [b"ab\n", b"a\r"], True, 2),
        (3, [], True, 0),
        (3, [b"a", b"b"], True, 2),
        (3, [b"abc"], False, 0),
        (None, [b"abc"], False, 0),
    ],
)
def test_mid_frame_and_frame_bytes(
    terminator: Terminator, chunks: list[bytes], mid_frame: bool, frame_bytes: int
) -> None:
    buffer = TerminatorBuffer(terminator)
    for chunk in chunks:
        buffer.feed(chunk)
        pulled(buffer)
    assert (buffer.mid_frame, buffer.frame_bytes) == (mid_frame, frame_bytes)


def test_a_count_of_a_subclass_of_int_is_a_count() -> None:
    buffer = TerminatorBuffer(enum.IntEnum("Size", {"HEADER": 3}).HEADER)  # type: ignore[attr-defined]
    assert buffer.mid_frame
    assert pulled(fed(buffer.terminator, b"abcd")) == [(b"abc", True), (b"d", False)]


def test_matched_is_the_alternative_that_was_found() -> None:
    for chunks in every_split(b"1\r\n2\n3\r4\n"):
        events, _ = drive(chunks, [(b"\r", b"\n", b"\r\n")])
        assert events == [(b"1", b"\r\n"), (b"2", b"\n"), (b"3", b"\r"), (b"4", b"\n")]


def test_matched_is_none_until_a_terminator_was_found() -> None:
    for terminator in (b"\n", (b"\n", b"\r"), 3, None):
        assert TerminatorBuffer(terminator).matched is None


@pytest.mark.parametrize("later", [3, None, b"xyz", (b"xyz", b"\n")])
def test_matched_is_the_terminator_found_last_when_another_is_set(later: Terminator) -> None:
    buffer = fed(b"\n", b"one\n")
    assert pulled(buffer) == [(b"one", True)]
    buffer.terminator = later
    assert buffer.matched == b"\n"


# ------------------------------------------------------------------ work


def lines_run(terminator: Terminator, chunks: list[bytes], limit: int | None) -> int:
    """How many lines of the package are run while the chunks go through a buffer, one after the other."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace if frame.f_globals["__name__"].startswith("trio_chat.") else None

    needles_for.cache_clear()
    buffer = TerminatorBuffer(terminator, max_frame_bytes=limit)
    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        for chunk in chunks:
            buffer.feed(chunk)
            while True:
                try:
                    pulled(buffer)
                    break
                except FrameTooLong:
                    buffer.skip_frame()
    finally:
        sys.settrace(previous)
    return lines


def drip(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


Work: TypeAlias = Callable[[int], tuple[Terminator, list[bytes]]]
WORK: dict[str, Work] = {
    "newlines": lambda n: (b"\n", [b"\n" * n]),
    "newlines dripped": lambda n: (b"\n", drip(b"\n" * n)),
    "one frame dripped": lambda n: (CRLF2, drip(b"x" * n + CRLF2)),
    "almost a terminator, dripped": lambda n: (b"a" * (n // 2) + b"b", drip(b"a" * n)),
    "almost a terminator again and again, dripped": lambda n: (b"a" * 50 + b"b", drip((b"a" * 50 + b"c") * (n // 50))),
    "self-overlapping, in twos": lambda n: (b"ab" * (n // 4) + b"c", [b"ab"] * n),
    "a tuple": lambda n: ((b"\r\n", b"\n", b"\r"), [b"x\r\ny\nz\r" * (n // 5)]),
    "a tuple, dripped": lambda n: ((b"\r\n", b"\n", b"\r"), drip(b"x\r\ny\nz\r" * (n // 5))),
    "a tuple, one of it as long as the chunk": lambda n: ((b"a" * n + b"b", b"\n"), [b"a\n" * (n // 2)]),
}


@pytest.mark.skipif(sys.gettrace() is not None, reason="counts lines with sys.settrace, which is in use")
@pytest.mark.parametrize("limit", [None, 7])
@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_twice_the_input_is_twice_the_work(work: Work, limit: int | None) -> None:
    once, twice = lines_run(*work(500), limit), lines_run(*work(1000), limit)
    assert 1.1 < twice / once < 2.5


# ------------------------------------------------------------------ any operation at any time


class AnyOperation(RuleBasedStateMachine):
    """`rest` is what was fed and is not accounted for yet: each byte leaves it once, in order."""

    @initialize(terminator=any_terminator, limit=limits)
    def start(self, terminator: Terminator, limit: int | None) -> None:
        self.buffer = TerminatorBuffer(terminator, max_frame_bytes=limit)
        self.terminator, self.limit = terminator, limit
        self.rest, self.frame, self.eof, self.skipping = b"", 0, False, False
        self.batch: Batch | None = None

    def account(self, data: bytes, found: bytes | None) -> None:
        assert self.rest.startswith(data + (found or b""))
        self.rest = self.rest[len(data) + len(found or b"") :]
        self.frame = 0 if found is not None else self.frame + len(data)
        if isinstance(self.terminator, int):
            self.terminator = self.terminator - len(data) or None

    def account_for_skipped(self) -> None:
        if self.skipping:
            at, found = locate(self.rest, self.terminator, eof=self.eof)
            self.account(self.rest[:at], found)
            self.skipping = found is None

    @precondition(lambda self: not self.eof)
    @rule(data=st.lists(st.sampled_from(b"aab"), max_size=30).map(bytes))
    def feed(self, data: bytes) -> None:
        self.buffer.feed(data)
        self.rest += data

    @precondition(lambda self: len(self.rest) > 40)
    @rule()
    def feed_eof(self) -> None:
        self.buffer.feed_eof()
        self.eof = True

    @rule(most=st.integers(0, 3))
    def pull(self, most: int) -> None:
        try:
            self.batch = self.buffer.next_batch()
        except FrameTooLong:
            self.batch = None
            self.account_for_skipped()
            assert isinstance(self.terminator, bytes | tuple)
            assert self.frame == self.limit
            assert locate(self.rest, self.terminator, eof=self.eof)[0] > 0
        else:
            self.account_for_skipped()
            if self.batch is None:
                assert locate(self.rest, self.terminator, eof=self.eof) == (0, None)
        self.go_on(most)

    @rule(most=st.integers(0, 3))
    def go_on(self, most: int) -> None:
        """With a batch begun before: what happened in between may have ended it, but must not have spoilt it."""
        if self.batch is None:
            return
        for piece in islice(self.batch.pieces, most):
            at, found = locate(self.rest, self.terminator, eof=self.eof)
            if self.batch.ended:
                assert (len(piece), b"" if isinstance(self.terminator, int) else self.buffer.matched) == (at, found)
            else:
                assert 0 < len(piece) <= at
            self.account(piece, found if self.batch.ended else None)
            assert self.limit is None or self.frame <= self.limit or not isinstance(self.terminator, bytes | tuple)

    @rule(terminator=any_terminator)
    def change_terminator(self, terminator: Terminator) -> None:
        if not isinstance(terminator, bytes) or terminator != self.terminator:
            self.frame, self.skipping = 0, False
        self.buffer.terminator = self.terminator = terminator

    @rule()
    def set_the_same_terminator(self) -> None:
        if isinstance(self.terminator, bytes):
            self.buffer.terminator = self.terminator

    @rule()
    def stop(self) -> None:
        self.buffer.stop()
        assert self.buffer.terminator == self.terminator

    @rule()
    def skip(self) -> None:
        self.buffer.skip_frame()
        self.skipping = True

    @rule()
    def measure(self) -> None:
        assert len(self.buffer) == len(self.rest)

    @rule()
    def take(self) -> None:
        assert self.buffer.take() == self.rest
        self.rest, self.frame, self.skipping = b"", 0, False

    def teardown(self) -> None:
        if hasattr(self, "buffer"):
            assert self.buffer.take() == self.rest


TestAnyOperation = AnyOperation.TestCase
TestAnyOperation.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
