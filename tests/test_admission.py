"""How many connections one peer may have: whatever its streams are, and whatever becomes of them."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
import trio.testing
from bounded import LONG
from support import CountingStream, MemoryListener, MemoryStream, RecordingChat, ask, receive_all

from trio_chat import serve_listeners

HOST = "192.0.2.1"


@dataclass(frozen=True)
class Socket:
    """As much of one as tells whose the other end is."""

    host: str

    def getpeername(self) -> tuple[str, int]:
        return (self.host, 4711)


@dataclass
class FromHost(CountingStream):
    """Compares by what is in it, as dataclasses do, and so cannot be hashed."""

    inner: trio.abc.HalfCloseableStream
    host: str
    sends: list[bytes] = field(default_factory=list)

    @property
    def socket(self) -> Socket:
        return Socket(self.host)


class Hashable(FromHost):
    __hash__ = object.__hash__


class Hosts(MemoryListener):
    """Clients that connect from somewhere, over streams of some kind, HOST and FromHost if it is not said."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: list[Callable[[MemoryStream], trio.abc.Stream]] = []

    async def connect_from(self, host: str = HOST, kind: type[FromHost] = FromHost) -> MemoryStream:
        self._kinds.append(lambda stream: kind(stream, host))
        return await self.connect()

    async def connect_by_tls(self, context: ssl.SSLContext) -> MemoryStream:
        self._kinds.append(lambda stream: trio.SSLStream(FromHost(stream, HOST), context, server_side=True))
        return await self.connect()

    async def accept(self) -> trio.abc.Stream:
        stream = await super().accept()
        assert isinstance(stream, trio.StapledStream)
        return self._kinds.pop(0)(stream)


class Boom(Exception):
    pass


class Echo(RecordingChat):
    def found_terminator(self) -> None:
        line = self._get_data()
        if line == b"fail":
            raise Boom
        self.push(line + b"\n")


class Factory:
    """Makes handlers, unless it is to fail the next time."""

    def __init__(self) -> None:
        self.fails = False

    def __call__(self, stream: trio.abc.Stream) -> Echo:
        if self.fails:
            self.fails = False
            raise Boom
        return Echo(stream)


# ---------------------------------------------------------------------- streams that cannot be hashed


async def test_streams_that_cannot_be_hashed_are_counted(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TypeError):
        hash(FromHost(trio.testing.memory_stream_pair()[0], HOST))
    listener = Hosts()
    await nursery.start(partial(serve_listeners, Echo, [listener], max_connections_per_peer=2))
    for _ in range(2):
        await ask(await listener.connect_from(), b"served")
    assert await receive_all(await listener.connect_from()) == b""
    await ask(await listener.connect_from("192.0.2.2"), b"served")
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "refused a connection from 192.0.2.1: it has too many already")
    ]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kinds", [[Hashable, FromHost], [FromHost, Hashable]])
async def test_they_are_counted_together_with_others(nursery: trio.Nursery, kinds: list[type[FromHost]]) -> None:
    listener = Hosts()
    await nursery.start(partial(serve_listeners, Echo, [listener], max_connections_per_peer=2))
    clients = [await listener.connect_from(kind=kind) for kind in kinds]
    for client in clients:
        await ask(client, b"served")
    assert await receive_all(await listener.connect_from()) == b""
    await leave(clients[0])
    await ask(clients[1], b"still served")
    await ask(await listener.connect_from(), b"served")
    nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- places are given back once


async def leave(client: MemoryStream) -> None:
    await client.send_eof()
    assert await receive_all(client) == b""
    await trio.testing.wait_all_tasks_blocked()


async def finish(listener: Hosts, factory: Factory, context: ssl.SSLContext) -> None:
    client = await listener.connect_from()
    await ask(client, b"served")
    await leave(client)


async def be_refused(listener: Hosts, factory: Factory, context: ssl.SSLContext) -> None:
    clients = [await listener.connect_from() for _ in range(2)]
    for client in clients:
        await ask(client, b"served")
    assert await receive_all(await listener.connect_from()) == b""
    for client in clients:
        await leave(client)


async def fail_in_the_factory(listener: Hosts, factory: Factory, context: ssl.SSLContext) -> None:
    factory.fails = True
    assert await receive_all(await listener.connect_from()) == b""


async def fail_in_a_callback(listener: Hosts, factory: Factory, context: ssl.SSLContext) -> None:
    client = await listener.connect_from()
    await client.send_all(b"fail\n")
    assert await receive_all(client) == b""


async def fail_the_handshake(listener: Hosts, factory: Factory, context: ssl.SSLContext) -> None:
    client = await listener.connect_by_tls(context)
    await client.send_all(b"no TLS at all\n" * 10)
    await receive_all(client)


async def be_late_for_the_handshake(listener: Hosts, factory: Factory, context: ssl.SSLContext) -> None:
    await receive_all(await listener.connect_by_tls(context))
    assert trio.current_time() == 10


Ending = Callable[[Hosts, Factory, ssl.SSLContext], Awaitable[None]]
each_ending = pytest.mark.parametrize(
    "ending",
    [finish, be_refused, fail_in_the_factory, fail_in_a_callback, fail_the_handshake, be_late_for_the_handshake],
)


@each_ending
async def test_a_peer_has_as_many_connections_as_before_after_one_has_ended(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, server_context: ssl.SSLContext, ending: Ending
) -> None:
    listener, factory = Hosts(), Factory()
    await nursery.start(partial(serve_listeners, factory, [listener], max_connections_per_peer=2))
    with trio.fail_after(LONG):
        await ending(listener, factory, server_context)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):
            await ask(await listener.connect_from(), b"served")
        assert await receive_all(await listener.connect_from()) == b""
    nursery.cancel_scope.cancel()


@each_ending
async def test_the_server_has_as_many_places_as_before_after_one_has_ended(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery, server_context: ssl.SSLContext, ending: Ending
) -> None:
    listener, factory = Hosts(), Factory()
    await nursery.start(partial(serve_listeners, factory, [listener], max_connections=3, max_connections_per_peer=2))
    with trio.fail_after(LONG):
        await ending(listener, factory, server_context)
        await trio.testing.wait_all_tasks_blocked()
        for i in range(3):
            await ask(await listener.connect_from(f"198.51.100.{i}"), b"served")
        await listener.connect_from()
        await trio.testing.wait_all_tasks_blocked()
        assert listener.backlog == 1
    nursery.cancel_scope.cancel()
