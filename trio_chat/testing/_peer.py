"""The scripted peer: the other end of a conversation, which says what a test tells it, and hears what it expects.

Nothing here sleeps. What must come is waited for on Trio's clock, which costs no time on a `MockClock` that jumps; that
nothing comes is known when all tasks are blocked.
"""

from __future__ import annotations

import math
import re
from typing import NoReturn, TypeVar

import trio

from .. import AsyncChat
from ._arguments import as_bytes
from ._dialogue import Dialogue, Event, difference, in_short
from ._idleness import in_time, let_time_go_by, seconds_to_go_on, wait_until_idle
from ._streams import BreakingStream

_A_LOT_OF_BYTES = 1024 * 1024
#: What stands above the dialogue in the message of a `Mismatch` that shows it.
THE_DIALOGUE = "\n  the dialogue:\n"

ErrorT = TypeVar("ErrorT", bound=Exception)


class Mismatch(AssertionError):
    """The conversation did not go as expected: the message says what is different, and shows how it went."""


class Peer:
    """The other end of a handler's conversation; see `open_chat`.

    What does not come within `patience` seconds of Trio's clock is not expected any longer; on a `MockClock` that
    stands still, when all tasks are blocked, or take step after step for longer than that in real time.

    All methods are checkpoints, also if what they wait for is there. An expectation that is cancelled takes nothing
    out; what is cancelled before it begins to be sent does not stand in the dialogue.

    Attributes:
        chat: the handler.
        stream: this end of the connection. Who reads from it takes bytes away from the expectations.
        dialogue: how it went so far. `str(dialogue)` is a transcript of it.
    """

    def __init__(
        self, chat: AsyncChat, stream: trio.abc.HalfCloseableStream, handlers_end: BreakingStream, patience: float
    ) -> None:
        self.chat = chat
        self.stream = stream
        self.dialogue: Dialogue = Dialogue()
        self._handlers_end = handlers_end
        self._patience = patience
        self._unread = bytearray()
        self._end: Event = ""  # how the handler's side has ended
        self._end_is_known = False  # it was expected, or we have made it
        self._ended = False  # our side
        self._broken = False  # by us
        self._errors: list[Exception] = []  # that were not expected yet
        self._noted: list[Exception] = []  # all of them
        self._over = trio.Event()  # the conversation
        self._news = trio.Event()  # it is over, or something has failed

    # ------------------------------------------------------------------ saying something

    async def send(self, data: bytes) -> None:
        """Say `data`. Raises `Mismatch` if nobody listens any more."""
        data = as_bytes("what send() takes", data)
        await trio.lowlevel.checkpoint()
        if self._ended:
            raise RuntimeError("the peer has ended its side, and can say nothing more")
        self.dialogue.said("C", data)
        broken: list[Exception] = []

        async def send() -> None:
            try:
                await self.stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                broken.append(exc)

        if not await in_time(send, self._patience):
            self.fail("the handler does not receive what is sent to it, or waits until the peer hears what it sends")
        if broken:
            await self._fail_after_a_look("the handler has closed the connection, and cannot be sent anything", *broken)

    async def send_eof(self) -> None:
        """End our side of the connection, unless it has ended; the handler may go on sending."""
        await trio.lowlevel.checkpoint()
        if self._ended:
            return
        self.dialogue.happened("C", "<eof>")
        self._ended = True
        await self.stream.send_eof()

    async def break_connection(self) -> None:
        """Break the connection, as a reset does: whatever the handler does with its stream fails.

        What has come, and nothing has expected, is lost.
        """
        if not self._broken:
            self.dialogue.happened("C", "<reset>")
        self._ended = self._broken = True
        self._end = self._end or "<reset>"
        self._end_is_known = True
        self._unread.clear()  # more of it may be on its way, and nobody will ever know
        self._handlers_end.break_now()
        await trio.lowlevel.checkpoint()

    async def pause(self, seconds: float) -> None:
        """Let so much time go by; on a `MockClock` that stands still, move it."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"pause() takes a number of seconds; got {seconds!r}")
        await trio.lowlevel.checkpoint()
        self.dialogue.happened("C", f"<pause {seconds}>")
        await let_time_go_by(seconds)

    # ------------------------------------------------------------------ hearing something

    async def expect(self, data: bytes) -> None:
        """Wait for exactly `data`. What comes behind it is for the next expectation. Raises `Mismatch`."""
        if not (data := as_bytes("what expect() takes", data)):
            raise ValueError("to expect that nothing comes, use expect_nothing()")
        await trio.lowlevel.checkpoint()
        until = self._until()
        while not self._unread.startswith(data):
            if not data.startswith(self._unread) or not await self._receive(until):
                await self._take_what_has_come()
                if self._unread.startswith(data):
                    self.fail(f"{in_short(data)} has come, but later than within {self._patience:g} seconds")
                self.fail(f"{self._what_has_come()}\n{difference(data, bytes(self._unread))}")
        del self._unread[: len(data)]

    async def expect_until(self, terminator: bytes) -> bytes:
        """Wait for `terminator`, and return what comes up to it, with it. Raises `Mismatch`."""
        if not (terminator := as_bytes("what expect_until() takes", terminator)):
            raise ValueError("a terminator has at least one byte")
        await trio.lowlevel.checkpoint()
        until, searched = self._until(), 0
        while (at := self._unread.find(terminator, max(searched - len(terminator) + 1, 0))) < 0:
            searched = len(self._unread)
            if not await self._receive(until):
                self.fail(f"{self._what_has_come()}\nexpected  {terminator!r} somewhere in it")
        end = at + len(terminator)
        data = bytes(self._unread[:end])
        del self._unread[:end]
        return data

    async def expect_eof(self) -> None:
        """Wait until the handler has ended its side, without anything before that. Raises `Mismatch`.

        Over memory streams an `AsyncChat.abort` looks the same.
        """
        await trio.lowlevel.checkpoint()
        until = self._until()
        while not self._unread and await self._receive(until):
            pass
        if self._unread or self._end != "<eof>":
            self.fail(f"expected the end of the connection; {self._what_has_come()}")
        self._end_is_known = True

    async def expect_nothing(self) -> None:
        """See that nothing comes, neither bytes nor the end, before all tasks are blocked. Raises `Mismatch`.

        Behind an end that was expected, or that was ours (`break_connection`), there is nothing.
        """
        is_idle = await self._take_what_has_come()
        if self._unread or (self._end and not self._end_is_known):
            self.fail(f"expected nothing; {self._what_has_come()}")
        if not is_idle:
            self.fail("expected nothing; but tasks take step after step, and something may come at any time")

    async def expect_error(self, kind: type[ErrorT] | tuple[type[ErrorT], ...], match: str = "") -> ErrorT:
        """Wait until something has failed, and return the exception: what `run()` raised, or what was logged.

        Args:
            kind: the exception is one of this class, or of one of these.
            match: a regular expression that is found in its text.

        Raises `Mismatch` if nothing has failed, or something else.
        """
        kinds = _kinds_of(kind)
        await trio.lowlevel.checkpoint()
        until = self._until()
        while not (self._errors or self._over.is_set()):
            if not await in_time(self._news.wait, max(until - trio.current_time(), 0.0), self._patience):
                break
        fitting = (error for error in self._errors if isinstance(error, kinds) and re.search(match, str(error)))
        if (error := next(fitting, None)) is None:
            failed = ", ".join(map(repr, self._errors)) or "nothing"
            expected = " or ".join(one.__name__ for one in kinds) + f" with {match!r}" * bool(match)
            self.fail(f"expected {expected}; what has failed is {failed}")
        self._errors.remove(error)
        return error

    # ------------------------------------------------------------------ receiving

    def _until(self) -> float:
        return trio.current_time() + self._patience

    async def _receive(self, until: float) -> bool:
        """Wait for more, or for the end. False if that is in vain."""
        left = max(until - trio.current_time(), 0.0)
        return not self._end and await in_time(self._receive_some, left, self._patience)

    async def _receive_some(self) -> None:
        try:
            data = await self.stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._note_end("<reset>")
        else:
            if data:
                self._unread += data
                self.dialogue.said("S", bytes(data))
            else:
                self._note_end("<eof>")

    def _note_end(self, end: Event) -> None:
        self._end = end
        self.dialogue.happened("S", end)

    async def _receive_all(self) -> None:
        while not self._end:
            await self._receive_some()

    async def _take_what_has_come(self) -> bool:
        """Receive until all tasks are blocked; or only a lot, of what does not end. False if they are never blocked."""
        is_idle = True

        async def receive() -> None:
            while not self._end and len(self._unread) < _A_LOT_OF_BYTES:
                await self._receive_some()
            if not self._end:
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            is_idle = await wait_until_idle(self._patience)
            nursery.cancel_scope.cancel()
        return is_idle

    # ------------------------------------------------------------------ failing

    def _what_has_come(self) -> str:
        if self._unread:
            return f"what has come is {in_short(self._unread)}" + (f", and {self._end}" if self._end else "")
        if self._end:
            return f"what has come is {self._end}"
        if (seconds := seconds_to_go_on()) is None:
            return f"nothing has come within {self._patience:g} seconds"
        hint = f" {seconds:g} seconds before the next deadline: see pause()" * (seconds < math.inf)
        return f"nothing has come, and the clock stands still{hint}"

    async def _fail_after_a_look(self, message: str, *causes: Exception) -> NoReturn:
        await self._take_what_has_come()
        self.fail(message, *causes)

    def fail(self, message: str, *causes: Exception) -> NoReturn:
        """Raise `Mismatch` with the dialogue so far; from what has failed before, or else from `causes`."""
        shown = "\n".join(f"    {line}" for line in self.dialogue.last_lines()) or "    (nothing was said)"
        cause = (*self._errors, *causes, None)[0]
        raise Mismatch(f"{message}{THE_DIALOGUE}{shown}") from cause


def _kinds_of(kind: type[ErrorT] | tuple[type[ErrorT], ...]) -> tuple[type[ErrorT], ...]:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not (kinds and all(isinstance(one, type) for one in kinds)):
        raise TypeError(f"expect_error() takes an exception class, or a tuple of them; got {kind!r}")
    return kinds
