"""The ways in which an input may be cut into pieces, and which of them to try if there are too many."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain, combinations, islice, pairwise

#: The places at which the input is cut, in order.
Cuts = tuple[int, ...]

#: How many cuts a way has that is drawn by lot: each piece takes its time, and byte by byte is tried anyway.
_MOST_CUTS = 30


def cut(data: bytes, cuts: Cuts) -> list[bytes]:
    """The pieces between the cuts; of no data, none."""
    return [data[start:end] for start, end in pairwise((0, *cuts, len(data))) if start < end]


def ways_to_cut(length: int, most: int, rng: random.Random) -> Iterator[Cuts]:
    """Byte by byte, then at single places, at pairs, and at more; at most so many, less one, and none twice."""
    places = range(1, length)
    count, left = len(places), most - 2
    if not places or left < 0:
        return
    yield tuple(places)
    kinds = [_Kind(places, sizes, left, rng) for sizes in (range(1, min(2, count)), range(2, min(3, count)))]
    kinds.append(_Kind(places, range(3, min(count, _MOST_CUTS + 1)), left, rng))
    for kind, share in zip(kinds, _shares(left, *(kind.count for kind in kinds)), strict=True):
        yield from kind.some(share)


def _shares(left: int, singles: int, pairs: int, others: int) -> tuple[int, int, int]:
    """How many of each kind to try, if there are so many of them."""
    some_singles = singles if singles <= left - left // 10 else left // 2
    rest = left - some_singles
    some_pairs = pairs if pairs <= rest else rest // 2
    some_others = min(others, rest - some_pairs)
    some_pairs = min(pairs, rest - some_others)
    return min(singles, left - some_pairs - some_others), some_pairs, some_others


class _Kind:
    """The ways to cut at so many places: listed, if they are few, or else drawn by lot until there are enough."""

    def __init__(self, places: range, sizes: range, left: int, rng: random.Random) -> None:
        every = chain.from_iterable(combinations(places, size) for size in sizes)
        self._few = list(islice(every, 4 * left + 1))
        self._are_few = len(self._few) <= 4 * left
        self._places = places
        self._sizes = sizes
        self._rng = rng
        #: How many there are, or more than anybody wants.
        self.count = len(self._few)

    def some(self, wanted: int) -> list[Cuts]:
        if self._are_few:
            return [self._few[index] for index in sorted(self._rng.sample(range(self.count), wanted))]
        drawn: dict[Cuts, None] = {}
        while len(drawn) < wanted:
            drawn[tuple(sorted(self._rng.sample(self._places, self._rng.choice(self._sizes))))] = None
        return list(drawn)
