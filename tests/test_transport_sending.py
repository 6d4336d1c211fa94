"""`SocketStream`: sending, at once if the kernel takes it, and ending our side."""

from __future__ import annotations

import array
import select
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from sockets import Interposed, Streams, close_at_once, fill, noting_pair, over_each_kind, tcp_pair, unix_pair
from support import receive_all, receive_exactly

from trio_chat import SocketStream

MakePair = Callable[[], Awaitable[Streams]]
Sender = Callable[[SocketStream, bytes], Awaitable[None]]

LONG = bytes(range(256)) * 8192  # 2 MiB, more than kernels take

KINDS_OF_DATA: dict[str, bytes | bytearray | memoryview] = {
    "bytes": b"abcdef",
    "bytearray": bytearray(b"abcdef"),
    "memoryview": memoryview(b"-abcdef-")[1:-1],
    "of wide items": memoryview(array.array("H", b"abcdef")),
    "of two dimensions": memoryview(b"abcdef").cast("B", (2, 3)),
    "nothing": b"",
    "no wide items": memoryview(array.array("H")),
}


async def send_nowait(stream: SocketStream, data: bytes) -> None:
    stream.send_nowait(data)


async def send_all(stream: SocketStream, data: bytes) -> None:
    await stream.send_all(data)


async def wait_for_room(stream: SocketStream, data: bytes) -> None:
    await stream.wait_send_all_might_not_block()


async def send_eof(stream: SocketStream, data: bytes) -> None:
    await stream.send_eof()


def takes_more(stream: SocketStream) -> bool:
    """What the kernel says if it is asked beforehand."""
    return bool(select.select([], [stream.socket], [], 0)[1])


# ---------------------------------------------------------------------- what the kernel takes


@pytest.mark.parametrize("data", KINDS_OF_DATA.values(), ids=KINDS_OF_DATA)
async def test_whatever_holds_bytes_is_sent_in_one_call(data: bytes | bytearray | memoryview) -> None:
    octets = bytes(data)
    sock, peer = noting_pair()
    async with peer:
        async with SocketStream(sock) as stream:
            with trio.testing.assert_checkpoints():
                await stream.send_all(data)
            assert stream.send_nowait(data) == len(octets)
        assert sock.sends == [octets, octets]
        assert await receive_all(peer) == octets * 2


@pytest.mark.parametrize("data", KINDS_OF_DATA.values(), ids=KINDS_OF_DATA)
@pytest.mark.parametrize("most_bytes", [1, 3, 4])
async def test_what_the_kernel_takes_in_parts_arrives_whole(
    data: bytes | bytearray | memoryview, most_bytes: int
) -> None:
    octets = bytes(data)
    sock, peer = noting_pair()
    sock.most_bytes = most_bytes
    async with peer:
        async with SocketStream(sock) as stream:
            await stream.send_all(data)
        assert await receive_all(peer) == octets
        assert sock.sends == [octets[i : i + most_bytes] for i in range(0, len(octets), most_bytes)] or [b""]


async def test_a_bytearray_is_free_again_after_it_was_sent() -> None:
    stream, peer = await unix_pair()
    data = bytearray(b"abc")
    async with stream, peer:
        await stream.send_all(data)
        data += b"def"  # BufferError if something still looks at it
        stream.send_nowait(data)
        data += b"ghi"
        assert await receive_exactly(peer, 9) == b"abcabcdef"


@pytest.mark.parametrize("data", ["text", None, 5, [b"x"]])
async def test_what_holds_no_bytes_is_refused_and_the_stream_goes_on(data: bytes) -> None:
    stream, peer = await unix_pair()
    async with stream, peer:
        with pytest.raises(TypeError):
            await stream.send_all(data)
        with pytest.raises(TypeError):
            stream.send_nowait(data)
        await stream.send_all(b"good")
        assert await peer.receive_some() == b"good"


async def test_sending_does_not_ask_before_it_tries(nursery: trio.Nursery) -> None:
    """A kernel may call for patience, and take something nevertheless: who waited first would wait for the peer."""
    sock, peer = noting_pair()
    async with SocketStream(sock) as stream, peer:
        while takes_more(stream):
            stream.send_nowait(bytes(1000))
        nursery.start_soon(stream.send_all, b"at once")
        await trio.testing.wait_all_tasks_blocked()
        assert sock.sends[-1] == b"at once"
        assert not takes_more(stream)


@over_each_kind
async def test_when_the_kernel_is_full_nothing_is_sent_and_nothing_waits(make_pair: MakePair) -> None:
    stream, peer = await make_pair()
    async with peer:
        async with stream:
            count = fill(stream)
            assert [stream.send_nowait(data) for data in (b"x", LONG)] == [0, 0]
            await receive_exactly(peer, count)
            assert stream.send_nowait(b"room again") == 10
        assert await receive_all(peer) == b"room again"


@over_each_kind
async def test_send_nowait_tells_how_much_was_taken(make_pair: MakePair) -> None:
    stream, peer = await make_pair()
    async with peer:
        async with stream:
            sent = stream.send_nowait(LONG)
            assert 0 < sent < len(LONG)
        assert await receive_all(peer) == LONG[:sent]


@over_each_kind
async def test_send_all_waits_until_all_is_taken(make_pair: MakePair, nursery: trio.Nursery) -> None:
    stream, peer = await make_pair()
    sent = trio.Event()

    async def send() -> None:
        await stream.send_all(LONG)
        sent.set()

    async with stream, peer:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert not sent.is_set()
        assert await receive_exactly(peer, len(LONG)) == LONG
        await sent.wait()


async def test_a_false_alarm_while_waiting_for_room_is_survived() -> None:
    sock, peer = noting_pair()
    sock.faults += [BlockingIOError(), BlockingIOError()]
    async with SocketStream(sock) as stream, peer:
        await stream.send_all(b"whole")
        assert sock.sends == [b"whole"]
        assert await peer.receive_some() == b"whole"


# ---------------------------------------------------------------------- one at a time


@pytest.mark.parametrize("busy", [send_all, wait_for_room])
@pytest.mark.parametrize("second", [send_all, send_nowait, wait_for_room, send_eof])
async def test_who_sends_while_another_task_does_is_refused(
    busy: Sender, second: Sender, nursery: trio.Nursery
) -> None:
    stream, peer = await unix_pair()
    async with stream, peer:
        filled = fill(stream)
        nursery.start_soon(busy, stream, b"first")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await second(stream, b"second")
        expected = b"f" * filled + (b"first" if busy is send_all else b"")
        assert await receive_exactly(peer, len(expected)) == expected
        await trio.testing.wait_all_tasks_blocked()
        await second(stream, b"later")
        await stream.aclose()
        assert await receive_all(peer) == (b"later" if second in (send_all, send_nowait) else b"")


async def test_even_what_the_kernel_would_take_is_refused_while_another_task_sends(nursery: trio.Nursery) -> None:
    """Or else it would come in the middle of what that sends."""
    stream, peer = await unix_pair()
    async with stream, peer:
        nursery.start_soon(stream.send_all, LONG)
        await trio.testing.wait_all_tasks_blocked()
        received = b""
        while not takes_more(stream):
            received += peer.socket.recv(65536)  # and give that task no turn
        with pytest.raises(trio.BusyResourceError):
            stream.send_nowait(b"in the middle")
        assert received + await receive_exactly(peer, len(LONG) - len(received)) == LONG


# ---------------------------------------------------------------------- cancellation


async def test_a_send_that_was_cancelled_before_sends_nothing() -> None:
    sock, peer = noting_pair()
    async with SocketStream(sock) as stream, peer:
        for send in (send_all, send_eof, wait_for_room):
            with trio.CancelScope() as scope:
                scope.cancel()
                await send(stream, b"x")
            assert scope.cancelled_caught
        assert sock.sends == []
        await stream.send_all(b"its side is still open")
        assert await peer.receive_some() == b"its side is still open"


@over_each_kind
async def test_of_a_cancelled_send_a_beginning_has_been_sent(make_pair: MakePair) -> None:
    stream, peer = await make_pair()
    async with peer:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, LONG)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert stream.send_nowait(b"") == 0  # nobody is sending any more
        await stream.aclose()
        received = await receive_all(peer)
        assert 0 < len(received) < len(LONG)
        assert LONG.startswith(received)


# ---------------------------------------------------------------------- the end


@over_each_kind
@pytest.mark.parametrize("send", [send_all, send_nowait])
@pytest.mark.parametrize("data", [b"x", b""])
async def test_after_the_end_nothing_can_be_sent_and_something_received(
    make_pair: MakePair, send: Sender, data: bytes
) -> None:
    stream, peer = await make_pair()
    async with stream, peer:
        await stream.send_all(b"all")
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                await stream.send_eof()
        if send is send_all or data:
            with pytest.raises(trio.ClosedResourceError, match="send_eof"):
                await send(stream, data)
        assert await receive_all(peer) == b"all"
        await peer.send_all(b"answer")
        assert await stream.receive_some() == b"answer"


async def test_when_both_sides_have_ended_ending_ours_again_does_nothing() -> None:
    stream, peer = await tcp_pair()
    async with stream:
        await stream.send_eof()
        await peer.aclose()
        assert await receive_all(stream) == b""
        await stream.send_eof()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")


@over_each_kind
@pytest.mark.parametrize("send", [send_all, send_nowait])
async def test_if_the_peer_is_gone_the_connection_is_broken_for_good(make_pair: MakePair, send: Sender) -> None:
    stream, peer = await make_pair()
    async with stream:
        await stream.send_all(b"nobody reads this")
        await peer.aclose()
        await trio.lowlevel.wait_readable(stream.socket)  # until the reset has come
        for _ in range(3):
            with pytest.raises(trio.BrokenResourceError, match="the connection is broken"):
                await send(stream, b"x")
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await send(stream, b"x")


@over_each_kind
async def test_whoever_waits_for_room_is_told_that_the_peer_is_gone(make_pair: MakePair, nursery: trio.Nursery) -> None:
    stream, peer = await make_pair()
    told = trio.Event()

    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(LONG)
        told.set()

    async with stream:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        await peer.aclose()
        await told.wait()


async def test_the_end_cannot_be_sent_to_a_peer_that_is_gone() -> None:
    stream, peer = await tcp_pair()
    async with stream:
        await stream.send_all(b"nobody reads this")
        await peer.aclose()
        await trio.lowlevel.wait_readable(stream.socket)  # until the reset has come
        with pytest.raises(trio.BrokenResourceError, match="not connected"):
            await stream.send_eof()


@pytest.mark.parametrize("send", [send_all, wait_for_room])
async def test_closing_wakes_who_sends(send: Sender, nursery: trio.Nursery) -> None:
    stream, peer = await unix_pair()
    closed = trio.Event()

    async def expect_the_end() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await send(stream, LONG)
        closed.set()

    async with peer:
        fill(stream)
        nursery.start_soon(expect_the_end)
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
        await closed.wait()


@pytest.mark.parametrize("send", [send_all, send_eof])
async def test_closing_wins_against_a_send_that_was_to_begin_in_the_same_turn(send: Sender) -> None:
    sock, peer = noting_pair()
    sock.most_bytes = 3
    stream = SocketStream(sock)
    async with peer:
        Interposed(trio.lowlevel.current_task(), lambda: close_at_once(stream))
        with pytest.raises(trio.ClosedResourceError):
            await send(stream, b"123456")
        assert await receive_all(peer) == b"".join(sock.sends) == (b"123" if send is send_all else b"")
