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

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import trio

from .. import FrameTooLong
from ._dispatcher import dispatcher
from ._loop import ChannelLoop
from ._socket import ChannelSocket

#: Bytes are collected up to this string, or so many of them; without end for None, 0 and "".
Terminator: TypeAlias = bytes | bytearray | str | int | None


class async_chat(dispatcher):  # noqa: N801
    """A channel. Derive from it, and define `collect_incoming_data` and `found_terminator`.

    Args:
        sock: what `handler_factory` gives. None for a channel that is not connected.
        map: the channels by descriptor, in which this one is as long as it is polled.
    """

    ac_in_buffer_size = 65536
    ac_out_buffer_size = 65536
    #: How many bytes may be collected before a terminator of bytes; beyond that the channel is closed. None: any
    #: number. (A server that stores its frames in memory would otherwise store whatever a client sends.)
    max_frame_bytes: int | None = 64 * 1024 * 1024

    terminator: Terminator = None
    use_encoding: Any = 0
    encoding = "latin-1"

    def __init__(self, sock: ChannelSocket | None = None, map: dict[int | None, Any] | None = None) -> None:  # noqa: A002
        self._input = b""
        self._at = 0  # where in it begins what was not handed over: what was is not cut off each time
        self._frame_bytes = 0  # of the present frame, handed over
        self.incoming: list[bytes] = []
        self.producer_fifo: deque[Any] = deque()
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
        self._frame_bytes = 0

    def get_terminator(self) -> Terminator:
        """The terminator; of a number, what is left of it, 0 at the end."""
        return self.terminator

    @property
    def ac_in_buffer(self) -> bytes:
        """What has been received and not handed over."""
        if self._at:
            self._input, self._at = self._input[self._at :], 0
        return self._input

    @ac_in_buffer.setter
    def ac_in_buffer(self, data: bytes) -> None:
        self._input, self._at = data, 0

    def _advance(self, count: int) -> None:
        self._at = min(self._at + count, len(self._input))

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
        while self._at < len(self._input):
            terminator = self.get_terminator()
            if not terminator:
                self._collect(len(self._input))
                self.ac_in_buffer = b""
            elif isinstance(terminator, int):
                self._hand_over_count(terminator)
            elif not self._hand_over_up_to(terminator):
                break

    def _hand_over_count(self, count: int) -> None:
        length = len(self._input) - self._at
        if length < count:
            self._collect(length)
            self.ac_in_buffer = b""
            self.terminator -= length  # type: ignore[operator]  # whatever it is by now
            return
        if count < 0:  # a smaller one was set while data was collected: in Python that many bytes are left
            count = max(length + count, 0)
        self._collect(count)
        self._advance(count)
        self.terminator = 0
        self._found()

    def _hand_over_up_to(self, terminator: Any) -> bool:
        """What comes before the terminator, or cannot be part of one. False if what is left may be."""
        if (end := self._input.find(terminator, self._at)) >= 0:
            length = end - self._at
            if length:
                self._collect(length, self.max_frame_bytes)
            self._advance(length + len(terminator))
            self._found()
            return True
        length = len(self._input) - self._at
        held = find_prefix_at_end(self._input[max(self._at, len(self._input) - len(terminator) + 1) :], terminator)
        if held < length:
            self._collect(length - held, self.max_frame_bytes)
            self.ac_in_buffer = self.ac_in_buffer[-held:] if held else b""
        return not held

    def _collect(self, count: int, limit: int | None = None) -> None:
        data = self._input[self._at : self._at + count]
        if limit is not None and self._frame_bytes + count > limit:
            fits = limit - self._frame_bytes
            if fits > 0:
                self._collect(fits)
                self._advance(fits)
            raise FrameTooLong(limit)
        self._frame_bytes += count
        self.collect_incoming_data(data)

    def _found(self) -> None:
        self._frame_bytes = 0
        self.found_terminator()

    def _hand_over_rest(self) -> None:
        """At the end of the input: what might have been the beginning of a terminator is none."""
        terminator, rest = self.get_terminator(), self.ac_in_buffer
        if rest and isinstance(terminator, bytes) and terminator.startswith(rest):
            self.ac_in_buffer = b""
            self.collect_incoming_data(rest)

    @property
    def _is_mid_frame(self) -> bool:
        return bool(self.get_terminator() and (self._frame_bytes or self._at < len(self._input)))

    # ------------------------------------------------------------------ output

    def push(self, data: bytes | bytearray | memoryview) -> None:
        """Queue `data`, as it is now, and begin to send."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError("data argument must be byte-ish (%r)", type(data))
        data, size = bytes(data), self.ac_out_buffer_size
        if len(data) > size:
            self.producer_fifo.extend(data[start : start + size] for start in range(0, len(data), size))
        else:
            self.producer_fifo.append(data)
        self._begin_to_send()

    def push_with_producer(self, producer: Any) -> None:
        """Queue what `producer.more()` will give, and begin to send."""
        self.producer_fifo.append(producer)
        self._begin_to_send()

    def close_when_done(self) -> None:
        """Have `handle_close` called when what is queued has been sent. Until then input is handed over as before."""
        self.producer_fifo.append(None)
        self._note_queued()

    def _begin_to_send(self) -> None:
        try:
            self.initiate_send()
        finally:
            self._note_queued()

    def _note_queued(self) -> None:
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
            first, size = self.producer_fifo[0], self.ac_out_buffer_size
            if first is None:
                del self.producer_fifo[0]
                self.handle_close()
                return
            try:
                data = first[:size]
            except TypeError:
                self._ask(first)
                continue
            if data:
                self._send(first, data)
            else:
                del self.producer_fifo[0]
            return

    def _ask(self, producer: Any) -> None:
        """Put the next piece of a producer before it, or take it off the queue if there is none."""
        data = producer.more()
        if isinstance(data, str) and self.use_encoding:
            data = data.encode(self.encoding)
        elif isinstance(data, bytearray | memoryview):
            data = bytes(data)  # it may be used for the next piece
        if data:
            self.producer_fifo.appendleft(data)
        else:
            del self.producer_fifo[0]

    def _send(self, piece: Any, data: Any) -> None:
        """`data` is the beginning of `piece`, which is the first in the queue."""
        try:
            sent = self.send(data)
        except OSError:
            self.handle_error()
            return
        if sent:
            if sent < len(piece):
                self.producer_fifo[0] = piece[sent:]
            else:
                del self.producer_fifo[0]

    def discard_buffers(self) -> None:
        """Drop what was received, what was put aside, and what is queued."""
        self.ac_in_buffer = b""
        del self.incoming[:]
        self.producer_fifo.clear()


class simple_producer:  # noqa: N801
    """Gives `data` in pieces of `buffer_size`."""

    def __init__(self, data: Any, buffer_size: int = 512) -> None:
        self.data = data
        self.buffer_size = buffer_size

    def more(self) -> Any:
        piece, self.data = self.data[: self.buffer_size], self.data[self.buffer_size :]
        return piece


def find_prefix_at_end(haystack: Any, needle: Any) -> int:
    """How long the longest beginning of `needle`, but not all of it, is that `haystack` ends with.

    >>> find_prefix_at_end(b"qwerty\r", b"\r\n")
    1
    """
    length = len(needle) - 1
    while length > 0 and not haystack.endswith(needle[:length]):
        length -= 1
    return max(length, 0)


def handler_factory(handle_accepted: Callable[[Any, Any], object]) -> Callable[[trio.abc.Stream], ChannelLoop]:
    """What the `serve_…` functions take, for channels.

    Args:
        handle_accepted: takes a new connection as the method of a listening dispatcher did, `handle_accepted(sock,
            addr)`: makes a channel with the socket, or closes that. What it returns does not matter.

    To run a channel over a single stream, say in a test or as a client: `await handler_factory(…)(stream).run()`.
    """
    return partial(ChannelLoop, handle_accepted=handle_accepted)
