"""Iterating over what an application gives: its generators may do whatever a function may do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def for_each(items: AsyncIterable[T], do: Callable[[T], Awaitable[None]]) -> None:
    """Await `do` with each of the items; then the iterator is closed, whatever happened.

    A generator may yield within a nursery or a cancel scope, which `async for` does not allow: if the scope is
    cancelled while `do` is awaited, that is raised where it has yielded, and it may survive it and go on.
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
                if isinstance(exc, Exception) or not isinstance(iterator, AsyncGenerator):
                    raise
                next_item = iterator.athrow(exc)
    finally:
        await _close(iterator)


async def _close(iterator: AsyncIterator[object]) -> None:
    if (close := getattr(iterator, "aclose", None)) is not None:
        try:
            await close()
        except BaseExceptionGroup as group:
            _, rest = group.split(GeneratorExit)
            if rest is not None:
                raise rest from None
