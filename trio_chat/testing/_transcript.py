"""Reading transcripts: dialogues as RFCs print them."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ._dialogue import Speaker, shortened

Kind: TypeAlias = Literal["text", "raw", "pattern", "nothing", "pause", "eof", "reset", "error"]

NEWLINES = {"CRLF": b"\r\n", "LF": b"\n", "none": b""}
_PLAYED_HEADERS = ("handler", "newline")
_TURN = re.compile(r"([CS]):(?:\s+(.*))?")
_HEADER = re.compile(r"([a-z][a-z-]+):\s*(.*)")
_MARKER = re.compile(r"<(raw|nothing|pause|eof|reset|error)\b([^>]*)>(.*)", re.IGNORECASE)
_ANY = re.compile(r"<any>", re.IGNORECASE)
_SAID_BY: dict[Kind, str] = {"nothing": "S", "pattern": "S", "error": "S", "pause": "C", "reset": "C"}


class TranscriptError(ValueError):
    """This is no transcript; the message says in which line, and why."""


@dataclass(frozen=True)
class Step:
    """One line of a transcript."""

    line: int
    speaker: Speaker
    kind: Kind
    data: bytes = b""  # what is said; what the error says of itself
    pattern: re.Pattern[bytes] | None = None  # what a line of the server's matches, with its end
    seconds: float = 0.0


@dataclass(frozen=True)
class Transcript:
    """A transcript that has been read.

    Attributes:
        text: as it stands there.
        steps: its lines.
        headers: by name.
        newline: what ends a line of the dialogue.
    """

    text: str
    newline: bytes
    steps: tuple[Step, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)

    def around(self, line: int, context: int = 3) -> str:
        """The transcript around a line, which is pointed at."""
        lines = self.text.split("\n")
        first = max(line - context, 1)
        shown = enumerate(lines[first - 1 : line + context], first)
        return "\n".join(
            f"{'>' if number == line else ' '} {number:4}  {shortened(text)}".rstrip() for number, text in shown
        )


def parse_transcript(text: str, *, newline: bytes = b"\r\n") -> Transcript:
    r"""Read a transcript: a dialogue as RFCs print it.

        newline: CRLF

        S: 220 <any> ready
        C: EHLO client.example
        S: 250-mail.example greets client.example
        S: 250 SIZE 1000000
        # this client is slow
        C: <pause 400>
        S: 421 <any>
        S: <eof>

    A line that begins with C: is said by the client, the scripted peer; with S:, by the server, the handler. Each
    stands for its text, in UTF-8, without blanks around it, and a line end: CR LF, or what the header `newline` says,
    LF or none. Lines of one that follow each other are said in one breath. Blank lines, and lines that begin with #,
    mean nothing.

    Instead of a text, or, `<any>`, within one:

        <any>          S: any text, up to the line end
        <raw> \x16\0   bytes, escaped as in Python, and no line end
        <raw 1024> x   the same, so many times
        <nothing>      S: nothing comes until all tasks are blocked
        <pause 5>      C: so many seconds go by
        <eof>          the end of this side
        <reset>        C: the connection breaks
        <error> text   S: the handler fails, or logs an exception as an error, and the text stands in "KeyError: 'x'"

    Behind its `<eof>` or `<reset>` the client says nothing more; it may pause, and break what it has ended.

    Before the first line of the dialogue there may be headers, as `newline`; others are for whoever plays it.

    Args:
        newline: what ends its lines, unless it says so itself.

    Raises:
        TranscriptError: if it is none; the message says in which line, and why.
        TypeError: if `text` is no str, or `newline` no bytes.
    """
    if not isinstance(text, str):
        raise TypeError(f"a transcript is a str; got {text!r:.60}")
    if not isinstance(newline, bytes):
        raise TypeError(f"newline is in bytes, as b'\\n'; got {newline!r:.60}")
    headers: dict[str, str] = {}
    turns: list[tuple[int, Speaker, str]] = []
    for number, line in _lines(text):
        if turn := _TURN.fullmatch(line):
            turns.append((number, "C" if turn[1] == "C" else "S", turn[2] or ""))
        elif not turns and (header := _HEADER.fullmatch(line)):
            if header[1] in headers:
                raise TranscriptError(f"line {number}: the header {header[1]} stands there already")
            headers[header[1]] = header[2]
        else:
            raise TranscriptError(
                f"line {number}: a line begins with C: or S: and a blank, or with # for a comment; got {line!r}"
            )
    if not turns:
        raise TranscriptError("a transcript has at least one line that begins with C: or S:")
    if (name := headers.get("newline")) is not None:
        if name not in NEWLINES:
            raise TranscriptError(f"the header newline is one of {', '.join(NEWLINES)}; got {name!r}")
        newline = NEWLINES[name]
    steps = tuple(_step(*turn, newline) for turn in turns)
    _check_the_client_has_not_ended(steps)
    return Transcript(text, newline, steps, headers)


def parse_playable(text: str, *, newline: bytes = b"\r\n") -> Transcript:
    """As `parse_transcript`, for those who play it: nobody knows of other headers."""
    transcript = parse_transcript(text, newline=newline)
    for number, line in _lines(text):
        if (header := _HEADER.fullmatch(line)) and header[1] not in _PLAYED_HEADERS:
            raise TranscriptError(f"line {number}: no such header: {header[1]}")
    return transcript


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if (stripped := line.strip()) and not stripped.startswith("#"):
            yield number, stripped


def _step(line: int, speaker: Speaker, text: str, newline: bytes) -> Step:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TranscriptError(f"line {line}: this cannot be said in UTF-8: {text!r}") from None
    step = _marked(line, speaker, text)
    if step is None and _ANY.search(text):
        pattern = b".*".join(re.escape(part.encode()) for part in _ANY.split(text)) + re.escape(newline)
        step = Step(line, speaker, "pattern", pattern=re.compile(pattern, re.DOTALL))
        if not newline:
            raise TranscriptError(f"line {line}: <any> goes up to the line end, and here there is none")
    if step is None:
        step = Step(line, speaker, "text", text.encode() + newline)
    if step.kind in ("text", "raw") and not step.data:
        raise TranscriptError(f"line {line}: these are no bytes; that none come is written as S: <nothing>")
    if speaker != _SAID_BY.get(step.kind, speaker):
        raise TranscriptError(f"line {line}: that is not for {speaker}: to say; got {text!r}")
    return step


def _check_the_client_has_not_ended(steps: Iterable[Step]) -> None:
    """Who has ended its side only waits, or breaks what is left of the connection."""
    end: Step | None = None
    for step in steps:
        if step.speaker == "S" or step.kind == "pause":
            continue
        if end is not None and (end.kind, step.kind) != ("eof", "reset"):
            raise TranscriptError(f"line {step.line}: C: can say nothing more after <{end.kind}> in line {end.line}")
        if step.kind in ("eof", "reset"):
            end = step


def _marked(line: int, speaker: Speaker, text: str) -> Step | None:
    if not (marker := _MARKER.fullmatch(text)):
        return None
    name, argument, rest = marker[1].lower(), marker[2].strip(), marker[3].strip()
    match name:
        case "raw" if not argument or (argument.isdecimal() and argument.strip("0")):
            return Step(line, speaker, "raw", _repeated(_unescaped(rest, line), argument or "1", line))
        case "pause" if not rest:
            return Step(line, speaker, "pause", seconds=_seconds(argument, line))
        case "error" if not argument:
            return Step(line, speaker, "error", rest.encode())
        case "nothing" | "eof" | "reset" if not (argument or rest):
            return Step(line, speaker, name)
    raise TranscriptError(f"line {line}: {text!r} is not understood; the text of a marker is written as <raw>")


def _seconds(text: str, line: int) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise TranscriptError(f"line {line}: a pause has a number of seconds, as in <pause 2.5>; got {text!r}")
    return seconds


def _repeated(data: bytes, times: str, line: int) -> bytes:
    try:
        return data * int(times)
    except (ValueError, OverflowError, MemoryError):
        raise TranscriptError(f"line {line}: so many bytes are too many; got <raw {times}>") from None


def _unescaped(text: str, line: int) -> bytes:
    """What stands between the quotes of a bytes literal; quotes need no backslash."""
    quoted = re.sub(r"(\\.)|'", lambda match: match[1] or r"\'", text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what is no escape
            data: bytes = ast.literal_eval(f"b'{quoted}'")
    except (SyntaxError, ValueError, Warning) as exc:
        raise TranscriptError(f"line {line}: raw bytes are written as in Python's b'…'; got {text!r}") from exc
    return data
