"""The scripted peer together with the handler that it talks to: how the conversation runs, and how it ends."""

from __future__ import annotations

from contextlib import suppress

import trio

from ._dialogue import in_words, shortened
from ._idleness import in_time
from ._peer import Peer


class RunningPeer(Peer):
    """A peer, for whoever runs its conversation."""

    async def run(self) -> None:
        """Hold the handler's side of the conversation. What it raises is kept: see `expect_error`."""
        try:
            await self.chat.run()
        except Exception as exc:
            self.note_error(exc)
        finally:
            self._over.set()
            self._tell_news()

    def note_error(self, error: Exception) -> None:
        """Something has failed, and this may be the only one who is told so."""
        self._errors.append(error)
        self.dialogue.happened("S", f"<error> {in_words(error)}")
        self._tell_news()

    def _tell_news(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def finish(self) -> None:
        """See that nothing is left: no output that was not expected, no failure, no task. Our side is ended."""
        await self._take_what_has_come()
        self._check_nothing_is_unread()
        await self._end_our_side()
        if not await in_time(self._over.wait, self._patience, moves_clock=True):
            self.fail("the handler still runs, although the peer has ended its side")
        while await self._receive(self._until()):
            pass
        self._check_nothing_is_unread()
        if len(self._errors) > 1:
            raise ExceptionGroup("several things failed", self._errors)
        if self._errors:
            raise self._errors[0]

    def _check_nothing_is_unread(self) -> None:
        if self._unread:
            self.fail(f"the handler has sent more than was expected: {shortened(repr(bytes(self._unread)))}")

    async def _end_our_side(self) -> None:
        if self._ended:
            return
        if not self._end:
            self.dialogue.happened("C", "<eof>")  # that is what a handler ends for, which has not ended before
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.stream.send_eof()

    def tell_errors(self, failure: Exception) -> None:
        """Something else has failed: what the handler has raised, and nobody was told of, is not to be lost."""
        known = _chain_of(failure)
        for error in self._errors:
            if error not in known:
                failure.add_note(f"the handler has failed, too, with {error!r}")
                if failure.__cause__ is None:
                    failure.__cause__ = error


def _chain_of(exc: BaseException | None) -> list[BaseException]:
    """An exception, and what has led to it."""
    chain: list[BaseException] = []
    while exc is not None and exc not in chain:
        chain.append(exc)
        exc = exc.__cause__ or exc.__context__
    return chain
