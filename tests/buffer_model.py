"""`drive` (the buffer) and `model` (a naive search of the unsplit bytes) give the same, as the tests prove: a list of
events, (data of the frame, what ended it), and the bytes that were not handed over. With what else the tests share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations_with_replacement
from typing import TypeAlias

import pytest
from hypothesis import strategies as st

from trio_chat import FrameTooLong, TerminatorBuffer
from trio_chat._terminators import Terminator

TOO_LONG, OPEN = "too long", "open"  # what ends a frame, besides its terminator (b"" for a count)
Event: TypeAlias = tuple[bytes, bytes | str]
Result: TypeAlias = tuple[list[Event], bytes]

CRLF2 = b"\r\n\r\n"

one_string = st.lists(st.sampled_from(b"ab"), min_size=1, max_size=6).map(bytes)
any_bytes = one_string | st.lists(one_string, min_size=1, max_size=3).map(tuple)
any_terminator = any_bytes | st.integers(0, 5) | st.none()
limits = st.none() | st.integers(0, 8)


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


def drip(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def every_split(data: bytes) -> Iterator[list[bytes]]:
    """All in one, byte by byte, and every pair of cut points."""
    yield drip(data)
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
