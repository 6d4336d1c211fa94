"""Iterating over what an application gives: its generators may do whatever a function may do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def is_failure(exc: BaseException) -> bool:
    """Whether this is a failure like any other, and no cancellation or such.

    If a generator is closed while it yields within a nursery, the nursery puts the GeneratorExit into a group, which
    leaves `aclose` and is no `Exception`.
    """
    if isinstance(exc, BaseExceptionGroup):
        return exc.split((Exception, GeneratorExit))[1] is None
    return isinstance(exc, Exception)


async def for_each(items: AsyncIterable[T], do: Callable[[T], Awaitable[None]]) -> None:
    """Await `do` with each of the items; then the iterator is closed, whatever happened.

    What `do` raises is raised in a generator where it has given the item, as if `yield` had raised it, a cancellation,
    too. So a generator may yield within a nursery or a cancel scope, which `async for` does not allow. It may survive
    the cancellation of a scope of its own, and go on; an exception ends the iteration even if it is caught.
    """
    iterator = aiter(items)
    next_item: Awaitable[T] = anext(iterator)
    try:
        while True:
            try:
                item = await next_item
            except StopAsyncIteration:
                return
            try:
                await do(item)
                next_item = anext(iterator)
            except BaseException as exc:
                if not isinstance(iterator, AsyncGenerator):
                    raise
                if isinstance(exc, Exception):
                    with suppress(StopAsyncIteration):
                        await iterator.athrow(exc)
                    raise
                next_item = iterator.athrow(exc)
    finally:
        if (close := getattr(iterator, "aclose", None)) is not None:
            await close()
