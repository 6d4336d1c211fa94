"""Serving over TLS and on Unix sockets."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from support import MemoryListener, ask, receive_all, receive_exactly

import trio_chat.http
from trio_chat import AsyncChat, serve_listeners, serve_ssl_over_tcp, serve_unix


class Echo(AsyncChat):
    terminator = b"\n"

    def found_terminator(self) -> None:
        line = self._get_data()
        self.push(line + b"\n")
        if line == b"quit":
            self.close_when_done()


async def test_tls(nursery: trio.Nursery, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    (listener,) = await nursery.start(partial(serve_ssl_over_tcp, Echo, 0, server_context, host="127.0.0.1"))
    port = listener.transport_listener.socket.getsockname()[1]
    tcp = await trio.open_tcp_stream("127.0.0.1", port)
    client = trio.SSLStream(tcp, client_context, server_hostname="localhost")
    await ask(client, b"hello")
    await client.send_all(b"quit\n")
    assert await receive_all(client) == b"quit\n"  # a truncated TLS stream would raise here
    await client.aclose()
    nursery.cancel_scope.cancel()


async def test_a_context_that_serves_nobody_is_refused_before_anybody_comes(client_context: ssl.SSLContext) -> None:
    with pytest.raises(TypeError, match=r"serve_ssl_over_tcp\(\) takes an ssl.SSLContext; got None"):
        await serve_ssl_over_tcp(Echo, 0, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"serve_ssl_over_tcp\(\) needs a server's context, .*CLIENT_AUTH"):
        await serve_ssl_over_tcp(Echo, 0, client_context)
    with pytest.raises(ValueError, match="needs a server's context"):
        await trio_chat.http.serve(Echo, 0, ssl_context=client_context)  # type: ignore[arg-type]


async def test_whoever_speaks_no_tls_disturbs_nobody(
    nursery: trio.Nursery, server_context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (listener,) = await nursery.start(partial(serve_ssl_over_tcp, Echo, 0, server_context, host="127.0.0.1"))
    port = listener.transport_listener.socket.getsockname()[1]
    async with await trio.open_tcp_stream("127.0.0.1", port) as client:
        await client.send_all(b"GET / HTTP/1.0\r\n\r\n")
        try:
            while await client.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.exc_info is None
    assert "handshake" in record.getMessage()
    nursery.cancel_scope.cancel()


async def test_a_handshake_has_a_time_limit(
    nursery: trio.Nursery,
    server_context: ssl.SSLContext,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    inner = MemoryListener()
    await nursery.start(partial(serve_listeners, Echo, [trio.SSLListener(inner, server_context)], handshake_timeout=7))
    client = await inner.connect()
    assert await receive_all(client) == b""
    assert trio.current_time() == 7
    assert "timed out" in caplog.records[0].getMessage()
    nursery.cancel_scope.cancel()


async def test_unix_socket(nursery: trio.Nursery, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with trio.open_nursery() as serving:
        await serving.start(partial(serve_unix, Echo, path, mode=0o600))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with await trio.open_unix_socket(path) as client:
            await ask(client, b"hello")
        serving.cancel_scope.cancel()
    assert not path.exists()
    nursery.cancel_scope.cancel()


async def test_the_socket_file_of_a_dead_server_is_replaced(nursery: trio.Nursery, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with trio.socket.socket(trio.socket.AF_UNIX) as dead:
        await dead.bind(str(path))
    await nursery.start(serve_unix, Echo, path)
    async with await trio.open_unix_socket(path) as client:
        await ask(client, b"hello")
    nursery.cancel_scope.cancel()


async def test_of_two_that_replace_a_dead_server_one_serves(nursery: trio.Nursery, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with trio.socket.socket(trio.socket.AF_UNIX) as dead:
        await dead.bind(str(path))
    refused: list[int | None] = []

    async def serve() -> None:
        try:
            await serve_unix(Echo, path)
        except OSError as exc:
            refused.append(exc.errno)

    nursery.start_soon(serve)
    nursery.start_soon(serve)
    await trio.testing.wait_all_tasks_blocked()
    assert refused == [errno.EADDRINUSE]
    async with await trio.open_unix_socket(path) as client:
        await ask(client, b"hello")
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("function", ["lstat", "unlink"])
async def test_the_file_of_a_dead_server_may_go_by_itself(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    path = tmp_path / "socket"
    with trio.socket.socket(trio.socket.AF_UNIX) as dead:
        await dead.bind(str(path))

    def too_late(path: str) -> None:
        monkeypatch.undo()
        os.unlink(path)
        getattr(os, function)(path)

    monkeypatch.setattr(os, function, too_late)
    await nursery.start(serve_unix, Echo, path)
    async with await trio.open_unix_socket(path) as client:
        await ask(client, b"hello")
    nursery.cancel_scope.cancel()


@contextmanager
def another_process_has_locked(directory: Path) -> Iterator[None]:
    fd = os.open(directory, os.O_RDONLY)  # a lock is this open file's, and not the process's
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@pytest.mark.parametrize("kind", [str, os.fsencode])
async def test_processes_replace_a_dead_server_one_after_the_other(
    tmp_path: Path, kind: Callable[[Path], str | bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kind(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)

    def replace_it() -> Iterator[None]:
        with another_process_has_locked(tmp_path):
            yield
            os.unlink(path)
            other.bind(path)  # it does not listen yet, and is not dead
            yield
            other.listen()
        yield

    with socket.socket(socket.AF_UNIX) as other:
        steps = replace_it()
        next(steps)
        monkeypatch.setattr(time, "sleep", lambda seconds: next(steps))
        with pytest.raises(OSError, match="in use"):
            await serve_unix(Echo, path)
        assert os.path.exists(path)
        assert next(steps, "through") == "through"


async def test_a_lock_that_is_held_for_ever_holds_nobody_up(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    path = tmp_path / "socket"
    with another_process_has_locked(tmp_path):
        async with trio.open_nursery() as serving:
            await serving.start(serve_unix, Echo, path)
            assert sum(slept) == pytest.approx(0.1)
            serving.cancel_scope.cancel()
        assert sum(slept) == pytest.approx(0.2)
    assert not path.exists()
    nursery.cancel_scope.cancel()


async def test_nobody_connects_before_the_file_has_its_mode(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "socket"
    modes: list[int] = []

    def listen(sock: socket.socket, backlog: int | None) -> None:
        modes.append(stat.S_IMODE(path.stat().st_mode))
        sock.listen()

    monkeypatch.setattr("trio_chat._unix.listen", listen)
    await nursery.start(partial(serve_unix, Echo, path, mode=0o600))
    assert modes == [0o600]
    nursery.cancel_scope.cancel()


async def test_a_living_server_whose_backlog_is_full_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with ExitStack() as opened:
        busy = opened.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        errors = {0}
        while errors == {0}:
            client = opened.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            errors = {client.connect_ex(str(path))}
        assert errors == {errno.EAGAIN}
        with pytest.raises(OSError, match="in use"):
            await serve_unix(Echo, path)
        assert path.exists()


async def test_where_no_lock_can_be_had_it_is_done_without(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    path = tmp_path / "socket"
    await nursery.start(serve_unix, Echo, path)
    with pytest.raises(OSError, match="in use"):
        await serve_unix(Echo, path)
    nursery.cancel_scope.cancel()


async def test_a_relative_path(nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    await nursery.start(serve_unix, Echo, "socket")
    async with await trio.open_unix_socket(tmp_path / "socket") as client:
        await ask(client, b"hello")
    nursery.cancel_scope.cancel()


async def test_the_socket_of_a_living_server_is_left_alone(nursery: trio.Nursery, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    await nursery.start(serve_unix, Echo, path)
    with pytest.raises(OSError, match="in use"):
        await serve_unix(Echo, path)
    async with await trio.open_unix_socket(path) as client:
        await ask(client, b"hello")
    nursery.cancel_scope.cancel()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="in use"):
        await serve_unix(Echo, path)
    assert path.read_text() == "data"


async def test_at_the_end_only_our_own_file_is_removed(nursery: trio.Nursery, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with trio.open_nursery() as serving:
        await serving.start(serve_unix, Echo, path)
        path.unlink()
        path.write_text("another's")
        serving.cancel_scope.cancel()
    assert path.read_text() == "another's"
    nursery.cancel_scope.cancel()


async def test_what_replaced_our_file_when_its_listener_was_closed_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with trio.socket.socket(trio.socket.AF_UNIX) as successor:
        async with trio.open_nursery() as serving:
            (listener,) = await serving.start(serve_unix, Echo, path)
            listener.socket.close()  # nothing keeps the file's number any more
            path.unlink()
            await successor.bind(str(path))
            os.utime(path, (1, 1))  # another time, as if some had passed
            serving.cancel_scope.cancel()
        assert path.exists()


async def test_abstract_unix_socket(nursery: trio.Nursery) -> None:
    name = f"\0trio_chat test {os.getpid()}"
    await nursery.start(serve_unix, Echo, name)
    client_socket = trio.socket.socket(trio.socket.AF_UNIX)
    await client_socket.connect(name)
    async with trio.SocketStream(client_socket) as client:
        await ask(client, b"hello")
    nursery.cancel_scope.cancel()


async def test_an_abstract_name_in_use_belongs_to_somebody_who_lives() -> None:
    name = f"\0trio_chat test {os.getpid()}"
    with trio.socket.socket(trio.socket.AF_UNIX) as other:
        await other.bind(name)
        with pytest.raises(OSError, match="in use"):
            await serve_unix(Echo, name)


async def test_a_stop_does_not_wait_for_handshakes(
    server_context: ssl.SSLContext, autojump_clock: trio.testing.MockClock
) -> None:
    inner, stop = MemoryListener(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_listeners, Echo, [trio.SSLListener(inner, server_context)], stop=stop))
        client = await inner.connect()
        await trio.testing.wait_all_tasks_blocked()
        stop.set()
    assert trio.current_time() == 0
    assert await receive_all(client) == b""


@pytest.mark.parametrize("https_compatible", [False, True])
async def test_over_tls_an_early_answer_reaches_a_client_that_is_still_sending(
    nursery: trio.Nursery, server_context: ssl.SSLContext, client_context: ssl.SSLContext, https_compatible: bool
) -> None:
    class Refusing(Echo):
        max_frame_bytes = 1000
        on_oversize = "answer"

        def handle_oversize(self) -> None:
            self.push(b"too long\n")

    (listener,) = await nursery.start(
        partial(serve_ssl_over_tcp, Refusing, 0, server_context, host="127.0.0.1", https_compatible=https_compatible)
    )
    port = listener.transport_listener.socket.getsockname()[1]
    tcp = await trio.open_tcp_stream("127.0.0.1", port)
    client = trio.SSLStream(tcp, client_context, server_hostname="localhost", https_compatible=https_compatible)
    await client.send_all(b"x" * 500_000)
    assert await receive_exactly(client, 9) == b"too long\n"
    await trio.aclose_forcefully(client)
    nursery.cancel_scope.cancel()


async def test_a_socket_of_datagrams_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM) as other:
        await other.bind(str(path))
        with pytest.raises(OSError, match="in use"):
            await serve_unix(Echo, path)
        assert path.is_socket()
