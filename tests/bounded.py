"""Conversations that must end: on a clock that jumps, whatever hangs fails at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio
import trio.testing
from support import (
    ChatT,
    MemoryStream,
    RecordingChat,
    converse as converse_for_ever,
    talk as talk_for_ever,
)

LONG = 10_000


@asynccontextmanager
async def talk(factory: Callable[[trio.abc.Stream], ChatT]) -> AsyncGenerator[tuple[ChatT, MemoryStream], None]:
    with trio.fail_after(LONG):
        async with talk_for_ever(factory) as (chat, client):
            yield chat, client


async def converse(factory: Callable[[trio.abc.Stream], ChatT], chunks: list[bytes]) -> tuple[ChatT, bytes]:
    with trio.fail_after(LONG):
        return await converse_for_ever(factory, chunks)


async def run(chat: RecordingChat) -> None:
    with trio.fail_after(LONG):
        await chat.run()


async def say(client: trio.abc.Stream, data: bytes) -> None:
    await client.send_all(data)
    await trio.testing.wait_all_tasks_blocked()


def put(chat: RecordingChat, data: bytes) -> None:
    """Let `data` arrive in this very turn of the scheduler."""
    stream = chat.stream
    assert isinstance(stream, trio.StapledStream)
    receive_stream = stream.receive_stream
    assert isinstance(receive_stream, trio.testing.MemoryReceiveStream)
    receive_stream.put_data(data)
