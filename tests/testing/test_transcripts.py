"""Transcripts: how they are written, played, and how they fail."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock

from trio_chat import AsyncChat
from trio_chat.testing import Dialogue, Mismatch, TranscriptError, Turn, open_chat, parse_transcript, run_transcript


class Lines(AsyncChat):
    """Answers each line with the same; says when it is tired of waiting."""

    terminator = b"\r\n"
    idle_timeout = 300.0

    def found_terminator(self) -> None:
        line = self._get_data()
        if line == b"quit":
            self.close_when_done()
        elif line == b"fail":
            raise LookupError("as you wish")
        else:
            self.push(line + b"\r\n")

    def handle_timeout(self, kind: Any) -> None:
        self.push(b"421 tired\r\n")
        super().handle_timeout(kind)


async def test_a_dialogue() -> None:
    await run_transcript(
        Lines,
        r"""
        # lines of one come in one breath
        C: hello, world
        C: <raw> by\x74es\r\nand
        C: <raw> 'more' \"\'\\\r\n
        C:   blanks around do not count
        C:
        S: hello, world
        S: bytes
        S: and'more' "'\
        S: <any>
        S:
        S: <nothing>

        C: grüße
        S: gr<ANY>e
        C: quit
        S: <eof>
        """,
    )


async def test_any_stands_for_any_text_and_nothing_else_does() -> None:
    await run_transcript(Lines, "C: <raw> 2+2\\n(four)\\r\\n\nS: 2+2<any>(<any>)")
    with pytest.raises(Mismatch):
        await run_transcript(Lines, "C: axb\nS: a.b<any>")


def test_text_is_in_utf_8() -> None:
    said, heard = parse_transcript("C: grüße\nS: grüß<any>").steps
    assert said.data == "grüße\r\n".encode()
    assert heard.pattern is not None
    assert heard.pattern.fullmatch(said.data)


def test_markers_may_be_in_capitals() -> None:
    transcript = parse_transcript("C: <RAW> x\nC: <Pause 0>\nS: <ANY>\nS: <Nothing>\nC: <RESET>\nS: <EOF>")
    assert [step.kind for step in transcript.steps] == ["raw", "pause", "pattern", "nothing", "reset", "eof"]


async def test_a_limit_is_written_as_a_number() -> None:
    await run_transcript(Lines, "C: <raw 3> \\x61b\nC:\nS: ababab\nC: <raw 1000> x\nC:\nS: <raw 1000> x\nS:")


async def test_time_goes_by(mock_clock: MockClock) -> None:
    await run_transcript(
        Lines,
        """
        C: hello
        S: hello
        C: <pause 299.5>
        S: <nothing>
        C: <pause 0.5>
        S: 421 <any>
        S: <eof>
        """,
    )
    assert trio.current_time() == 300


async def test_whatever_happens_while_time_goes_by(mock_clock: MockClock) -> None:
    class Ticking(Lines):
        async def tick(self) -> None:
            for number in range(10):
                self.push(b"%d\r\n" % number)
                await trio.sleep(1)

        def handle_connect(self) -> None:
            self.nursery.start_soon(self.tick)

    await run_transcript(Ticking, "S: 0\nC: <pause 2.5>\nS: 1\nS: 2\nS: <nothing>\nC: <pause 0.5>\nS: 3")


@pytest.mark.parametrize("marker", ["eof", "reset"])
async def test_the_client_ends_it(marker: str) -> None:
    await run_transcript(
        Lines, f"C: one\nS: one\nC: <raw> half a line\nC: <{marker}>\n" + "S: <eof>\n" * (marker == "eof")
    )


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("C: one\nS: one\nC: two\nS: too\nC: x", 4, r"expected  b'too\r\n'"),
        ("C: one\nS: two <any>\n", 2, r"what has come is b'one\r\n'"),
        ("C: one\nS: <eof>\n", 2, "expected the end of the connection"),
        ("C: one\nS: <nothing>\n", 2, "expected nothing"),
        ("C: quit\nS: <eof>\nC: <pause 1>\nC: more\nC: and more", 4, "the handler has closed the connection"),
        ("C: quit\n\n# now\nS: <any>\n", 4, "what has come is <eof>"),
        ("C: one\nS: <error>\nS: one\n", 2, "what has failed is nothing"),
        ("C: fail\nS: <error> KeyError\nS: <eof>\n", 2, "what has failed is LookupError: as you wish"),
        ("C: a\x0cb\u2028c\nS: a\x0cb\u2028c\nC: one\nS: two", 4, r"expected  b'two\r\n'"),
    ],
)
async def test_a_failure_points_at_the_line(text: str, line: int, words: str, autojump_clock: MockClock) -> None:
    with pytest.raises(Mismatch) as caught:
        await run_transcript(Lines, text)
    told = str(caught.value)
    assert told.startswith(f"in line {line} of the transcript:\n")
    assert f"\n>{line:5}  {text.split(chr(10))[line - 1]}\n" in told
    assert words in told


@pytest.mark.parametrize("text", ["", "LookupError", "as you wish", "LookupError: as you wish"])
async def test_a_failure_that_is_expected(text: str) -> None:
    await run_transcript(Lines, f"C: one\nC: fail\nS: one\nS: <error> {text}\nS: <eof>")


async def test_a_failure_that_is_not_expected_stands_in_the_dialogue() -> None:
    with pytest.raises(Mismatch, match="    S: <error> LookupError: as you wish"):
        await run_transcript(Lines, "C: fail\nS: one")


async def test_a_recorded_failure_can_be_played() -> None:
    async with open_chat(Lines) as peer:
        await peer.send(b"fail\r\n")
        await peer.expect_error(LookupError)
    assert "S: <error> LookupError: as you wish" in str(peer.dialogue).splitlines()
    await run_transcript(Lines, str(peer.dialogue))


def test_a_line_is_shown_with_three_on_either_side() -> None:
    transcript = parse_transcript("\n".join(f"C: {number}" for number in range(1, 10)))
    assert transcript.around(5).splitlines() == [
        "     2  C: 2",
        "     3  C: 3",
        "     4  C: 4",
        ">    5  C: 5",
        "     6  C: 6",
        "     7  C: 7",
        "     8  C: 8",
    ]
    assert transcript.around(1).startswith(">    1  C: 1\n")
    assert transcript.around(9).endswith("\n>    9  C: 9")


@pytest.mark.parametrize("then", ["S: <any>", "C: more"])
async def test_a_failure_of_the_handler_is_the_cause_of_what_does_not_go_on(
    then: str, autojump_clock: MockClock
) -> None:
    with pytest.raises(Mismatch) as caught:
        await run_transcript(Lines, f"C: fail\nC: <pause 1>\n{then}")
    assert isinstance(caught.value.__cause__, LookupError)


async def test_patience_is_for_each_line_and_five_seconds_unless_it_is_said(autojump_clock: MockClock) -> None:
    with pytest.raises(Mismatch, match="within 5 seconds"):
        await run_transcript(Lines, "S: hello")
    assert trio.current_time() == 5
    with pytest.raises(Mismatch, match="within 2 seconds"):
        await run_transcript(Lines, "S: hello", patience=2)
    assert trio.current_time() == 7


async def test_lines_of_one_are_said_in_one_breath() -> None:
    class Counting(AsyncChat):
        terminator = None

        def collect_incoming_data(self, data: bytes) -> None:
            self.push(b"%d\r\n" % data.count(b"\n"))

    await run_transcript(Counting, "C: a line\n" * 20 + "S: 20\n# again\n" + "C: <raw> \\n\n" * 20 + "S: 20")


async def test_what_is_left_at_the_end_fails() -> None:
    with pytest.raises(Mismatch, match="sent more than was expected"):
        await run_transcript(Lines, "C: one\nC: two\nS: one")
    with pytest.raises(LookupError):
        await run_transcript(Lines, "C: fail")


async def test_other_line_ends() -> None:
    class Unix(Lines):
        terminator = b"\n"

        def found_terminator(self) -> None:
            self.push(self._get_data() + b"\n")

    await run_transcript(Unix, "C: one\nS: one", newline=b"\n")
    await run_transcript(Unix, "newline: LF\n\nC: one\nS: one")
    await run_transcript(Lines, "newline: CRLF\n\nC: one\nS: one", newline=b"\n")
    await run_transcript(Unix, "newline: none\n\nC: one\nC: <raw> \\n\nS: one\nS: <raw> \\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a transcript has at least one line"),
        ("c: hello\ns: goodbye", "line 1: a line begins with C: or S: and a blank"),
        ("C:hello", "line 1: a line begins with C: or S: and a blank"),
        ("handler: a\nhandler: b\nC: c", "line 2: the header handler stands there already"),
        (r"C: <raw> \d\q", "line 1: raw bytes are written as in Python's b'…'"),
        ("C: one\nfollowing", "line 2: a line begins with C: or S:"),
        ("C: one\nnewline: LF", "line 2"),
        ("Handler: a\nC: one", "line 1: a line begins with C: or S:"),
        ("newline: CR\nC: one", "the header newline is one of CRLF, LF, none; got 'CR'"),
        (r"S: <raw> \x4", r"line 1: raw bytes are written as in Python's b'…'; got '\\x4'"),
        ("C: <raw> grüße", "line 1: raw bytes"),
        ("C: <pause>", "a pause has a number of seconds"),
        ("C: <pause soon>", "got 'soon'"),
        ("C: <pause -1>", "got '-1'"),
        ("C: <pause inf>", "got 'inf'"),
        ("C: <pause nan>", "got 'nan'"),
        ("C: <pause 1> and more", "line 1: '<pause 1> and more' is not understood"),
        ("S: <eof 1>", "line 1: '<eof 1>' is not understood"),
        ("C: <nothing>", "line 1: that is not for C: to say"),
        ("C: <error>", "line 1: that is not for C: to say"),
        ("S: <error KeyError>", "line 1: '<error KeyError>' is not understood"),
        ("C: <any>", "not for C:"),
        ("S: <pause 1>", "not for S:"),
        ("S: <reset>", "not for S:"),
        ("S: <eof> and more", "line 1: '<eof> and more' is not understood"),
        ("S: <raw x> a", "is not understood"),
        ("S: <raw 0> a", "is not understood"),
        ("C: <raw 99999999999999999999> a", "line 1: so many bytes are too many"),
        (f"C: <raw {'9' * 5000}> a", "line 1: so many bytes are too many"),
        ("newline: none\nS: <any>", "<any> goes up to the line end"),
        ("C: one\nS: <raw>", "line 2: these are no bytes"),
        ("C: <raw 3>", "line 1: these are no bytes"),
        ("newline: none\nC: one\nC:", "line 3: these are no bytes"),
        ("newline: none\nS:", "line 2: these are no bytes"),
        ("C: one\nS: \udcff", r"line 2: this cannot be said in UTF-8: '\udcff'"),
        ("S: <error> \udcff", "line 1: this cannot be said in UTF-8"),
    ],
)
def test_what_is_no_transcript(text: str, words: str) -> None:
    with pytest.raises(TranscriptError) as caught:
        parse_transcript(text)
    assert words in str(caught.value)


@pytest.mark.parametrize("end", ["eof", "reset"])
@pytest.mark.parametrize("then", ["more", "<raw> more", "<eof>", "<reset>"])
def test_who_has_ended_says_nothing_more(end: str, then: str) -> None:
    text = f"C: one\nC: <{end}>\nC: <pause 1>\nS: one\nC: {then}"
    if (end, then) == ("eof", "<reset>"):
        assert parse_transcript(text).steps[-1].kind == "reset"
    else:
        with pytest.raises(TranscriptError, match=f"line 5: C: can say nothing more after <{end}> in line 2"):
            parse_transcript(text)


async def test_behind_an_end_that_is_known_there_is_nothing() -> None:
    await run_transcript(Lines, "C: one\nS: one\nC: <reset>\nS: <nothing>")
    await run_transcript(Lines, "C: quit\nS: <eof>\nS: <nothing>\nS: <eof>")
    with pytest.raises(Mismatch, match="expected nothing; what has come is <eof>"):
        await run_transcript(Lines, "C: quit\nS: <nothing>")


async def test_a_header_that_nobody_knows_is_for_others_to_play() -> None:
    text = "handler: x:y\nnewlin: LF\nC: one\nS: one"
    assert parse_transcript(text).headers["newlin"] == "LF"
    with pytest.raises(TranscriptError, match="line 2: no such header: newlin"):
        await run_transcript(Lines, text)


@pytest.mark.parametrize(
    ("text", "newline", "words"),
    [
        (b"C: one", b"\n", "a transcript is a str; got b'C: one'"),
        (None, b"\n", "a transcript is a str; got None"),
        ("C: one", "LF", r"newline is in bytes, as b'\\n'; got 'LF'"),
    ],
)
async def test_what_a_transcript_is_given_as(text: Any, newline: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        parse_transcript(text, newline=newline)
    with pytest.raises(TypeError, match=words):
        await run_transcript(Lines, text, newline=newline)


async def test_a_recorded_dialogue_of_other_line_ends_can_be_played() -> None:
    class Unix(Lines):
        terminator = b"\n"

        def found_terminator(self) -> None:
            self.push(self._get_data() + b"\n")

    async with open_chat(Unix) as peer:
        await peer.send(b"one\ntwo\n")
        await peer.expect(b"one\ntwo\n")
    assert str(peer.dialogue).startswith("newline: LF\n\nC: one\n")
    await run_transcript(Unix, str(peer.dialogue))


def test_headers() -> None:
    transcript = parse_transcript("# comment\nhandler: module:name\nnewline: LF\nmax-x:\n\nC: a")
    assert transcript.headers == {"handler": "module:name", "newline": "LF", "max-x": ""}
    assert transcript.newline == b"\n"
    assert [(step.line, step.speaker, step.data) for step in transcript.steps] == [(6, "C", b"a\n")]


pieces = st.lists(
    st.tuples(
        st.sampled_from(["C", "S"]),
        st.one_of(st.binary(min_size=1, max_size=20), st.text(min_size=1, max_size=20).map(str.encode)),
        st.sampled_from([b"", b"\r\n", b"\n", b"\\", b"'", b'"', b" ", b"<eof>", b"<any>", b"\xc3"]),
    ),
    min_size=1,
    max_size=8,
)


@given(pieces)
@settings(deadline=None)
def test_a_printed_dialogue_is_a_transcript_of_it(turns: list[tuple[Any, bytes, bytes]]) -> None:
    dialogue = Dialogue()
    for speaker, data, end in turns:
        dialogue.said(speaker, data + end)
    transcript = parse_transcript(str(dialogue), newline=dialogue.newline)
    parsed = Dialogue()
    for step in transcript.steps:
        assert step.kind in ("text", "raw")
        parsed.said(step.speaker, step.data)
    assert parsed.turns == dialogue.turns


async def test_a_recorded_dialogue_can_be_played(mock_clock: MockClock) -> None:
    async with open_chat(Lines) as peer:
        await peer.send(b"one\r\n\xff\x00 two \r\n<any>\r\nthr")
        await peer.send(b"ee\r\n")
        await peer.expect(b"one\r\n\xff\x00 two \r\n<any>\r\nthree\r\n")
        await peer.pause(300)
        await peer.expect_until(b"\n")
    recorded = str(peer.dialogue)
    assert "C: <pause 300>\nS: 421 tired\nS: <eof>" in recorded
    await run_transcript(Lines, recorded)


def test_a_long_dialogue_is_cut() -> None:
    dialogue = Dialogue()
    dialogue.said("C", b"".join(b"line %d\r\n" % number for number in range(1000)))
    first, second, *_, last = dialogue.last_lines()
    assert (first, second, last) == ("(940 lines before)", "C: line 940", "C: line 999")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("rest", [b"", b"the rest"])
def test_the_last_lines_of_several_turns_are_those_of_the_whole(end: bytes, rest: bytes) -> None:
    dialogue = Dialogue()
    for number in range(50):
        dialogue.said("C", b"%d" % number + end + end + b"\xff" + end + rest)
        dialogue.happened("C", "<pause 1>")
        dialogue.said("S", b"a" + end)
        first, *last = dialogue.last_lines()
        lines = dialogue.lines()
        if len(lines) <= 60:
            assert [first, *last] == lines
        else:
            assert [first, *last] == [f"({len(lines) - 60} lines before)", *lines[-60:]]


def test_of_a_long_dialogue_only_what_is_shown_is_made() -> None:
    dialogue = Dialogue()
    dialogue.said("S", b"a line\r\n" * 2_000_000 + b"x" * 20_000_000)
    tracemalloc.start()
    try:
        first, *_, last = dialogue.last_lines()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert first == "(1999941 lines before)"
    assert last == f"S: <raw> {'x' * 241}… (19999509 characters) …{'x' * 250}"
    assert peak < 1_000_000


def test_a_dialogue_of_sixty_lines_is_shown_whole() -> None:
    dialogue = Dialogue()
    dialogue.said("C", b"a line\r\n" * 60)
    assert dialogue.last_lines() == ["C: a line"] * 60


def test_a_line_of_five_hundred_characters_is_shown_whole() -> None:
    dialogue = Dialogue()
    dialogue.said("C", b"x" * 497 + b"\r\n" + b"x" * 498 + b"\r\n")
    assert dialogue.last_lines() == [f"C: {'x' * 497}", f"C: {'x' * 247}… (1 characters) …{'x' * 250}"]


def test_what_cannot_be_seen_is_shown_in_escapes() -> None:
    dialogue = Dialogue()
    dialogue.said("S", b"a\nb\r\n\x1b[31mred\r\n")
    assert str(dialogue) == "S: <raw> a\\nb\\r\\n\nS: <raw> \\x1b[31mred\\r\\n"


@pytest.mark.parametrize("marker", ["<any>", "<Eof>", "<NOTHING>", "<pause 1>", "<raw> x", "<reset>"])
def test_what_would_be_a_marker_is_shown_in_escapes(marker: str) -> None:
    dialogue = Dialogue()
    dialogue.said("S", f"a {marker}\r\n".encode())
    assert str(dialogue) == f"S: <raw> a {marker}\\r\\n"


@pytest.mark.parametrize(
    ("data", "newline"),
    [(b"a\r\n", b"\r\n"), (b"a\nb\r\n", b"\r\n"), (b"a", b"\r\n"), (b"a\n", b"\n"), (b"a\rb\n", b"\n")],
)
def test_the_line_end_of_a_dialogue_is_seen_in_it(data: bytes, newline: bytes) -> None:
    dialogue = Dialogue()
    dialogue.said("C", data)
    assert dialogue.newline == newline


def test_a_turn_is_bytes_or_an_event() -> None:
    dialogue = Dialogue()
    dialogue.happened("C", "<pause 1>")
    dialogue.said("C", b"one")
    dialogue.said("C", b" two")
    assert dialogue.turns == [Turn("C", event="<pause 1>"), Turn("C", bytearray(b"one two"))]


async def test_long_lines_are_cut_where_a_failure_is_told() -> None:
    with pytest.raises(Mismatch) as caught:
        await run_transcript(Lines, f"C: {'x' * 9000}\nS: {'y' * 9000}")
    with pytest.raises(Mismatch) as caught_too:
        await run_transcript(Lines, f"C: {'x' * 9000}\nS: y<any>")
    assert len(str(caught_too.value)) < 3000
    told = str(caught.value)
    assert "x… (8503 characters) …x" in told
    assert "y… (8503 characters) …y" in told
    assert f"C: {'x' * 100}" in told
    assert len(told) < 3000


def test_empty_lines_stand_as_such() -> None:
    dialogue = Dialogue()
    dialogue.said("C", b"GET / HTTP/1.0\r\n\r\n \r\n")
    assert str(dialogue) == "C: GET / HTTP/1.0\nC:\nC: <raw> \\x20\\r\\n"


@pytest.mark.parametrize("make", [str, repr])
def test_bytes_are_shown_as_they_are(make: Callable[[object], str]) -> None:
    dialogue = Dialogue()
    dialogue.said("S", b"no line end")
    assert str(dialogue) == "S: <raw> no line end"
    assert "Dialogue" in repr(dialogue)
    assert make(dialogue)
