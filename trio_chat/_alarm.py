"""One alarm clock for all connections of a Trio run.

Most timeouts never happen: their deadline is moved with every chunk. A `trio.CancelScope` for each would cost more than
handling a small message does. So a connection merely notes its times, and the alarm *looks* at it now and then: at the
earliest time at which it could have something to say. Then the connection acts, or says when to look again. A busy
connection is looked at once in the length of its shortest timeout, however many messages it handles.

The clock is a system task, so that connections served together and connections run alone have the same one. It lives
while there are connections with timeouts, and no longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Protocol

import trio


class Sleeper(Protocol):
    def ring(self, now: float) -> float:
        """Do what is due at `now`; the time to be looked at again, `math.inf` for none. Must not raise."""
        ...


class Ticket:
    """A sleeper's place at the alarm."""

    __slots__ = ("_alarm", "look_at", "sleeper")

    def __init__(self, alarm: Alarm, sleeper: Sleeper) -> None:
        self._alarm = alarm
        self.sleeper: Sleeper | None = sleeper
        self.look_at = math.inf

    def look(self, when: float) -> None:
        """Have the alarm look at the sleeper at `when`, which is before the present `look_at`."""
        self.look_at = when
        self._alarm.look(self)

    def awaits(self, when: float) -> bool:
        """Whether a look at `when` is not out of date: the sleeper has not ended, and is not looked at before."""
        return self.sleeper is not None and self.look_at == when

    def give_back(self) -> None:
        """No longer be looked at."""
        self.sleeper = None
        self._alarm.forget_one()


class Alarm:
    def __init__(self) -> None:
        self._looks: list[tuple[float, int, Ticket]] = []
        self._order = count()
        self._tickets = 0
        self._sleep: trio.CancelScope | None = None
        self._running = False
        #: The time of this Trio run, sooner than `trio.current_time` would tell it.
        self.now: Callable[[], float] = trio.lowlevel.current_clock().current_time

    def ticket(self, sleeper: Sleeper) -> Ticket:
        self._tickets += 1
        return Ticket(self, sleeper)

    def forget_one(self) -> None:
        self._tickets -= 1
        if self._tickets == 0:
            self._looks.clear()
            if self._sleep is not None:
                self._sleep.cancel()
        else:
            self._compact()

    def _compact(self) -> None:
        """Drop what is out of date, once it is the most: looks at sleepers that are gone or are looked at before."""
        if len(self._looks) > 4 * self._tickets + 64:
            self._looks = [(when, order, ticket) for when, order, ticket in self._looks if ticket.awaits(when)]
            heapify(self._looks)

    def look(self, ticket: Ticket) -> None:
        when = ticket.look_at
        heappush(self._looks, (when, next(self._order), ticket))
        self._compact()
        if not self._running:
            self._running = True
            trio.lowlevel.spawn_system_task(self._run, name="trio_chat alarm")
        elif self._sleep is not None and when < self._sleep.deadline:
            self._sleep.deadline = when

    async def _run(self) -> None:
        try:
            while self._tickets:
                with trio.CancelScope(deadline=self._looks[0][0] if self._looks else math.inf) as self._sleep:
                    await trio.sleep_forever()
                self._ring(trio.current_time())
        finally:
            self._sleep = None
            self._running = False

    def _ring(self, now: float) -> None:
        while self._looks and self._looks[0][0] <= now:
            when, _, ticket = heappop(self._looks)
            if ticket.awaits(when) and ticket.sleeper is not None:
                ticket.look_at = math.inf
                if (when := ticket.sleeper.ring(now)) < math.inf:
                    ticket.look(when)


_alarm: trio.lowlevel.RunVar[Alarm] = trio.lowlevel.RunVar("trio_chat alarm")


def current_alarm() -> Alarm:
    """The alarm of this Trio run."""
    try:
        return _alarm.get()
    except LookupError:
        alarm = Alarm()
        _alarm.set(alarm)
        return alarm
