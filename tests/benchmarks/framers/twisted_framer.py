"""Twisted's LineReceiver and LineOnlyReceiver."""

from __future__ import annotations

from twisted.internet.testing import StringTransport
from twisted.protocols.basic import LineOnlyReceiver, LineReceiver

from .job import Handler, Job, timed


class Lines(Handler, LineReceiver):
    pass


class OnlyLines(Handler, LineOnlyReceiver):
    pass


def _feed(receiver: Lines | OnlyLines, job: Job) -> None:
    receiver.delimiter = job.terminator
    receiver.MAX_LENGTH = job.limit
    receiver.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
    for chunk in job.chunks:
        receiver.dataReceived(chunk)  # type: ignore[no-untyped-call]


frame = timed(lambda job: _feed(Lines(), job))
frame_only_lines = timed(lambda job: _feed(OnlyLines(), job))
