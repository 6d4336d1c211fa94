"""Real sockets, for tests of what meets them: pairs, one that notes what the kernel is asked for, and full ones."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import trio
import trio.testing
from support import ChatT

from trio_chat import SocketListener, SocketStream

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Streams: TypeAlias = tuple[SocketStream, SocketStream]


async def tcp_pair() -> Streams:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        return SocketStream(client), SocketStream(listening.accept()[0])


async def unix_pair() -> Streams:
    one, other = socket.socketpair()
    return SocketStream(one), SocketStream(other)


over_each_kind = pytest.mark.parametrize("make_pair", [tcp_pair, unix_pair], ids=["tcp", "unix"])


class NotingSocket(socket.socket):
    """Notes what the kernel is asked for; raises `faults` first, one at each call."""

    def __init__(self, sock: socket.socket, *faults: OSError) -> None:
        super().__init__(fileno=sock.detach())
        self.faults = list(faults)
        self.most_bytes = sys.maxsize  # that one send takes
        self.receives: list[int] = []  # how much was asked for, at each call
        self.sends: list[bytes] = []  # what was taken, at each call
        self.accepts = 0

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        self.receives.append(bufsize)
        self._fail()
        return super().recv(bufsize, flags)

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        self._fail()
        octets = bytes(data)[: self.most_bytes]
        try:
            sent = super().send(octets, flags)
        except BlockingIOError:
            self.sends.append(b"")
            raise
        self.sends.append(octets[:sent])
        return sent

    def accept(self) -> tuple[socket.socket, Any]:
        self.accepts += 1
        self._fail()
        return super().accept()

    def _fail(self) -> None:
        if self.faults:
            raise self.faults.pop(0)


def noting_pair() -> tuple[NotingSocket, SocketStream]:
    """A socket, to make a stream of, and the peer's end."""
    ours, theirs = socket.socketpair()
    return NotingSocket(ours), SocketStream(theirs)


def fill(stream: SocketStream) -> int:
    """Send until the kernel does not take another byte; how many it took."""
    total = 0
    for size in (65536, 4096, 1):
        while sent := stream.send_nowait(b"f" * size):
            total += sent
    return total


def listening(*faults: OSError) -> NotingSocket:
    """A socket that listens, to make a listener of; who connects to it waits to be accepted at that very moment."""
    sock = NotingSocket(socket.socket(socket.AF_UNIX), *faults)
    sock.bind("")  # to a name that the kernel chooses
    sock.listen()
    return sock


def connect(sock: socket.socket) -> SocketStream:
    """Connect to a socket that listens."""
    client = socket.socket(sock.family)
    client.connect(sock.getsockname())
    return SocketStream(client)


def close_at_once(resource: SocketStream | SocketListener) -> None:
    """What `aclose` does up to its checkpoint."""
    steps = resource.aclose()
    steps.send(None)
    steps.close()


class Interposed(trio.abc.Instrument):
    """Does something at a moment that no task can choose: right before the next step of `task`, once."""

    def __init__(self, task: trio.lowlevel.Task, act: Callable[[], object]) -> None:
        self.task = task
        self.act = act
        trio.lowlevel.add_instrument(self)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            trio.lowlevel.remove_instrument(self)
            self.act()


@asynccontextmanager
async def talk_over_sockets(
    factory: Callable[[trio.abc.Stream], ChatT],
) -> AsyncGenerator[tuple[ChatT, SocketStream, NotingSocket], None]:
    """Run a handler over a socket; gives it, the client's end, which is closed at the end, and our end's socket."""
    sock, client = noting_pair()
    chat = factory(SocketStream(sock))
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await trio.testing.wait_all_tasks_blocked()
        yield chat, client, sock
        await trio.aclose_forcefully(client)
