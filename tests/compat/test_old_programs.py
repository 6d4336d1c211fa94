"""A whole program of old, with its own import and with ours: real clients must not see a difference."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_chat import serve_ssl_over_tcp, serve_tcp
from trio_chat.compat import asynchat

PROGRAM = Path(__file__).with_name("old_http_channel.py").read_text()
IMPORT = "import asynchat\n"
TIMEOUT = 20


def channel_class(source: str) -> Any:
    namespace: dict[str, Any] = {"__name__": "old_program"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        exec(compile(source, "old_http_channel.py", "exec"), namespace)
    return namespace["http_request_handler"]


@contextmanager
def served_by_asyncore(log: list[str]) -> Iterator[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import asyncore
    handler = channel_class(PROGRAM)
    channels: dict[int, Any] = {}
    sessions: dict[str, int] = {}

    class Server(asyncore.dispatcher):
        def handle_accepted(self, sock: socket.socket, addr: Any) -> None:
            channel = handler(sock, addr, sessions, log)
            channel.del_channel()  # which it has added to the map of all
            channel._map = channels
            channel._fileno = sock.fileno()
            channel.add_channel()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(listening, channels)
        server.accepting = True
        over = threading.Event()

        def loop() -> None:
            while not over.is_set():
                asyncore.poll(0.05, channels)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            thread.join()
            asyncore.close_all(channels)


@asynccontextmanager
async def served_by_us(log: list[str]) -> AsyncGenerator[int, None]:
    assert PROGRAM.count(IMPORT) == 1
    handler = channel_class(PROGRAM.replace(IMPORT, "from trio_chat.compat import asynchat\n"))
    assert issubclass(handler, asynchat.async_chat)
    sessions: dict[str, int] = {}

    def handle_accepted(sock: Any, addr: Any) -> None:
        handler(sock, addr, sessions, log)

    async with trio.open_nursery() as nursery:
        serve = partial(serve_tcp, asynchat.handler_factory(handle_accepted), 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def ask(port: int) -> list[bytes]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    url = f"http://127.0.0.1:{port}"
    answers: list[bytes] = []
    for *options, path in (
        ["/"],
        ["--include", "/path?query"],
        ["--data", "a=1&b=two+words", "/form"],
        ["--header", "Expect:", "--data-binary", "x=" + "y" * 100_000, "/long"],
        ["/big"],
        ["--include", "/broken"],
        ["--head", "/head"],
    ):
        command = ["curl", "--silent", "--show-error", "--max-time", str(TIMEOUT), *options, url + path]
        answer = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        answers.append(b"%d %b" % (answer.returncode, answer.stdout))
    return answers


async def test_curl_sees_no_difference() -> None:
    logs: tuple[list[str], list[str]] = ([], [])
    with served_by_asyncore(logs[0]) as port:
        expected = await ask(port)
    async with served_by_us(logs[1]) as port:
        answers = await ask(port)
    assert answers == expected
    assert logs[0] == logs[1]
    assert answers[0] == b"0 (1, 'GET', '/', None)"
    assert b"{'a': ['1'], 'b': ['two words']}" in answers[2]
    assert answers[4] == b"0 " + b"0123456789" * 100_000
    assert answers[5] == b"52 "  # it has got no answer
    assert logs[1][:2] == ["GET /", "GET /path?query"]
    assert logs[1].count("error") == 1


# ---------------------------------------------------------------------- over sockets


class Shouting(asynchat.async_chat):
    def __init__(self, sock: Any, log: list[Any]) -> None:
        asynchat.async_chat.__init__(self, sock)
        self.set_terminator(b"\n")
        self.events = log
        log.append((self.addr[0], self.socket.getsockname()[1], sock.fileno()))

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        self.push(self._get_data().upper() + b"\n")

    def handle_close(self) -> None:
        self.events.append("close")
        self.close()


@asynccontextmanager
async def shouting(
    serve: Callable[..., Any], *args: Any, **options: Any
) -> AsyncGenerator[tuple[int, list[Any]], None]:
    log: list[Any] = []
    factory = asynchat.handler_factory(lambda sock, addr: Shouting(sock, log))
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(serve, factory, 0, *args, host="127.0.0.1", **options))
        listener = getattr(listeners[0], "transport_listener", listeners[0])
        yield listener.socket.getsockname()[1], log
        nursery.cancel_scope.cancel()


async def test_over_tcp() -> None:
    async with shouting(serve_tcp) as (port, log):
        client = await trio.open_tcp_stream("127.0.0.1", port)
        await client.send_all(b"hello\n" * 20_000)
        received = b""
        while len(received) < 120_000:
            received += await client.receive_some()
        assert received == b"HELLO\n" * 20_000
        host, local_port, descriptor = log[0]
        assert (host, local_port) == ("127.0.0.1", port)
        assert descriptor > 0
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.socket.close()  # with a reset
        while "close" not in log:
            await trio.lowlevel.checkpoint()


async def test_over_tls(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async with shouting(serve_ssl_over_tcp, server_context) as (port, log):
        transport = await trio.open_tcp_stream("127.0.0.1", port)
        client = trio.SSLStream(transport, client_context, server_hostname="localhost")
        await client.send_all(b"hello\n")
        assert await client.receive_some() == b"HELLO\n"
        assert log[0][2] > 0
        await client.aclose()
        while "close" not in log:
            await trio.lowlevel.checkpoint()


async def test_a_server_that_stops() -> None:
    stop = trio.Event()
    async with shouting(serve_tcp, stop=stop) as (port, log):
        client = await trio.open_tcp_stream("127.0.0.1", port)
        await client.send_all(b"hel")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, b"lo\n")
            assert await client.receive_some() == b"HELLO\n"
        stop.set()
        assert await client.receive_some() == b""
        await client.aclose()
        while "close" not in log:
            await trio.lowlevel.checkpoint()
