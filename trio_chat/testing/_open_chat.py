"""A handler in conversation with a scripted peer, over memory streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import trio
from trio.testing import memory_stream_pair

from .. import HandlerFactory
from ._arguments import made_by
from ._logged import noting_logged_errors
from ._peer import Mismatch, Peer
from ._running import RunningPeer
from ._streams import BreakingStream
from ._tasks import background_tasks, new_system_tasks, system_tasks

#: Makes the two ends of a connection: the peer's, and the handler's.
StreamPair: TypeAlias = Callable[[], tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]]


@asynccontextmanager
async def open_chat(
    handler_factory: HandlerFactory, *, patience: float = 5.0, streams: StreamPair = memory_stream_pair
) -> AsyncGenerator[Peer, None]:
    r"""Run a handler on one end of a connection, and give a scripted peer on the other one.

        async with open_chat(Adder) as peer:
            await peer.send(b"1\n5")
            await peer.expect(b"5\n")
            await peer.expect_nothing()

    At the end of the block the peer ends its side. The block fails if the handler has then sent anything that was not
    expected, if it goes on, if it has started a system task that goes on, and if it has failed: with what `run()`
    raised, or with an exception that was logged below "trio_chat" as an error, unless `Peer.expect_error` has taken it.
    If the block fails by itself, what the handler has failed with is its cause, and in its notes. A handler that
    catches `trio.Cancelled` again and again cannot be ended by anyone; where it does is logged.

    What is logged is only seen if `logging` is not told to disregard errors below "trio_chat".

    Args:
        handler_factory: takes the stream and gives the handler, as for the `serve_…` functions.
        patience: how many seconds of Trio's clock may go by before what is expected comes. On a
            `trio.testing.MockClock` also how many seconds of real time threads may work, those of Trio's default
            limiter: of others it does not know.
        streams: makes the connection; `trio.testing.memory_stream_pair`, whose buffers have no limit, by default. Over
            `trio.testing.lockstep_stream_pair` a handler waits until the peer hears what it sends.

    Raises:
        Mismatch: if the conversation did not go as expected.
        Exception: what the handler has raised.
    """
    ours, theirs = streams()
    try:
        handlers_end = BreakingStream(theirs)
        chat = made_by(handler_factory, handlers_end)
        peer = RunningPeer(chat, ours, handlers_end, patience)
        tasks = system_tasks()
        try:
            async with background_tasks() as nursery:
                with noting_logged_errors(peer.note_error):
                    nursery.start_soon(peer.run)
                    yield peer
                    await peer.finish()
                    if left := await new_system_tasks(tasks):
                        raise Mismatch(f"the handler has started tasks that still run: {', '.join(left)}")
        except trio.Cancelled:
            peer.log_errors()
            raise
        except BaseException as exc:
            peer.tell_errors(exc)
            raise
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(ours)
            await trio.aclose_forcefully(theirs)
