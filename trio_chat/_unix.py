"""Listening on a Unix socket, which leaves a file behind: see to it that it is in nobody's way."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import trio

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
            if exc.errno != errno.EADDRINUSE or not await _is_dead(path):
                raise
            os.unlink(path)
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


async def _is_dead(path: str | bytes) -> bool:
    """Whether `path` is a socket file on which nobody listens."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as probe:
        try:
            await probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False  # say, the socket of a server of datagrams
    return False
