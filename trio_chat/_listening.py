"""Sockets that listen: opened here, or by whoever has started this process."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack

import trio

from ._streams import Address
from ._transport import SocketListener

_MAX_PORT = 65535
_BACKLOG = 0xFFFF  # the kernel cuts it down to what it allows
_FIRST_INHERITED = 3  # sd_listen_fds(3): SD_LISTEN_FDS_START


async def open_tcp_listeners(
    port: int, *, host: str | bytes | None = None, backlog: int | None = None, reuse_port: bool = False
) -> list[SocketListener]:
    """Listen on a TCP port, as `trio.open_tcp_listeners` does; the streams are ours.

    Args:
        port: 0 for any free one; then each listener has its own.
        host: the address to listen on, or a name; None for all addresses.
        backlog: how many clients may wait to be accepted; by default as many as the system allows.
        reuse_port: let other processes, of the same user, listen on the same port (SO_REUSEPORT). On Linux the kernel
            gives each of them its share of the clients, so as many processes as there are cores can serve together,
            with nothing between them. All of them have to ask for it, the first one included.

    Raises:
        OSError: as of `bind` and `getaddrinfo`; EADDRINUSE if somebody listens there who does not share.
        ValueError: if there is no such port, or no SO_REUSEPORT on this system.
    """
    if type(port) is not int or not 0 <= port <= _MAX_PORT:  # the system would take 99999 for 34463
        raise ValueError(f"a port is a number from 0 to {_MAX_PORT}; got {port!r}")
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port needs SO_REUSEPORT, which this system does not have")
    addresses = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    unsupported: OSError | None = None
    with ExitStack() as opened:
        for family, _, proto, _, address in addresses:
            try:
                sock = opened.enter_context(socket.socket(family, socket.SOCK_STREAM, proto))
            except OSError as exc:
                if exc.errno != errno.EAFNOSUPPORT:
                    raise
                unsupported = exc  # say, IPv6 is switched off
            else:
                _listen(sock, address, backlog, reuse_port=reuse_port)
                sockets.append(sock)
        opened.pop_all()  # from now on they are the listeners'
    if unsupported is not None and not sockets:
        raise OSError(errno.EAFNOSUPPORT, f"this system has no address family of {host!r}") from unsupported
    return [SocketListener(sock) for sock in sockets]


def listen(sock: socket.socket, backlog: int | None) -> None:
    """Listen, with as many clients waiting as the system allows, unless there is to be a limit."""
    sock.listen(_BACKLOG if backlog is None else min(backlog, _BACKLOG))


def _listen(sock: socket.socket, address: Address, backlog: int | None, *, reuse_port: bool) -> None:
    if sys.platform != "win32":  # where it means something else
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, True)
    if sock.family == socket.AF_INET6:  # a listener for each family, whatever the system's default
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)
    sock.bind(address)
    listen(sock, backlog)


def inherited_listeners(*fds: int) -> list[SocketListener]:
    """Listeners on sockets that this process was started with: by systemd, supervisor, or a program of yours.

    Without arguments, those that systemd passes, or whoever else speaks its protocol (sd_listen_fds(3)): LISTEN_FDS
    says how many there are, LISTEN_PID for whom. An empty list if there are none, so that a program can do without:

        listeners = inherited_listeners() or await open_tcp_listeners(8000)

    It tells once: the variables are removed, so that no child takes the sockets for its own.

    Args:
        fds: the numbers of their file descriptors. supervisor's `[fcgi-program]` passes its socket as 0.

    Raises:
        OSError: if there is no socket of that number.
        ValueError: if it is none that listens, or not of a stream; or if the variables are malformed.
    """
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket(fileno=fd)) for fd in fds or _fds_of_systemd()]
        listeners = [SocketListener(sock) for sock in sockets]
        opened.pop_all()  # from now on they are the listeners'
    for sock in sockets:
        sock.set_inheritable(False)  # systemd's are
    return listeners


def _fds_of_systemd() -> Sequence[int]:
    pid, count = os.environ.get("LISTEN_PID", ""), os.environ.get("LISTEN_FDS", "")
    if not (pid and count):
        return ()
    if pid.isdecimal() and int(pid) != os.getpid():
        return ()  # they are for somebody else
    if not (pid.isdecimal() and count.isdecimal()):
        raise ValueError(f"LISTEN_PID and LISTEN_FDS are numbers; got {pid!r} and {count!r}")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    return range(_FIRST_INHERITED, _FIRST_INHERITED + int(count))
