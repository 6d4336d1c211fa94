"""`TerminatorBuffer`: the scanner that turns chunks of bytes into frames. It does no I/O and knows nothing of Trio.

What must always be true:

- What is handed over depends on the bytes alone, never on how they were split. So does the verdict that a frame is too
  long: exactly `max_frame_bytes` bytes of such a frame are handed over, then comes the error.
- A terminator set at any moment applies to every byte that has not been handed over.

The steady case is a chunk of many frames of one byte string. They come out of one `bytes.split`, as a *batch*, and the
batch is a list iterator that consumer and buffer share: to stop the consumer's loop, because the terminator was changed
or the conversation closed, the buffer takes the rest out of it. So the consumer need not ask after each frame whether
something has changed, and the loop runs at the speed of a bare `for` over `split` (`tests/benchmarks/framing.py`).
Batches grow from a single frame, so that a conversation that changes its terminator after every frame never pays for
splitting what it does not use.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from ._chunks import ChunkQueue
from ._errors import FrameTooLong
from ._terminators import Needle, Terminator, check_terminator, needles_for

_BATCH_FRAMES = 512  # at most so many frames in a batch: callers may want to do something else in between
_FIRST_WINDOW = 512  # bytes that are split at once when the terminator has just proved steady


class Batch(NamedTuple):
    """Pieces of data, and whether the terminator was found at the end of each of them."""

    pieces: Iterator[bytes]
    ended: bool


#: A `Batch` that is a plain tuple.
Pieces: TypeAlias = tuple[Iterator[bytes], bool]

#: Where the scanner stood in the chunk before a batch: (_pos, _held, frame_bytes, _matched, _terminator).
_Mark: TypeAlias = tuple[int, int, int, bytes | None, Terminator]

_START: _Mark = (0, 0, 0, None, None)
_NOTHING: Iterator[bytes] = iter(())


class TerminatorBuffer(ChunkQueue):
    r"""Splits a stream of bytes at terminators that may change after every frame.

    Feed it, then iterate: each step gives a `Batch` of `pieces` and whether each of them `ended` at the terminator.
    Data of an unfinished frame is handed over as it comes, so a frame may be several pieces, of which only the last
    ended; a piece that ended may be empty, any other is not.

        >>> buffer = TerminatorBuffer(b"\r\n")
        >>> buffer.feed(b"HELO example\r\nDATA\r\npart")
        >>> [(list(pieces), ended) for pieces, ended in buffer]
        [([b'HELO example'], True), ([b'DATA'], True), ([b'part'], False)]

    Iteration stops when more input is needed; feed and iterate again. Whatever the consumer leaves in a batch, by a
    `break` or because it sets another terminator in between, is still in the buffer, and comes again: to iterate
    without consuming the pieces would go on for ever.

    Args:
        terminator: `bytes`: up to this string. A tuple of `bytes`: up to the earliest of them, the longest where
            several begin at one place. `int`: so many bytes, after which the terminator is None; 0 is found at once.
            None: everything, without end.
        max_frame_bytes: how many bytes may come before a terminator of bytes; None for no limit. It may be changed at
            any time. A count is not limited: who sets it has chosen it.

    Time is linear in the bytes fed, however they are split. With a tuple, each chunk costs the length of its longest
    alternative besides.

    Raises:
        FrameTooLong: from the iteration, after the first `max_frame_bytes` bytes of the frame were handed over. The
            buffer stays there, and raises again, until `skip_frame` or a change of the terminator or of the limit.
        TypeError, ValueError: for what cannot be a terminator, as the message says.
    """

    __slots__ = (
        "_batch", "_limit", "_mark", "_matched", "_needle", "_needles", "_tail_from", "_terminator", "_window",
        "batch_frames", "frame_bytes", "skipping",
    )  # fmt: skip

    def __init__(self, terminator: Terminator = None, *, max_frame_bytes: int | None = None) -> None:
        super().__init__()
        check_terminator(terminator)
        self._use(terminator)
        self._matched: bytes | None = None
        #: How many bytes of the present frame have come, held back ones included.
        self.frame_bytes: int = 0
        #: Whether its rest is being dropped: see `skip_frame`.
        self.skipping: bool = False
        self._window = 0
        self._tail_from = -1  # for tuples: where one may begin that the chunk cuts off
        self._batch = _NOTHING
        #: How many pieces the last batch had.
        self.batch_frames: int = 0
        self._mark = _START
        self.max_frame_bytes = max_frame_bytes

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add a chunk behind what is buffered. The bytes are taken as they are now.

        Raises:
            TypeError: for what is not bytes-like.
            ValueError: after `feed_eof`.
        """
        if type(data) is not bytes or self._eof:
            data = self._checked(data)
        if self._chunk or self._fed:
            self.stop()
            self._append(data)
        else:
            self._chunk = data

    # ------------------------------------------------------------------ terminators and limits

    @property
    def terminator(self) -> Terminator:
        """The terminator in force; of a count, what is left of it."""
        return self._terminator

    @terminator.setter
    def terminator(self, terminator: Terminator) -> None:
        if self._needles and terminator.__class__ is self._terminator.__class__ and terminator == self._terminator:
            return  # set again after each frame, as many handlers do: nothing changes, the batch goes on
        if type(terminator) is not int or terminator < 0:
            check_terminator(terminator)
        if self._batch is not _NOTHING:
            self.stop()
        if self._held:
            self._rejoin()
        self._use(terminator)
        self._tail_from = -1
        self._window = 0
        self.frame_bytes = 0
        self.skipping = False

    def _use(self, terminator: Terminator) -> None:
        self._needles: tuple[Needle, ...] = ()
        self._needle: Needle | None = None  # the only one there can be
        if terminator is not None and not isinstance(terminator, int):
            self._needles = needles = needles_for(terminator)
            self._needle = needles[0] if isinstance(terminator, bytes) else None
        self._terminator = int(terminator) if isinstance(terminator, int) else terminator

    @property
    def matched(self) -> bytes | None:
        """The terminator of bytes that was found last: with a tuple, which of them it was."""
        return self._matched

    @property
    def max_frame_bytes(self) -> int | None:
        """How many bytes may come before a terminator of bytes; None: any number."""
        return None if self._limit == sys.maxsize else self._limit

    @max_frame_bytes.setter
    def max_frame_bytes(self, limit: int | None) -> None:
        if limit is None:
            limit = sys.maxsize
        elif type(limit) is not int:
            raise TypeError(f"max_frame_bytes is a number of bytes, or None for no limit; got {limit!r}")
        elif limit < 0:
            raise ValueError(f"max_frame_bytes is a number of bytes, or None for no limit; got {limit}")
        self.stop()
        self._limit = limit

    def skip_frame(self) -> None:
        """Drop the rest of the present frame, with its terminator, and go on behind it."""
        self.stop()
        self.skipping = True
        self._window = 0  # the frame to be dropped comes alone

    # ------------------------------------------------------------------ what is buffered

    def __len__(self) -> int:
        """How many bytes are buffered: fed, and neither handed over nor part of a terminator that was found.

        To be exact about a batch in progress it takes the rest of it back, as `stop` does.
        """
        self.stop()
        return super().__len__()

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun and not ended: some of it has come."""
        return bool(self.frame_bytes or self.skipping)

    def drained(self) -> bool:
        """Whether the next step of the iteration would need more input. Then nothing that was fed is kept."""
        if self._pos < len(self._chunk):
            return False
        if self._batch.__length_hint__():  # type: ignore[attr-defined]  # `operator.length_hint` takes four times as long
            return False
        if (self._fed or self._eof or self._needle is None) and self._has_more():
            return False
        self._chunk, self._pos, self._next_seen, self._batch = b"", 0, None, _NOTHING
        return True

    def _has_more(self) -> bool:
        """Whether there is something to be scanned now that the chunk is through."""
        return self._next_chunk() or (not self._needles and self._terminator == 0)

    def take(self) -> bytes:
        """Take out everything that was not handed over, for another protocol to go on with it."""
        self.stop()
        self.frame_bytes = 0
        self.skipping = False
        return super().take()

    def stop(self) -> None:
        """Take the rest of the present batch back into the buffer: the loop over its pieces ends."""
        rest = list(self._batch)
        self._batch = _NOTHING
        if not rest:
            return
        if len(rest) == self.batch_frames:
            self._pos, self._held, self.frame_bytes, self._matched, self._terminator = self._mark
            self._next_seen = None
        else:  # some frames of a split were handed over: the others are contiguous, up to _pos
            self._pos -= sum(map(len, rest)) + len(rest) * len(self._needles[0].pattern)

    # ------------------------------------------------------------------ scanning

    def __iter__(self) -> Iterator[Batch]:
        while (batch := self.next_pieces()) is not None:
            yield Batch(*batch)

    def next_batch(self) -> Batch | None:
        """The next step of the iteration; None if more input is needed."""
        return None if (batch := self.next_pieces()) is None else Batch(*batch)

    def next_pieces(self) -> Pieces | None:
        """As `next_batch`, for who has no use for names: a tuple costs a third."""
        if self._batch is not _NOTHING:
            self.stop()
        while self._pos < len(self._chunk) or self._has_more():
            chunk, start, needle = self._chunk, self._pos, self._needle
            self._mark = start, self._held, self.frame_bytes, self._matched, self._terminator
            if needle is None:
                pieces, ended = self._scan_otherwise()
            elif self._held:
                pieces, ended = self._scan_held(needle)
            elif self._window and (pieces := self._split(needle.pattern)):
                ended = True
            elif (at := chunk.find(needle.pattern, start)) < 0:
                pieces, ended = self._hand_over_unfinished(needle, needle.prefix_at_end(chunk, start))
            elif self.frame_bytes + at - start > self._limit:
                pieces, ended = self._hand_over(at, at + len(needle.pattern), ended=True)
            else:
                pieces, ended = [chunk[start:at]], True
                self._pos = end = at + len(needle.pattern)
                self.frame_bytes = 0
                if end < len(chunk) and not self._window:
                    self._window = _FIRST_WINDOW
            if ended and needle is not None:
                self._matched = needle.pattern
            if self.skipping:
                self.skipping = not ended
            elif pieces:
                self._batch = batch = iter(pieces)
                self.batch_frames = len(pieces)
                return batch, ended
        return None

    def _scan_otherwise(self) -> tuple[list[bytes], bool]:
        """Scan for what is not one string of bytes."""
        if self._needles:
            return self._scan_for_any()
        if isinstance(self._terminator, int):
            return self._scan_count(self._terminator)
        piece, self._pos = self._chunk[self._pos :], len(self._chunk)
        return [piece], False

    def _rejoin(self) -> None:
        if self._held:
            self.frame_bytes -= self._held
            super()._rejoin()
            self._mark = (self._pos, self._held, self.frame_bytes, *self._mark[3:])  # the same place as before

    def _scan_count(self, count: int) -> tuple[list[bytes], bool]:
        piece = self._chunk[self._pos : self._pos + count]
        left = count - len(piece)
        self._pos += len(piece)
        self._terminator = left or None
        self.frame_bytes = self.frame_bytes + len(piece) if left else 0
        return [piece], not left

    def _split(self, pattern: bytes) -> list[bytes]:
        """The frames that end within the window; none if the first of them is too long."""
        end = min(self._pos + self._window, len(self._chunk))
        frames = self._chunk[self._pos : end].split(pattern, _BATCH_FRAMES)
        rest = frames.pop()
        self._adapt_window(len(frames))
        if not frames or self.frame_bytes + len(frames[0]) > self._limit:
            return []
        if end - self._pos > self._limit < max(map(len, frames)):
            within = next(index for index, frame in enumerate(frames) if len(frame) > self._limit)
            rest = pattern.join((*frames[within:], rest))
            del frames[within:]
        self._pos = end - len(rest)
        self.frame_bytes = 0
        return frames

    def _adapt_window(self, frames: int) -> None:
        if frames == _BATCH_FRAMES:
            self._window = max(self._window // 2, _FIRST_WINDOW)
        elif frames <= _BATCH_FRAMES // 2 and self._window < len(self._chunk):
            self._window *= 2

    def _scan_held(self, needle: Needle) -> tuple[list[bytes], bool]:
        """Go on with a terminator that may have begun before this chunk, as long as it may."""
        chunk, start, held = self._chunk, self._pos, self._held
        at, matched = start, held
        while at < len(chunk) and at - start < matched < len(needle.pattern):
            matched = needle.step(matched, chunk[at])
            at += 1
        ended = matched == len(needle.pattern)
        if not ended and matched <= at - start:
            at, matched = start, 0  # it did not: the chunk is searched from its beginning
        freed = held + (at - start) - matched
        if self.frame_bytes - held + freed > self._limit and not self.skipping:
            self._rejoin()
            return [], False  # what was held back is scanned with the chunk
        self._pos = at
        self._held = 0 if ended else matched
        self.frame_bytes = 0 if ended else self.frame_bytes + at - start
        return [needle.pattern[:freed]] if freed or ended else [], ended

    def _scan_for_any(self) -> tuple[list[bytes], bool]:
        self._rejoin()
        chunk, start = self._chunk, self._pos
        end = len(chunk)
        if self._next_seen is None:
            self._next_seen, self._tail_from = {}, -1
        seen, first, found = self._next_seen, end, self._needles[0]
        for needle in self._needles:  # the longest first: it wins where two begin at one place
            if seen.get(needle, -1) < start:
                at = chunk.find(needle.pattern, start)
                seen[needle] = end if at < 0 else at
            if seen[needle] < first:
                first, found = seen[needle], needle
        if first == end or (first > end - len(self._needles[0].pattern) and not self._final):
            # Near the end, an earlier or a longer one may have begun.
            if self._tail_from < start:
                self._tail_from = end - max(needle.prefix_at_end(chunk, start) for needle in self._needles)
            if first >= self._tail_from:
                tail = chunk[self._tail_from :]
                holder = next(needle for needle in self._needles if needle.pattern.startswith(tail))
                return self._hand_over_unfinished(holder, len(tail))
        pieces, ended = self._hand_over(first, first + len(found.pattern), ended=True)
        if ended:
            self._matched = found.pattern
        return pieces, ended

    def _hand_over_unfinished(self, holder: Needle, held: int) -> tuple[list[bytes], bool]:
        """Hand over what is left of the chunk, except the last `held` bytes, with which `holder` may begin."""
        end = len(self._chunk) - (0 if self._final else held)
        result = self._hand_over(end, end, ended=False)
        if self._pos == end:
            self._pos = len(self._chunk)
            self._holder, self._held = holder, self._pos - end
            self.frame_bytes += self._held
        return result

    def _hand_over(self, end: int, resume: int, *, ended: bool) -> tuple[list[bytes], bool]:
        """Hand over the chunk up to `end` and go on at `resume`; if the limit does not allow it, what it does allow."""
        room = self._limit - self.frame_bytes
        if end - self._pos > room and not self.skipping:
            if room <= 0:
                raise FrameTooLong(self._limit)
            end = resume = self._pos + room
            ended = False
        piece = self._chunk[self._pos : end]
        self._pos = resume
        self.frame_bytes = 0 if ended else self.frame_bytes + len(piece)
        return [piece] if piece or ended else [], ended
