"""asyncio's StreamReader.readuntil: one task feeds it, another reads."""

from __future__ import annotations

import asyncio

from .job import Handler, Job, timed_on_asyncio


async def _frame(job: Job) -> None:
    reader = asyncio.StreamReader(limit=job.limit)
    feeder = asyncio.create_task(_feed(reader, job))
    handler = Handler()
    collect, found = handler.collect_incoming_data, handler.found_terminator
    terminator = job.terminator
    try:
        while True:
            collect(await reader.readuntil(terminator))
            found()
    except asyncio.IncompleteReadError:
        await feeder


async def _feed(reader: asyncio.StreamReader, job: Job) -> None:
    for chunk in job.chunks:
        reader.feed_data(chunk)
        await asyncio.sleep(0)
    reader.feed_eof()


frame = timed_on_asyncio(_frame)
