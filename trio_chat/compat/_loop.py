"""What asyncore's loop did, for one channel: ask whether it wants to read or to write, and call its events.

A channel sends in small steps, each into the kernel as far as that takes it. Here what takes it is the conversation's
queue, up to `_ROOM` bytes. When that is full, the channel is asked again as a *producer*: when everything before has
been sent, that is, when the kernel of old would have said that it is writable.

What is done better than in the standard library, because data would be lost otherwise:

- What a channel has queued goes out before it is told that the peer has ended its side.
- Half a terminator at the end of the input is handed over.
- The socket is not closed with input unread: that would reset the connection, and could destroy the last answer.

And what would be unbounded: nothing is received while more than `high_water_bytes` are queued in the channel. What its
producers will give does not count.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import trio

from .. import AsyncChat
from ._socket import ChannelSocket

_ROOM = 131072  # what is queued for sending when no more is taken: the kernel's buffer, as channels see it
_TURNS_AT_ONCE = 100
_LOOP_SECONDS = 30.0  # asyncore.loop asks `readable` at least so often

_others: trio.lowlevel.RunVar[trio.lowlevel.ParkingLot] = trio.lowlevel.RunVar("trio_chat.compat channels that wait")


class ChannelLoop(AsyncChat):
    """Runs the channel that `handle_accepted(sock, addr)` makes; see `asynchat.handler_factory`."""

    uses_nursery: ClassVar[bool] = False
    max_frame_bytes: int | None = None
    high_water_bytes: int = 262144  # above `_ROOM` and one more piece: never reached by what a channel sends
    write_timeout: float = math.inf

    def __init__(self, stream: trio.abc.Stream, handle_accepted: Callable[[Any, Any], object]) -> None:
        super().__init__(stream)
        self.socket = ChannelSocket(self)
        self._in_event = True  # one is being called: what the channel queues is looked at afterwards
        self._waking = False  # `_look` will be called
        self._pulling = False  # the channel is queued as a producer
        self._turns = 0
        self._has_failed = False  # a callback, in the last turn
        self._taken: list[bytes] | None = None  # by a producer's step, while it is made
        handle_accepted(self.socket, self.socket.getpeername())
        self._in_event = False
        if self.socket.channel is None and not self.socket.closed:
            raise TypeError(
                f"{handle_accepted!r} has neither made a channel of the socket that it was given, nor closed it"
            )

    # ------------------------------------------------------------------ polling

    @property
    def _channel(self) -> Any:
        """The channel, as long as it is in its map; else None."""
        channel = self.socket.channel
        return channel if channel is not None and channel._map.get(channel._fileno) is channel else None

    def _poll(self, *, reading: bool) -> bool:
        """One turn of the loop: what is to be called is found out first, then called. Whether anything came of it."""
        self._has_failed = False
        before = self._state()
        if channel := self._channel:
            reads = reading and self._wants_to_read(channel)
            writes = self._has_room() and self._wants_to_write(channel)
            if reads:
                self._event(channel, channel.handle_read_event)
            if writes and (channel := self._channel):
                self._event(channel, channel.handle_write_event)
        return self._state() != before or self._has_failed

    def _state(self) -> tuple[object, ...]:
        sock = self.socket
        channel = sock.channel
        return channel, sock.unread_bytes, sock.is_readable, sock.sent_bytes, channel and len(channel.producer_fifo)

    def _event(self, channel: Any, callback: Callable[[], object]) -> None:
        """Call something of a channel's. What it raises is the business of its `handle_error`, as in asyncore."""
        outer, self._in_event = self._in_event, True
        try:
            callback()
        except Exception:
            self._has_failed = True
            channel.handle_error()
        finally:
            self._in_event = outer
            self._tell_others()

    def _wants_to_read(self, channel: Any) -> bool:
        if not self.socket.is_readable or not channel.readable():
            return False
        queued = sum(len(piece) for piece in channel.producer_fifo if isinstance(piece, bytes))
        return queued <= self.high_water_bytes

    def _wants_to_write(self, channel: Any) -> bool:
        return channel.connected and bool(channel.writable())

    async def _deal_with_input(self) -> None:
        """Turn after turn, until what has come is read, and what is queued is sent or waits for room."""
        while self.socket.is_readable and not self.closing:
            if self._poll(reading=True):
                await self._after_a_turn()
                continue
            if (channel := self._channel) and self._wants_to_read(channel):
                break  # and yet it does not: it is asked again when more has come
            await self._something_else()
        while self._poll(reading=False):
            await self._after_a_turn()
        self._write_later()

    async def _after_a_turn(self) -> None:
        """Let other tasks have theirs now and then; and always after a failure, for that may happen again and again."""
        self._turns += 1
        if self._has_failed or self._turns % _TURNS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()

    async def _something_else(self) -> None:
        """Wait until something has happened to a channel, of this connection or of another one."""
        self._write_later()
        with trio.move_on_after(_LOOP_SECONDS):
            await _waiting_channels().park()

    def _tell_others(self) -> None:
        _waiting_channels().unpark_all()

    # ------------------------------------------------------------------ what the channel sends

    def _has_room(self) -> bool:
        return self._taken is not None or not (self._pulling or self.queued_bytes >= _ROOM or self.closing)

    def take(self, data: bytes) -> int:
        if not self._has_room():
            if self.closing:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        if self._taken is not None:
            self._taken.append(data)
        else:
            self.push(data)
        return len(data)

    def end_output(self) -> None:
        self.push_with_producer(self._send_eof())

    async def _send_eof(self) -> AsyncIterator[bytes]:
        """A producer that gives nothing: when its turn has come, everything before has been sent."""
        if isinstance(self.stream, trio.abc.HalfCloseableStream):
            await self.stream.send_eof()
        return
        yield b""

    def note_queued(self) -> None:
        """Something was queued. By an event, it will be sent afterwards; by others, when they have had their say."""
        if not (self._in_event or self._waking):
            self._waking = True
            trio.lowlevel.current_trio_token().run_sync_soon(self._look)

    def _look(self) -> None:
        self._waking = False
        if (channel := self._channel) and channel.producer_fifo:
            self._begin_steps()

    def note_closed(self) -> None:
        self._tell_others()

    def _write_later(self) -> None:
        """Have the channel asked to write when what is queued has been sent."""
        if (channel := self._channel) and self._wants_to_write(channel):
            self._begin_steps()

    def _begin_steps(self) -> None:
        if not (self._pulling or self.closing):
            self._pulling = True
            self.push_with_producer(self._steps())

    async def _steps(self) -> AsyncIterator[bytes]:
        """The channel as a producer: what it sends, step by step."""
        try:
            while True:
                taken: list[bytes] = []
                self._taken = taken
                try:
                    goes_on = self._poll(reading=False)
                finally:
                    self._taken = None
                if taken:
                    yield b"".join(taken)
                elif goes_on:
                    await self._after_a_turn()
                else:
                    return
        finally:
            self._pulling = False
            self._tell_others()

    # ------------------------------------------------------------------ callbacks

    async def handle_connect(self) -> None:
        await self._deal_with_input()

    async def collect_incoming_data(self, data: bytes) -> None:
        self.socket.feed(data)
        await self._deal_with_input()

    async def handle_eof(self) -> None:
        while self._pulling and not self.closing:
            await self._something_else()
        if channel := self._channel:
            self._event(channel, channel._hand_over_rest)
        self.socket.feed_eof()
        await self._deal_with_input()

    def between_messages(self) -> bool:
        return (channel := self._channel) is None or not (channel._is_mid_frame or channel.producer_fifo)

    def handle_close(self) -> None:
        """The peer is gone, the server stops, or the channel has closed itself, which then knows it."""
        channel = self._channel
        try:
            if channel is not None:
                self._event(channel, channel.handle_close)
        finally:
            if channel is not None:
                channel.del_channel()


def _waiting_channels() -> trio.lowlevel.ParkingLot:
    try:
        return _others.get()
    except LookupError:
        lot = trio.lowlevel.ParkingLot()
        _others.set(lot)
        return lot
