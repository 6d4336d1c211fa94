"""The socket that a channel is given: it answers the calls that programs make on theirs, and does no I/O itself."""

from __future__ import annotations

import errno
import os
import socket
from itertools import count
from typing import Any, Protocol

import trio

from .. import Address

_no_descriptors = count(-2, -1)  # for streams that have none: each is another key in a map, and none is ever opened


class Wire(Protocol):
    """What a socket asks of the conversation behind it."""

    @property
    def stream(self) -> trio.abc.Stream: ...
    @property
    def peer(self) -> Address | None: ...
    @property
    def local(self) -> Address | None: ...
    @property
    def in_our_thread(self) -> bool: ...
    def take(self, data: bytes) -> int: ...
    def take_all(self, data: bytes) -> None: ...
    def end_output(self) -> None: ...
    def close_soon(self) -> None: ...
    def look_soon(self) -> None: ...
    def note_channel(self) -> None: ...


class ChannelSocket:
    """A connected, non-blocking socket, as far as channels use one.

    What has been received is put in by `feed`; what is sent goes to the wire, which takes so much of it as a kernel
    would. Errors are those of a socket: BlockingIOError, BrokenPipeError, and OSError with EBADF when it is closed.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._socket = _socket_under(wire.stream)
        descriptor = -1 if self._socket is None else self._socket.fileno()
        self._fileno = descriptor if descriptor >= 0 else next(_no_descriptors)
        self._unread = b""
        self._at = 0
        self._eof = False  # the peer has ended its side, and nobody was told yet
        self._output_ended = False
        #: Whether `close` was called.
        self.closed: bool = False
        #: How many bytes were sent.
        self.sent_bytes: int = 0
        self._channel: Any = None

    # ------------------------------------------------------------------ the wire's side

    def feed(self, data: bytes) -> None:
        if not self.closed:
            self._unread, self._at = self._unread[self._at :] + data, 0

    def feed_eof(self) -> None:
        self._eof = True

    @property
    def unread_bytes(self) -> int:
        return len(self._unread) - self._at

    @property
    def is_readable(self) -> bool:
        """Whether `recv` would not block."""
        return not self.closed and (self._at < len(self._unread) or self._eof)

    @property
    def channel(self) -> Any:
        """The dispatcher that is polled for it, the last one that has taken it; None if there is none."""
        return self._channel

    @channel.setter
    def channel(self, channel: Any) -> None:
        self._channel = channel
        self._wire.note_channel()

    def note_queued(self) -> None:
        """The channel has queued something."""
        self._wire.look_soon()

    @property
    def in_our_thread(self) -> bool:
        """Whether this is the thread in which the channel is polled."""
        return self._wire.in_our_thread

    # ------------------------------------------------------------------ the channel's side

    def recv(self, size: int) -> bytes:
        """At most `size` bytes of what has come; b"", once, when the peer has ended its side."""
        self._check_open()
        if self._at < len(self._unread):
            data = self._unread[self._at : self._at + size]
            self._at += len(data)
            if self._at == len(self._unread):
                self._unread, self._at = b"", 0  # idle connections keep nothing
            return data
        if self._eof:
            self._eof = False
            return b""
        raise system_error(errno.EWOULDBLOCK)

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Send of `data` what there is room for, and return how many bytes that was."""
        sent = self._wire.take(self._sendable(data))
        self.sent_bytes += sent
        return sent

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`, whether there is room for it or not."""
        octets = self._sendable(data)
        self._wire.take_all(octets)
        self.sent_bytes += len(octets)

    def _sendable(self, data: bytes | bytearray | memoryview) -> bytes:
        self._check_open()
        if self._output_ended:
            raise system_error(errno.EPIPE)
        with memoryview(data) as view:  # a TypeError for a str, as of a socket
            return view.tobytes()

    def close(self) -> None:
        """Close; what was sent still goes out. A second time, do nothing."""
        if not self.closed:
            self.closed = True
            self._unread, self._at = b"", 0
            self._wire.close_soon()

    def shutdown(self, how: int) -> None:
        """End one side, or both: of the output, behind what was sent."""
        self._check_open()
        if how in (socket.SHUT_WR, socket.SHUT_RDWR) and not self._output_ended:
            self._wire.end_output()
            self._output_ended = True
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self._unread, self._at, self._eof = b"", 0, True

    def fileno(self) -> int:
        """The descriptor; -1 when it is closed, and another negative number if the stream has none."""
        return -1 if self.closed else self._fileno

    def getpeername(self) -> Address:
        """The peer's address; "" if the stream has none, as for a Unix socket without a name."""
        self._check_open()
        return "" if self._wire.peer is None else self._wire.peer

    def getsockname(self) -> Address:
        self._check_open()
        return "" if self._wire.local is None else self._wire.local

    @property
    def family(self) -> int:
        """Of the socket under the stream; without one, AF_UNIX, whose sockets need no name."""
        return int(getattr(socket, "AF_UNIX", 1) if self._socket is None else self._socket.family)

    @property
    def type(self) -> int:
        return int(socket.SOCK_STREAM)

    def setblocking(self, flag: bool) -> None:
        """Do nothing: it never blocks."""
        self.settimeout(None if flag else 0)

    def settimeout(self, seconds: float | None) -> None:
        """Do nothing: it never blocks."""
        if seconds != 0:
            raise ValueError("the socket of a channel cannot be made to block")

    def gettimeout(self) -> float:
        return 0.0

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """As of the socket under the stream; without one, do nothing."""
        self._check_open()
        if self._socket is not None:
            self._socket.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, buffersize: int = 0) -> int | bytes:
        """As of the socket under the stream; without one, 0."""
        self._check_open()
        if self._socket is None:
            return bytes(buffersize) if buffersize else 0
        return self._socket.getsockopt(level, option, *([buffersize] if buffersize else []))  # type: ignore[no-any-return]

    def _check_open(self) -> None:
        if self.closed:
            raise system_error(errno.EBADF)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd={self._fileno}, raddr={self._wire.peer!r}"
        return f"<{type(self).__name__} {state}>"


def system_error(number: int) -> OSError:
    """What a socket raises: of the class that goes with the number, as BrokenPipeError with EPIPE."""
    return OSError(number, os.strerror(number))


def _socket_under(stream: Any) -> Any:
    """The socket that a stream goes over; None if there is none."""
    while hasattr(stream, "transport_stream"):  # as of trio.SSLStream
        stream = stream.transport_stream
    return getattr(stream, "socket", None)
