"""anyio's receive_until, on Trio."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import trio
from anyio.abc import ByteReceiveStream
from anyio.streams.buffered import BufferedByteReceiveStream

from .job import Handler, Job, timed_on_trio


class ChunkStream(ByteReceiveStream):
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await trio.lowlevel.checkpoint()
        try:
            return next(self._chunks)
        except StopIteration:
            raise anyio.EndOfStream from None

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def _frame(job: Job) -> None:
    stream = BufferedByteReceiveStream(ChunkStream(job.chunks))
    handler = Handler()
    collect, found = handler.collect_incoming_data, handler.found_terminator
    terminator = job.terminator
    limit = job.limit + len(terminator) + max(map(len, job.chunks))  # it counts what is buffered, not the frame
    try:
        while True:
            collect(await stream.receive_until(terminator, limit))
            found()
    except anyio.IncompleteRead:
        pass


frame = timed_on_trio(_frame)
