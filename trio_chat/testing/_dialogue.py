"""A dialogue as it went: who said what, and what else happened. It prints as a transcript, which can be played."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

#: C: the client, which is the peer that a test scripts; S: the server, which is the handler.
Speaker: TypeAlias = Literal["C", "S"]

#: What happens besides bytes, in the words of a transcript: "<eof>", "<reset>", "<pause 5>", "<error> KeyError: 1".
Event: TypeAlias = str

_MARKER = re.compile(r"<(?:any|eof|error|nothing|pause|raw|reset)\b", re.IGNORECASE)
_SHOWN_LINES = 60
_SHOWN_CHARACTERS = 500  # of a line


@dataclass
class Turn:
    """What one of them did: said `data`, or else `event`."""

    speaker: Speaker
    data: bytearray = field(default_factory=bytearray)
    event: Event = ""


class Dialogue:
    """A dialogue as it went. `str` makes a transcript of it."""

    def __init__(self) -> None:
        #: What happened, in order.
        self.turns: list[Turn] = []

    def said(self, speaker: Speaker, data: bytes) -> None:
        """Note what was said; together with what the same one has said just before."""
        if not (self.turns and self.turns[-1].speaker == speaker and not self.turns[-1].event):
            self.turns.append(Turn(speaker))
        self.turns[-1].data += data

    def happened(self, speaker: Speaker, event: Event) -> None:
        """Note what one of them did besides saying something."""
        self.turns.append(Turn(speaker, event=event))

    def __str__(self) -> str:
        header = [] if self.newline == b"\r\n" else ["newline: LF", ""]
        return "\n".join([*header, *self.lines()])

    def lines(self) -> list[str]:
        """As a transcript, for line ends of CR LF if there are any, else of LF: see `newline`."""
        end = self.newline
        shown: list[str] = []
        for turn in self.turns:
            if turn.event:
                shown.append(f"{turn.speaker}: {turn.event}")
            shown += [f"{turn.speaker}: {text}".rstrip() for text in _texts(bytes(turn.data), end)]
        return shown

    def last_lines(self) -> list[str]:
        """The last of them, as many as one likes to read."""
        lines = self.lines()
        left_out = len(lines) - _SHOWN_LINES
        if left_out > 0:
            lines[:left_out] = [f"({left_out} lines before)"]
        return [shortened(line) for line in lines]

    @property
    def newline(self) -> bytes:
        """What seems to end its lines: CR LF, or else LF."""
        everything = b"".join(turn.data for turn in self.turns)
        return b"\r\n" if b"\r\n" in everything or b"\n" not in everything else b"\n"


def _texts(data: bytes, end: bytes) -> list[str]:
    *lines, rest = data.split(end)
    texts = [line.decode() if _stands(line) else f"<raw> {escaped(line + end)}" for line in lines]
    return [*texts, f"<raw> {escaped(rest)}"] if rest else texts


def _stands(line: bytes) -> bool:
    """Whether the line can stand in a transcript as it is."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return False
    return text.isprintable() and text == text.strip() and not _MARKER.search(text)


def in_words(error: BaseException) -> str:
    """What an exception says of itself, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def escaped(data: bytes) -> str:
    """The bytes as in a Python literal, without its quotes, and such that spaces at the ends are seen."""
    text = repr(data + b"\"'")[2:-4].replace("\\'", "'")
    return re.sub(r"^ | $", r"\\x20", text)


def shortened(text: str) -> str:
    """The text for somebody to read; of a long one its beginning and its end."""
    left_out = len(text) - _SHOWN_CHARACTERS
    if left_out <= 0:
        return text
    half = _SHOWN_CHARACTERS // 2
    return f"{text[:half]}… ({left_out} characters) …{text[-half:]}"


def parting(one: Sequence[object], other: Sequence[object]) -> int:
    """The first place at which they are not the same, or the shorter one is at its end."""
    differing = (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
    return next(differing, min(len(one), len(other)))


def difference(expected: bytes, received: bytes) -> str:
    """Where the two part, in two lines and a third that points at it. They do differ."""
    at = parting(expected, received)
    start = max(at - 40, 0)
    cut = "…" if start else ""
    pointer = " " * len(cut + repr(expected[start:at])[:-1]) + "^"
    one, other = (cut + repr(data[start : at + 60]) + "…" * (len(data) > at + 60) for data in (expected, received))
    return f"expected  {one}\nreceived  {other}\n          {pointer} byte {at}"
