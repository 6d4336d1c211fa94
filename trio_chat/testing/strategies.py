"""Strategies for Hypothesis, which has to be installed for this module and for nothing else here."""

from __future__ import annotations

from hypothesis import strategies as st

from ._arguments import as_bytes
from ._cuts import cut


def chunkings(data: bytes | bytearray | memoryview | st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
    """Ways in which TCP may deliver `data`: in pieces of at least one byte. They shrink towards a single piece."""
    texts = data if isinstance(data, st.SearchStrategy) else st.just(as_bytes("data", data))
    return texts.flatmap(_chunkings_of)


def _chunkings_of(data: bytes) -> st.SearchStrategy[list[bytes]]:
    if len(data) < 2:
        return st.just([data] if data else [])
    places = st.lists(st.integers(1, len(data) - 1))  # and no set: that does not always shrink to the end
    return places.map(lambda cuts: cut(data, tuple(sorted(cuts))))
