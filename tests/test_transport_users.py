"""Trio uses our streams and listeners, and the chat loop uses Trio's."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from sockets import connect, listening, tcp_pair, unix_pair
from support import Echo, ask, receive_all, receive_exactly

from trio_chat import AsyncChat, SocketListener, SocketStream, open_tcp_listeners, serve_listeners

MANY = bytes(range(256)) * 4096  # 1 MiB

AnyListener = trio.abc.Listener[Any]
OpenListeners = Callable[[], Awaitable[Sequence[AnyListener]]]


async def echo(stream: trio.abc.Stream) -> None:
    async with stream:
        while data := await stream.receive_some():
            await stream.send_all(data)


async def send_and_receive(stream: trio.abc.Stream, data: bytes) -> bytes:
    """Both at the same time, as an echo of any length needs it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, data)
        return await receive_exactly(stream, len(data))


async def dial(listener: Any) -> trio.SocketStream:
    host, port = listener.socket.getsockname()
    return await trio.open_tcp_stream(host, port)


# ---------------------------------------------------------------------- Trio, on ours


async def test_trio_serves_our_listeners(nursery: trio.Nursery) -> None:
    listeners = await open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(trio.serve_listeners, echo, listeners)
    clients = [await dial(listeners[0]) for _ in range(3)]
    for client in clients:
        async with client:
            assert await send_and_receive(client, MANY) == MANY
            await client.send_eof()
            assert await client.receive_some() == b""
    nursery.cancel_scope.cancel()


async def test_trio_understands_that_our_listener_has_no_descriptors(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    sock = listening(OSError(errno.EMFILE, "Too many open files"))
    await nursery.start(trio.serve_listeners, echo, [SocketListener(sock)])
    async with connect(sock) as client:
        assert await send_and_receive(client, b"patience") == b"patience"
    assert trio.current_time() > 0
    assert [record.name for record in caplog.records] == ["trio.serve_listeners"]
    nursery.cancel_scope.cancel()


async def test_tls_over_ours(
    nursery: trio.Nursery, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    (listener,) = await open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(trio.serve_listeners, echo, [trio.SSLListener(listener, server_context)])
    transport = SocketStream(socket.create_connection(listener.socket.getsockname()))
    async with trio.SSLStream(transport, client_context, server_hostname="localhost") as client:
        await client.do_handshake()
        assert await send_and_receive(client, MANY) == MANY
    nursery.cancel_scope.cancel()


async def test_both_ends_of_tls_on_ours_end_well(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    one, other = await tcp_pair()
    client = trio.SSLStream(one, client_context, server_hostname="localhost")
    server = trio.SSLStream(other, server_context, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo, server)
        assert await send_and_receive(client, MANY) == MANY
        rest, trailing = await client.unwrap()
        assert trailing == b""
        assert rest is one
        assert await receive_all(one) == b""  # the server has closed
    await one.aclose()


async def test_two_of_ours_are_stapled() -> None:
    one, ones_peer = await unix_pair()
    other, others_peer = await unix_pair()
    async with trio.StapledStream(one, other) as stapled, ones_peer, others_peer:
        await stapled.send_all(b"there")
        await others_peer.send_all(b"back")
        assert await ones_peer.receive_some() == b"there"
        assert await stapled.receive_some() == b"back"
        await stapled.send_eof()
        assert await ones_peer.receive_some() == b""


async def test_it_is_an_async_iterable_of_chunks() -> None:
    stream, peer = await unix_pair()
    async with stream:
        async with peer:
            await peer.send_all(b"chunk")
        assert [chunk async for chunk in stream] == [b"chunk"]


# ---------------------------------------------------------------------- conversations, on either


class AsyncEcho(Echo):
    async def found_terminator(self) -> None:  # type: ignore[override]
        super().found_terminator()


LISTENERS: dict[str, OpenListeners] = {
    "ours": partial(open_tcp_listeners, 0, host="127.0.0.1"),
    "Trio's": partial(trio.open_tcp_listeners, 0, host="127.0.0.1"),
}
on_either = pytest.mark.parametrize("open_listeners", LISTENERS.values(), ids=LISTENERS)


@on_either
@pytest.mark.parametrize("factory", [Echo, AsyncEcho])
async def test_conversations(open_listeners: OpenListeners, factory: type[AsyncChat], nursery: trio.Nursery) -> None:
    listeners = await open_listeners()
    await nursery.start(serve_listeners, factory, listeners)
    clients = [await dial(listeners[0]) for _ in range(3)]
    for message in (b"hello", b"a second time"):
        for client in clients:
            await ask(client, message)
    for client in clients:
        pipelined = b"".join(b"line %d\n" % i for i in range(1000))
        assert await send_and_receive(client, pipelined) == pipelined
        await client.send_eof()
        assert await receive_all(client) == b""
        await client.aclose()
    nursery.cancel_scope.cancel()


@on_either
async def test_a_peer_that_sends_a_megabyte_before_it_reads_anything_is_served(
    open_listeners: OpenListeners, nursery: trio.Nursery
) -> None:
    chats: list[Echo] = []
    all_handled = trio.Event()

    class Roomy(Echo):
        high_water_bytes = 4_000_000

        def __init__(self, stream: trio.abc.Stream) -> None:
            super().__init__(stream)
            chats.append(self)

        def found_terminator(self) -> None:
            super().found_terminator()
            if len(self.frames) == 1000:
                all_handled.set()

    listeners = await open_listeners()
    await nursery.start(serve_listeners, Roomy, listeners)
    lines = (b"x" * 1023 + b"\n") * 1000
    with trio.fail_after(30):
        async with await dial(listeners[0]) as client:
            await client.send_all(lines)
            await all_handled.wait()
            assert chats[0].queued_bytes > 0  # the kernel is full, and input was handled nevertheless
            assert await receive_exactly(client, len(lines)) == lines
    nursery.cancel_scope.cancel()


@on_either
async def test_for_a_peer_that_never_reads_output_is_bounded(
    open_listeners: OpenListeners, nursery: trio.Nursery
) -> None:
    """And what it sends is left in the kernel, which is the backpressure."""
    chats: list[Echo] = []

    class Bounded(Echo):
        high_water_bytes = 10_000

        def __init__(self, stream: trio.abc.Stream) -> None:
            super().__init__(stream)
            chats.append(self)

    listeners = await open_listeners()
    await nursery.start(serve_listeners, Bounded, listeners)
    lines = (b"x" * 1023 + b"\n") * 3000
    async with await dial(listeners[0]) as client, trio.open_nursery() as flooding:
        flooding.start_soon(client.send_all, lines)
        while not chats or chats[0].queued_bytes <= 10_000:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert 10_000 < chats[0].queued_bytes <= 10_000 + 1024
        assert len(chats[0].frames) < 3000
        assert await receive_exactly(client, len(lines)) == lines
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("wrap", [lambda stream: stream, lambda stream: trio.StapledStream(stream, stream)])
async def test_ours_and_one_without_send_nowait_say_the_same(wrap: Callable[[SocketStream], trio.abc.Stream]) -> None:
    stream, client = await unix_pair()
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(AsyncEcho(wrap(stream)).run)
        await ask(client, b"one")
        assert await send_and_receive(client, b"line\n" * 100_000) == b"line\n" * 100_000
        await client.send_eof()
        assert await receive_all(client) == b""
