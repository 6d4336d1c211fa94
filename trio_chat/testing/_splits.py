"""A handler must not care how its input was split: TCP does with it what it likes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import trio
from trio.testing import memory_stream_pair

from .. import HandlerFactory
from ._arguments import as_bytes, check_number, made_by
from ._cuts import Cuts, cut, ways_to_cut
from ._dialogue import difference, escaped, parting, shortened
from ._idleness import in_time, wait_until_idle
from ._recording import Call, joined, record_calls
from ._tasks import background_tasks
from ._wrapped import WrappedStream

_SHOWN_CALLS = 5


@dataclass
class Outcome:
    """What a handler has done with its input."""

    calls: list[Call] = field(default_factory=list)
    output: bytes = b""
    error: Exception | None = None
    ended: bool = True
    result: object = None


async def assert_same_under_every_split(
    handler_factory: HandlerFactory,
    data: bytes,
    *,
    most: int = 500,
    seed: int = 0,
    patience: float = 5.0,
    comparable: Callable[[bytes], bytes] = bytes,
    result: Callable[[Any], object] = lambda chat: None,
) -> int:
    """See that a handler does the same with `data`, and then the end of file, however that is split.

    The input is given whole, which is what the others are held against; byte by byte; cut at every single place; at
    every pair of places; and at random, at up to 30 places. Each piece comes alone: the next one when the handler asks
    for it, and nothing more happens; if it does not ask within `patience`, the rest comes at once. Callbacks must be
    called in the same order with the same arguments (but data may come in other pieces, and less of it to a handler
    that closes in the middle of a frame), the output must be the same, and so must the exception that leaves `run()`.
    Handlers are made anew for each.

    Args:
        most: how many ways of splitting it to try, none of them twice. If there are more, those that are tried are
            chosen at random: of the pairs and the others half each, if all single places leave a tenth of `most` for
            them; or else half as many single places, and a quarter each of the pairs and the others.
        seed: of what is chosen at random.
        patience: how many seconds of Trio's clock the handler may go on when the input has ended.
        comparable: of two outputs that are not the same for a reason, say because they have a date in them, makes the
            bytes that must be.
        result: of a handler that has ended, what else must be the same.

    Returns how many ways were tried.

    Raises AssertionError, which shows the smallest split that makes a difference, and what it is.
    """
    data = as_bytes("data", data)
    check_number("most", most, 0)

    async def outcome_of(cuts: Cuts) -> Outcome:
        return await _converse(handler_factory, cut(data, cuts), patience, result)

    whole = await outcome_of(())
    if not whole.ended:
        raise AssertionError(f"the handler goes on for more than {patience:g} seconds after the end of its input")
    again = await outcome_of(())
    if told := _difference(whole, again, comparable):
        advice = ": see `comparable`" if told == _difference_of_outputs(whole, again, comparable) else ""
        raise AssertionError(f"the handler does not do the same twice with the same input{advice}\n{told}")

    async def told_apart(cuts: Cuts) -> str:
        return _difference(whole, await outcome_of(cuts), comparable)

    tried = 1
    for way in ways_to_cut(len(data), most, random.Random(seed)):  # noqa: S311
        tried += 1
        if told := await told_apart(way):
            cuts = await _smallest(way, told_apart)
            told = await told_apart(cuts) or told
            pieces = " | ".join(shortened(escaped(piece)) for piece in cut(data, cuts))
            raise AssertionError(f"the handler does not do the same if its input is split as\n  {pieces}\n{told}")
    return tried


async def _converse(
    handler_factory: HandlerFactory, pieces: Sequence[bytes], patience: float, result: Callable[[Any], object]
) -> Outcome:
    client, server_end = memory_stream_pair()
    server = AskingStream(server_end)
    chat = made_by(handler_factory, server)
    outcome = Outcome(calls=record_calls(chat))
    over = trio.Event()

    async def run() -> None:
        try:
            await chat.run()
        except Exception as exc:
            outcome.error = exc
        finally:
            await trio.aclose_forcefully(server)

    async def receive() -> None:
        async for received in client:
            outcome.output += received

    async def converse() -> None:
        async with trio.open_nursery() as both:
            both.start_soon(run)
            both.start_soon(receive)
        over.set()

    async with background_tasks() as nursery:
        nursery.start_soon(converse)
        with suppress(trio.BrokenResourceError):
            # If the handler has closed, what would come later concerns nobody.
            asks = True
            for piece in [*pieces, b""]:
                asks = asks and await in_time(server.asked, patience, moves_clock=True)
                await wait_until_idle()
                server.forget()
                await (client.send_all(piece) if piece else client.send_eof())
        outcome.ended = await in_time(over.wait, patience, moves_clock=True)
    await trio.aclose_forcefully(client)
    outcome.result = result(chat)
    return outcome


class AskingStream(WrappedStream):
    """Tells when the handler asks for more: all tasks may be blocked before, because it waits for something else."""

    def __init__(self, transport_stream: trio.abc.Stream) -> None:
        super().__init__(transport_stream)
        self._asked = trio.Event()

    async def _receive_some(self, max_bytes: int | None) -> bytes | bytearray:
        self._asked.set()
        return await super()._receive_some(max_bytes)

    def forget(self) -> None:
        """What was asked for is about to come: from now on, `asked` waits for the next time."""
        self._asked = trio.Event()

    async def aclose(self) -> None:
        self._asked.set()  # nobody has to wait for that any more
        await super().aclose()

    async def asked(self) -> None:
        await self._asked.wait()


async def _smallest(cuts: Cuts, told_apart: Callable[[Cuts], object]) -> Cuts:
    """Leave out cuts, first many and then single ones, as long as there is a difference."""
    size = max(len(cuts) // 2, 1)
    while size:
        start = 0
        while start < len(cuts) and len(cuts) > 1:
            fewer = cuts[:start] + cuts[start + size :]
            if fewer and await told_apart(fewer):  # type: ignore[misc]
                cuts = fewer
            else:
                start += size
        size //= 2
    return cuts


def _difference(whole: Outcome, other: Outcome, comparable: Callable[[bytes], bytes]) -> str:
    """What is not the same; "" if everything is."""
    if not other.ended:
        return "it does not end"
    if _comparable_repr(whole.error) != _comparable_repr(other.error):
        return f"from run() comes {other.error!r}, and {whole.error!r} if the input comes whole"
    expected, received = _comparable(whole.calls, other.calls)
    if expected != received:
        at = parting(expected, received)
        lines = [
            f"  {name:9} {', '.join(map(shortened, calls[max(at - 1, 0) : at + _SHOWN_CALLS]))}"
            for name, calls in (("whole", expected), ("split", received))
        ]
        return "\n".join([f"from callback {at} on there are called", *lines])
    if told := _difference_of_outputs(whole, other, comparable):
        return told
    if whole.result != other.result:
        results = [shortened(repr(outcome.result)) for outcome in (other, whole)]
        return "the result is {}, and {} if the input comes whole".format(*results)
    return ""


def _difference_of_outputs(whole: Outcome, other: Outcome, comparable: Callable[[bytes], bytes]) -> str:
    expected, output = (as_bytes("what comparable() returns", comparable(each.output)) for each in (whole, other))
    return "" if expected == output else f"the output is not the same\n{difference(expected, output)}"


def _comparable_repr(argument: object) -> str:
    """Its repr; of an exception, without the addresses of objects in it: they are never the same."""
    words = repr(argument)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", words) if isinstance(argument, BaseException) else words


def _comparable(*sides: list[Call]) -> Iterator[list[str]]:
    """The calls of both, in words.

    A handler may close as soon as it has seen enough, in the middle of a frame: how much more it was given with that is
    nobody's business.
    """
    both = [joined(calls) for calls in sides]
    if all([call.name for call in calls[-2:]] == ["data", "close"] for calls in both):
        seen = min(len(calls[-2].argument) for calls in both)
        both = [[*calls[:-2], Call("data", calls[-2].argument[:seen]), calls[-1]] for calls in both]
    for calls in both:
        yield [f"{name}({'' if argument is None else _comparable_repr(argument)})" for name, argument in calls]
