"""A dialogue as it went: who said what, and what else happened. It prints as a transcript, which can be played."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

#: C: the client, which is the peer that a test scripts; S: the server, which is the handler.
Speaker: TypeAlias = Literal["C", "S"]

#: What happens besides bytes, in the words of a transcript: "<eof>", "<reset>", "<pause 5>", "<error> KeyError: 1".
Event: TypeAlias = str

_MARKER = re.compile(r"<(?:any|eof|error|nothing|pause|raw|reset)\b", re.IGNORECASE)
_SHOWN_LINES = 60
_SHOWN_CHARACTERS = 500  # of a line
_WRITTEN_BYTES = 4 * _SHOWN_CHARACTERS  # at either end of a line, for them


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
            shown += [_written(turn.speaker, line, end) for line in _lines(bytes(turn.data), end)]
        return shown

    def last_lines(self) -> list[str]:
        """The last of them, as many, and as much of each, as one likes to read; of however much, no more is written."""
        end = self.newline
        shown: deque[str] = deque()
        for turn in reversed(self.turns):
            for start, stop in _places_of_last_lines(turn.data, end, _SHOWN_LINES - len(shown)):
                line, left_out = _ends_of(turn.data, start, stop)
                shown.appendleft(shortened(_written(turn.speaker, line, end), left_out))
            if turn.event and len(shown) < _SHOWN_LINES:
                shown.appendleft(shortened(f"{turn.speaker}: {turn.event}"))
        if lines_before := sum(bool(turn.event) + _count_lines(turn.data, end) for turn in self.turns) - len(shown):
            shown.appendleft(f"({lines_before} lines before)")
        return list(shown)

    @property
    def newline(self) -> bytes:
        """What seems to end its lines: CR LF, or else LF."""
        has_crlf, has_lf = (any(end in turn.data for turn in self.turns) for end in (b"\r\n", b"\n"))
        return b"\r\n" if has_crlf or not has_lf else b"\n"


def _lines(data: bytes, end: bytes) -> list[bytes]:
    """With their ends; the last one may have none."""
    *lines, rest = data.split(end)
    return [line + end for line in lines] + [rest] * bool(rest)


def _count_lines(data: bytearray, end: bytes) -> int:
    return data.count(end) + (bool(data) and not data.endswith(end))


def _places_of_last_lines(data: bytearray, end: bytes, most: int) -> Iterator[tuple[int, int]]:
    """Where so many of the lines begin and stop, the last one first."""
    stop = len(data)
    while stop and most:
        before = data.rfind(end, 0, stop - 1)
        start = before + len(end) if before >= 0 else 0
        yield start, stop
        stop, most = start, most - 1


def _ends_of(data: bytes | bytearray, start: int, stop: int) -> tuple[bytes, int]:
    """The part of `data`; of a very long one only the ends, and how much is left out between them."""
    left_out = stop - start - 2 * _WRITTEN_BYTES
    if left_out <= 0:
        return bytes(data[start:stop]), 0
    return bytes(data[start : start + _WRITTEN_BYTES] + data[stop - _WRITTEN_BYTES : stop]), left_out


def _written(speaker: Speaker, line: bytes, end: bytes) -> str:
    text = line.removesuffix(end)
    stands = line.endswith(end) and _stands(text)
    return f"{speaker}: {text.decode() if stands else f'<raw> {escaped(line)}'}".rstrip()


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
    return re.sub(r"^ | $", r"\\x20", _quoted(data).replace("\\'", "'"))


def _quoted(data: bytes) -> str:
    """What stands in a Python literal between b' and ', each byte written in the same way whatever the others are."""
    return repr(data + b"\"'")[2:-4]


def shortened(text: str, left_out: int = 0) -> str:
    """The text for somebody to read; of a long one, out of which so much may be left already, both ends."""
    left_out += len(text) - _SHOWN_CHARACTERS
    if left_out <= 0:
        return text
    half = _SHOWN_CHARACTERS // 2
    return f"{text[:half]}… ({left_out} characters) …{text[-half:]}"


def in_short(data: bytes | bytearray) -> str:
    """The `repr` of bytes, shortened, however many they are."""
    ends, left_out = _ends_of(data, 0, len(data))
    return shortened(repr(ends), left_out)


def parting(one: Sequence[object], other: Sequence[object]) -> int:
    """The first place at which they are not the same, or the shorter one is at its end."""
    differing = (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
    return next(differing, min(len(one), len(other)))


def difference(expected: bytes, received: bytes) -> str:
    """Where the two part, in two lines and a third that points at it. They do differ."""
    at = parting(expected, received)
    start = max(at - 40, 0)
    cut = "…" if start else ""
    pointer = " " * len(f"{cut}b'{_quoted(expected[start:at])}") + "^"
    one, other = (
        f"{cut}b'{_quoted(data[start : at + 60])}'{'…' * (len(data) > at + 60)}" for data in (expected, received)
    )
    return f"expected  {one}\nreceived  {other}\n          {pointer} byte {at}"
