"""Work is linear in the input, however it was split: twice the input runs twice the lines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeAlias

import pytest
from buffer_model import CRLF2, drip, pulled

from trio_chat import FrameTooLong, TerminatorBuffer
from trio_chat._terminators import Terminator, needles_for


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
