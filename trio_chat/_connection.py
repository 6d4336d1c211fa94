"""One conversation: the only place where a stream meets the buffer, and both meet the handler.

The life of a connection, all of it in the task that calls `run`:

    open       receive a chunk, feed the buffer, hand what it finds to the callbacks; then wait for the next chunk
    finishing  nothing more is handed over and nothing more can be pushed: send what is queued, let the peer close
    closed     nothing more is sent either; the stream is closed, then `handle_close` is called

It never goes back. Anyone may move it on, from a callback or from another task, by `close` or `close_when_done`; only
`run` acts on that.

- Waiting for input is the one thing that is interrupted: by a move to another state, by a timeout, by a terminator
  set from another task, by the failure of a producer. `_interrupt` is the scope that is cancelled then, and only while
  the task is in fact waiting (`_listening`): a callback is never cancelled by a timeout. A chunk may arrive in the
  same turn of the scheduler; it is handled outside the cancelled scope, and nothing is lost. While the task is not
  waiting `_news` is enough: it is looked at before the next wait.
- What is pushed while callbacks run is kept until they are through with the chunk (`_corked`), unless one awaits.
- What has taken too long `_timeouts.py` tells; that is news, too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from operator import length_hint
from typing import TYPE_CHECKING

import trio

from ._buffer import Batch, TerminatorBuffer
from ._endings import Ended, Lost, raising_itself
from ._errors import FrameTooLong
from ._handler import check_limits
from ._streams import close_now, linger
from ._timeouts import Timeouts
from ._writer import Writer

if TYPE_CHECKING:
    from ._handler import Handler, Reply
    from ._producers import Source
    from ._terminators import Terminator

_FRAMES_PER_TURN = 256  # after so many frames of one chunk other tasks have their turn


class Connection:
    __slots__ = (
        "_corked",
        "_delivering",
        "_eof",
        "_handler",
        "_interrupt",
        "_lingering",
        "_listening",
        "_news",
        "_sending",
        "_timeouts",
        "_writing",
        "buffer",
        "closed",
        "nursery",
        "open",
        "stopping",
        "stream",
        "writer",
    )

    def __init__(self, handler: Handler, stream: trio.abc.Stream) -> None:
        self._handler = handler
        self.stream = stream
        self.buffer = TerminatorBuffer(handler.terminator)
        self.writer = Writer(stream, handler, self._note_output)
        self.nursery: trio.Nursery | None = None  # of the handler's background tasks
        self._sending: trio.Nursery | None = None  # of the writer's task, which outlives them
        self.open = True
        self.closed = False
        self._interrupt: trio.CancelScope | None = None
        self._listening = False
        self._news = False
        self._corked = False
        self._delivering = False
        self._writing = False  # the writer's task has been started
        self._eof = False
        self._lingering: trio.CancelScope | None = None
        self.stopping = False
        self._timeouts = Timeouts(handler, self.writer, self.interrupt)

    # ------------------------------------------------------------------ moves, callable from any task

    def close(self) -> None:
        self.open = False
        self.closed = True
        self.buffer.stop()
        self.writer.lose()
        self.interrupt()
        self._stop_lingering()

    def close_when_done(self) -> None:
        self.open = False
        self.buffer.stop()
        self.interrupt()

    def close_when_idle(self) -> None:
        self.stopping = True
        self.interrupt()
        self._stop_lingering()

    def _stop_lingering(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()

    def set_terminator(self, terminator: Terminator) -> None:
        self.buffer.terminator = terminator
        if not self._delivering:
            self.interrupt()  # it may end what is already buffered

    def interrupt(self) -> None:
        """Have `run` look at the state of things before it waits for input, or for more of it."""
        self._news = True
        if self._listening and self._interrupt is not None:
            self._interrupt.cancel()

    def push(self, data: bytes) -> None:
        self.writer.push(data)
        self._note_queued()

    def push_source(self, source: Source) -> None:
        self.writer.push_source(source)
        self._note_queued()

    def _note_queued(self) -> None:
        if self.writer.overfull:
            self.buffer.stop()  # _deliver pauses before the next frame
        self.flush()

    def flush(self) -> None:
        """Let the writer send what is queued, unless more is coming in a moment."""
        if self._corked or self._sending is None:
            return
        if self._writing:
            self.writer.wake()
        elif self.writer.has_work and not self.closed:
            self._writing = True
            self._sending.start_soon(self.writer.run)

    def check_open(self, what: str) -> None:
        if not self.open:
            raise Ended(self, f"{what} after close() or close_when_done()")

    async def drain(self) -> None:
        await self.writer.below_low()
        if self.writer.lost and (self.writer.peer_gone or not self.closed):
            raise Lost(self, "the peer is gone, or does not read")
        if self.closed:
            raise Ended(self, "the connection was closed", waited=True)

    # ------------------------------------------------------------------ the conversation

    async def run(self) -> None:
        try:
            self.buffer.max_frame_bytes = self._handler.max_frame_bytes
            check_limits(self._handler)
            self._timeouts.start()
            with raising_itself():
                async with trio.open_nursery(strict_exception_groups=True) as self._sending:
                    try:
                        await self._converse_with_background_tasks()
                        await self._finish()
                    except Exception:
                        with trio.move_on_after(self._handler.write_timeout):
                            await self.writer.flushed()  # what was queued before still goes out
                        raise
                    finally:
                        self.close()
                        self._sending.cancel_scope.cancel()
        finally:
            self.close()
            self._timeouts.stop()
            try:
                await close_now(self.stream)
            finally:
                try:
                    await self.writer.aclose()
                finally:
                    await self._call(self._handler.handle_close)

    async def _converse_with_background_tasks(self) -> None:
        with raising_itself(but_not=self._told_the_end):
            async with trio.open_nursery(strict_exception_groups=True) as self.nursery:
                try:
                    self.flush()
                    await self._call(self._handler.handle_connect)
                    await self._converse()
                finally:
                    # At once, so that nobody pushes to a conversation that is ending.
                    self.close_when_done()
                    self.flush()
                    self.nursery.cancel_scope.cancel()

    def _told_the_end(self, exc: BaseException) -> bool:
        """Whether `exc` only told a background task, which would have been cancelled, that the conversation is over."""
        return isinstance(exc, Ended | Lost) and exc.connection is self

    async def _converse(self) -> None:
        chunk = None
        while self.open:
            self._news = False
            if chunk is not None:
                await self._handle_chunk(chunk)
            await self._handle_news()
            chunk = None
            with trio.CancelScope() as self._interrupt:
                while not self._news:  # closing is news, too
                    chunk = await self._receive()
                    if self._news:
                        break
                    await self._handle_chunk(chunk)
                    chunk = None

    async def _receive(self) -> bytes | bytearray:
        """The next chunk; b"" at end of file."""
        self._listening = True
        self._timeouts.note_waiting(in_message=self._in_message())
        try:
            if self._eof:
                await trio.sleep_forever()
            return await self.stream.receive_some(self._handler.ac_in_buffer_size)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.writer.lose(peer_gone=True)
            self.close()
            return b""
        finally:
            self._listening = False
            self._timeouts.note_waited()

    async def _handle_chunk(self, chunk: bytes | bytearray) -> None:
        self._timeouts.note_input()
        if chunk:
            self.buffer.feed(chunk)
        else:
            self._eof = True
            self.buffer.feed_eof()
        await self._deliver()
        if self.buffer.frame_bytes < len(chunk):
            self._timeouts.note_frame_end()  # part of the chunk ended another frame, the present one began within it
        if self._eof and self.open:
            await self._call(self._handler.handle_eof)
        if self.stopping and not self._in_message():
            self.close_when_done()

    async def _handle_news(self) -> None:
        """Do what there is to be done besides handling chunks."""
        if self._timeouts.failure is not None:
            raise self._timeouts.failure
        if (failure := self.writer.failure) is not None:
            self.writer.failure = None
            await self._error(failure)
            self.close()
        if (due := self._timeouts.take_due()) is not None:
            if self.open or due == "write":
                await self._call(self._handler.handle_timeout, due)
            if due == "write":
                self.close()
        await self._deliver()
        if self.stopping and not self._in_message():
            self.close_when_done()

    async def _finish(self) -> None:
        """Send what is queued; then end our side, and wait a little for the peer to end its own."""
        await self.writer.flushed()
        await self._handle_news()
        if self.closed:
            return
        patience = self._handler.linger_timeout
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if self.writer.sent_bytes and not self._eof and patience > 0:
                with trio.CancelScope() as self._lingering:
                    await linger(self.stream, patience, longest=patience if self.stopping else 10 * patience)
            with trio.move_on_after(self._handler.write_timeout) as self._lingering:
                await self.stream.aclose()

    # ------------------------------------------------------------------ callbacks

    async def _deliver(self) -> None:
        """Hand what the buffer holds to the callbacks, as long as the conversation is open."""
        collect = self._handler.collect_incoming_data
        found = self._handler.found_terminator
        frames = 0
        handed_over = False
        self._corked = self._delivering = True
        try:
            while (batch := await self._next_batch()) is not None:
                handed_over = True
                pieces, ended = batch
                frames += length_hint(pieces) if ended else 0
                for data in pieces:
                    if data:
                        try:
                            if (reply := collect(data)) is not None:
                                await self._settle(reply)
                        except Exception as exc:
                            await self._error(exc)
                        if not self.open:
                            break
                    if ended:
                        try:
                            if (reply := found()) is not None:
                                await self._settle(reply)
                        except Exception as exc:
                            await self._error(exc)
                if frames >= _FRAMES_PER_TURN:
                    frames = 0
                    await trio.lowlevel.checkpoint()
        finally:
            self._corked = self._delivering = False
            self.flush()
            if handed_over:
                self._timeouts.note_activity()

    async def _next_batch(self) -> Batch | None:
        """The next batch that the conversation is ready for; None if there is none, or it is over."""
        while self.open:
            if self.writer.overfull:
                await self._settle(self.writer.below_low())
                continue
            try:
                return self.buffer.next_batch()
            except FrameTooLong:
                policy = self._handler.on_oversize
            if policy != "close":
                await self._call(self._handler.handle_oversize)
            if policy == "skip":
                self.buffer.skip_frame()
            else:
                self.close_when_done()
        return None

    async def _call(self, callback: Callable[..., Reply], *args: object) -> None:
        try:
            if (reply := callback(*args)) is not None:
                await self._settle(reply)
        except Exception as exc:
            await self._error(exc)

    async def _settle(self, reply: Reply) -> None:
        """Await what a callback gave back, and meanwhile let output go."""
        if not inspect.isawaitable(reply):
            return  # a callback of the old days that returned something
        corked, self._corked = self._corked, False
        self.flush()
        try:
            await reply
        finally:
            self._corked = corked

    async def _error(self, exc: Exception) -> None:
        if isinstance(exc, Ended | Lost) and exc.connection is self:
            if exc.waited:
                return  # drain() told a callback of the end: that is no fault of the handler's
            exc.connection = None  # but a push after a close is one, and leaves run()
        if (reply := self._handler.handle_error(exc)) is not None:
            await self._settle(reply)

    # ------------------------------------------------------------------ news

    def _in_message(self) -> bool:
        return self.buffer.mid_frame or not self._handler.between_messages()

    def _note_output(self) -> None:
        if self.writer.failure is not None:
            self.interrupt()
        else:
            self._timeouts.note_output()
