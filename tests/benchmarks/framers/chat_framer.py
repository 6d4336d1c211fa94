"""A whole AsyncChat over a stream: what a user of trio_chat gets, beginning and end of the conversation included."""

from __future__ import annotations

from trio_chat import AsyncChat

from .job import Handler, Job, timed_on_trio
from .memory_stream import ChunkStream


class Chat(Handler, AsyncChat):
    pass


async def _frame(job: Job) -> None:
    chat = Chat(ChunkStream(job.chunks))
    chat.max_frame_bytes = job.limit
    chat.set_terminator(job.terminator)
    await chat.run()


frame = timed_on_trio(_frame)
