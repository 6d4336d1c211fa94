"""`open_tcp_listeners`: which addresses, and sharing a port among processes."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from sockets import connect
from support import ask, receive_all, receive_exactly

from trio_chat import (
    AsyncChat,
    SocketListener,
    SocketStream,
    open_tcp_listeners,
    serve_ssl_over_tcp,
    serve_tcp,
    serve_unix,
)


async def close_all(listeners: list[SocketListener]) -> None:
    for listener in listeners:
        await listener.aclose()


def addresses(listeners: list[SocketListener]) -> set[tuple[str, bool]]:
    """The hosts, and whether they are of IPv6."""
    return {(listener.socket.getsockname()[0], listener.socket.family == socket.AF_INET6) for listener in listeners}


def free_port() -> int:
    """One that is free for either family."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as sock:
        port: int = sock.getsockname()[1]
        return port


# ---------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (None, {("0.0.0.0", False), ("::", True)}),
        ("127.0.0.1", {("127.0.0.1", False)}),
        (b"127.0.0.1", {("127.0.0.1", False)}),
        ("::1", {("::1", True)}),
        ("0.0.0.0", {("0.0.0.0", False)}),
        ("::", {("::", True)}),
    ],
)
async def test_it_listens_where_it_is_told(host: str | bytes | None, expected: set[tuple[str, bool]]) -> None:
    listeners = await open_tcp_listeners(0, host=host)
    assert addresses(listeners) == expected
    for listener in listeners:
        assert isinstance(listener, SocketListener)
        async with connect(listener.socket) as client, await listener.accept() as server:
            await client.send_all(b"hello")
            assert await server.receive_some() == b"hello"
    await close_all(listeners)


async def test_a_name_is_looked_up() -> None:
    listeners = await open_tcp_listeners(0, host="localhost")
    assert addresses(listeners)
    assert addresses(listeners) <= {("127.0.0.1", False), ("::1", True)}
    await close_all(listeners)


async def test_a_name_that_nobody_has_is_an_error_of_the_resolver() -> None:
    with pytest.raises(socket.gaierror):
        await open_tcp_listeners(0, host="no such host, for it has blanks")


async def test_for_all_addresses_each_family_has_a_listener_on_the_same_port() -> None:
    port = free_port()
    listeners = await open_tcp_listeners(port)
    assert [listener.socket.getsockname()[1] for listener in listeners] == [port, port]
    for listener in listeners:
        async with connect(listener.socket) as client, await listener.accept() as server:
            assert server.socket.family == client.socket.family == listener.socket.family
    await close_all(listeners)


async def test_with_port_0_each_listener_has_a_port_of_its_own() -> None:
    listeners = await open_tcp_listeners(0)
    ports = [listener.socket.getsockname()[1] for listener in listeners]
    assert 0 not in ports
    await close_all(listeners)


@pytest.mark.parametrize("port", [-1, 65536, 99999])
@pytest.mark.parametrize("reuse_port", [False, True])
async def test_a_wrong_port_is_refused(port: int, reuse_port: bool) -> None:
    with pytest.raises(ValueError, match=f"a port is a number from 0 to 65535; got {port}"):
        await open_tcp_listeners(port, host="127.0.0.1", reuse_port=reuse_port)


async def test_the_port_of_a_server_that_has_just_ended_is_free() -> None:
    """Connections that it has closed are still known to the kernel, in TIME-WAIT."""
    (listener,) = await open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with connect(listener.socket) as client:
        await (await listener.accept()).aclose()
        assert await client.receive_some() == b""
    await listener.aclose()
    (listener,) = await open_tcp_listeners(port, host="127.0.0.1")
    await listener.aclose()


@pytest.mark.parametrize("backlog", [1, 10, 100_000, None])
async def test_clients_wait_in_the_backlog(backlog: int | None) -> None:
    (listener,) = await open_tcp_listeners(0, host="127.0.0.1", backlog=backlog)
    async with listener:
        clients = [connect(listener.socket) for _ in range(min(backlog or 100, 100))]
        for client in clients:
            async with client, await listener.accept() as server:
                await server.send_all(b"at last")
                assert await client.receive_some() == b"at last"


@pytest.mark.parametrize("reuse_port", [False, True])
async def test_no_child_inherits_what_was_opened(reuse_port: bool) -> None:
    (listener,) = await open_tcp_listeners(0, host="127.0.0.1", reuse_port=reuse_port)
    async with listener, connect(listener.socket) as client, await listener.accept() as server:
        assert not any(thing.socket.get_inheritable() for thing in (listener, client, server))


# ---------------------------------------------------------------------- who else is there


@pytest.mark.parametrize(("first_shares", "second_shares"), [(False, False), (True, False), (False, True)])
async def test_a_port_is_shared_only_if_both_want_it(first_shares: bool, second_shares: bool) -> None:
    (first,) = await open_tcp_listeners(0, host="127.0.0.1", reuse_port=first_shares)
    async with first:
        with pytest.raises(OSError, match="in use") as raised:
            await open_tcp_listeners(first.socket.getsockname()[1], host="127.0.0.1", reuse_port=second_shares)
        assert raised.value.errno == errno.EADDRINUSE


async def test_if_one_address_cannot_be_had_the_others_are_given_back() -> None:
    port = free_port()
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        with pytest.raises(OSError, match="in use"):
            await open_tcp_listeners(port)
        # what is left open would make noise when it is collected, and be in the way
        with socket.create_server(("0.0.0.0", port), reuse_port=False):
            pass


async def test_two_listeners_share_a_port_and_its_clients() -> None:
    (one,) = await open_tcp_listeners(0, host="127.0.0.1", reuse_port=True)
    (other,) = await open_tcp_listeners(one.socket.getsockname()[1], host="127.0.0.1", reuse_port=True)
    accepted = {one: 0, other: 0}

    async def accept_from(listener: SocketListener) -> None:
        while True:
            async with await listener.accept():
                accepted[listener] += 1

    async with one, other, trio.open_nursery() as nursery:
        for listener in accepted:
            nursery.start_soon(accept_from, listener)
        clients = 0
        while not all(accepted.values()):
            clients += 1
            async with connect(one.socket) as client:
                assert await receive_all(client) == b""
        assert sum(accepted.values()) == clients
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- processes

SERVER = """
import os, sys
from collections.abc import Callable
from functools import partial
import trio
from trio_chat import AsyncChat, serve_tcp

class WhoIsThere(AsyncChat):
    terminator = b"\\n"

    def found_terminator(self):
        self.push(b"%d\\n" % os.getpid())

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_tcp, WhoIsThere, int(sys.argv[1]), host="127.0.0.1", reuse_port=True))
        print("ready", flush=True)

trio.run(main)
"""


async def start_server(nursery: trio.Nursery, port: int, cwd: Path) -> int:
    """Start a process that serves; its id, once it listens."""
    command = [sys.executable, "-P", "-c", SERVER, str(port)]
    run = partial(trio.run_process, command, stdout=subprocess.PIPE, cwd=cwd)
    process: trio.Process = await nursery.start(run)
    assert process.stdout is not None
    assert await receive_exactly(process.stdout, 6) == b"ready\n"
    return process.pid


async def who_is_there(port: int) -> int:
    async with await trio.open_tcp_stream("127.0.0.1", port) as client:
        await client.send_all(b"?\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += await client.receive_some()
        return int(answer)


async def test_two_processes_serve_on_one_port_and_each_gets_clients(tmp_path: Path) -> None:
    port = free_port()
    async with trio.open_nursery() as nursery:
        pids = {await start_server(nursery, port, tmp_path) for _ in range(2)}
        seen: set[int] = set()
        for _ in range(200):  # the kernel draws lots
            seen.add(await who_is_there(port))
            if seen == pids:
                break
        assert seen == pids
        with pytest.raises(OSError, match="in use"):
            await open_tcp_listeners(port, host="127.0.0.1")
        nursery.cancel_scope.cancel()


async def test_when_one_process_ends_the_other_gets_all_clients(tmp_path: Path) -> None:
    port = free_port()
    async with trio.open_nursery() as nursery:
        staying = await start_server(nursery, port, tmp_path)
        async with trio.open_nursery() as leaving:
            assert await start_server(leaving, port, tmp_path) != staying
            leaving.cancel_scope.cancel()
        assert {await who_is_there(port) for _ in range(30)} == {staying}
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- serve_tcp passes it all on


class Echo(AsyncChat):
    terminator = b"\n"

    def found_terminator(self) -> None:
        self.push(self._get_data() + b"\n")


async def test_servers_share_a_port_in_a_rolling_restart(nursery: trio.Nursery) -> None:
    """The new server listens before the old one stops, so there is no moment without one."""
    stop = trio.Event()
    serve = partial(serve_tcp, Echo, host="127.0.0.1", reuse_port=True)
    async with trio.open_nursery() as old:
        (listener,) = await old.start(partial(serve, 0, stop=stop))
        port = listener.socket.getsockname()[1]
        await nursery.start(partial(serve, port))
        stop.set()
    for _ in range(10):
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            await ask(client, b"hello")
    nursery.cancel_scope.cancel()


async def test_tls_servers_share_a_port_too(nursery: trio.Nursery) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serve = partial(serve_ssl_over_tcp, Echo, ssl_context=context, host="127.0.0.1")
    (listener,) = await nursery.start(partial(serve, 0, reuse_port=True))
    port = listener.transport_listener.socket.getsockname()[1]
    await nursery.start(partial(serve, port, reuse_port=True))
    with pytest.raises(OSError, match="in use"):
        await serve(port)
    nursery.cancel_scope.cancel()


async def test_on_a_system_that_cannot_share_ports_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(ValueError, match="SO_REUSEPORT"):
        await open_tcp_listeners(0, host="127.0.0.1", reuse_port=True)
    await close_all(await open_tcp_listeners(0, host="127.0.0.1"))


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
async def test_a_unix_socket_gives_streams_of_ours(kind: Callable[[Path], str | bytes | Path], tmp_path: Path) -> None:
    path = kind(tmp_path / "socket")
    streams: list[trio.abc.Stream] = []

    def factory(stream: trio.abc.Stream) -> Echo:
        streams.append(stream)
        return Echo(stream)

    async with trio.open_nursery() as serving:
        (listener,) = await serving.start(serve_unix, factory, path)
        assert type(listener) is SocketListener
        async with await trio.open_unix_socket(path) as client:
            await ask(client, b"hello")
        serving.cancel_scope.cancel()
    assert [type(stream) for stream in streams] == [SocketStream]
    assert not os.path.exists(path)
