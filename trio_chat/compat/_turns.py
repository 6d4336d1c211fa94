"""The turns of asyncore's loop, for channels that have a mind of their own about when to read and write.

asyncore asked every channel at each turn of its loop whether it wanted to, and there was a turn whenever something had
happened to any of them, or `_SECONDS` had gone by. Only channels that override what it asked are asked so often here:
the others change their mind only by what they do themselves, or by what somebody does to their queue behind their back,
for which they are asked now and then.
"""

from __future__ import annotations

from typing import Protocol

import trio

_SECONDS = 30.0  # as asyncore.loop() has it


class Asked(Protocol):
    def look_soon(self) -> None:
        """Ask the channel, as soon as whoever runs now has had its say."""
        ...


class Turns:
    def __init__(self) -> None:
        self._all: set[Asked] = set()
        self._at_each: set[Asked] = set()
        self._sleep: trio.CancelScope | None = None
        self._running = False

    def add(self, asked: Asked, *, at_each: bool) -> None:
        """Have it asked now and then, or at each turn."""
        self._all.add(asked)
        if at_each:
            self._at_each.add(asked)
        if not self._running:
            self._running = True
            trio.lowlevel.spawn_system_task(self._run, name="trio_chat channels")

    def remove(self, asked: Asked) -> None:
        self._all.discard(asked)
        self._at_each.discard(asked)
        if not self._all and self._sleep is not None:
            self._sleep.cancel()

    def tell(self, teller: Asked) -> None:
        """Something has happened to the channel of `teller`."""
        for asked in self._at_each:
            if asked is not teller:
                asked.look_soon()

    async def _run(self) -> None:
        try:
            while self._all:
                with trio.CancelScope() as self._sleep:
                    await trio.sleep(_SECONDS)
                for asked in self._all:
                    asked.look_soon()
        finally:
            self._running = False


_turns: trio.lowlevel.RunVar[Turns] = trio.lowlevel.RunVar("trio_chat.compat turns")


def current_turns() -> Turns:
    """Those of this Trio run."""
    try:
        return _turns.get()
    except LookupError:
        turns = Turns()
        _turns.set(turns)
        return turns
