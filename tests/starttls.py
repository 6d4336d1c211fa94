"""A handler that begins TLS when it is told to, its clients, and what was seen on the wire."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ClassVar, TypeAlias, TypeVar

import pytest
import trio
import trio.testing
from bounded import LONG, run
from sockets import noting_pair
from support import CountingStream, RecordingChat, receive_exactly

from trio_chat import SocketStream, Terminator

TLSStream: TypeAlias = trio.SSLStream[trio.abc.Stream]

READY = b"220 ready\r\n"

#: More turns of the scheduler than there are between the call and the end of the handshake.
TURNS = range(14)


class Securing(RecordingChat):
    """At the frame "STARTTLS" it does what `secure` does; other frames are answered with the same."""

    terminator: ClassVar[Terminator] = b"\r\n"
    context: ClassVar[ssl.SSLContext]  # the tests' fixture sets it
    linger_timeout = 0

    async def found_terminator(self) -> None:
        frame = self._get_data()
        self.calls.append(("found", frame))
        if frame == b"STARTTLS":
            self.push(READY)
            await self.secure()
        else:
            self.push(b"<%s>" % frame)

    async def secure(self) -> None:
        await self.start_tls(self.context)
        self.calls.append(("secured", None))

    @property
    def secured(self) -> bool:
        return "secured" in self.names


class Trying(Securing):
    """Records what `start_tls` raises, and answers to that."""

    failure: Exception | None = None

    async def secure(self) -> None:
        try:
            await super().secure()
        except Exception as exc:
            self.failure = exc
            self.calls.append(("failed", trio.current_time()))
            if not self.closing:
                self.push(b"554 no")
                self.close_when_done()


class Noisy(Securing):
    """Another task does something some turns after the beginning."""

    def __init__(self, stream: trio.abc.Stream, turns: int) -> None:
        super().__init__(stream)
        self.turns = turns

    async def secure(self) -> None:
        self.nursery.start_soon(after_turns, self.turns, self.act)
        await super().secure()

    def act(self) -> None:
        self.push(b"noise,")
        self.push_with_producer([b"more ", b"noise."])


SecuringT = TypeVar("SecuringT", bound=Securing)


class Wire(CountingStream):
    """What the server has sent, as a wiretap sees it."""

    @property
    def plaintext(self) -> bytes:
        return self._parts()[0]

    @property
    def records(self) -> list[int]:
        """The types of the TLS records that came after the plaintext, which must be whole."""
        _, rest = self._parts()
        types = []
        while rest:
            assert rest[0] in range(20, 24), f"no TLS record: {rest[:60]!r}"
            assert rest[1] == 3
            end = 5 + int.from_bytes(rest[3:5], "big")
            assert len(rest) >= end
            types.append(rest[0])
            rest = rest[end:]
        return types

    def _parts(self) -> tuple[bytes, bytes]:
        sent = b"".join(self.sends)
        at = sent.find(b"\x16\x03")
        return (sent, b"") if at < 0 else (sent[:at], sent[at:])


class NowaitWire(Wire):
    """The same, over a stream that can send without waiting."""

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        assert isinstance(self.inner, SocketStream)
        sent = self.inner.send_nowait(data)
        self.sends.append(bytes(data)[:sent])
        return sent


#: Makes the client's end, and the server's.
Pair: TypeAlias = tuple[trio.abc.HalfCloseableStream, Wire]


def memory_pair() -> Pair:
    client, server = trio.testing.memory_stream_pair()
    return client, Wire(server)


def socket_pair() -> Pair:
    sock, client = noting_pair()
    return client, NowaitWire(SocketStream(sock))


over_each_kind = pytest.mark.parametrize("make_pair", [memory_pair, socket_pair])


@asynccontextmanager
async def talk_over(
    make_pair: Callable[[], Pair], factory: Callable[[trio.abc.Stream], SecuringT]
) -> AsyncGenerator[tuple[SecuringT, trio.abc.HalfCloseableStream, Wire], None]:
    """Run a handler over one end; gives it, the client's end, which is closed at the end, and the wire."""
    client, wire = make_pair()
    chat = factory(wire)
    with trio.fail_after(LONG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, chat)
            yield chat, client, wire
            await trio.aclose_forcefully(client)


async def shake_hands(client: trio.abc.Stream, context: ssl.SSLContext) -> TLSStream:
    tls = trio.SSLStream(client, context, server_hostname="localhost")
    await tls.do_handshake()
    return tls


async def ask_for_tls(client: trio.abc.Stream, context: ssl.SSLContext) -> TLSStream:
    """Send STARTTLS, and go on over TLS when it was answered."""
    await client.send_all(b"STARTTLS\r\n")
    assert await receive_exactly(client, len(READY)) == READY
    return await shake_hands(client, context)


async def echoed(client: trio.abc.Stream, line: bytes) -> None:
    await client.send_all(line + b"\r\n")
    assert await receive_exactly(client, len(line) + 2) == b"<%s>" % line


async def after_turns(turns: int, act: Callable[[], Awaitable[None] | None]) -> None:
    """Do something so many turns of the scheduler later."""
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    if (waiting := act()) is not None:
        await waiting


class Flight(CountingStream):
    """Keeps what is sent before anything was received, to be sent in another way."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sends.append(bytes(data))


async def hello_of(context: ssl.SSLContext) -> tuple[trio.SSLStream[Flight], bytes]:
    """A client that has been cut short, and what it has sent."""
    _, nowhere = trio.testing.memory_stream_pair()
    flight = Flight(nowhere)
    tls = trio.SSLStream(flight, context, server_hostname="localhost")
    with trio.move_on_after(1):
        await tls.do_handshake()
    return tls, b"".join(flight.sends)
