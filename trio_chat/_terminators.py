"""Terminators: which values may stand as one, and how a byte string is recognised across chunks.

`bytes.find` and `bytes.split` do the searching inside a chunk. What they cannot tell is whether a chunk *ends* with the
beginning of a terminator; `Needle` can, by the prefix function of Knuth, Morris and Pratt, which never looks at a byte
twice. (asynchat's `find_prefix_at_end` answers the same question by trying every length: quadratic in the terminator.)
`tests/benchmarks/scaling.py` keeps that true.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

#: `bytes`: up to this string. A tuple of them: up to the earliest, the longest at one place. `int`: so many bytes.
#: None: no end.
Terminator: TypeAlias = bytes | tuple[bytes, ...] | int | None

_TAKEN = "a terminator is bytes, a tuple of bytes, a number of bytes, or None"


def check_terminator(terminator: object) -> None:
    """Raise TypeError or ValueError, saying what is wrong, unless `terminator` is a `Terminator`."""
    if isinstance(terminator, bool):
        raise TypeError(f"{_TAKEN}; got {terminator!r}")
    if isinstance(terminator, int):
        if terminator < 0:
            raise ValueError(f"a number of bytes cannot be negative; got {terminator}")
    elif isinstance(terminator, tuple):
        if not terminator:
            raise ValueError("a tuple of terminators needs at least one; got ()")
        for alternative in terminator:
            _check_bytes(alternative)
    elif terminator is not None:
        _check_bytes(terminator)


def _check_bytes(terminator: object) -> None:
    if isinstance(terminator, str):
        raise TypeError(f"{_TAKEN}; got the str {terminator!r}: did you mean b{terminator!r}?")
    if not isinstance(terminator, bytes):
        raise TypeError(f"{_TAKEN}; got {terminator!r}")
    if not terminator:
        raise ValueError("a terminator cannot be empty; to collect everything, use None")


class Needle:
    """A byte string to be found, which also knows with which of its prefixes a text ends."""

    __slots__ = ("_borders", "pattern")

    def __init__(self, pattern: bytes) -> None:
        self.pattern = pattern
        # _borders[i]: the length of the longest proper prefix of pattern[:i + 1] that is also its suffix. It grows on
        # demand, as far as a match has ever come: most terminators fail on their first byte.
        self._borders = [0]

    def step(self, matched: int, byte: int) -> int:
        """How much of the pattern is matched after `byte`, if `matched` bytes of it were before."""
        pattern = self.pattern
        while matched and pattern[matched] != byte:
            matched = self._border(matched)
        return matched + 1 if pattern[matched] == byte else 0

    def _border(self, length: int) -> int:
        borders = self._borders
        if length > len(borders):
            self._borders = borders = self._grown_borders(min(2 * length, len(self.pattern)))
        return borders[length - 1]

    def _grown_borders(self, count: int) -> list[int]:
        """A new list: buffers in other threads share this needle, and may be reading the present one."""
        pattern, borders = self.pattern, self._borders.copy()
        matched = borders[-1]
        while len(borders) < count:
            byte = pattern[len(borders)]
            while matched and pattern[matched] != byte:
                matched = borders[matched - 1]
            matched += pattern[matched] == byte
            borders.append(matched)
        return borders

    def prefix_at_end(self, text: bytes, start: int) -> int:
        """The length of the longest proper prefix of the pattern with which `text[start:]` ends."""
        pattern = self.pattern
        start = max(start, len(text) - len(pattern) + 1)
        start = text.find(pattern[0], start)
        if start < 0:
            return 0
        matched = 0
        for byte in text[start:]:
            matched = self.step(matched, byte)
        return matched


@lru_cache(maxsize=64)
def needles_for(terminator: bytes | tuple[bytes, ...]) -> tuple[Needle, ...]:
    """The needles of a terminator, the longest first."""
    alternatives = {terminator} if isinstance(terminator, bytes) else set(terminator)
    return tuple(Needle(pattern) for pattern in sorted(alternatives, key=len, reverse=True))
