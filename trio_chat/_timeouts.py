"""The timeouts of one connection: since when it waits for what, and which of them has passed.

Times are only noted here; the alarm looks at them when one of them might have passed (see `_alarm.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sized
from typing import Protocol

import trio

from ._alarm import Ticket, current_alarm
from ._handler import TimeoutKind
from ._writer import Writer


class TimeLimits(Protocol):
    """Attributes that are read whenever they are needed, so that they may be changed at any time."""

    idle_timeout: float
    message_timeout: float
    write_timeout: float


class Timeouts:
    __slots__ = (
        "_limits",
        "_now",
        "_report",
        "_ticket",
        "_wait_until",
        "_waits",
        "_writer",
        "due",
        "failure",
        "message_since",
        "since",
    )

    def __init__(self, limits: TimeLimits, writer: Writer, waits: Sized, report: Callable[[], None]) -> None:
        """`waits` is empty unless input is waited for.

        `report` is called when a timeout has passed; `due` says which, until it is handled.
        """
        self._limits = limits
        self._writer = writer
        self._report = report
        self._ticket: Ticket | None = None
        self._now: Callable[[], float] = trio.current_time  # that of the Trio run's clock, once it is known
        self._waits = waits
        #: When that began, or would have but for an interruption. None when callbacks have run, or something has come.
        self.since: float | None = None
        #: Since when the message in progress has been; None when there is none, or it began within what came last.
        self.message_since: float | None = None
        self._wait_until: float | None = None
        self.due: TimeoutKind | None = None
        self.failure: Exception | None = None

    def start(self) -> None:
        """Begin to be looked at."""
        alarm = current_alarm()
        self._ticket = alarm.ticket(self)
        self._now = alarm.now

    def stop(self) -> None:
        if self._ticket is not None:
            self._ticket.give_back()
            self._ticket = None

    # ------------------------------------------------------------------ what happens

    def note_waiting(self, in_message: bool, until: float | None = None) -> None:
        """From now on input is waited for, and a message is in progress or not.

        `until`: the deadline of this wait, instead of the message timeout's.
        """
        now = self._now()
        if self.since is None:
            self.since = now
        self._wait_until = until
        # Before so long, idleness has nothing to say; the alarm will ask again.
        deadline = self.since + self._limits.idle_timeout
        if in_message:
            if self.message_since is None and until is None:
                self.message_since = now
            deadline = min(deadline, self._message_deadline())
        if (ticket := self._ticket) is not None and deadline < ticket.look_at:
            ticket.look(deadline)

    def note_output(self) -> None:
        """A send has begun."""
        self._look_at(self._write_deadline())

    def drop_due(self) -> None:
        """What has been due for want of input is not any more: some has come, or nobody waits for it."""
        if self.due != "write":
            self.due = None

    def end_message(self) -> None:
        """The message that was in progress has ended, or no later than with what has come."""
        self.message_since = None
        if self.due == "message":
            self.due = None

    def take_due(self, *, fresh: bool) -> TimeoutKind | None:
        """The timeout that has passed, once; its time begins again.

        `fresh`: something has come that was not handed over. So nobody is idle, and a message may have ended with it,
        which is seen to first; but a peer that never stops sending does not put off for ever what is due.
        """
        if fresh and self.due != "write":
            if self.due == "idle":
                self.due = None
            return None
        due, self.due = self.due, None
        if due is not None:
            self.since = self.message_since = None
        return due

    # ------------------------------------------------------------------ deadlines

    def _idle_deadline(self, now: float) -> float:
        """When it has been too long without input, with nothing left to be sent."""
        since = now if self.since is None or not self._writer.idle else max(self.since, self._writer.idle_since)
        return since + self._limits.idle_timeout

    def _message_deadline(self) -> float:
        if self._wait_until is not None:
            return self._wait_until
        return math.inf if self.message_since is None else self.message_since + self._limits.message_timeout

    def _write_deadline(self) -> float:
        return self._writer.sending_since + self._limits.write_timeout

    def _look_at(self, deadline: float) -> None:
        if (ticket := self._ticket) is not None and deadline < ticket.look_at:
            ticket.look(deadline)

    def ring(self, now: float) -> float:
        """See which timeout has passed; called by the alarm."""
        try:
            return self._next_look(now)
        except Exception as exc:  # a limit that is no number any more; the alarm, in a system task, must not raise
            self.failure = exc
            self._report()
            return math.inf

    def _next_look(self, now: float) -> float:
        if now >= self._write_deadline():
            self._writer.lose(peer_gone=True)
            self._pass("write")
            return math.inf
        if self._waits:
            if now >= self._message_deadline():
                self._pass("message")
            elif now >= self._idle_deadline(now):
                self._pass("idle")
            else:
                return min(self._write_deadline(), self._message_deadline(), self._idle_deadline(now))
        return self._write_deadline()

    def _pass(self, kind: TimeoutKind) -> None:
        self.due = kind
        self._report()
