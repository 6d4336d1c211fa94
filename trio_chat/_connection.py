"""One conversation: the only place where a stream meets the buffer, and both meet the handler.

The life of a connection, all of it in the task that calls `run`:

    open       receive a chunk, feed the buffer, hand what it finds to the callbacks; then wait for the next chunk
    finishing  nothing more is handed over and nothing more can be pushed: send what is queued, let the peer close
    closed     nothing more is sent either; the stream is closed, then `handle_close` is called

It never goes back. Anyone may move it on, from a callback or from another task, by `close` or `close_when_done`; only
`run` acts on that.

- Waiting for input is the one thing that is interrupted: by a move to another state, by a timeout, by a terminator
  set from another task, by the failure of a producer (see `_intake.py`). While the task is not waiting `_news` is
  enough: it is looked at before the next wait.
- A callback may go on with the conversation before it returns (`receive_more`): what the conversation does between two
  callbacks then happens within that one, step by step.
- The stream is changed once at the most, by `start_tls` (see `_tls.py`).
- How the callbacks are invoked is in `_callbacks.py`, what becomes of their output in `_output.py`.
- What has taken too long `_timeouts.py` tells; that is news, too.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import trio

from ._buffer import TerminatorBuffer
from ._callbacks import Callbacks
from ._delivery import Delivery
from ._endings import is_among, raising_itself
from ._farewell import Farewell
from ._handler import check_limits
from ._intake import Intake
from ._output import OutputSide
from ._replay import replaying
from ._streams import close_now
from ._timeouts import Timeouts
from ._tls import Wrap, start_tls
from ._writer import Writer

if TYPE_CHECKING:
    from ._handler import Handler
    from ._terminators import Terminator


class Connection(OutputSide):
    __slots__ = (
        "_begun", "_delivery", "_detached", "_eof_told", "_farewell", "_handler", "_in_timeout", "_news", "_timeouts",
        "buffer", "callbacks", "closed", "helpers", "intake", "nursery", "open", "stopping", "stream", "writer",
    )  # fmt: skip

    def __init__(self, handler: Handler, stream: trio.abc.Stream) -> None:
        self._handler = handler
        self.callbacks = Callbacks(handler, self)
        self.stream = stream
        self.buffer = TerminatorBuffer(handler.terminator)
        self.writer = Writer(stream, handler, self._note_output)
        self.nursery: trio.Nursery | None = None  # of the handler's background tasks
        self.helpers: trio.Nursery | None = None  # of the writer's task, which outlives them; a server lends its own
        self.open = True
        self.closed = False
        self._news = False
        self._in_timeout = False  # handle_timeout is called
        self._detached = False
        self._begun = False
        self._eof_told = False
        self._farewell: Farewell | None = None
        self.stopping = False
        waits: list[trio.CancelScope] = []
        self._timeouts = Timeouts(handler, self.writer, waits, self.interrupt)
        self.intake = Intake(stream, self.buffer, handler, waits, self._note_loss)
        self._delivery = Delivery(handler, self, self.callbacks, self._timeouts)

    # ------------------------------------------------------------------ moves, callable from any task

    def close(self) -> None:
        self.open = False
        self.closed = True
        self.buffer.stop()
        self.writer.lose()
        self.intake.end()
        self.interrupt()
        self._hurry()

    def close_when_done(self) -> None:
        self.open = False
        self.buffer.stop()
        self.intake.end()
        self.interrupt()

    def close_when_idle(self) -> None:
        self.stopping = True
        self.interrupt()
        self._hurry()

    def _hurry(self) -> None:
        if self._farewell is not None:
            self._farewell.hurry()

    def set_terminator(self, terminator: Terminator) -> None:
        self.buffer.terminator = terminator
        if self.intake.waits or not self.callbacks.corked:
            self.interrupt()  # it may end what is already buffered

    def interrupt(self) -> None:
        """Have `run` look at the state of things before it waits for input, or for more of it."""
        self._news = True
        self.intake.interrupt()

    # ------------------------------------------------------------------ the conversation

    def run(self) -> Coroutine[Any, Any, None]:
        return self._run() if self.helpers is not None else self._run_with_helpers()

    async def _run_with_helpers(self) -> None:
        with raising_itself():
            async with trio.open_nursery(strict_exception_groups=True) as self.helpers:
                await self._run()

    async def _run(self) -> None:
        if self._begun:
            raise RuntimeError("run() can be called once: a conversation cannot be held again")
        self._begun = True
        try:
            await self._hold_conversation()
        except BaseException as exc:
            await self._stop_writer()
            if self.writer.crash is None or is_among(self.writer.crash, exc):
                raise
            raise BaseExceptionGroup("the conversation and its output failed", [exc, self.writer.crash]) from None
        else:
            await self._stop_writer()
            if self.writer.crash is not None:
                raise self.writer.crash
        finally:
            await self._end()

    async def _hold_conversation(self) -> None:
        self.buffer.max_frame_bytes = self._handler.max_frame_bytes
        check_limits(self._handler)
        self._timeouts.start()
        try:
            if self._handler.uses_nursery:
                await self._converse_with_background_tasks()
            else:
                await self._converse()
            await self._finish()
        except Exception:
            with trio.move_on_after(self._handler.write_timeout):
                await self.writer.flushed()  # what was queued before still goes out
            raise

    async def _stop_writer(self) -> None:
        self.close()
        await self.writer.stop()

    async def _end(self) -> None:
        self._timeouts.stop()
        try:
            await close_now(self.stream)
        finally:
            try:
                await self.writer.aclose()
            finally:
                await self.callbacks.call(self._handler.handle_close)

    async def _converse_with_background_tasks(self) -> None:
        with raising_itself(but_not_ends_of=self):
            async with trio.open_nursery(strict_exception_groups=True) as self.nursery:
                try:
                    await self._converse()
                finally:
                    self.nursery.cancel_scope.cancel()

    async def _converse(self) -> None:
        intake, timeouts = self.intake, self._timeouts
        try:
            self.flush()
            await self.callbacks.call(self._handler.handle_connect)
            while self.open:
                self._news = False
                await self._handle_news()
                with trio.CancelScope() as scope:
                    while not self._news:  # closing is news, too
                        await self._delivery.deliver()
                        if intake.eof and not self._eof_told and self.open:
                            self._eof_told = True
                            await self.callbacks.call(self._handler.handle_eof)
                            continue
                        in_message = self._note_progress()
                        if not self._news:
                            timeouts.note_waiting(in_message)
                            await intake.wait(scope)
                            timeouts.since = None
        finally:
            # At once, so that nobody pushes to a conversation that is ending.
            self.close_when_done()
            self.flush()

    def _note_progress(self) -> bool:
        """What has come is handed over: whether a message is in progress."""
        intake, buffer = self.intake, self.buffer
        in_message = buffer.mid_frame or not self._handler.between_messages()
        if not in_message or buffer.frame_bytes < intake.fresh_bytes:
            self._timeouts.end_message()  # some of it ended the frame before, the present one began within it
        if self.stopping and not in_message:
            self.close_when_done()
        intake.fresh, intake.fresh_bytes = False, 0
        if self._timeouts.due is not None:
            self._news = True
        return in_message

    async def _handle_news(self) -> bool:
        """Do what there is to be done besides handling input; whether a timeout was."""
        if self._timeouts.failure is not None:
            raise self._timeouts.failure
        if self.writer.crash is not None:
            raise self.writer.crash
        if (failure := self.writer.failure) is not None:
            self.writer.failure = None
            try:
                await self.callbacks.error(failure)
            finally:
                self.close()
        if (due := self._timeouts.take_due(fresh=self.intake.fresh)) is not None:
            if due == "write" or (self.open and not (due == "idle" and self._in_timeout)):
                outer, self._in_timeout = self._in_timeout, True
                try:
                    await self.callbacks.call(self._handler.handle_timeout, due)
                finally:
                    self._in_timeout = outer
            if due == "write":
                self.close()
        return due is not None

    async def _finish(self) -> None:
        """Send what is queued; then end our side, and wait a little for the peer to end its own."""
        await self.writer.flushed()
        await self._handle_news()
        await self.intake.stop()
        if self.closed:
            return
        lingers = self.writer.has_sent and not self.intake.eof and not self._detached
        patience = self._handler.linger_timeout if lingers else 0
        longest = patience if self.stopping else 10 * patience
        close_within = self._handler.write_timeout
        self._farewell = Farewell()
        await self._farewell.say(self.stream, patience=patience, longest=longest, close_within=close_within)

    # ------------------------------------------------------------------ within a callback

    async def receive_more(self, patience: float, enough: Callable[[], bool]) -> bool:
        callbacks = self._check_may_receive("receive_more()")
        await trio.lowlevel.checkpoint_if_cancelled()
        ours, callbacks.receiving = callbacks.current, True
        try:
            if await self._receive_until(enough, trio.current_time() + patience, ours):
                return True
        finally:
            if callbacks.current is ours:
                callbacks.receiving = False
        await trio.lowlevel.checkpoint()
        return False

    def _check_may_receive(self, what: str) -> Callbacks:
        callbacks = self.callbacks
        if callbacks.current is None or self._delivery.judging:
            raise RuntimeError(f"{what} is for a callback that is running, and not for handle_oversize()")
        if callbacks.receiving:
            raise trio.BusyResourceError("another task is in receive_more() or start_tls()")
        return callbacks

    async def start_tls(self, wrap: Wrap, patience: float) -> None:
        self.check_open("start_tls()")
        callbacks = self._check_may_receive("start_tls()")
        ours, callbacks.receiving = callbacks.current, True
        try:
            await start_tls(self, wrap, patience)
        finally:
            if callbacks.current is ours:
                callbacks.receiving = False

    async def _receive_until(self, enough: Callable[[], bool], until: float, ours: object) -> bool:
        self._timeouts.since = None
        self._timeouts.drop_due()
        while self.open:
            if self.callbacks.current is not ours:
                raise RuntimeError("the callback for which receive_more() was called has returned")
            if self._news:
                self._news = False
                if await self._handle_news():
                    return True
            elif (self._delivery.has_input or self.writer.overfull) and await self._delivery.deliver(enough):
                return True
            elif self.intake.eof:
                return False
            elif not self._news:  # there may be some by now
                self.intake.fresh = False
                self._send_before_waiting()
                if until > trio.current_time() and self.intake.receive_now():
                    continue
                try:
                    with trio.CancelScope() as scope:
                        self._timeouts.note_waiting(True, until)
                        await self.intake.wait(scope)
                        self._timeouts.since = None
                except BaseException:
                    self._timeouts.drop_due()
                    raise
                if self.intake.fresh:
                    self._timeouts.drop_due()
        return False

    async def detach(self, replay: bytes) -> trio.abc.Stream:
        self.close_when_done()
        self._detached = True
        await trio.lowlevel.checkpoint()
        await self.intake.stop()
        await self.writer.flushed()
        self.check_not_lost()
        self._timeouts.stop()
        self.stream = replaying(self.stream, replay + self.buffer.take())
        return self.stream

    # ------------------------------------------------------------------ news

    def _note_loss(self) -> None:
        self.writer.lose(peer_gone=True)
        self.close()

    def _note_output(self) -> None:
        if self.writer.failure is not None or self.writer.crash is not None:
            self.interrupt()
        if self.writer.peer_gone or self.writer.crash is not None:
            self.intake.give_up()
        else:
            self._timeouts.note_output()
