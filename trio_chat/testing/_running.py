"""The scripted peer together with the handler that it talks to: how the conversation runs, and how it ends."""

from __future__ import annotations

import logging
from contextlib import suppress

import trio

from ._dialogue import in_short, in_words
from ._idleness import in_time
from ._peer import Peer

logger = logging.getLogger("trio_chat.testing")


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
        failed = [each for each in _leaves(error) if all(each is not known for known in self._noted)]
        if failed:  # else it was logged, and is raised now, perhaps in a group
            self._noted += failed
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
        if not await in_time(self._hear_until_over, self._patience, moves_clock=True):
            self.fail("the handler still runs, although the peer has ended its side")
        while await self._receive(self._until()):
            pass
        self._check_nothing_is_unread()
        if len(self._errors) > 1:
            raise ExceptionGroup("several things failed", self._errors)
        if self._errors:
            raise self._errors[0]

    async def _hear_until_over(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive_all)
            await self._over.wait()
            nursery.cancel_scope.cancel()

    def _check_nothing_is_unread(self) -> None:
        if self._unread:
            self.fail(f"the handler has sent more than was expected: {in_short(self._unread)}")

    async def _end_our_side(self) -> None:
        if self._ended:
            return
        if not self._end:
            self.dialogue.happened("C", "<eof>")  # that is what a handler ends for, which has not ended before
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.stream.send_eof()

    def log_errors(self) -> None:
        """Somebody else has ended the conversation, and may not know why: that nothing came, say, for it had failed."""
        for error in self._errors:
            logger.error("the handler has failed, as nobody was told", exc_info=error)

    def tell_errors(self, failure: BaseException) -> None:
        """Something else has failed: what the handler has raised, and nobody was told of, is not to be lost."""
        known = _chain_of(failure)
        for error in self._errors:
            if all(error is not other for other in known):
                failure.add_note(f"the handler has failed, too, with {error!r}")
                if failure.__cause__ is None:
                    failure.__cause__ = error


def _leaves(error: Exception) -> list[Exception]:
    """What a group consists of in the end; of what is no group, itself."""
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in _leaves(each)]


def _chain_of(exc: BaseException) -> list[BaseException]:
    """An exception, what it consists of if it is a group, and what has led to all that."""
    chain: list[BaseException] = []
    left: list[BaseException | None] = [exc]
    while left:
        if (exc_left := left.pop()) is not None and all(exc_left is not known for known in chain):
            chain.append(exc_left)
            left += [exc_left.__cause__, exc_left.__context__]
            left += exc_left.exceptions if isinstance(exc_left, BaseExceptionGroup) else ()
    return chain
