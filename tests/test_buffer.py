"""Frames, verdicts and leftovers are those of the unsplit input, however it was split: the buffer against the model."""

from __future__ import annotations

import pytest
from buffer_model import CRLF2, OPEN, TOO_LONG, any_terminator, drive, every_split, fed, limits, model, pulled
from hypothesis import given, settings, strategies as st

from trio_chat._terminators import Terminator


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


def test_matched_is_the_alternative_that_was_found() -> None:
    for chunks in every_split(b"1\r\n2\n3\r4\n"):
        events, _ = drive(chunks, [(b"\r", b"\n", b"\r\n")])
        assert events == [(b"1", b"\r\n"), (b"2", b"\n"), (b"3", b"\r"), (b"4", b"\n")]


def test_empty_chunks_change_nothing() -> None:
    assert drive([b"", b"a\r", b"", b"\nb", b""], [b"\r\n"]) == ([(b"a", b"\r\n"), (b"b", OPEN)], b"")
