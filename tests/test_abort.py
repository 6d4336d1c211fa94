"""`abort` and `local`: what only real sockets show."""

from __future__ import annotations

import socket
import ssl
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from support import RecordingChat, receive_all, receive_exactly

from trio_chat import serve_ssl_over_tcp, serve_tcp, serve_unix


class Ending(RecordingChat):
    """The line names the method that ends the conversation."""

    last: Ending

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        Ending.last = self
        self.over = trio.Event()

    def found_terminator(self) -> None:
        frame = self._get_data()
        self.calls.append(("found", frame))
        if frame == b"hello":
            self.push(b"hello\n")
        else:
            getattr(self, frame.decode())()

    def handle_close(self) -> None:
        super().handle_close()
        self.over.set()


class Waiting(Ending):
    """Its callback waits, and is aborted from outside."""

    async def handle_connect(self) -> None:  # type: ignore[override]
        self.push(b"hello\n")
        await self.receive_more()


async def is_reset(client: trio.abc.Stream) -> bool:
    """Whether the connection ends by a reset, whatever comes before."""
    try:
        await receive_all(client)
    except trio.BrokenResourceError as exc:
        cause = exc.__cause__
        assert isinstance(cause, ConnectionResetError)
        return True
    return False


async def send_for_ever(client: trio.abc.Stream) -> None:
    while True:
        await client.send_all(b"x")


@pytest.mark.parametrize(
    ("method", "reset"), [(b"abort", True), (b"close", False), (b"close_when_done", False), (b"close_when_idle", False)]
)
async def test_over_tcp_only_abort_is_seen_as_a_reset(nursery: trio.Nursery, method: bytes, *, reset: bool) -> None:
    (listener,) = await nursery.start(partial(serve_tcp, Ending, 0, host="127.0.0.1"))
    async with await trio.testing.open_stream_to_socket_listener(listener) as client:
        await client.send_all(b"hello\n")
        assert await receive_exactly(client, 6) == b"hello\n"
        await client.send_all(method + b"\n")
        assert await is_reset(client) is reset
    await Ending.last.over.wait()
    assert Ending.last.names.count("close") == 1
    assert "eof" not in Ending.last.names
    nursery.cancel_scope.cancel()


async def test_nothing_more_is_handed_over_and_nothing_can_be_pushed(nursery: trio.Nursery) -> None:
    class Aborting(Ending):
        def abort(self) -> None:
            super().abort()
            assert self.closing
            with pytest.raises(trio.ClosedResourceError):
                self.push(b"x")

    (listener,) = await nursery.start(partial(serve_tcp, Aborting, 0, host="127.0.0.1"))
    async with await trio.testing.open_stream_to_socket_listener(listener) as client:
        await client.send_all(b"abort\nhello\n")
        assert await is_reset(client)
    assert Ending.last.frames == [b"abort"]
    nursery.cancel_scope.cancel()


async def test_what_is_queued_is_dropped(nursery: trio.Nursery) -> None:
    """The client cannot take the beginning of an answer for the whole."""

    class Aborting(Ending):
        def abort(self) -> None:
            self.push(b"x" * 50_000_000)
            self.nursery.start_soon(self.abort_later)

        async def abort_later(self) -> None:
            await client_reads.wait()
            super().abort()

    client_reads = trio.Event()
    (listener,) = await nursery.start(partial(serve_tcp, Aborting, 0, host="127.0.0.1"))
    async with await trio.testing.open_stream_to_socket_listener(listener) as client:
        await client.send_all(b"abort\n")
        await receive_exactly(client, 100_000)
        client_reads.set()
        assert await is_reset(client)
    nursery.cancel_scope.cancel()


async def test_a_conversation_that_waits_or_a_callback_that_does(nursery: trio.Nursery) -> None:
    (listener,) = await nursery.start(partial(serve_tcp, Waiting, 0, host="127.0.0.1"))
    for line in (b"", b"hello\n"):
        async with await trio.testing.open_stream_to_socket_listener(listener) as client:
            assert await receive_exactly(client, 6) == b"hello\n"
            await client.send_all(line)
            if line:
                assert await receive_exactly(client, 6) == b"hello\n"
            Ending.last.abort()
            assert await is_reset(client)
    nursery.cancel_scope.cancel()


async def test_after_a_close_it_is_not_too_late(nursery: trio.Nursery) -> None:
    """While we wait for the peer to end its side."""

    class Leaving(Ending):
        linger_timeout = 1000

        def leave(self) -> None:
            self.push(b"bye")
            self.close_when_done()

    (listener,) = await nursery.start(partial(serve_tcp, Leaving, 0, host="127.0.0.1"))
    async with await trio.testing.open_stream_to_socket_listener(listener) as client:
        await client.send_all(b"leave\n")
        assert await receive_all(client) == b"bye"
        Ending.last.abort()
        await Ending.last.over.wait()
        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever(client)
    Ending.last.abort()
    assert Ending.last.names.count("close") == 1
    nursery.cancel_scope.cancel()


async def test_over_tls(nursery: trio.Nursery, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    (listener,) = await nursery.start(partial(serve_ssl_over_tcp, Ending, 0, server_context, host="127.0.0.1"))
    address = listener.transport_listener.socket.getsockname()
    tcp = await trio.open_tcp_stream(*address)
    client = trio.SSLStream(tcp, client_context, server_hostname="localhost")
    await client.send_all(b"hello\n")
    assert await receive_exactly(client, 6) == b"hello\n"
    assert Ending.last.local == address
    assert Ending.last.peer == tcp.socket.getsockname()
    await client.send_all(b"abort\n")
    with pytest.raises(trio.BrokenResourceError) as raised:
        await receive_all(client)
    causes = []
    exc: BaseException | None = raised.value
    while exc is not None:
        causes.append(type(exc))
        exc = exc.__cause__ or exc.__context__
    assert ConnectionResetError in causes
    await trio.aclose_forcefully(client)
    nursery.cancel_scope.cancel()


async def test_without_tcp_it_is_an_end_like_any_other(nursery: trio.Nursery, tmp_path: Path) -> None:
    await nursery.start(serve_unix, Ending, tmp_path / "socket")
    async with await trio.open_unix_socket(tmp_path / "socket") as client:
        await client.send_all(b"abort\n")
        assert await receive_all(client) == b""
    memory, server = trio.testing.memory_stream_pair()
    nursery.start_soon(Ending(server).run)
    await memory.send_all(b"abort\n")
    assert await receive_all(memory) == b""
    nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- local


async def test_the_local_address_over_tcp(nursery: trio.Nursery) -> None:
    (listener,) = await nursery.start(partial(serve_tcp, Ending, 0, host="127.0.0.1"))
    host, port = listener.socket.getsockname()
    async with await trio.testing.open_stream_to_socket_listener(listener) as client:
        await client.send_all(b"hello\n")
        assert await receive_exactly(client, 6) == b"hello\n"
        assert Ending.last.local == (host, port) == ("127.0.0.1", port)
        assert Ending.last.peer == client.socket.getsockname()
        ours = RecordingChat(client)
        assert (ours.local, ours.peer) == (Ending.last.peer, Ending.last.local)
    await Ending.last.over.wait()
    assert Ending.last.local == (host, port)  # as it was
    nursery.cancel_scope.cancel()


async def test_the_local_address_over_ipv6(nursery: trio.Nursery) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        (listener,) = await nursery.start(partial(serve_tcp, Ending, 0, host="::1"))
    except OSError:
        pytest.skip("no IPv6 here")
    async with await trio.testing.open_stream_to_socket_listener(listener) as client:
        await client.send_all(b"hello\n")
        assert await receive_exactly(client, 6) == b"hello\n"
        assert Ending.last.local == listener.socket.getsockname()
    nursery.cancel_scope.cancel()


async def test_the_local_address_of_a_unix_socket(nursery: trio.Nursery, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    await nursery.start(serve_unix, Ending, path)
    async with await trio.open_unix_socket(path) as client:
        await client.send_all(b"hello\n")
        assert await receive_exactly(client, 6) == b"hello\n"
        assert Ending.last.local == str(path)
        assert RecordingChat(client).peer == str(path)
    nursery.cancel_scope.cancel()


async def test_memory_has_no_address() -> None:
    assert RecordingChat(trio.testing.memory_stream_pair()[0]).local is None
