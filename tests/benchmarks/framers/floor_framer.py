"""Splitting by hand, with the two calls and nothing else: no limit, no change of terminator, no frame across chunks."""

from __future__ import annotations

from .job import Handler, Job, timed


def _split(job: Job) -> None:
    handler = Handler()
    collect, found = handler.collect_incoming_data, handler.found_terminator
    terminator = job.terminator
    for chunk in job.chunks:
        lines = chunk.split(terminator)
        del lines[-1]  # what comes behind the last terminator is no frame yet
        for line in lines:
            collect(line)
            found()


def _find_and_slice(job: Job) -> None:
    handler = Handler()
    collect, found = handler.collect_incoming_data, handler.found_terminator
    terminator = job.terminator
    for chunk in job.chunks:
        start = 0
        while (end := chunk.find(terminator, start)) >= 0:
            collect(chunk[start:end])
            found()
            start = end + len(terminator)


frame = timed(_split)
frame_by_find = timed(_find_and_slice)
