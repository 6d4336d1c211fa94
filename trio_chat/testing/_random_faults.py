"""A stream with faults that are drawn by lot: what nobody has thought of, and can be had again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias, get_args

import trio

from ._arguments import check_number
from ._streams import BreakingStream, ClosingStream, StallingStream
from ._wrapped import WrappedStream

#: How a `RandomlyFaultyStream` ends; "none" is no fault.
RandomFault: TypeAlias = Literal["none", "stall", "break", "close"]


class RandomlyFaultyStream(WrappedStream):
    """Follows a plan that is drawn by lot: short pieces and pauses on both sides, and in the end one of the faults.

    The same seed gives the same plan. The repr, and the message of each error that the plan makes, tell seed and plan:
    to repeat a failure, use its seed again.

    Args:
        seed: what the plan is drawn with.
        within_bytes: a stall or a break comes after fewer bytes than that.
        within_calls: a close comes at one of so many first calls.
        faults: which faults may be drawn. A stall is for ever.

    If cancelled, nothing that was received is lost, and a part of what was to be sent may have been.
    """

    def __init__(
        self,
        transport_stream: trio.abc.Stream,
        *,
        seed: int,
        within_bytes: int = 1000,
        within_calls: int = 10,
        faults: Sequence[RandomFault] = get_args(RandomFault),
    ) -> None:
        check_number("within_bytes", within_bytes, 1)
        check_number("within_calls", within_calls, 1)
        if not isinstance(seed, int):
            raise TypeError(f"seed is a whole number, so that the plan can be had again; got {seed!r}")
        if isinstance(faults, str) or not isinstance(faults, Sequence):
            raise TypeError(f"faults is a sequence, so that the plan can be had again; got {faults!r}")
        if not faults or any(fault not in get_args(RandomFault) for fault in faults):
            raise ValueError(f"faults are some of {get_args(RandomFault)}; got {faults!r}")
        plan = random.Random(seed)  # noqa: S311  # it is to be predictable
        side = plan.choice(("receive", "send"))
        after = {f"{side}_after": plan.randrange(within_bytes)}
        at_call = {f"at_{side}": plan.randint(1, within_calls)}
        fault = plan.choice(faults)
        if fault == "stall":
            transport_stream = StallingStream(transport_stream, **after)
        elif fault == "break":
            transport_stream = BreakingStream(transport_stream, **after)  # type: ignore[arg-type]
        elif fault == "close":
            transport_stream = ClosingStream(transport_stream, **at_call)
        super().__init__(transport_stream)
        self._piece_bytes = plan.choice((1, 2, 5, 20, 100, 1000, 65536))
        self._described = f"seed={seed}: pieces of up to {self._piece_bytes} bytes"
        if fault != "none":
            self._described += f", {transport_stream!r}"
        # One for each side, so that it makes no difference which of them comes first.
        self._receive_lots = random.Random(f"receive {seed}")  # noqa: S311
        self._send_lots = random.Random(f"send {seed}")  # noqa: S311

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._described}>"

    async def _send_all(self, data: bytes | bytearray | memoryview) -> None:
        rest = bytes(memoryview(data))
        while True:
            size = await self._next_piece(self._send_lots)
            with self._telling_the_plan():
                await self.transport_stream.send_all(rest[:size])
            rest = rest[size:]
            if not rest:
                return

    async def _receive_some(self, max_bytes: int | None) -> bytes | bytearray:
        size = await self._next_piece(self._receive_lots)
        with self._telling_the_plan():
            return await self.transport_stream.receive_some(size if max_bytes is None else min(size, max_bytes))

    async def _next_piece(self, lots: random.Random) -> int:
        for _ in range(lots.randrange(3)):
            await trio.lowlevel.checkpoint()
        return lots.randint(1, self._piece_bytes)

    @contextmanager
    def _telling_the_plan(self) -> Iterator[None]:
        try:
            yield
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise type(exc)(f"{exc} ({self!r})") from exc
