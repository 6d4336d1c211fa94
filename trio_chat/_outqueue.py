"""What is queued to be sent, in the order in which it was pushed: bytes, and sources of more.

A source is *begun* when everything before it has been sent. What it gives is put before it, one piece at a time, until
it is finished.
"""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias

from ._producers import Source

Data: TypeAlias = bytes | memoryview


class OutQueue:
    __slots__ = ("_begun", "_items", "lost", "queued_bytes", "sources")

    def __init__(self) -> None:
        # One push is all there is, mostly: it is kept in a tuple, which costs less to make and to drop than a deque. An
        # empty queue is no object of its own: idle connections are many.
        self._items: deque[Data | Source] | tuple[Data, ...] = ()
        self.sources = 0  # how many of them are sources
        self._begun: Source | None = None
        self.queued_bytes = 0  # of what was put in; who takes some out counts them off when they are sent
        self.lost = False  # nothing can be sent any more, and bytes are not kept

    @property
    def waiting_sources(self) -> int:
        """How many sources were not begun."""
        return self.sources - (self._begun is not None)

    def append(self, data: bytes) -> None:
        """Queue bytes, if there are any."""
        if data and not self.lost:
            if self._items:
                self._as_deque().append(data)
            else:
                self._items = (data,)
            self.queued_bytes += len(data)

    def _as_deque(self) -> deque[Data | Source]:
        if not isinstance(self._items, deque):
            self._items = deque(self._items)
        return self._items

    def append_source(self, source: Source) -> None:
        self._as_deque().append(source)
        self.sources += 1

    def put_first(self, data: Data) -> None:
        """Put what was taken out, or has come of the source that is first, before everything else."""
        self._as_deque().appendleft(data)

    @property
    def first_source(self) -> Source | None:
        """The source that is to be asked for more, if it is the first in the queue."""
        if self.sources and self._items and isinstance(first := self._items[0], Source):
            return first
        return None

    def begin(self, source: Source) -> bool:
        """Begin the first source; False if it is begun already."""
        if self._begun is source:
            return False
        self._begun = source
        return True

    def finish(self) -> None:
        """The first source has nothing more: take it off."""
        self._as_deque().popleft()
        self._begun = None
        self.sources -= 1

    def take(self, max_bytes: int) -> Data:
        """Take out as many bytes from the front as make one send; long ones are cut without copying."""
        if self.queued_bytes <= max_bytes and not self.sources:
            whole: Any = self._items  # no sources among them
            self._items = ()
            return whole[0] if len(whole) == 1 else b"".join(whole)
        items = self._as_deque()
        parts: list[Data] = []
        while max_bytes and items and not isinstance(data := items[0], Source):
            items.popleft()
            if len(data) > max_bytes:
                items.appendleft(memoryview(data)[max_bytes:])
                data = memoryview(data)[:max_bytes]
            parts.append(data)
            max_bytes -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def clear(self) -> list[Source]:
        """Take out everything; the sources, begun or not, which are to be closed."""
        sources = [item for item in self._items if isinstance(item, Source)]
        self._items, self._begun = (), None
        self.sources = self.queued_bytes = 0
        return sources
