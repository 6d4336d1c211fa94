"""`inherited_listeners`: sockets that this process was started with, as systemd, supervisor or anyone passes them."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from sockets import connect
from support import receive_all, receive_exactly

from trio_chat import SocketListener, inherited_listeners

# Answers each line with what it knows of its listeners.
SERVER = """
import os, sys
import trio
from trio_chat import AsyncChat, inherited_listeners, serve_listeners

listeners = inherited_listeners(*map(int, sys.argv[1:]))
again = inherited_listeners()
facts = {
    "fds": [listener.socket.fileno() for listener in listeners],
    "inheritable": [listener.socket.get_inheritable() for listener in listeners],
    "again": len(again),
    "left": sorted(name for name in os.environ if name.startswith("LISTEN_")),
}

class Telling(AsyncChat):
    terminator = b"\\n"

    def found_terminator(self):
        self.push(self._get_data() + b" " + repr(facts).encode() + b"\\n")

async def main():
    async with trio.open_nursery() as nursery:
        if listeners:
            await nursery.start(serve_listeners, Telling, listeners)
        print(facts, flush=True)

trio.run(main)
"""

# Does what systemd does between fork and exec: see sd_listen_fds(3).
SYSTEMD = """
import os, sys
pid, server, *fds = sys.argv[1:]
for number, fd in enumerate(fds, start=3):
    os.dup2(int(fd), number)
os.environ |= {"LISTEN_PID": pid or str(os.getpid()), "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": "web"}
os.execv(sys.executable, [sys.executable, "-P", "-c", server])
"""


@contextmanager
def listening(count: int) -> Iterator[list[socket.socket]]:
    """Sockets that listen, with numbers that are in nobody's way."""
    fds = []
    for _ in range(count):
        with socket.create_server(("127.0.0.1", 0)) as sock:
            fds.append(fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 20))
    socks = [socket.socket(fileno=fd) for fd in fds]
    try:
        yield socks
    finally:
        for sock in socks:
            sock.close()


@asynccontextmanager
async def child(
    *arguments: str, cwd: Path, socks: list[socket.socket], stdin: socket.socket | None = None
) -> AsyncGenerator[trio.abc.ReceiveStream, None]:
    """A Python process that is killed at the end; gives its output."""
    command = [sys.executable, "-P", "-c", *arguments]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                command,
                cwd=cwd,
                stdin=stdin if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=[sock.fileno() for sock in socks],
            )
        )
        assert process.stdout is not None
        yield process.stdout
        nursery.cancel_scope.cancel()


async def ask(sock: socket.socket, question: bytes) -> bytes:
    async with connect(sock) as client:
        await client.send_all(question + b"\n")
        await client.send_eof()
        return await receive_all(client)


@pytest.mark.parametrize("count", [1, 2])
async def test_a_process_serves_on_the_sockets_that_systemd_has_passed(count: int, tmp_path: Path) -> None:
    """They are not inherited further, and the variables are gone, so that no child takes them for its own."""
    with listening(count) as socks:
        fds = [str(sock.fileno()) for sock in socks]
        facts = {"fds": [3, 4][:count], "inheritable": [False] * count, "again": 0, "left": []}
        async with child(SYSTEMD, "", SERVER, *fds, cwd=tmp_path, socks=socks):
            for sock in socks:
                assert await ask(sock, b"hello") == f"hello {facts}\n".encode()


async def test_clients_that_came_before_the_process_started_are_served(tmp_path: Path) -> None:
    with listening(1) as (sock,):
        async with connect(sock) as early:
            await early.send_all(b"early\n")
            async with child(SYSTEMD, "", SERVER, str(sock.fileno()), cwd=tmp_path, socks=[sock]):
                assert await receive_exactly(early, 6) == b"early "


async def test_two_processes_that_share_a_socket_serve_its_clients(tmp_path: Path) -> None:
    with listening(1) as (sock,):
        start = partial(child, SYSTEMD, "", SERVER, str(sock.fileno()), cwd=tmp_path, socks=[sock])
        async with start() as one, start() as other:
            for output in (one, other):
                assert await output.receive_some()  # it listens
            for _ in range(30):
                assert (await ask(sock, b"hello")).startswith(b"hello ")


async def test_what_is_meant_for_another_process_is_left_alone(tmp_path: Path) -> None:
    with listening(1) as (sock,):
        async with child(SYSTEMD, "1", SERVER, str(sock.fileno()), cwd=tmp_path, socks=[sock]) as output:
            told = await receive_all(output)
    left = ["LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID"]
    assert told.decode() == f"{ {'fds': [], 'inheritable': [], 'again': 0, 'left': left} }\n"


async def test_supervisor_passes_its_socket_as_standard_input(tmp_path: Path) -> None:
    facts = {"fds": [0], "inheritable": [False], "again": 0, "left": []}
    with listening(1) as (sock,):
        async with child(SERVER, "0", cwd=tmp_path, socks=[], stdin=sock):
            assert await ask(sock, b"hello") == f"hello {facts}\n".encode()


# ---------------------------------------------------------------------- in this process


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


async def test_numbers_can_be_given() -> None:
    with listening(2) as socks:
        listeners = inherited_listeners(*(os.dup(sock.fileno()) for sock in socks))
        for sock, listener in zip(socks, listeners, strict=True):
            assert type(listener) is SocketListener
            async with listener, connect(sock) as client, await listener.accept() as server:
                await server.send_all(b"hello")
                assert await client.receive_some() == b"hello"


@pytest.mark.parametrize("family", [socket.AF_INET6, socket.AF_UNIX])
async def test_the_family_is_found_out(family: socket.AddressFamily, tmp_path: Path) -> None:
    with socket.socket(family) as sock:
        sock.bind(str(tmp_path / "socket") if family == socket.AF_UNIX else ("::1", 0))
        sock.listen()
        (listener,) = inherited_listeners(os.dup(sock.fileno()))
        async with listener, connect(sock) as client, await listener.accept() as server:
            assert listener.socket.family == family
            await client.send_all(b"hello")
            assert await server.receive_some() == b"hello"


def test_numbers_that_are_given_have_nothing_to_do_with_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LISTEN_PID", "not a number")
    environment.setenv("LISTEN_FDS", "3")
    with listening(1) as (sock,):
        (listener,) = inherited_listeners(os.dup(sock.fileno()))
        listener.socket.close()
    assert os.environ["LISTEN_FDS"] == "3"


@pytest.mark.parametrize(
    ("pid", "count"), [(None, None), (None, "1"), ("self", None), ("", ""), ("self", ""), ("1", "1"), ("self", "0")]
)
def test_without_any_the_list_is_empty(environment: pytest.MonkeyPatch, pid: str | None, count: str | None) -> None:
    if pid is not None:
        environment.setenv("LISTEN_PID", str(os.getpid()) if pid == "self" else pid)
    if count is not None:
        environment.setenv("LISTEN_FDS", count)
    assert inherited_listeners() == []


@pytest.mark.parametrize(
    ("pid", "count"),
    [("x", "1"), ("self", "x"), ("self", "-1"), ("self", "1.0"), ("-1", "1"), ("self", " 1"), ("0x10", "1")],
)
def test_malformed_variables_are_an_error(environment: pytest.MonkeyPatch, pid: str, count: str) -> None:
    environment.setenv("LISTEN_PID", str(os.getpid()) if pid == "self" else pid)
    environment.setenv("LISTEN_FDS", count)
    with pytest.raises(ValueError, match="LISTEN_PID and LISTEN_FDS are numbers; got"):
        inherited_listeners()


def test_a_number_that_nobody_has_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        inherited_listeners(1000)
    assert raised.value.errno == errno.EBADF


def test_a_file_is_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("data")
    with path.open() as file:
        with pytest.raises(OSError, match="non-socket") as raised:
            inherited_listeners(file.fileno())
        assert raised.value.errno == errno.ENOTSOCK
        assert file.read() == "data"  # it is still open


def open_wrong_one(kind: str) -> int:
    if kind == "of datagrams":
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()
    if kind == "connected":
        one, other = socket.socketpair()
        other.close()
        return one.detach()
    return socket.socket().detach()


@pytest.mark.parametrize("kind", ["of datagrams", "connected", "that does not listen"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_socket_that_accepts_nobody_is_refused_and_nothing_is_left_to_the_garbage_collector(
    kind: str, before: int
) -> None:
    with listening(before) as socks, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fds = [*(os.dup(sock.fileno()) for sock in socks), open_wrong_one(kind)]
        with pytest.raises(ValueError, match=r"got <socket\.socket"):
            inherited_listeners(*fds)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
