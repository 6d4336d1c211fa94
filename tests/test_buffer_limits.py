"""A frame may have `max_frame_bytes`, and not one more: then comes the error, until something is done about it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from buffer_model import CRLF2, OPEN, TOO_LONG, drive, every_split, fed, handed_until_too_long, pulled

from trio_chat import FrameTooLong, TerminatorBuffer
from trio_chat._terminators import Terminator


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
    with pytest.raises(
        (TypeError, ValueError), match=r"max_frame_bytes is a number of bytes, or None for no limit; got "
    ):
        buffer.max_frame_bytes = wrong
    assert buffer.max_frame_bytes == 7
    assert TerminatorBuffer(b"\n").max_frame_bytes is None


def test_frame_too_long_says_the_limit_and_pickles() -> None:
    error = pickle.loads(pickle.dumps(FrameTooLong(42)))
    assert (type(error), error.max_frame_bytes) == (FrameTooLong, 42)
    assert str(error) == str(FrameTooLong(42)) == "no terminator within max_frame_bytes=42 bytes"
