"""The standard library's asynchat and ours run the same programs: the callbacks and the bytes must be the same.

    PYTHONPATH=tests/compat python -m asynchat_programs 100000

runs as many as one likes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
from asynchat_programs import Action, Program, cut, difference, differences

_PROGRAMS = 500  # in one test


@pytest.mark.parametrize("block", range(6))
async def test_random_programs(block: int) -> None:
    found, restless = await differences(range(block * _PROGRAMS, (block + 1) * _PROGRAMS))
    assert not found
    assert restless == 0


def chunkings(text: bytes, most_cuts: int) -> Iterator[list[bytes]]:
    """The text whole, cut at every place and every set of so many places, and byte by byte."""
    for count in range(most_cuts + 1):
        for cuts in combinations(range(1, len(text)), count):
            yield cut(text, list(cuts))
    yield cut(text, list(range(1, len(text))))


SWITCHING: dict[int, list[Action]] = {
    1: [("push", b"hello")],
    2: [("set_terminator", 3), ("simple_producer", b"0123456789", 4)],
    4: [("set_terminator", b"\r\n.\r\n")],
    6: [("producer", [b"a", b"bc"]), ("close_when_done",)],
}


@pytest.mark.parametrize(
    ("terminator", "text", "at_callback"),
    [
        (b"\r\n", b"a\r\n\r\r\nb\r\nc\r", {}),
        (b"aab", b"aaabaabaaaab", {}),
        (b"\r\n.\r\n", b"x\r\n.\r\n\r\n.\r\n.\r\n", {}),
        (3, b"abcdefgh", {}),
        (None, b"abcd", {}),
        (b"", b"abcd", {}),
        (0, b"abcd", {}),
        (b"\r\n", b"ab\r\nxyzm\r\n..\r\n.\r\nz", SWITCHING),
        (b"\r\n", b"a\r\nb\r\nc\r\n", {2: [("close_when_done",)]}),
        (b"\r\n", b"a\r\nb\r\nc\r\n", {2: [("push", b"bye"), ("close",)]}),
        (b"\r\n", b"a\r\nb\r\nc\r\n", {1: [("set_terminator", b"b")]}),
        (b"\r\n", b"a\r\nb\r\nc\r\n", {2: [("discard_buffers",)]}),
        (5, b"abcdefghij", {1: [("set_terminator", 2)]}),
        (b"\r\n", b"a\r\nb\r\nc\r\n", {3: [("raise", ValueError())]}),
    ],
)
async def test_every_chunking(terminator: Any, text: bytes, at_callback: dict[int, list[Action]]) -> None:
    for chunks in chunkings(text, 2):
        for on_error in ("default", "go on"):
            program = Program(terminator, chunks, at_callback=at_callback, on_error=on_error)
            assert await difference(program) is None
