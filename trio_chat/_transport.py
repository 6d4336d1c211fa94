"""Sockets as streams, with one turn of the scheduler for a request and its answer.

Trio's own `SocketStream` tries to receive, mostly in vain, before it waits; and when it has sent, or has received at
once, it gives other tasks their turn. A server that answers requests thus takes two or three turns for each. Here:

    receiving    waits until the kernel says that there is something, then reads once; or `receive_nowait` does, in vain
                 if there is nothing: for who has reason to think that there is
    sending      sends at once, and waits only if the kernel is full; `send_nowait` does not even do that

so the only turn taken is the wait for the next request, which is a checkpoint, always.

To a busy server the next request has come before the task has its turn. So now and then a receive does not have the
kernel watch the socket, but gives others their turn, and tries. As long as there is something each time, the next ones
do the same, which saves a system call and half of Trio's work for a wait. If there is nothing, it waits, and so do the
next ones: more and more, as long as the tries are in vain. `nox -s bench -- http` tells what all that is worth.

Nothing here knows of conversations: these are a `trio.abc.HalfCloseableStream` and a `trio.abc.Listener` for anyone,
and `trio.testing.check_half_closeable_stream` is content with them.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled, wait_readable, wait_writable

_RECEIVE_BYTES = 65536
_FIRST_WAITS = 4  # so many receives wait before one tries whether there is something already
_MAX_WAITS = 64  # and at the most so many before the next one does
# Queued in the kernel and not on its way: more would only wait there instead of in our queue, where it can be dropped.
_NOTSENT_BYTES = 16384
_NO_FD = -1
# What accept() may raise for a connection that has failed before anyone saw it (accept(2), "Error handling", and errors
# of firewalls). It is the next one's turn then.
_ACCEPTED_IN_VAIN = {
    getattr(errno, name, errno.ECONNABORTED)
    for name in (
        "ECONNABORTED", "EPERM", "EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH",
        "EOPNOTSUPP", "ENETUNREACH", "ETIMEDOUT",
    )
}  # fmt: skip


class SocketStream(trio.abc.HalfCloseableStream):
    """A connected stream socket: TCP, or a Unix socket.

    One task may receive and one may send at the same time; a second one gets `trio.BusyResourceError`.

    Args:
        sock: is the stream's from now on, and made non-blocking.

    Raises TypeError or ValueError for what is no stream socket.
    """

    __slots__ = ("__weakref__", "_eof_sent", "_patience", "_receiving", "_sending", "_waits", "socket")

    def __init__(self, sock: socket.socket) -> None:
        _check_type(sock, "a stream")
        sock.setblocking(False)
        if sock.family != getattr(socket, "AF_UNIX", None):
            with suppress(OSError):  # a peer that is gone already will be noticed soon enough
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
                if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_BYTES)
        #: The socket, say for `setsockopt`. Who reads from it or writes to it takes bytes out of the stream.
        self.socket: socket.socket = sock
        self._sending: bool = False
        self._receiving: bool = False
        self._waits: int = _FIRST_WAITS  # how many receives wait before the next one tries
        self._patience: int = 1  # how many will after a try in vain
        self._eof_sent: bool = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait until something has come, and receive at most `max_bytes` of it, 64 KiB by default; b"" at the end.

        If cancelled, nothing is lost.

        Raises:
            trio.BusyResourceError: if another task is receiving.
            trio.BrokenResourceError: if the connection is broken.
            trio.ClosedResourceError: if this stream is closed, or is while it waits.
        """
        max_bytes = _checked(max_bytes)
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._receiving = True
        try:
            while True:
                if tries := not self._waits:
                    await checkpoint_if_cancelled()
                    await cancel_shielded_checkpoint()  # what has come wins against what is cancelled meanwhile
                else:
                    self._waits -= 1
                    await wait_readable(_open_fd(self.socket))
                try:
                    data = self.socket.recv(max_bytes)
                except BlockingIOError:  # tried in vain; or a false alarm, which kernels may give
                    self._waits = self._patience
                    self._patience = min(2 * self._patience, _MAX_WAITS)
                except OSError as exc:
                    raise self._failure(exc) from exc
                else:
                    if tries:
                        self._patience = 1
                    return data
        finally:
            self._receiving = False

    def receive_nowait(self, max_bytes: int | None = None) -> bytes:
        """What `receive_some` gives, if that has come already. A task that waits in it goes on waiting.

        Raises `trio.WouldBlock` if nothing has come; and what `receive_some` does, except `trio.BusyResourceError`.
        """
        try:
            return self.socket.recv(_checked(max_bytes))
        except BlockingIOError:
            raise trio.WouldBlock from None
        except OSError as exc:
            raise self._failure(exc) from exc

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Send as much of `data` as the kernel takes now, and return how many bytes that was, 0 if it is full.

        Raises:
            trio.BusyResourceError: if a task is sending.
            trio.BrokenResourceError: if the connection is broken.
            trio.ClosedResourceError: if this stream, or this side of it, is closed.
        """
        self._check_not_sending()
        return self._send(data)

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            raise self._failure(exc) from exc

    def send_file_nowait(self, file: int, start: int, count: int) -> int:
        """Send what the kernel takes now of `count` bytes of an open file (its descriptor) from `start` on, uncopied.

        Returns how many bytes that was: 0 also at the end of the file, and where it cannot be done for whatever reason,
        which `send_nowait` will tell if it is this stream's. What of the file is not in memory is waited for.

        Raises `trio.BusyResourceError` if a task is sending.
        """
        self._check_not_sending()
        if count < 1:  # which means all of it to some systems
            return 0
        try:
            return os.sendfile(self.socket.fileno(), file, start, count)
        except (OSError, AttributeError):  # Windows has no sendfile
            return 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`. If cancelled, nobody knows how much of it was sent. Raises what `send_nowait` does."""
        self._begin_sending()
        try:
            if self._eof_sent:
                raise trio.ClosedResourceError("send_eof() has ended this side of the stream")
            await checkpoint_if_cancelled()
            with memoryview(data).cast("B") as rest:
                sent = self._send(rest)
                if sent == len(rest):
                    await cancel_shielded_checkpoint()
                while sent < len(rest):
                    await wait_writable(_open_fd(self.socket))
                    sent += self._send(rest[sent:])
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the kernel takes something, or would refuse it. If cancelled, nothing has happened.

        Raises:
            trio.BusyResourceError: if another task is sending.
            trio.ClosedResourceError: if this stream is closed, or is while it waits.
        """
        self._begin_sending()
        try:
            await wait_writable(_open_fd(self.socket))
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        """End our side of the stream: the peer will see its end, and may go on sending. A second time, do nothing."""
        self._begin_sending()
        try:
            await checkpoint()
            if not self._eof_sent:
                self.socket.shutdown(socket.SHUT_WR)
                self._eof_sent = True
        except OSError as exc:
            raise self._failure(exc) from exc
        finally:
            self._sending = False

    async def aclose(self) -> None:
        """Close the socket, at once, whoever is waiting for it; then a checkpoint."""
        await _close(self.socket)

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Set an option of the socket, as `socket.socket.setsockopt` does."""
        self.socket.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, buffersize: int = 0) -> int | bytes:
        """Get an option of the socket, as `socket.socket.getsockopt` does."""
        return (
            self.socket.getsockopt(level, option, buffersize) if buffersize else self.socket.getsockopt(level, option)
        )

    def _check_not_sending(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending data on this stream")

    def _begin_sending(self) -> None:
        self._check_not_sending()
        _open_fd(self.socket)
        self._sending = True

    def _failure(self, exc: OSError) -> trio.ClosedResourceError | trio.BrokenResourceError:
        """What an error of the system is called on a stream."""
        if self.socket.fileno() == _NO_FD:
            return trio.ClosedResourceError("this stream is closed")
        if self._eof_sent and exc.errno == errno.EPIPE:
            return trio.ClosedResourceError("send_eof() has ended this side")
        return trio.BrokenResourceError(f"the connection is broken: {exc}")


class SocketListener(trio.abc.Listener[SocketStream]):
    """A listening stream socket.

    Args:
        sock: is the listener's from now on, and made non-blocking. It must listen.

    Raises TypeError or ValueError for what is no stream socket, or does not listen.
    """

    __slots__ = ("__weakref__", "socket")

    def __init__(self, sock: socket.socket) -> None:
        _check_type(sock, "a listener")
        with suppress(OSError):  # macOS cannot say
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise ValueError(f"a listener takes a socket that listens; got {sock!r}")
        sock.setblocking(False)
        #: The socket, say for `getsockname`.
        self.socket: socket.socket = sock

    async def accept(self) -> SocketStream:
        """Wait for a connection. If cancelled, none has been accepted.

        Raises:
            OSError: if the system has no more descriptors, or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM).
            trio.ClosedResourceError: if this listener is closed, or is while it waits.
            trio.BusyResourceError: if another task is accepting.
        """
        while True:
            await wait_readable(_open_fd(self.socket))
            if (stream := self.accept_nowait()) is not None:  # else another process that listens here was faster, say
                return stream

    def accept_nowait(self) -> SocketStream | None:
        """A connection that waits to be accepted; None if there is none, or it has failed. Raises as `accept`."""
        _open_fd(self.socket)
        try:
            return SocketStream(self.socket.accept()[0])
        except BlockingIOError:
            return None
        except OSError as exc:
            if exc.errno not in _ACCEPTED_IN_VAIN:
                raise
            return None

    async def aclose(self) -> None:
        """Close the socket, at once, whoever is waiting for it; then a checkpoint."""
        await _close(self.socket)


def _checked(max_bytes: int | None) -> int:
    if max_bytes is None:
        return _RECEIVE_BYTES
    if not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes is a number of bytes; got {max_bytes!r}")
    if max_bytes < 1:
        raise ValueError(f"max_bytes must be >= 1; got {max_bytes}")
    return max_bytes


def _check_type(sock: socket.socket, what: str) -> None:
    if not isinstance(sock, socket.socket):
        raise TypeError(f"{what} takes a socket.socket; got {sock!r}")
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"{what} takes a socket of type SOCK_STREAM; got {sock!r}")


def _open_fd(sock: socket.socket) -> int:
    """The socket's descriptor, as long as it is open."""
    if (fd := sock.fileno()) == _NO_FD:
        raise trio.ClosedResourceError("the socket is closed")
    return fd


async def _close(sock: socket.socket) -> None:
    if sock.fileno() != _NO_FD:
        trio.lowlevel.notify_closing(sock)
        sock.close()
    await checkpoint()
