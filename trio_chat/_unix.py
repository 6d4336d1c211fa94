"""Listening on a Unix socket, which leaves a file behind: see to it that it is in nobody's way."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

from ._listening import listen
from ._transport import SocketListener

if sys.platform != "win32":
    import fcntl

_TRIES = 50
_RETRY_SECONDS = 0.002


@asynccontextmanager
async def unix_listener(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes], mode: int | None, backlog: int | None
) -> AsyncGenerator[SocketListener, None]:
    """A listener on the socket file `path`, which is removed at the end.

    A file that a dead server has left there is replaced; one on which somebody listens, or that is no socket, is not:
    OSError with EADDRINUSE. `mode` is set before anyone can connect.
    """
    path = os.fspath(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        if path[:1] in ("\0", b"\0"):  # an abstract name: there is no file
            sock.bind(path)
            listen(sock, backlog)
            yield SocketListener(sock)
            return
        ours: tuple[int, ...] | None = None
        try:
            with _locked_directory(path):
                _bind(sock, path)
                ours = _identity(path)
                if mode is not None:
                    os.chmod(path, mode)
                listen(sock, backlog)
            yield SocketListener(sock)
        finally:
            if ours is not None:
                with _locked_directory(path), suppress(FileNotFoundError):
                    if _identity(path) == ours:
                        os.unlink(path)


@contextmanager
def _locked_directory(path: str | bytes) -> Iterator[None]:
    """One process at a time replaces or removes socket files, so that what it has found out about one stays true.

    A lock on the directory itself leaves no file behind. Who does the same as we do holds it for a moment, without a
    checkpoint. It is done without where we must not read the directory, or cannot lock it, and if somebody holds the
    lock for longer, as anyone may who can read it.
    """
    with ExitStack() as opened:
        with suppress(OSError):
            fd = os.open(os.path.dirname(path) or os.curdir, os.O_RDONLY | os.O_DIRECTORY)
            opened.callback(os.close, fd)
            for _ in range(_TRIES):
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_RETRY_SECONDS)
        yield


def _identity(path: str | bytes) -> tuple[int, ...]:
    """A number alone could have been given again: the file of a closed socket, once removed, does not keep its own."""
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _bind(sock: socket.socket, path: str | bytes) -> None:
    try:
        sock.bind(path)
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE or not _remove_dead(path):
            raise
        sock.bind(path)


def _remove_dead(path: str | bytes) -> bool:
    """Remove `path` if it is a socket file on which nobody listens; tell whether it is out of the way.

    Without a checkpoint, in which another task could replace it.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            if probe.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT):
                return False  # it has answered, or would; or it is, say, the socket of a server of datagrams
        os.unlink(path)
    except FileNotFoundError:
        pass  # it has gone by itself
    return True
