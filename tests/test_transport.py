"""`SocketStream`: it is a stream; receiving, and closing. Sending is in `test_transport_sending.py`."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from sockets import (
    Interposed,
    Streams,
    close_at_once,
    fill,
    noting_pair,
    over_each_kind,
    tcp_pair,
    unix_pair,
)
from support import Turns, receive_all

from trio_chat import SocketStream

MakePair = Callable[[], Awaitable[Streams]]


@over_each_kind
async def test_it_is_what_trio_calls_a_half_closeable_stream(make_pair: MakePair) -> None:
    async def make_clogged_pair() -> Streams:
        one, other = await make_pair()
        for stream in (one, other):
            assert fill(stream) > 0
        return one, other

    await trio.testing.check_half_closeable_stream(make_pair, make_clogged_pair)


# ---------------------------------------------------------------------- what it takes


async def test_a_socket_is_made_non_blocking_and_sends_small_answers_at_once() -> None:
    client, server = await tcp_pair()
    async with client, server:
        for stream in (client, server):
            assert not stream.socket.getblocking()
            assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_of_another_type_is_refused_and_left_alone(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as sock:
        with pytest.raises(ValueError, match="SOCK_STREAM"):
            SocketStream(sock)
        assert sock.getblocking()


@pytest.mark.parametrize("make", [lambda: None, lambda: 5, trio.socket.socket], ids=["None", "fd", "Trio's"])
async def test_what_is_no_socket_is_refused(make: Callable[[], object]) -> None:
    given = make()
    with pytest.raises(TypeError, match=r"takes a socket\.socket"):
        SocketStream(given)  # type: ignore[arg-type]
    if isinstance(given, trio.socket.SocketType):
        given.close()


# ---------------------------------------------------------------------- receiving


async def test_receiving_waits_first_and_reads_once(nursery: trio.Nursery) -> None:
    sock, peer = noting_pair()
    received: list[bytes] = []

    async def receive() -> None:
        async with SocketStream(sock) as stream:
            while data := await stream.receive_some():
                received.append(data)

    nursery.start_soon(receive)
    await trio.testing.wait_all_tasks_blocked()
    assert sock.receives == []
    async with peer:
        for count, message in enumerate([b"one", b"two", b"three"], start=1):
            await peer.send_all(message)
            await trio.testing.wait_all_tasks_blocked()
            assert received[-1] == message
            assert sock.receives == [65536] * count
    await trio.testing.wait_all_tasks_blocked()
    assert sock.receives == [65536] * 4  # the last one has got the end


@over_each_kind
async def test_other_tasks_have_their_turn_even_if_data_is_there(make_pair: MakePair, nursery: trio.Nursery) -> None:
    stream, peer = await make_pair()
    turns = Turns()
    async with stream, peer:
        await peer.send_all(b"x" * 50)
        nursery.start_soon(turns.take)
        for count in range(50):
            with trio.testing.assert_checkpoints():
                assert await stream.receive_some(1) == b"x"
            assert turns.count >= count
    nursery.cancel_scope.cancel()


@over_each_kind
async def test_a_cancelled_receive_loses_nothing(make_pair: MakePair) -> None:
    stream, peer = await make_pair()
    async with stream, peer:
        with trio.CancelScope() as waiting:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.receive_some)
                await trio.testing.wait_all_tasks_blocked()
                waiting.cancel()
        await peer.send_all(b"kept")
        with trio.CancelScope() as at_once:
            at_once.cancel()
            await stream.receive_some()
        assert at_once.cancelled_caught
        assert await stream.receive_some() == b"kept"


async def test_a_receive_that_is_cancelled_when_data_has_just_come_loses_nothing() -> None:
    stream, peer = await unix_pair()
    received = b""

    async def receive(scope: trio.CancelScope) -> None:
        nonlocal received
        with scope:
            Interposed(trio.lowlevel.current_task(), scope.cancel)
            received = await stream.receive_some()

    async with stream, peer:
        await peer.send_all(b"kept")
        await receive(trio.CancelScope())
        if not received:
            received = await stream.receive_some()
        assert received == b"kept"


@over_each_kind
async def test_no_more_is_received_than_is_asked_for(make_pair: MakePair) -> None:
    stream, peer = await make_pair()
    async with stream:
        async with peer:
            await peer.send_all(b"12345")
        assert [await stream.receive_some(2) for _ in range(5)] == [b"12", b"34", b"5", b"", b""]


@pytest.mark.parametrize(
    ("max_bytes", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("1", TypeError), (b"1", TypeError)]
)
async def test_a_wrong_count_is_refused_and_nothing_is_read(max_bytes: int, error: type[Exception]) -> None:
    sock, peer = noting_pair()
    async with SocketStream(sock) as stream, peer:
        await peer.send_all(b"x")
        with pytest.raises(error, match="max_bytes"):
            await stream.receive_some(max_bytes)
        assert sock.receives == []


async def test_false_alarms_are_survived() -> None:
    sock, peer = noting_pair()
    sock.faults += [BlockingIOError(), BlockingIOError()]
    async with SocketStream(sock) as stream, peer:
        await peer.send_all(b"x")
        assert await stream.receive_some() == b"x"
        assert len(sock.receives) == 3


async def test_after_a_false_alarm_the_receiver_waits_again(nursery: trio.Nursery) -> None:
    stream, peer = await unix_pair()
    stolen: list[bytes] = []
    received: list[bytes] = []

    async def receive() -> None:
        Interposed(trio.lowlevel.current_task(), lambda: stolen.append(stream.socket.recv(100)))
        received.append(await stream.receive_some())

    async with stream, peer:
        nursery.start_soon(receive)
        for message in (b"stolen", b"its own"):
            await trio.testing.wait_all_tasks_blocked()
            assert received == []
            await peer.send_all(message)
        await trio.testing.wait_all_tasks_blocked()
    assert stolen == [b"stolen"]
    assert received == [b"its own"]


@over_each_kind
async def test_a_second_receiver_is_refused_and_the_first_goes_on(make_pair: MakePair, nursery: trio.Nursery) -> None:
    stream, peer = await make_pair()
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await stream.receive_some())

    async with stream, peer:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await stream.receive_some()
        await peer.send_all(b"first")
        while not received:
            await trio.lowlevel.checkpoint()
    assert received == [b"first"]


async def test_one_task_may_receive_while_another_waits_for_room(nursery: trio.Nursery) -> None:
    stream, peer = await unix_pair()
    async with stream, peer:
        count = fill(stream)
        nursery.start_soon(stream.send_all, b"end")
        await trio.testing.wait_all_tasks_blocked()
        await peer.send_all(b"meanwhile")
        assert await stream.receive_some() == b"meanwhile"
        received = 0
        while received < count + 3:
            received += len(await peer.receive_some())


@over_each_kind
async def test_a_reset_breaks_the_connection(make_pair: MakePair) -> None:
    stream, peer = await make_pair()
    async with stream:
        await stream.send_all(b"nobody reads this")
        await peer.aclose()
        with pytest.raises(trio.BrokenResourceError, match=r"the connection is broken: .*reset"):
            await stream.receive_some()


# ---------------------------------------------------------------------- closing


@over_each_kind
async def test_closing_wakes_who_receives(make_pair: MakePair, nursery: trio.Nursery) -> None:
    stream, peer = await make_pair()
    closed = trio.Event()

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        closed.set()

    async with peer:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
        await closed.wait()


async def test_closing_wins_against_data_that_has_come_in_the_same_turn() -> None:
    stream, peer = await unix_pair()
    async with peer:
        await peer.send_all(b"too late")
        Interposed(trio.lowlevel.current_task(), lambda: close_at_once(stream))
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()


@over_each_kind
async def test_the_peer_sees_the_end_and_closing_again_does_nothing(make_pair: MakePair) -> None:
    stream, peer = await make_pair()
    async with peer:
        await stream.send_all(b"last words")
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                await stream.aclose()
        assert await receive_all(peer) == b"last words"


async def test_a_cancelled_close_closes() -> None:
    stream, peer = await unix_pair()
    async with peer:
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.aclose()
        assert scope.cancelled_caught
        assert stream.socket.fileno() == -1
        assert await peer.receive_some() == b""


async def test_a_closed_stream_does_not_touch_who_has_got_its_descriptor() -> None:
    stream, peer = await unix_pair()
    number = stream.socket.fileno()
    await stream.aclose()
    other, others_peer = await unix_pair()
    assert other.socket.fileno() == number
    async with peer, other, others_peer:
        await others_peer.send_all(b"not for you")
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            stream.send_nowait(b"not from you")
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"not from you")
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_eof()
        await stream.aclose()
        assert await other.receive_some() == b"not for you"
        await other.aclose()
        assert await others_peer.receive_some() == b""


async def test_the_kernel_is_not_asked_after_a_close() -> None:
    sock, peer = noting_pair()
    stream = SocketStream(sock)
    async with peer:
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        assert sock.receives == []
