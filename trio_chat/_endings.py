"""How the end of a conversation is told to whoever takes part in it, and how it leaves the nurseries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio


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


@contextmanager
def raising_itself(but_not: Callable[[BaseException], bool] = lambda exc: False) -> Iterator[None]:
    """Around a nursery of ours: what one of its tasks alone raised leaves as itself, some of it not at all.

    What several tasks raised leaves in the nursery's group.
    """
    failure: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as group:
        _, failure = group.split(lambda exc: but_not(exc))  # noqa: PLW0108 - split() takes no bound method
        if isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
            failure = failure.exceptions[0]
    if failure is not None:
        raise failure
