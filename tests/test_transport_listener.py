"""`SocketListener`: accepting, what is passed over, what is raised, and closing."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest
import trio
import trio.testing
from sockets import Interposed, NotingSocket, close_at_once, connect, listening
from support import Turns

from trio_chat import AsyncChat, SocketListener, SocketStream, serve_listeners


class Echo(AsyncChat):
    terminator = b"\n"

    def found_terminator(self) -> None:
        self.push(self._get_data() + b"\n")


async def talk_over(client: SocketStream, server: SocketStream) -> None:
    for one, other in ((client, server), (server, client)):
        await one.send_all(b"hello")
        assert await other.receive_some() == b"hello"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_it_accepts_streams_of_ours(host: str) -> None:
    sock = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    async with SocketListener(sock) as listener:
        assert not sock.getblocking()
        async with connect(sock) as client:
            with trio.testing.assert_checkpoints():
                server = await listener.accept()
            async with server:
                assert type(server) is SocketStream
                assert server.socket.getpeername() == client.socket.getsockname()
                assert not server.socket.getblocking()
                assert server.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                await talk_over(client, server)


async def test_it_waits_for_a_client_and_accepts_once(nursery: trio.Nursery) -> None:
    sock = listening()
    accepted: list[SocketStream] = []

    async def accept() -> None:
        while True:
            accepted.append(await listener.accept())

    async with SocketListener(sock) as listener, trio.open_nursery() as accepting:
        accepting.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        assert sock.accepts == 0
        for count in (1, 2):
            async with connect(sock) as client:
                await trio.testing.wait_all_tasks_blocked()
                assert sock.accepts == count
                await talk_over(client, accepted[-1])
        accepting.cancel_scope.cancel()
    for stream in accepted:
        await stream.aclose()


async def test_if_cancelled_it_has_accepted_nobody() -> None:
    sock = listening()
    async with SocketListener(sock) as listener, connect(sock) as client:
        with trio.CancelScope() as scope:
            scope.cancel()
            await listener.accept()
        assert scope.cancelled_caught
        async with await listener.accept() as server:
            await talk_over(client, server)


async def test_a_second_acceptor_is_refused(nursery: trio.Nursery) -> None:
    async with SocketListener(listening()) as listener:
        nursery.start_soon(listener.accept)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await listener.accept()
        nursery.cancel_scope.cancel()


async def test_who_does_not_want_to_wait_is_told_that_there_is_nobody() -> None:
    sock = listening()
    async with SocketListener(sock) as listener:
        assert listener.accept_nowait() is None
        async with connect(sock) as first, connect(sock) as second:
            for client in (first, second):
                server = listener.accept_nowait()
                assert server is not None
                async with server:
                    await talk_over(client, server)
            assert listener.accept_nowait() is None


@pytest.mark.parametrize("listeners", [1, 2])
async def test_a_server_keeps_its_limit_though_it_accepts_several_clients_at_once(
    listeners: int, nursery: trio.Nursery
) -> None:
    socks = [listening() for _ in range(listeners)]
    waiting = [connect(sock) for sock in socks for _ in range(5)]
    chats: list[Echo] = []

    def factory(stream: trio.abc.Stream) -> Echo:
        chats.append(Echo(stream))
        return chats[-1]

    serve = partial(serve_listeners, factory, [SocketListener(sock) for sock in socks], max_connections=3)
    await nursery.start(serve)
    for served in range(3, len(waiting) + 1):
        await trio.testing.wait_all_tasks_blocked()
        assert len(chats) == served
        chats[served - 3].close()
    await trio.testing.wait_all_tasks_blocked()
    for client in waiting:
        await client.aclose()
    nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    "code",
    [
        errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN,
        errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EAGAIN,
    ],
    ids=errno.errorcode.get,
)  # fmt: skip
async def test_a_connection_that_has_failed_before_anyone_saw_it_is_passed_over(code: int) -> None:
    sock = listening(OSError(code, os.strerror(code)), OSError(code, os.strerror(code)))
    async with SocketListener(sock) as listener, connect(sock) as client, await listener.accept() as server:
        assert sock.accepts == 3
        await talk_over(client, server)


@pytest.mark.parametrize(
    "code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EINVAL], ids=errno.errorcode.get
)
async def test_other_faults_are_raised_and_the_client_goes_on_waiting(code: int) -> None:
    sock = listening(OSError(code, os.strerror(code)))
    async with SocketListener(sock) as listener, connect(sock) as client:
        with pytest.raises(OSError, match=os.strerror(code)) as raised:
            await listener.accept()
        assert raised.value.errno == code
        async with await listener.accept() as server:
            await talk_over(client, server)


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    hoard: list[int] = []
    with open(os.devnull, "rb") as file:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            with suppress(OSError):
                while True:
                    hoard.append(os.dup(file.fileno()))
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in hoard:
                os.close(fd)


async def test_the_client_of_a_process_that_has_no_descriptors_left_is_accepted_later() -> None:
    sock = listening()
    async with SocketListener(sock) as listener, connect(sock) as client:
        with no_descriptors_left():
            for _ in range(3):
                with pytest.raises(OSError, match="Too many open files"):
                    await listener.accept()
        async with await listener.accept() as server:
            await talk_over(client, server)


async def test_a_system_that_refuses_to_accept_time_and_again_does_not_stop_everything_else(
    nursery: trio.Nursery,
) -> None:
    """As Linux does (EPERM), if a filter of system calls forbids to accept."""
    turns = Turns()
    sock = listening(*(PermissionError(errno.EPERM, "Operation not permitted") for _ in range(100)))
    async with SocketListener(sock) as listener, connect(sock):
        nursery.start_soon(turns.take)
        await (await listener.accept()).aclose()
        assert turns.count > 50
        nursery.cancel_scope.cancel()


async def test_a_client_that_has_gone_before_it_was_accepted_gives_a_stream_that_ends() -> None:
    sock = listening()
    async with SocketListener(sock) as listener:
        async with connect(sock) as client:
            await client.send_all(b"gone")
        async with await listener.accept() as server:
            assert [await server.receive_some() for _ in range(2)] == [b"gone", b""]


async def test_listeners_that_share_a_queue_survive_that_the_other_was_faster(nursery: trio.Nursery) -> None:
    socks = [listening()]
    socks.append(NotingSocket(socket.socket(fileno=os.dup(socks[0].fileno()))))
    served: list[SocketStream] = []

    async def accept(sock: socket.socket) -> None:
        async with SocketListener(sock) as listener:
            while True:
                served.append(await listener.accept())

    async with trio.open_nursery() as accepting:
        for sock in socks:
            accepting.start_soon(accept, sock)
        await trio.testing.wait_all_tasks_blocked()
        for count in (1, 2, 3):
            async with connect(socks[0]) as client:
                await trio.testing.wait_all_tasks_blocked()
                assert [sock.accepts for sock in socks] == [count, count]  # one of them in vain
                assert len(served) == count
                await talk_over(client, served[-1])
        accepting.cancel_scope.cancel()
    for stream in served:
        await stream.aclose()


# ---------------------------------------------------------------------- closing


async def test_closing_wakes_who_accepts(nursery: trio.Nursery) -> None:
    listener = SocketListener(listening())
    closed = trio.Event()

    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()
        closed.set()

    nursery.start_soon(accept)
    await trio.testing.wait_all_tasks_blocked()
    await listener.aclose()
    await closed.wait()


async def test_closing_wins_against_a_client_that_has_come_in_the_same_turn() -> None:
    sock = listening()
    listener = SocketListener(sock)
    async with connect(sock):
        Interposed(trio.lowlevel.current_task(), lambda: close_at_once(listener))
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()


async def test_after_a_close_nobody_connects_and_nobody_accepts() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    listener = SocketListener(sock)
    for _ in range(2):
        with trio.testing.assert_checkpoints():
            await listener.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    with pytest.raises(trio.ClosedResourceError):
        listener.accept_nowait()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


async def test_a_cancelled_close_closes() -> None:
    listener = SocketListener(listening())
    with trio.CancelScope() as scope:
        scope.cancel()
        await listener.aclose()
    assert listener.socket.fileno() == -1


# ---------------------------------------------------------------------- what it takes


def test_a_socket_that_does_not_listen_is_refused_and_left_alone() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="a socket that listens"):
            SocketListener(sock)
        assert sock.getblocking()
        sock.listen()
        SocketListener(sock)


def test_a_connected_socket_is_refused() -> None:
    one, other = socket.socketpair()
    with one, other, pytest.raises(ValueError, match="a socket that listens"):
        SocketListener(one)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_of_another_type_is_refused(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind("")
        if kind == socket.SOCK_SEQPACKET:
            sock.listen()
        with pytest.raises(ValueError, match="SOCK_STREAM"):
            SocketListener(sock)
        assert sock.getblocking()


async def test_what_is_no_socket_is_refused() -> None:
    with trio.socket.socket() as given:
        for sock in (given, given.fileno(), None):
            with pytest.raises(TypeError, match=r"takes a socket\.socket"):
                SocketListener(sock)  # type: ignore[arg-type]
