"""h11's ReceiveBuffer, from its inside; its lines end with CR LF, and have no limit of their own."""

from __future__ import annotations

from h11._receivebuffer import ReceiveBuffer

from .job import Handler, Job, timed


def _frame(job: Job) -> None:
    if job.terminator != b"\r\n":
        raise NotImplementedError(f"finds lines that end with CR LF, not with {job.terminator!r}")
    handler = Handler()
    collect, found = handler.collect_incoming_data, handler.found_terminator
    buffer = ReceiveBuffer()
    for chunk in job.chunks:
        buffer += chunk
        while (line := buffer.maybe_extract_next_line()) is not None:
            collect(line)
            found()


frame = timed(_frame)
