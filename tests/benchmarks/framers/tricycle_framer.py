"""tricycle's TextReceiveStream, which is what frames lines there (its BufferedReceiveStream counts bytes)."""

from __future__ import annotations

from tricycle import TextReceiveStream

from .job import Handler, Job, timed_on_trio
from .memory_stream import ChunkStream


async def _frame(job: Job) -> None:
    stream = TextReceiveStream(ChunkStream(job.chunks), "ascii", newline=job.terminator.decode())
    handler = Handler()
    collect, found = handler.collect_incoming_data, handler.found_terminator
    while line := await stream.receive_line():
        collect(line)
        found()


frame = timed_on_trio(_frame)
