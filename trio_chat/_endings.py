"""How the end of a conversation is told to whoever takes part in it, and how it leaves the nurseries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

import trio

#: What ends one connection, in a `BaseExceptionGroup` that may hold cancellations besides. A GeneratorExit has come out
#: of a nursery in a generator that was closed: that is nobody else's business.
FAILURES = (Exception, GeneratorExit)


class Ended(trio.ClosedResourceError):
    """Tells whoever pushes, or waits (`waited`), that we have closed the connection."""

    def __init__(self, connection: object, message: str, *, waited: bool = False) -> None:
        super().__init__(message)
        self.connection: object = connection
        self.waited = waited


class Lost(trio.BrokenResourceError):
    """Tells whoever waits that the peer is gone."""

    def __init__(self, connection: object, message: str) -> None:
        super().__init__(message)
        self.connection: object = connection
        self.waited = True


def tells_end_of(exc: BaseException, connection: object) -> TypeGuard[Ended | Lost]:
    """Whether it is what somebody was told of the end of this connection."""
    return isinstance(exc, Ended | Lost) and connection is not None and exc.connection is connection


def is_among(exc: BaseException, failure: BaseException) -> bool:
    """Whether `failure` is this exception, or a group that has it somewhere."""
    if isinstance(failure, BaseExceptionGroup):
        return any(is_among(exc, each) for each in failure.exceptions)
    return exc is failure


@contextmanager
def raising_itself(but_not_ends_of: object = None) -> Iterator[None]:
    """Around a nursery of ours: what one of its tasks alone raised leaves as itself.

    What several tasks raised leaves in the nursery's group. What only told a task, which would have been cancelled,
    that the connection `but_not_ends_of` is over does not leave at all.
    """
    failure: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as group:
        _, failure = group.split(lambda exc: tells_end_of(exc, but_not_ends_of))
        if isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
            failure = failure.exceptions[0]
    if failure is not None:
        came_from = failure.__context__
        try:
            raise failure
        finally:
            failure.__context__ = came_from  # and not from the group, of which a report would tell besides
