"""The chunks that were fed and are not consumed, in the order in which they came:

    held back            _chunk[_pos:]             _fed
    a terminator's  ──►  what is scanned next ──►  the chunks that came after it
    first bytes

Chunks are not joined, and a terminator that may have begun at the end of one is not stored but counted (`_held` bytes
of `_holder.pattern`), so that nothing is copied twice because it came in small pieces.
"""

from __future__ import annotations

from collections import deque

from ._terminators import Needle


class ChunkQueue:
    __slots__ = ("_chunk", "_eof", "_fed", "_fed_bytes", "_held", "_holder", "_next_seen", "_pos")

    def __init__(self) -> None:
        self._chunk = b""  # empty when more was asked for than there is: idle connections keep nothing
        self._pos = 0
        # For tuples: where each alternative is next in the chunk. It is known across changes of the terminator: no
        # stretch is searched for the same one twice.
        self._next_seen: dict[Needle, int] | None = None
        self._fed: deque[bytes] | None = None  # only while there is something to keep: idle connections are many
        self._fed_bytes = 0
        self._holder: Needle | None = None
        self._held = 0
        self._eof = False

    def _checked(self, data: object) -> bytes:
        """`data` as a chunk, if it is one and may follow."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"a buffer is fed with bytes; got {data!r}")
        if self._eof:
            raise ValueError("no input can follow the end of file")
        return bytes(data)

    def _append(self, data: bytes) -> None:
        if data:
            if self._fed is None:
                self._fed = deque()
            self._fed.append(data)
            self._fed_bytes += len(data)

    def feed_eof(self) -> None:
        """Say that no more input comes: what is held back as a possible terminator is handed over by the iteration."""
        self._eof = True

    def __len__(self) -> int:
        return self._held + len(self._chunk) - self._pos + self._fed_bytes

    def take(self) -> bytes:
        rest = b"".join((self._held_bytes(), self._chunk[self._pos :], *(self._fed or ())))
        self._start_chunk(b"")
        self._fed, self._fed_bytes = None, 0
        self._held = 0
        return rest

    @property
    def _final(self) -> bool:
        """Whether nothing follows the chunk."""
        return self._eof and not self._fed

    def _start_chunk(self, chunk: bytes) -> None:
        self._chunk = chunk
        self._pos = 0
        self._next_seen = None

    def _next_chunk(self) -> bool:
        """Go on to the next chunk; at end of file, to what was held back. False if there is neither."""
        if self._fed:
            chunk = self._fed.popleft()
            self._fed_bytes -= len(chunk)
            self._start_chunk(chunk)
        elif self._eof and self._held:
            self._rejoin()
        else:
            self._chunk, self._pos, self._next_seen, self._fed = b"", 0, None, None
            return False
        return True

    def _rejoin(self) -> None:
        """Put what is held back before the rest of the chunk again, as bytes."""
        if self._held:
            held_bytes = self._held_bytes()
            self._held = 0
            self._start_chunk(held_bytes + self._chunk[self._pos :])

    def _held_bytes(self) -> bytes:
        return self._holder.pattern[: self._held] if self._holder else b""
