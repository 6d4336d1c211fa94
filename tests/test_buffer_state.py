"""What a buffer says of itself is true: its `len`, `take`, `terminator`, `mid_frame`, `frame_bytes` and `matched`."""

from __future__ import annotations

import enum
import pickle
from collections.abc import Callable
from itertools import islice

import pytest
from buffer_model import CRLF2, fed, handed_until_too_long, pulled

from trio_chat import TerminatorBuffer
from trio_chat._terminators import Terminator


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
        (3, [], False, 0),
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


@pytest.mark.parametrize("terminator", [CRLF2, (CRLF2, b"\n.")])
def test_an_equal_terminator_set_again_mid_frame_changes_nothing(terminator: bytes | tuple[bytes, ...]) -> None:
    equal: Terminator = pickle.loads(pickle.dumps(terminator))
    assert equal == terminator
    assert equal is not terminator
    buffer = fed(terminator, b"ab\r\n", limit=3)
    assert pulled(buffer) == [(b"ab", False)]
    buffer.terminator = equal
    assert (buffer.frame_bytes, buffer.mid_frame, len(buffer)) == (4, True, 2)
    buffer.feed(b"x")
    assert handed_until_too_long(buffer) == [(b"\r", False)]  # the limit counts from where the frame began
    buffer.skip_frame()
    assert pulled(buffer) == []
    buffer.terminator = equal
    buffer.feed(b"still skipped" + CRLF2 + b"ok" + CRLF2)
    assert pulled(buffer) == [(b"ok", True)]


def test_a_count_of_a_subclass_of_int_is_a_count() -> None:
    buffer = TerminatorBuffer(enum.IntEnum("Size", {"HEADER": 3}).HEADER)  # type: ignore[attr-defined]
    assert pulled(fed(buffer.terminator, b"abcd")) == [(b"abc", True), (b"d", False)]


def test_matched_is_none_until_a_terminator_was_found() -> None:
    for terminator in (b"\n", (b"\n", b"\r"), 3, None):
        assert TerminatorBuffer(terminator).matched is None


@pytest.mark.parametrize("later", [3, None, b"xyz", (b"xyz", b"\n")])
def test_matched_is_the_terminator_found_last_when_another_is_set(later: Terminator) -> None:
    buffer = fed(b"\n", b"one\n")
    assert pulled(buffer) == [(b"one", True)]
    buffer.terminator = later
    assert buffer.matched == b"\n"
