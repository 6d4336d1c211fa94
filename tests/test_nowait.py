"""Whether `send_nowait` and `accept_nowait` are used: only if they do what `send_all` and `accept` do."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from sockets import connect, listening, talk_over_sockets, unix_pair
from support import CountingStream, RecordingChat, ask, receive_exactly

from trio_chat import SocketListener, SocketStream, serve_listeners

Bytes = bytes | bytearray | memoryview


class Echo(RecordingChat):
    def found_terminator(self) -> None:
        self.push(self._get_data() + b"\n")


# ---------------------------------------------------------------------- sending


class Remade(SocketStream):
    """One that is made of another, and notes what was sent at once."""

    def __init__(self, stream: SocketStream) -> None:
        super().__init__(stream.socket)
        self.sent_at_once: list[bytes] = []


class Loud(Remade):
    async def send_all(self, data: Bytes) -> None:
        await super().send_all(bytes(data).upper())


class LoudBothWays(Loud):
    def send_nowait(self, data: Bytes) -> int:
        self.sent_at_once.append(bytes(data))
        return super().send_nowait(bytes(data).upper())


class LoudAgain(LoudBothWays):
    async def send_all(self, data: Bytes) -> None:
        await super().send_all(data)


class LoudWrapper(CountingStream):
    """Passes on what it does not know, as many wrappers do."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def send_all(self, data: Bytes) -> None:
        await super().send_all(bytes(data).upper())


class WouldBlock(Remade):
    def send_nowait(self, data: Bytes) -> int:
        raise trio.WouldBlock


async def answer_over(kind: Callable[[SocketStream], trio.abc.Stream]) -> tuple[bytes, trio.abc.Stream]:
    async with talk_over_sockets(lambda stream: Echo(kind(stream))) as (chat, client, _):  # type: ignore[arg-type]
        await client.send_all(b"line\n")
        return await receive_exactly(client, 5), chat.stream


@pytest.mark.parametrize("kind", [Loud, LoudAgain, LoudWrapper])
async def test_who_changes_only_how_all_is_sent_is_not_passed_by(
    kind: Callable[[SocketStream], trio.abc.Stream],
) -> None:
    answer, stream = await answer_over(kind)
    assert answer == b"LINE\n"
    if isinstance(stream, Remade):
        assert stream.sent_at_once == []


async def test_a_subclass_that_changes_both_is_used() -> None:
    answer, stream = await answer_over(LoudBothWays)
    assert answer == b"LINE\n"
    assert isinstance(stream, LoudBothWays)
    assert stream.sent_at_once == [b"line\n"]


async def test_a_stream_that_would_block_is_sent_to_by_a_task() -> None:
    answer, _ = await answer_over(WouldBlock)
    assert answer == b"line\n"


# ---------------------------------------------------------------------- accepting


class Passed(CountingStream):
    """What a listener has passed on."""


class PassingOn(SocketListener):
    async def accept(self) -> Passed:  # type: ignore[override]
        return Passed(await super().accept())


class PassingOnBothWays(SocketListener):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.accepted_at_once = 0

    async def accept(self) -> Passed:  # type: ignore[override]
        await trio.lowlevel.wait_readable(self.socket)
        return Passed(SocketStream(self.socket.accept()[0]))

    def accept_nowait(self) -> Passed | None:  # type: ignore[override]
        if (stream := super().accept_nowait()) is None:
            return None
        self.accepted_at_once += 1
        return Passed(stream)


class PassingOnOrBlocking(PassingOnBothWays):
    def accept_nowait(self) -> Passed:  # type: ignore[override]
        if (stream := super().accept_nowait()) is None:
            raise trio.WouldBlock
        return stream


class Wrapper(trio.abc.Listener[Passed]):
    def __init__(self, sock: socket.socket) -> None:
        self.inner = SocketListener(sock)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def accept(self) -> Passed:
        return Passed(await self.inner.accept())

    async def aclose(self) -> None:
        await self.inner.aclose()


@pytest.mark.parametrize(
    ("kind", "at_once"),
    [(PassingOn, None), (Wrapper, None), (PassingOnBothWays, 4), (PassingOnOrBlocking, 4)],
)
async def test_each_of_many_clients_at_once_is_accepted_as_the_listener_will_have_it(
    nursery: trio.Nursery, kind: Callable[[socket.socket], trio.abc.Listener[Passed]], at_once: int | None
) -> None:
    kinds: list[type] = []

    def factory(stream: trio.abc.Stream) -> Echo:
        kinds.append(type(stream))
        return Echo(stream)

    sock = listening()
    clients = [connect(sock) for _ in range(5)]
    listener = kind(sock)
    await nursery.start(serve_listeners, factory, [listener])
    for client in clients:
        await ask(client, b"line")
    assert kinds == [Passed] * 5
    if isinstance(listener, PassingOnBothWays):
        assert listener.accepted_at_once == at_once
    clients.append(connect(sock))
    await ask(clients[-1], b"later")
    for client in clients:
        await client.aclose()
    nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- descriptors


async def one_end() -> SocketStream:
    ours, theirs = await unix_pair()
    await theirs.aclose()
    return ours


async def a_listener() -> SocketListener:
    return SocketListener(listening())


@pytest.mark.parametrize("make", [one_end, a_listener])
async def test_closing_what_is_closed_wakes_nobody_who_has_the_same_descriptor_by_now(
    make: Callable[[], Any],
) -> None:
    closed: SocketStream | SocketListener = await make()
    ours, theirs = socket.socketpair()
    fd = closed.socket.fileno()
    closed.socket.close()  # by somebody else
    other = SocketStream(socket.socket(fileno=os.dup2(ours.fileno(), fd)))
    ours.close()
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await other.receive_some())

    async with other, SocketStream(theirs) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await closed.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await peer.send_all(b"for the other")
    assert received == [b"for the other"]
