"""`AsyncChat`: the handler's base class, asynchat's face on a `Connection`."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import trio

from ._connection import Connection
from ._handler import Handler, Reply, TimeoutKind
from ._producers import Producer, Source, as_bytes
from ._streams import Address, local_address, peer_address, reset_when_closed
from ._terminators import Terminator
from ._tls import wrapping


class AsyncChat(Handler):
    r"""One end of a conversation over a `trio.abc.Stream`: asynchat's `async_chat`, for Trio.

    Override `found_terminator`, and what else is of interest among the callbacks; then `await run()`, or have one of
    the `serve_…` functions do it:

        class Echo(AsyncChat):
            terminator = b"\n"

            def found_terminator(self):
                self.push(self._get_data() + b"\n")

    Its limits and timeouts are class attributes, which are told of by its base class: `help(AsyncChat.__base__)`.

    The methods may be called from callbacks, from other tasks of the same Trio run, and, before `run()`, from the
    constructor; from another thread only through `trio.from_thread`.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        if not isinstance(stream, trio.abc.Stream):
            raise TypeError(f"{type(self).__name__} takes a trio.abc.Stream; got {stream!r}")
        #: What `_collect_incoming_data` has put aside.
        self.incoming: list[bytes] = []
        self._peer = peer_address(stream)
        self._local: Address | None = None
        self._connection = Connection(self, stream)

    @property
    def stream(self) -> trio.abc.Stream:
        """The stream of the conversation. Who reads from it or writes to it takes bytes out of the conversation."""
        return self._connection.stream

    @property
    def nursery(self) -> trio.Nursery:
        """Where background tasks of this connection run. They are cancelled when the conversation ends.

        The exception of one ends the conversation, a callback in progress included, and leaves `run()`; if it is what
        `push` or `drain` raised because the conversation is over, it does not leave `run()`.

        Only if `uses_nursery` is true, which it is unless a subclass says otherwise, as `HTTPRequestHandler` does.

        It ends before what is queued is sent: a task that has to push until the last moment holds it open by not
        letting `handle_eof` close.
        """
        if (nursery := self._connection.nursery) is None:
            if not self.uses_nursery:
                raise RuntimeError(f"to have background tasks, set uses_nursery = True in {type(self).__name__}")
            raise RuntimeError("the nursery opens with run(): start background tasks from handle_connect() on")
        return nursery

    @property
    def peer(self) -> Address | None:
        """The address of the other end when the handler was made, as `socket.getpeername()` gives it.

        None if the stream has no socket, or the peer was gone already.
        """
        return self._peer

    @property
    def local(self) -> Address | None:
        """The address of this end, as `socket.getsockname()` gives it.

        None if the stream has no socket, or nobody has asked before it was closed.
        """
        if self._local is None:
            self._local = local_address(self._connection.stream)
        return self._local

    def run(self) -> Coroutine[Any, Any, None]:
        """Hold the conversation, until it is closed by either side.

        Returns when the stream is closed and `handle_close` has returned. It can be called once.

        Raises:
            Exception: what a callback or a producer raised and `handle_error` did not handle, or what a task in
                `nursery` raised: as itself, or, if several tasks failed, in a group. That the conversation ended,
                whoever ended it, is no error, even for a task that learns of it by `push` or `drain`.
            RuntimeError: on a second call.

        If cancelled: the stream is closed at once, what is still queued is dropped, and `handle_close` is called.
        """
        check_is_made(self)
        return self._connection.run()

    # ------------------------------------------------------------------ input

    def set_terminator(self, terminator: Terminator) -> None:
        """Set what ends the present frame, effective for every byte that has not been handed over.

        `bytes`: this string. A tuple of `bytes`: the earliest of them, the longest where several begin at one place.
        `int`: so many bytes, after which the terminator is None; 0 is found at once. None: nothing, everything is
        collected.

        Raises TypeError or ValueError for anything else, an empty string or tuple included.
        """
        self._connection.set_terminator(terminator)

    def get_terminator(self) -> Terminator:
        """The terminator in force; of a count, what is left of it."""
        return self._connection.buffer.terminator

    @property
    def matched_terminator(self) -> bytes | None:
        """The terminator of bytes that was found last: of a tuple, which of them."""
        return self._connection.buffer.matched

    def collect_incoming_data(self, data: bytes) -> Reply:
        """Put `data` aside in `incoming`. Override it to do something else; `async def` is as good as `def`."""
        self.incoming.append(data)
        return None

    def _collect_incoming_data(self, data: bytes) -> None:
        """asynchat's helper: put `data` aside in `incoming`."""
        self.incoming.append(data)

    def _get_data(self) -> bytes:
        """asynchat's helper: take out what has been put aside."""
        data = b"".join(self.incoming)
        self.incoming.clear()
        return data

    async def receive_more(self, patience: float = math.inf, enough: Callable[[], bool] = lambda: True) -> bool:
        """Go on with the conversation in the middle of a callback; await it in an async callback.

        What has come next, some data or the end of a frame or both, is handed to `collect_incoming_data` and
        `found_terminator`, which are thus called before the callback that awaits this has returned. So a callback can
        take its time over a message that is longer than memory, or ask the peer something and wait for the answer.
        Nothing is received but by this (and by `wait_eof`), which is the backpressure.

        Args:
            patience: how many seconds to wait for the peer, before `handle_timeout("message")` is called. The idle
                timeout runs as well.
            enough: asked after each such step; while it says no, the next step is taken, as long as there is something
                that has been received already.

        Returns whether one of the callbacks was called, or a timeout has passed (within `handle_timeout`, that for
        idleness is not called again). False: there is no more input, the peer has ended its side (`handle_eof` will be
        called afterwards) or the conversation is over.

        Raises:
            Exception: what one of the callbacks raised and `handle_error` did not handle.
            RuntimeError: if no callback is running, or if it is `handle_oversize`.
            trio.BusyResourceError: if another task is in it.

        If cancelled, nothing is lost: the next call, or the conversation, goes on from there, if need be with the
        `found_terminator` of what was collected. It is not always a schedule point.
        """
        return await self._connection.receive_more(patience, enough)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        *,
        server_side: bool = True,
        server_hostname: str | None = None,
        handshake_timeout: float = 10.0,
    ) -> None:
        """Go on with the conversation over TLS (STARTTLS of RFC 3207, AUTH TLS of RFC 4217); await it in a callback.

        What was pushed before, such as the answer that the peer waits for, is sent in plaintext; what anyone pushes
        later, over TLS. Then `stream` is a `trio.SSLStream` over what it was. Forget what the peer has said before: it
        may have been somebody else.

        Args:
            ssl_context, server_side, server_hostname: as of `trio.SSLStream`. A client names the server.
            handshake_timeout: how many seconds the handshake may take, once what was pushed is sent.

        Raises:
            PlaintextBeforeTLS: if more has come, and it is no client's handshake. The conversation is as before: say,
                `discard_buffers`, push a refusal, and close. What comes later in plaintext breaks the handshake.
            trio.BrokenResourceError: if the handshake fails, as its `__cause__` tells, or takes too long, or the peer
                is gone. Nobody needs to catch it: the connection is closed, and it does not leave `run()`.
            trio.ClosedResourceError: after `close` or `close_when_done`, or if `close` is called meanwhile.
            RuntimeError: if no callback is running, if it is `handle_oversize`, or in the middle of a frame, as in
                `collect_incoming_data`; or if there is TLS already.
            trio.BusyResourceError: if another task is in it, or in `receive_more`.

        If cancelled, the connection is closed.
        """
        await self._connection.start_tls(wrapping(ssl_context, server_side, server_hostname), handshake_timeout)

    async def wait_eof(self) -> None:
        """Wait until the peer has ended its side of the conversation, or is gone, or the conversation is over.

        It may be awaited in a callback or in any other task. What comes before the end is buffered, and handed over
        when its time has come. Beyond `high_water_bytes` nothing is read ahead, and an end behind that is not seen.
        """
        await self._connection.intake.ended()

    # ------------------------------------------------------------------ output

    def push(self, data: bytes | bytearray | memoryview) -> None:
        """Queue `data` to be sent, as it is now. Never blocks: see `drain`.

        Raises:
            TypeError: for what is not bytes-like.
            trio.ClosedResourceError: after `close` or `close_when_done`; see `closing`.
        """
        if type(data) is not bytes:
            data = as_bytes(data, "push()")
        connection = self._connection
        if not connection.open:
            connection.check_open("push()")
        writer = connection.writer
        writer.append(data)
        if writer.queued_bytes > self.high_water_bytes or writer.sources or not connection.callbacks.corked:
            connection.note_queued()

    def push_with_producer(self, producer: Producer) -> None:
        """Queue everything that `producer` will give: it is asked for more whenever what came before has been sent.

        A producer is an object with asynchat's `more()`, a binary file, or an iterable or async iterable of bytes.
        Files and generators are closed when they are exhausted or the connection ends. What is pushed behind a producer
        waits for its end, and so does `close_when_done`; no timeout looks at a producer that gives nothing.

        Raises:
            TypeError: for what is none of these.
            trio.ClosedResourceError: after `close` or `close_when_done`.
        """
        source = Source(producer, self.ac_out_buffer_size)
        self._connection.check_open("push_with_producer()")
        self._connection.push_source(source)

    @property
    def takes_files(self) -> bool:
        """Whether `send_file_nowait` may send something: nothing is queued, and the stream can do it.

        Not if `push` is overridden: whoever does that wants to see what is sent.
        """
        return type(self).push is AsyncChat.push and self._connection.writer.file_sender() is not None

    def send_file_nowait(self, file: int, start: int, count: int) -> int:
        """Send a part of an open file, without copying it, as far as that goes without waiting for the peer.

        That is for files which are in memory: what of it is on a disk is waited for, by everyone. Nothing is sent as
        long as something is queued, or over a stream that cannot do it, as one with TLS: push what is left.

        Args:
            file: its descriptor; its position does not matter, and stays.
            start: where the part begins, in bytes.
            count: how long it is, in bytes.

        Returns how many bytes were sent: less than `count` if the peer does not take more at present, or at the end of
        the file. 0 does not mean that later calls are in vain.

        Raises:
            trio.ClosedResourceError: after `close` or `close_when_done`.
            trio.BusyResourceError: if a task is sending on the stream by itself.
        """
        self._connection.check_open("send_file_nowait()")
        return self._connection.writer.send_file_now(file, start, count)

    @property
    def queued_bytes(self) -> int:
        """How many bytes are queued, including those being sent. What producers will give is not counted."""
        return self._connection.writer.queued_bytes

    @property
    def peer_gone(self) -> bool:
        """Whether sending has failed, or taken too long: then `drain` raises, and what is pushed is dropped."""
        return self._connection.writer.peer_gone

    async def drain(self) -> None:
        """Wait until no more than `low_water_bytes` are queued.

        Raises:
            trio.BrokenResourceError: if output is lost, because the peer is gone or has stopped reading.
            trio.ClosedResourceError: after `close`.

        If cancelled, what is queued is still sent.
        """
        await trio.lowlevel.checkpoint()
        await self._connection.drain()

    def discard_buffers(self) -> None:
        """Drop what has been received and not handed over, and what is queued and not being sent."""
        self._connection.buffer.take()
        self._connection.writer.discard()
        self._connection.wake_others()
        self._connection.flush()
        self.incoming.clear()

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """Close at once. Nothing more is handed over, what is queued is dropped; `handle_close` will be called.

        At once, but for a callback that is in progress: it comes to its end first, and the peer sees it then. To have
        done with one that hangs, cancel `run()`.
        """
        self._connection.close()

    def abort(self) -> None:
        """`close`, such that the peer sees a reset and not an end: what it has got is not the whole."""
        reset_when_closed(self.stream)
        self._connection.close()

    def close_when_done(self) -> None:
        """Close when what is queued has been sent. Nothing more is handed over, and nothing more can be pushed."""
        self._connection.close_when_done()

    def close_when_idle(self) -> None:
        """Close when what is queued has been sent and no message is in progress: see `between_messages`."""
        self._connection.close_when_idle()

    @property
    def closing(self) -> bool:
        """Whether `close` or `close_when_done` was called, by whomever: then nothing can be pushed any more.

        Ask before pushing from another connection's task.
        """
        return not self._connection.open

    @property
    def closing_when_idle(self) -> bool:
        """Whether `close_when_idle` was called, as servers do when they stop."""
        return self._connection.stopping

    async def detach(self, replay: bytes = b"") -> trio.abc.Stream:
        """End the conversation, and go on over its stream in another way: say, in another protocol.

        Waits until what is queued has been sent. The stream that it returns first gives `replay`, and the bytes that
        have been received and not been handed over; it is half-closeable if `stream` is. To be awaited in a callback:
        it is closed when that has returned, without lingering. No timeout looks at it any more, but a server that stops
        waits for it as for other connections, and cancels it in the end.

        Not in `collect_incoming_data`: the terminator behind the data may have been found, and then neither side gets
        it. Background tasks should have ended: what one of them raises, say by a push, ends the callback, too.

        Raises:
            trio.BrokenResourceError: if what is queued cannot be sent.
            trio.ClosedResourceError: after `close` or `close_when_done`.

        If cancelled, the conversation is over all the same.
        """
        self._connection.check_open("detach()")
        return await self._connection.detach(as_bytes(replay, "detach()"))

    def handle_eof(self) -> Reply:
        self.close_when_done()
        return None

    def handle_timeout(self, kind: TimeoutKind) -> Reply:
        self.close_when_done()
        return None


def check_is_made(chat: AsyncChat) -> None:
    """Raise RuntimeError, if a subclass has forgotten to."""
    if not hasattr(chat, "_connection"):
        raise RuntimeError(f"{type(chat).__name__}.__init__() must call super().__init__(stream), before anything else")
