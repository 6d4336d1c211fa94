"""Any operation at any time: no sequence of calls loses a byte, doubles it, or misses a terminator."""

from __future__ import annotations

from itertools import islice

from buffer_model import any_terminator, limits, locate
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from trio_chat import Batch, FrameTooLong, TerminatorBuffer
from trio_chat._terminators import Terminator


class AnyOperation(RuleBasedStateMachine):
    """`rest` is what was fed and is not accounted for yet: each byte leaves it once, in order."""

    @initialize(terminator=any_terminator, limit=limits)
    def start(self, terminator: Terminator, limit: int | None) -> None:
        self.buffer = TerminatorBuffer(terminator, max_frame_bytes=limit)
        self.terminator, self.limit = terminator, limit
        self.rest, self.frame, self.eof, self.skipping = b"", 0, False, False
        self.batch: Batch | None = None

    def account(self, data: bytes, found: bytes | None) -> None:
        assert self.rest.startswith(data + (found or b""))
        self.rest = self.rest[len(data) + len(found or b"") :]
        self.frame = 0 if found is not None else self.frame + len(data)
        if isinstance(self.terminator, int):
            self.terminator = self.terminator - len(data) or None

    def account_for_skipped(self) -> None:
        if self.skipping:
            at, found = locate(self.rest, self.terminator, eof=self.eof)
            self.account(self.rest[:at], found)
            self.skipping = found is None

    @precondition(lambda self: not self.eof)
    @rule(data=st.lists(st.sampled_from(b"aab"), max_size=30).map(bytes))
    def feed(self, data: bytes) -> None:
        self.buffer.feed(data)
        self.rest += data

    @precondition(lambda self: len(self.rest) > 40)
    @rule()
    def feed_eof(self) -> None:
        self.buffer.feed_eof()
        self.eof = True

    @rule(most=st.integers(0, 3))
    def pull(self, most: int) -> None:
        try:
            self.batch = self.buffer.next_batch()
        except FrameTooLong:
            self.batch = None
            self.account_for_skipped()
            assert isinstance(self.terminator, bytes | tuple)
            assert self.frame == self.limit
            assert locate(self.rest, self.terminator, eof=self.eof)[0] > 0
        else:
            self.account_for_skipped()
            if self.batch is None:
                assert locate(self.rest, self.terminator, eof=self.eof) == (0, None)
        self.go_on(most)

    @rule(most=st.integers(0, 3))
    def go_on(self, most: int) -> None:
        """With a batch begun before: what happened in between may have ended it, but must not have spoilt it."""
        if self.batch is None:
            return
        for piece in islice(self.batch.pieces, most):
            at, found = locate(self.rest, self.terminator, eof=self.eof)
            if self.batch.ended:
                assert (len(piece), b"" if isinstance(self.terminator, int) else self.buffer.matched) == (at, found)
            else:
                assert 0 < len(piece) <= at
            self.account(piece, found if self.batch.ended else None)
            assert self.limit is None or self.frame <= self.limit or not isinstance(self.terminator, bytes | tuple)

    @rule(terminator=any_terminator)
    def change_terminator(self, terminator: Terminator) -> None:
        if not isinstance(terminator, bytes | tuple) or terminator != self.terminator:
            self.frame, self.skipping = 0, False
        self.buffer.terminator = self.terminator = terminator

    @rule()
    def set_the_same_terminator(self) -> None:
        if isinstance(self.terminator, bytes | tuple):
            self.buffer.terminator = self.terminator

    @rule()
    def stop(self) -> None:
        self.buffer.stop()
        assert self.buffer.terminator == self.terminator

    @rule()
    def skip(self) -> None:
        self.buffer.skip_frame()
        self.skipping = True

    @rule()
    def measure(self) -> None:
        assert len(self.buffer) == len(self.rest)

    @rule()
    def take(self) -> None:
        assert self.buffer.take() == self.rest
        self.rest, self.frame, self.skipping = b"", 0, False

    def teardown(self) -> None:
        if hasattr(self, "buffer"):
            assert self.buffer.take() == self.rest


TestAnyOperation = AnyOperation.TestCase
TestAnyOperation.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
