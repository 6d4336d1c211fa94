"""The standard library's asynchat, which Python 3.12 has removed, on trio_chat: for programs that were written for it.

A channel class needs another import and nothing else: `from trio_chat.compat import asynchat`. What `asyncore.loop()`
and the listening dispatcher did is the business of a server:

    def handle_accepted(sock, addr):
        EchoHandler(sock)

    trio.run(serve_tcp, asynchat.handler_factory(handle_accepted), 8007)

What is called when, and what goes over the wire, is the same as it was, to the oddities: `tests/compat` holds both
against each other. New programs are better off with `trio_chat.AsyncChat`. What differs is what lost data or filled
the memory: see `_loop.py` and `async_chat.max_frame_bytes`; besides, what is pushed is sent as it was at the call,
whatever its type, and falsy producers are asked like others. `python -m trio_chat.compat.check` names what in an old
program will not carry over.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import trio

from .. import AsyncChat, FrameTooLong
from ._dispatcher import dispatcher as _dispatcher
from ._loop import ChannelLoop
from ._socket import ChannelSocket

#: Bytes are collected up to this string, or so many of them; without end for None, 0 and "".
Terminator: TypeAlias = bytes | bytearray | str | int | None


class async_chat(_dispatcher):  # noqa: N801
    """A channel. Derive from it, and define `collect_incoming_data` and `found_terminator`.

    Args:
        sock: what `handler_factory` gives. None for a channel that is not connected.
        map: the channels by descriptor, in which this one is as long as it is polled.
    """

    ac_in_buffer_size: int = 65536
    ac_out_buffer_size: int = 65536
    #: How many bytes may be collected before a terminator of bytes; beyond that the channel is closed. None: any
    #: number. (A server that stores its frames in memory would otherwise store whatever a client sends.)
    max_frame_bytes: int | None = 64 * 1024 * 1024

    terminator: Terminator = None
    use_encoding: Any = 0
    encoding: str = "latin-1"

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if not isinstance(vars(cls).get("ac_in_buffer"), property | None):
            delattr(cls, "ac_in_buffer")  # a default that the constructor overrides: it must not hide the property

    def __init__(self, sock: ChannelSocket | None = None, map: dict[int | None, Any] | None = None) -> None:  # noqa: A002
        self.__input = b""
        self.__at = 0  # where in it begins what was not handed over: what was is not cut off each time
        self.__frame_bytes = 0  # of the present frame, handed over
        self._trio_chat_queued = 0
        self.incoming: list[bytes] = []
        self.producer_fifo: Any = deque()
        super().__init__(sock, map)

    # ------------------------------------------------------------------ input

    def collect_incoming_data(self, data: bytes) -> None:
        """`data` has come before the terminator."""
        raise NotImplementedError("must be implemented in subclass")

    def found_terminator(self) -> None:
        """The terminator has come."""
        raise NotImplementedError("must be implemented in subclass")

    def _collect_incoming_data(self, data: bytes) -> None:
        self.incoming.append(data)

    def _get_data(self) -> bytes:
        data = b"".join(self.incoming)
        del self.incoming[:]
        return data

    def set_terminator(self, term: Terminator) -> None:
        """Set what ends a frame: a string of bytes, or a number of them. None, 0, b"": nothing, all is collected.

        Raises ValueError for a negative number.
        """
        if isinstance(term, str) and self.use_encoding:
            term = term.encode(self.encoding)
        elif isinstance(term, int) and term < 0:
            raise ValueError("the number of received bytes must be positive")
        self.terminator = term
        self.__frame_bytes = 0

    def get_terminator(self) -> Terminator:
        """The terminator; of a number, what is left of it, 0 at the end."""
        return self.terminator

    @property
    def ac_in_buffer(self) -> bytes:
        """What has been received and not handed over."""
        if self.__at:
            self.__input, self.__at = self.__input[self.__at :], 0
        return self.__input

    @ac_in_buffer.setter
    def ac_in_buffer(self, data: bytes) -> None:
        self.__input, self.__at = data, 0

    def __advance(self, count: int) -> None:
        self.__at = min(self.__at + count, len(self.__input))

    def handle_read(self) -> None:
        """Receive, and hand over: as in the standard library, but in a time that is linear in what has come."""
        try:
            data = self.recv(self.ac_in_buffer_size)
        except BlockingIOError:
            return
        except OSError:
            self.handle_error()
            return
        self.ac_in_buffer += data
        try:
            self.__hand_over()
        except FrameTooLong:
            self.handle_error()
            if self.connected:  # whatever that has made of it: what comes would be kept without end
                self.handle_close()
                self.close()
        if self.__at == len(self.__input):
            self.ac_in_buffer = b""  # idle connections keep nothing

    def __hand_over(self) -> None:
        while self.__at < len(self.__input):
            terminator = self.get_terminator()
            if not terminator:
                self.__collect(len(self.__input))
                self.ac_in_buffer = b""
            elif isinstance(terminator, int):
                self.__hand_over_count(terminator)
            elif not self.__hand_over_up_to(terminator):
                break

    def __hand_over_count(self, count: int) -> None:
        length = len(self.__input) - self.__at
        if length < count:
            self.__collect(length)
            self.ac_in_buffer = b""
            self.terminator -= length  # type: ignore[operator]  # whatever it is by now
            return
        if count < 0:  # a smaller one was set while data was collected: in Python that many bytes are left
            count = max(length + count, 0)
        self.__collect(count)
        self.__advance(count)
        self.terminator = 0
        self.__found()

    def __hand_over_up_to(self, terminator: Any) -> bool:
        """What comes before the terminator, or cannot be part of one. False if what is left may be."""
        if (end := self.__input.find(terminator, self.__at)) >= 0:
            length = end - self.__at
            if length:
                self.__collect(length, self.max_frame_bytes)
            self.__advance(length + len(terminator))
            self.__found()
            return True
        length = len(self.__input) - self.__at
        held = find_prefix_at_end(self.__input[max(self.__at, len(self.__input) - len(terminator) + 1) :], terminator)
        if held < length:
            self.__collect(length - held, self.max_frame_bytes)
            self.ac_in_buffer = self.ac_in_buffer[-held:] if held else b""
        return not held

    def __collect(self, count: int, limit: int | None = None) -> None:
        data = self.__input[self.__at : self.__at + count]
        if limit is not None and self.__frame_bytes + count > limit:
            fits = limit - self.__frame_bytes
            if fits > 0:
                self.__collect(fits)
                self.__advance(fits)
            raise FrameTooLong(limit)
        self.__frame_bytes += count
        self.collect_incoming_data(data)

    def __found(self) -> None:
        self.__frame_bytes = 0
        self.found_terminator()

    def _trio_chat_hand_over_rest(self) -> None:
        """At the end of the input: what might have been the beginning of a terminator is none."""
        terminator, rest = self.get_terminator(), self.ac_in_buffer
        if rest and isinstance(terminator, bytes | bytearray) and terminator.startswith(rest):
            self.ac_in_buffer = b""
            self.collect_incoming_data(rest)

    @property
    def _trio_chat_mid_frame(self) -> bool:
        return bool(self.get_terminator() and (self.__frame_bytes or self.__at < len(self.__input)))

    # ------------------------------------------------------------------ output

    def push(self, data: bytes | bytearray | memoryview) -> None:
        """Queue `data`, as it is now, and begin to send. Other threads may do so, too: it is sent a little later."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError("data argument must be byte-ish (%r)", type(data))
        data, size = bytes(data), self.ac_out_buffer_size
        self._trio_chat_queued += len(data)
        if len(data) > size:
            self.producer_fifo.extend([data[start : start + size] for start in range(0, len(data), size)])
        else:
            self.producer_fifo.append(data)
        self.__begin_to_send()

    def push_with_producer(self, producer: Any) -> None:
        """Queue what `producer.more()` will give, and begin to send. As for threads, see `push`."""
        self.producer_fifo.append(producer)
        self.__begin_to_send()

    def close_when_done(self) -> None:
        """Have `handle_close` called when what is queued has been sent. Until then input is handed over as before."""
        self.producer_fifo.append(None)
        self.__note_queued()

    def __begin_to_send(self) -> None:
        try:
            if self.socket is None or self.socket.in_our_thread:
                self.initiate_send()
        finally:
            self.__note_queued()

    def __note_queued(self) -> None:
        if self.socket is not None:
            self.socket.note_queued()

    def readable(self) -> Any:
        return 1

    def writable(self) -> Any:
        return self.producer_fifo or not self.connected

    def handle_write(self) -> None:
        self.initiate_send()

    def handle_close(self) -> None:
        self.close()

    def initiate_send(self) -> None:
        """Make one step: send the first piece of what is queued, as far as it is taken."""
        while self.producer_fifo and self.connected:
            first = self.producer_fifo[0]
            if first is None:
                del self.producer_fifo[0]
                self.handle_close()
                return
            if isinstance(first, str) and self.use_encoding:
                first = self.producer_fifo[0] = first.encode(self.encoding)
            try:
                data = first[: self.ac_out_buffer_size]
            except TypeError:
                self.__ask(first)
                continue
            if data:
                self.__send(first, data)
            else:
                del self.producer_fifo[0]
            return
        if not self.producer_fifo:
            self._trio_chat_queued = 0  # whatever a program has done to the queue by itself

    def __ask(self, producer: Any) -> None:
        """Put the next piece of a producer before it, or take it off the queue if there is none."""
        data = producer.more()
        if isinstance(data, bytearray | memoryview):
            data = bytes(data)  # it may be used for the next piece
        if data:
            self.producer_fifo.appendleft(data)
            self._trio_chat_queued += len(data)
        else:
            del self.producer_fifo[0]

    def __send(self, piece: Any, data: Any) -> None:
        """`data` is the beginning of `piece`, which is the first in the queue."""
        try:
            sent = self.send(data)
        except OSError:
            self.handle_error()
            return
        if sent:
            self._trio_chat_queued = max(self._trio_chat_queued - sent, 0)
            if sent < len(piece):
                self.producer_fifo[0] = piece[sent:]
            else:
                del self.producer_fifo[0]

    def discard_buffers(self) -> None:
        """Drop what was received, what was put aside, and what is queued."""
        self.ac_in_buffer = b""
        del self.incoming[:]
        self.producer_fifo.clear()
        self._trio_chat_queued = 0


class simple_producer:  # noqa: N801
    """Gives `data` in pieces of `buffer_size`."""

    def __init__(self, data: Any, buffer_size: int = 512) -> None:
        self.data: Any = data
        self.buffer_size: int = buffer_size

    def more(self) -> Any:
        piece, self.data = self.data[: self.buffer_size], self.data[self.buffer_size :]
        return piece


def find_prefix_at_end(haystack: Any, needle: Any) -> int:
    r"""How long the longest beginning of `needle`, but not all of it, is that `haystack` ends with.

    >>> find_prefix_at_end(b"qwerty\r", b"\r\n")
    1
    """
    length = len(needle) - 1
    while length > 0 and not haystack.endswith(needle[:length]):
        length -= 1
    return max(length, 0)


def handler_factory(
    handle_accepted: Callable[[Any, Any], object],
    *,
    idle_timeout: float = math.inf,
    write_timeout: float = math.inf,
) -> Callable[[trio.abc.Stream], AsyncChat]:
    """What the `serve_…` functions take, for channels.

    To run a channel over a single stream, say in a test or as a client: `await handler_factory(…)(stream).run()`.

    Args:
        handle_accepted: takes a new connection as the method of a listening dispatcher did, `handle_accepted(sock,
            addr)`: makes a channel with the socket, or closes that. What it returns does not matter.
        idle_timeout: after how many seconds without input, and with nothing left to be sent, the channel is closed by
            `handle_close`.
        write_timeout: likewise, how long the peer may let one send of 64 KiB wait. There was none in asynchat, and
            there is none by default; but with one, a client that never reads cannot make what others push to it grow
            for ever.
    """
    return partial(ChannelLoop, handle_accepted=handle_accepted, idle_timeout=idle_timeout, write_timeout=write_timeout)
