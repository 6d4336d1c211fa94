"""Listening on a Unix socket, which leaves a file behind: see to it that it is in nobody's way."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from ._listening import listen
from ._transport import SocketListener


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
        try:
            sock.bind(path)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or not _remove_dead(path):
                raise
            sock.bind(path)
        ours = os.stat(path)
        try:
            if mode is not None:
                os.chmod(path, mode)
            listen(sock, backlog)
            yield SocketListener(sock)
        finally:
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), ours):
                    os.unlink(path)


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
