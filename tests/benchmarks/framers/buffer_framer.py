"""trio_chat's TerminatorBuffer alone."""

from __future__ import annotations

from trio_chat import TerminatorBuffer

from .job import Handler, Job, timed


def _frame(job: Job) -> None:
    handler = Handler()
    collect, found = handler.collect_incoming_data, handler.found_terminator
    buffer = TerminatorBuffer(job.terminator, max_frame_bytes=job.limit)
    for chunk in job.chunks:
        buffer.feed(chunk)
        for pieces, ended in buffer:
            for data in pieces:
                if data:
                    collect(data)
                if ended:
                    found()


frame = timed(_frame)
