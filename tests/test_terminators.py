"""What may be a terminator, and with which of its prefixes a text ends."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from trio_chat import TerminatorBuffer
from trio_chat._terminators import Needle, Terminator, check_terminator, needles_for

TAKEN = "a terminator is bytes, a tuple of bytes, a number of bytes, or None"

#: A wrong terminator, the exception, and what its message must say: what is taken, what was given.
WRONG: list[tuple[object, type[Exception], tuple[str, ...]]] = [
    ("\r\n", TypeError, (TAKEN, r"got the str '\r\n'", r"did you mean b'\r\n'?")),
    ("", TypeError, (TAKEN, "got the str ''")),
    (bytearray(b"\n"), TypeError, (TAKEN, r"got bytearray(b'\n')")),
    (memoryview(b"\n"), TypeError, (TAKEN, "got <memory at")),
    ([b"\n"], TypeError, (TAKEN, r"got [b'\n']")),
    ({b"\n"}, TypeError, (TAKEN, r"got {b'\n'}")),
    (True, TypeError, (TAKEN, "got True")),
    (False, TypeError, (TAKEN, "got False")),
    (1.0, TypeError, (TAKEN, "got 1.0")),
    (-1, ValueError, ("a number of bytes", "cannot be negative", "got -1")),
    (b"", ValueError, ("cannot be empty", "use None")),
    ((), ValueError, ("tuple", "at least one", "got ()")),
    ((b"\n", "\r"), TypeError, (TAKEN, r"got the str '\r'", r"did you mean b'\r'?")),
    ((b"\n", b""), ValueError, ("cannot be empty", "use None")),
    ((b"\n", 4), TypeError, (TAKEN, "got 4")),
    ((b"\n", None), TypeError, (TAKEN, "got None")),
    ((b"\n", (b"\r",)), TypeError, (TAKEN, r"got (b'\r',)")),
    ((b"\n", bytearray(b"\r")), TypeError, (TAKEN, r"got bytearray(b'\r')")),
]

GOOD: list[Terminator] = [b"\n", b"\x00", b"a" * 1000, (b"\n",), (b"\r\n", b"\n"), (b"a", b"a"), 0, 1, 2**70, None]

two_letters = st.lists(st.sampled_from(b"ab"), max_size=20).map(bytes)
patterns = st.lists(st.sampled_from(b"ab"), min_size=1, max_size=8).map(bytes)


def longest_proper_prefix_at_end(pattern: bytes, text: bytes) -> int:
    return max(length for length in range(len(pattern)) if text.endswith(pattern[:length]))


# ------------------------------------------------------------------ check_terminator


@pytest.mark.parametrize("terminator", GOOD, ids=lambda value: repr(value)[:20])
def test_every_kind_of_terminator_is_taken(terminator: Terminator) -> None:
    check_terminator(terminator)
    assert TerminatorBuffer(terminator).terminator == terminator


@pytest.mark.parametrize(("wrong", "exception", "said"), WRONG, ids=lambda value: repr(value)[:24])
def test_a_wrong_terminator_is_refused_and_the_message_says_why(
    wrong: object, exception: type[Exception], said: tuple[str, ...]
) -> None:
    with pytest.raises(exception) as caught:
        check_terminator(wrong)
    assert type(caught.value) is exception
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize(("wrong", "exception"), [case[:2] for case in WRONG], ids=lambda value: repr(value)[:24])
def test_a_buffer_refuses_a_wrong_terminator_and_stays_as_it_is(wrong: Terminator, exception: type[Exception]) -> None:
    with pytest.raises(exception):
        TerminatorBuffer(wrong)
    buffer = TerminatorBuffer(b"\r\n")
    buffer.feed(b"one\r\ntwo\r")
    with pytest.raises(exception):
        buffer.terminator = wrong
    assert buffer.terminator == b"\r\n"
    assert [(list(pieces), ended) for pieces, ended in buffer] == [([b"one"], True), ([b"two"], False)]
    assert buffer.take() == b"\r"


# ------------------------------------------------------------------ Needle


@given(pattern=patterns, texts=st.lists(st.tuples(two_letters, st.integers(0, 20)), max_size=5))
def test_prefix_at_end_is_the_longest_proper_prefix_the_text_ends_with(
    pattern: bytes, texts: list[tuple[bytes, int]]
) -> None:
    needle = Needle(pattern)  # one for all texts: what it has learnt from one is right for the next
    for text, start in texts:
        assert needle.prefix_at_end(text, start) == longest_proper_prefix_at_end(pattern, text[start:])


@given(pattern=patterns, cut=st.integers(0, 8), before=two_letters)
def test_prefix_at_end_knows_a_terminator_cut_anywhere(pattern: bytes, cut: int, before: bytes) -> None:
    text = before + pattern[:cut]
    assert Needle(pattern).prefix_at_end(text, 0) == longest_proper_prefix_at_end(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "start", "length"),
    [
        (b"\n", b"\n", 0, 0),  # a single byte has no proper prefix but the empty one
        (b"\r\n", b"abc\r", 0, 1),
        (b"\r\n", b"abc\r", 4, 0),
        (b"\r\n", b"", 0, 0),
        (b"\r\n\r\n", b"\r\n\r", 0, 3),
        (b"\r\n\r\n", b"\r\n\r", 1, 1),
        (b"\r\n\r\n", b"\r\n\r\n", 0, 2),
        (b"aab", b"aaaa", 0, 2),
        (b"aab", b"aaaa", 3, 1),
        (b"aab", b"aaaa", 9, 0),
    ],
)
def test_prefix_at_end_by_example(pattern: bytes, text: bytes, start: int, length: int) -> None:
    assert Needle(pattern).prefix_at_end(text, start) == length


@given(pattern=patterns, text=two_letters)
def test_stepping_through_a_text_finds_the_pattern_where_find_does(pattern: bytes, text: bytes) -> None:
    needle, matched, end = Needle(pattern), 0, -1
    for at, byte in enumerate(text):
        matched = needle.step(matched, byte)
        if matched == len(pattern):
            end = at + 1
            break
        assert matched == longest_proper_prefix_at_end(pattern, text[: at + 1])
    assert end - len(pattern) == text.find(pattern) if end >= 0 else pattern not in text


# ------------------------------------------------------------------ needles_for


def test_the_needles_of_a_tuple_come_longest_first_and_once() -> None:
    assert [needle.pattern for needle in needles_for((b"a", b"bcd", b"ef", b"a"))] == [b"bcd", b"ef", b"a"]


def test_bytes_have_one_needle() -> None:
    assert [needle.pattern for needle in needles_for(b"\r\n")] == [b"\r\n"]
