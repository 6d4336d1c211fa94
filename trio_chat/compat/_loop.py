"""What asyncore's loop did, for one channel: ask whether it wants to read or to write, and call its events.

A channel sends in small steps, each into the kernel as far as that takes it. Here what takes it is the conversation's
queue, up to `_ROOM` bytes. When that is full, the channel is asked again as a *producer*: when everything before has
been sent, that is, when the kernel of old would have said that it is writable.

What is done better than in the standard library, because data would be lost otherwise:

- What a channel has queued goes out before it is told that the peer has ended its side.
- Half a terminator at the end of the input is handed over.
- The socket is not closed with input unread: that would reset the connection, and could destroy the last answer.

And what would be unbounded: a channel gets nothing to read while more than `high_water_bytes` are queued in it. What
its producers will give does not count, and what others push to it is their business.

Other tasks may push to a channel, and so may other threads: that only queues, and what becomes of it is seen to in
Trio's thread, a little later (`look_soon`).
"""

from __future__ import annotations

import errno
import math
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, ClassVar

import trio

from .. import AsyncChat, TimeoutKind
from ._socket import ChannelSocket, system_error
from ._turns import Turns, current_turns

_ROOM = 131072  # what is queued for sending when no more is taken: the kernel's buffer, as channels see it
_TURNS_AT_ONCE = 100
_MAX_REFUSALS = 1000
_RETRY_SECONDS = 0.01  # after which a channel is asked again that wants to read, and then does not
_OURS = __name__.rpartition(".")[0]

#: What asyncore's loop asks, and calls. Who overrides one of these may change its mind at any time.
_ASKED = (
    "push",
    "push_with_producer",
    "close_when_done",
    "readable",
    "writable",
    "handle_read",
    "handle_read_event",
    "handle_write",
    "handle_write_event",
    "initiate_send",
)


class ChannelLoop(AsyncChat):
    """Runs the channel that `handle_accepted(sock, addr)` makes; see `asynchat.handler_factory`."""

    uses_nursery: ClassVar[bool] = False
    max_frame_bytes: int | None = None
    high_water_bytes: int = 2 * _ROOM  # more than a channel gets queued here: it is held to it in its own queue

    def __init__(
        self,
        stream: trio.abc.Stream,
        handle_accepted: Callable[[Any, Any], object],
        idle_timeout: float = math.inf,
        write_timeout: float = math.inf,
    ) -> None:
        super().__init__(stream)
        self.idle_timeout = idle_timeout
        self.write_timeout = write_timeout
        self.socket = ChannelSocket(self)
        self._thread = threading.get_ident()
        self._token: trio.lowlevel.TrioToken | None = None  # while there is somebody who will look
        self._turns: Turns | None = None
        self._in_event = False  # one is being called: what the channel queues is looked at afterwards
        self._looking = False  # `_look` will be called
        self._pulling = False  # the channel is queued as a producer
        self._taken: list[bytes] | None = None  # by a producer's step, while it is made
        self._taken_bytes = 0
        self._refusals = 0  # in the present event, or since the last one
        self._ahead: list[bytes] = []  # what is to be sent before what a step sends next
        self._ahead_bytes = 0
        self._changed = trio.lowlevel.ParkingLot()
        self._turn = 0
        self._has_failed = False  # a callback, in the last turn
        self._over = False  # the channel has been told
        self._error: BaseException | None = None  # that is to leave `run`
        if self.peer is None and self.socket.family in (socket.AF_INET, socket.AF_INET6):
            self.close_when_done()  # nobody would have seen this client in a listening dispatcher, either
        else:
            self._accept(handle_accepted)

    def _accept(self, handle_accepted: Callable[[Any, Any], object]) -> None:
        sock = self.socket
        try:
            handle_accepted(sock, sock.getpeername())
        except BaseException:
            if sock.channel is not None:
                sock.channel.del_channel()
            raise
        if sock.channel is None and not sock.closed:
            raise TypeError(
                f"{handle_accepted!r} has neither made a channel of the socket that it was given, nor closed it"
            )

    # ------------------------------------------------------------------ polling

    @property
    def _channel(self) -> Any:
        """The channel, as long as it is among those that are polled; else None."""
        channel = self.socket.channel
        return channel if channel is not None and channel._fileno is not None else None

    def _poll(self, *, reading: bool) -> bool:
        """One turn of the loop: what is to be called is found out first, then called. Whether anything came of it."""
        self._has_failed = False
        before = self._state()
        if (channel := self._channel) is not None:
            reads = reading and self._wants_to_read(channel)
            writes = self._takes_more() and self._wants_to_write(channel)
            if reads:
                self._event(channel, channel.handle_read_event)
            if writes and (channel := self._channel) is not None:
                self._event(channel, channel.handle_write_event)
        if self._state() == before and not self._has_failed:
            return False
        if self._turns is not None:
            self._turns.tell(self)
        return True

    def _state(self) -> tuple[object, ...]:
        sock, channel = self.socket, self.socket.channel
        queued = 0 if channel is None else len(channel.producer_fifo or ())
        return channel, sock.unread_bytes, sock.is_readable, sock.sent_bytes, queued

    def _event(self, channel: Any, callback: Callable[[], object]) -> None:
        """Call something of a channel's. What it raises is the business of its `handle_error`, as in asyncore."""
        self._refusals = 0
        outer, self._in_event = self._in_event, True
        try:
            callback()
        except Exception:
            self._has_failed = True
            channel.handle_error()
        finally:
            self._in_event = outer

    def _wants_to_read(self, channel: Any) -> bool:
        queued = self._ahead_bytes + (channel._trio_chat_queued if channel.producer_fifo else 0)
        return self.socket.is_readable and queued <= self.high_water_bytes and bool(channel.readable())

    def _wants_to_write(self, channel: Any) -> bool:
        return channel.connected and bool(channel.writable())

    async def _deal_with_input(self) -> None:
        """Turn after turn, until what has come is read, and what is queued is sent or waits for room."""
        while self.socket.is_readable and not self.closing:
            if self._poll(reading=True):
                await self._after_a_turn()
            elif self.closing_when_idle and self.between_messages():
                self.close_when_done()
            else:
                self._write_later()
                await self._change()
        while self._poll(reading=False):
            await self._after_a_turn()
        self._write_later()

    async def _change(self) -> None:
        """Wait until there may be a reason to ask the channel again that does not read."""
        wants_to_read = (channel := self._channel) is not None and self._wants_to_read(channel)
        with trio.move_on_after(_RETRY_SECONDS if wants_to_read else self.idle_timeout) as waiting:
            await self._changed.park()
        if waiting.cancelled_caught and not (wants_to_read or self._pulling or self.queued_bytes):
            self.handle_timeout("idle")

    async def _after_a_turn(self) -> None:
        """Let other tasks have theirs now and then; and always after a failure, for that may happen again and again."""
        self._turn += 1
        if self._has_failed or self._turn % _TURNS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()

    # ------------------------------------------------------------------ what others do to the channel

    @property
    def in_our_thread(self) -> bool:
        return threading.get_ident() == self._thread

    def note_channel(self) -> None:
        """There is a channel, or another one."""
        if self._turns is not None and (channel := self._channel) is not None:
            self._turns.add(self, at_each=any(_is_overridden(channel, name) for name in _ASKED))
            self.look_soon()

    def look_soon(self) -> None:
        """See what there is to do for the channel, when whoever runs now has had its say. Not if an event is called."""
        token = self._token
        if token is not None and not (self._in_event or self._looking):
            self._looking = True
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        self._changed.unpark_all()
        try:
            if self.peer_gone:
                self._poll(reading=False)  # to find out by sending
            else:
                self._write_later()
        except BaseException as exc:  # which must not leave a function that Trio calls
            self._error = exc
            self.close()

    def close_soon(self) -> None:
        """The channel has closed its socket."""
        if self.in_our_thread:
            self.close_when_done()
            self._changed.unpark_all()
        elif (token := self._token) is not None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self.close_soon)

    def close_when_idle(self) -> None:
        super().close_when_idle()
        self._changed.unpark_all()

    # ------------------------------------------------------------------ what the channel sends

    def _takes_more(self) -> bool:
        return self._taken is not None or not (self._pulling or self.closing or self.queued_bytes >= _ROOM)

    def take(self, data: bytes) -> int:
        if self.peer_gone or self._over:
            raise system_error(errno.EPIPE)
        if not self._takes_more():
            self._refusals += 1
            if self._refusals <= _MAX_REFUSALS:
                raise system_error(errno.EWOULDBLOCK)
            self.take_all(data)  # a program that tries until all is sent, and lets nobody else do anything before
            return len(data)
        data = data[:_ROOM]
        if self._taken is None:
            self.push(data)
        else:
            self._taken.append(data)
            self._taken_bytes += len(data)
        return len(data)

    def take_all(self, data: bytes) -> None:
        try:
            if self._taken is not None:
                self._taken.append(data)
                self._taken_bytes += len(data)
            elif self._pulling and not self.peer_gone:
                self._ahead.append(data)
                self._ahead_bytes += len(data)
            else:
                self.push(data)
        except trio.ClosedResourceError:
            raise system_error(errno.EPIPE) from None

    def end_output(self) -> None:
        if self.closing:
            raise system_error(errno.ENOTCONN)
        self.push_with_producer(_eof(self.stream))

    def _write_later(self) -> None:
        """If the channel wants to write, have it asked to when what is queued has been sent."""
        if (channel := self._channel) is None or self._pulling or self.closing or self.peer_gone:
            return
        if self._wants_to_write(channel):
            self._pulling = True
            self.push_with_producer(_Steps(self))

    async def step(self) -> bytes:
        """What the channel sends next, as much as one send takes; nothing if there is no more."""
        taken, self._ahead = self._ahead, []
        self._taken, self._taken_bytes, self._ahead_bytes = taken, self._ahead_bytes, 0
        try:
            while self._taken_bytes < self.ac_out_buffer_size and self._poll(reading=False):
                await self._after_a_turn()
        finally:
            self._taken = None
            self._changed.unpark_all()
        return b"".join(taken)

    def end_steps(self) -> None:
        """There is no more to send at present, or nowhere to send it to."""
        self._pulling = False
        self._changed.unpark_all()
        if self.peer_gone:
            self.look_soon()

    # ------------------------------------------------------------------ callbacks

    async def handle_connect(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._turns = current_turns()
        if self.socket.closed:
            self.close_when_done()  # by another thread, before there was somebody to tell
        self.note_channel()
        await self._deal_with_input()

    async def collect_incoming_data(self, data: bytes) -> None:
        self.socket.feed(data)
        await self._deal_with_input()

    async def handle_eof(self) -> None:
        while self._pulling and not self.closing:
            await self._changed.park()
        if (channel := self._channel) is not None:
            self._event(channel, channel._trio_chat_hand_over_rest)
        self.socket.feed_eof()
        await self._deal_with_input()

    def handle_timeout(self, kind: TimeoutKind) -> None:
        if (channel := self._channel) is not None:
            self._event(channel, channel.handle_close)
        self.close_when_done()

    def between_messages(self) -> bool:
        return (channel := self._channel) is None or not channel._trio_chat_mid_frame

    def handle_close(self) -> None:
        """The peer is gone, the server stops, or the channel has closed itself, which then knows it."""
        self._token = None
        self._over = True
        if self._turns is not None:
            self._turns.remove(self)
            self._turns = None
        if (channel := self._channel) is not None:
            try:
                self._event(channel, channel.handle_close)
            finally:
                channel.del_channel()
        if self._error is not None:
            raise self._error


def _is_overridden(channel: Any, name: str) -> bool:
    return not getattr(getattr(channel, name), "__module__", "").startswith(_OURS)


class _Steps:
    """A channel as a producer. It may be closed without having been asked for anything."""

    def __init__(self, loop: ChannelLoop) -> None:
        self._loop = loop

    def __aiter__(self) -> _Steps:
        return self

    async def __anext__(self) -> bytes:
        if not (piece := await self._loop.step()):
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._loop.end_steps()


async def _eof(stream: trio.abc.Stream) -> AsyncIterator[bytes]:
    """A producer that gives nothing: when its turn has come, everything before has been sent."""
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
    return
    yield b""
