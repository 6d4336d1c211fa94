"""Receiving from a busy socket: after some waits `SocketStream` tries first, and waits again where that is in vain."""

from __future__ import annotations

import errno

import pytest
import trio
import trio.testing
from sockets import Interposed, NotingSocket, close_at_once, noting_pair
from support import Turns

from trio_chat import SocketStream


async def busy_pair() -> tuple[SocketStream, NotingSocket, SocketStream]:
    """A stream, its socket, and the peer's end. It has received often enough to try first from now on."""
    sock, peer = noting_pair()
    stream = SocketStream(sock)
    for _ in range(8):
        await peer.send_all(b"x")
        assert await stream.receive_some() == b"x"
    assert sock.receives == [65536] * 8  # none was in vain
    sock.receives.clear()
    return stream, sock, peer


async def test_it_tries_first_and_then_waits(nursery: trio.Nursery) -> None:
    stream, sock, peer = await busy_pair()
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await stream.receive_some())

    async with stream, peer:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        assert sock.receives == [65536]
        assert not received
        await peer.send_all(b"late")
        await trio.testing.wait_all_tasks_blocked()
        assert sock.receives == [65536] * 2
        assert received == [b"late"]


async def test_as_long_as_there_is_something_one_read_is_enough_and_others_have_their_turn() -> None:
    stream, sock, peer = await busy_pair()
    turns = Turns()
    async with stream, peer, trio.open_nursery() as nursery:
        await peer.send_all(b"x" * 50)
        nursery.start_soon(turns.take)
        for count in range(50):
            with trio.testing.assert_checkpoints():
                assert await stream.receive_some(1) == b"x"
            assert turns.count >= count
        assert sock.receives == [1] * 50
        nursery.cancel_scope.cancel()


async def test_a_stream_that_waits_for_its_peer_every_time_hardly_tries(nursery: trio.Nursery) -> None:
    sock, peer = noting_pair()
    messages = 0

    async def receive() -> None:
        nonlocal messages
        async with SocketStream(sock) as stream:
            while await stream.receive_some():
                messages += 1

    nursery.start_soon(receive)
    async with peer:
        for count in range(500):
            await trio.testing.wait_all_tasks_blocked()
            assert messages == count
            await peer.send_all(b"x")
        await trio.testing.wait_all_tasks_blocked()
    assert messages == 500
    assert len(sock.receives) - messages < 15


async def test_the_end_is_seen_by_a_try() -> None:
    stream, sock, peer = await busy_pair()
    async with stream:
        await peer.send_all(b"the last")
        await peer.aclose()
        assert await stream.receive_some() == b"the last"
        assert [await stream.receive_some() for _ in range(3)] == [b""] * 3
    assert len(sock.receives) == 4


async def test_a_second_receiver_is_refused_while_the_first_is_about_to_try(nursery: trio.Nursery) -> None:
    stream, _, peer = await busy_pair()
    received: list[bytes] = []
    refused = 0

    async def receive() -> None:
        nonlocal refused
        try:
            received.append(await stream.receive_some(1))
        except trio.BusyResourceError:
            refused += 1

    async with stream, peer:
        await peer.send_all(b"ab")
        async with trio.open_nursery() as receivers:
            receivers.start_soon(receive)
            receivers.start_soon(receive)
        assert (received, refused) == ([b"a"], 1)
        assert await stream.receive_some() == b"b"


async def test_a_try_that_is_cancelled_loses_nothing() -> None:
    stream, _, peer = await busy_pair()
    async with stream, peer:
        await peer.send_all(b"kept")
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.receive_some()
        assert scope.cancelled_caught
        assert await stream.receive_some() == b"kept"


async def test_closing_wins_against_a_try() -> None:
    stream, _, peer = await busy_pair()
    async with peer:
        await peer.send_all(b"too late")
        Interposed(trio.lowlevel.current_task(), lambda: close_at_once(stream))
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()


async def test_a_connection_that_breaks_is_noticed_by_a_try() -> None:
    stream, sock, peer = await busy_pair()
    async with stream, peer:
        sock.faults.append(ConnectionResetError(errno.ECONNRESET, "reset"))
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await stream.receive_some()
