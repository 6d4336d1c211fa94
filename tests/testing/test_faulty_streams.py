"""Streams with faults: over memory streams, under a conversation, and as streams like any other."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from support import CountingStream, Echo, MemoryStream, receive_all, receive_exactly

from trio_chat import TimeoutKind
from trio_chat.testing import (
    BreakingStream,
    ClosingStream,
    RandomFault,
    RandomlyFaultyStream,
    ShortPiecesStream,
    StallingStream,
    WrappedStream,
)

Make = Callable[[trio.abc.Stream], WrappedStream]
KINDS: list[Make] = [
    WrappedStream,
    StallingStream,
    BreakingStream,
    ClosingStream,
    partial(ShortPiecesStream, receive_bytes=2000, send_bytes=3000),
    partial(RandomlyFaultyStream, seed=2, faults=["none"]),
]


def pair(make: Make) -> tuple[MemoryStream, WrappedStream]:
    client, server = trio.testing.memory_stream_pair()
    return client, make(server)


def with_fault(kind: Callable[..., WrappedStream], fault: dict[str, int]) -> Make:
    return partial(kind, **fault)


# ---------------------------------------------------------------------- streams like any other


@pytest.mark.parametrize("make", KINDS)
async def test_where_no_fault_is_set_they_are_as_good_as_any(make: Make) -> None:
    async def stream_maker() -> tuple[WrappedStream, WrappedStream]:
        one, other = trio.testing.memory_stream_pair()
        return make(one), make(other)

    async def clogged_stream_maker() -> tuple[WrappedStream, WrappedStream]:
        one, other = trio.testing.lockstep_stream_pair()
        return make(one), make(other)

    await trio.testing.check_half_closeable_stream(stream_maker, clogged_stream_maker)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", KINDS)
async def test_they_are_half_closeable_if_the_stream_inside_is(make: Make) -> None:
    _, server = trio.testing.memory_stream_pair()
    half_closeable = make(server)
    assert isinstance(half_closeable, trio.abc.HalfCloseableStream)
    assert half_closeable.transport_stream is server

    class Plain(trio.abc.Stream):
        send_all = wait_send_all_might_not_block = receive_some = aclose = None  # type: ignore[assignment]

    plain = make(Plain())
    assert not isinstance(plain, trio.abc.HalfCloseableStream)
    assert not hasattr(plain, "send_eof")
    assert isinstance(plain, WrappedStream)


@pytest.mark.parametrize("kind", [WrappedStream, StallingStream, RandomlyFaultyStream])
def test_streams_of_a_kind_are_of_one_class_with_its_name(kind: type[WrappedStream]) -> None:
    _, server = trio.testing.memory_stream_pair()
    make: Make = partial(kind, seed=1) if kind is RandomlyFaultyStream else kind
    stream = make(server)
    half_closeable: Any = type(stream)
    assert type(make(stream)) is half_closeable
    assert type(half_closeable(server, **({"seed": 1} if kind is RandomlyFaultyStream else {}))) is half_closeable
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        assert getattr(half_closeable, name) == getattr(kind, name)


async def test_a_subclass_overrides_what_it_wants() -> None:
    class Shouting(BreakingStream):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            await super().send_all(bytes(data).upper())

    client, server = trio.testing.memory_stream_pair()
    stream = Shouting(server, send_after=5)
    assert isinstance(stream, Shouting)
    assert isinstance(stream, trio.abc.HalfCloseableStream)
    await stream.send_all(b"hello")
    assert await client.receive_some() == b"HELLO"
    with pytest.raises(trio.BrokenResourceError, match="Shouting send_after=5"):
        await stream.send_all(b"x")


def test_nobody_gets_around_a_fault() -> None:
    class Prompt(CountingStream):
        def send_nowait(self, data: bytes) -> int:
            return len(data)

        def receive_nowait(self, max_bytes: int) -> bytes:
            raise trio.WouldBlock

    _, server = trio.testing.memory_stream_pair()
    stream = StallingStream(Prompt(server))
    assert not hasattr(stream, "send_nowait")
    assert not hasattr(stream, "receive_nowait")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (StallingStream, "receive_after"),
        (StallingStream, "send_after"),
        (BreakingStream, "receive_after"),
        (BreakingStream, "send_after"),
    ],
)
def test_a_number_of_bytes_is_not_negative(kind: Callable[..., WrappedStream], name: str) -> None:
    _, server = trio.testing.memory_stream_pair()
    kind(server, **{name: 0})
    with pytest.raises(ValueError, match=f"{name} is at least 0; got -1"):
        kind(server, **{name: -1})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ShortPiecesStream, "receive_bytes"),
        (ShortPiecesStream, "send_bytes"),
        (ClosingStream, "at_receive"),
        (ClosingStream, "at_send"),
    ],
)
def test_a_size_or_a_number_of_calls_begins_with_one(kind: Callable[..., WrappedStream], name: str) -> None:
    _, server = trio.testing.memory_stream_pair()
    kind(server, **{name: 1})
    with pytest.raises(ValueError, match=f"{name} is at least 1; got 0"):
        kind(server, **{name: 0})


@pytest.mark.parametrize("make", [partial(StallingStream, send_after=0), partial(BreakingStream, send_after=2), *KINDS])
@pytest.mark.parametrize("data", ["text", 3, None])
async def test_only_bytes_are_sent(make: Make, data: object) -> None:
    _, stream = pair(make)
    with pytest.raises(TypeError):
        await stream.send_all(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [partial(ShortPiecesStream, send_bytes=3), partial(StallingStream, send_after=100)])
async def test_wide_items_are_sent_as_their_bytes(make: Make) -> None:
    client, stream = pair(make)
    await stream.send_all(memoryview(bytes(range(16))).cast("I"))
    assert await receive_exactly(client, 16) == bytes(range(16))


# ---------------------------------------------------------------------- stalls


@pytest.mark.parametrize("after", [0, 1, 4, 5])
async def test_a_receive_stalls_after_so_many_bytes(autojump_clock: trio.testing.MockClock, after: int) -> None:
    client, stream = pair(partial(StallingStream, receive_after=after))
    await client.send_all(b"hello")
    received = b""
    with trio.move_on_after(1) as scope:
        received += await stream.receive_some()
        received += await stream.receive_some()
    assert scope.cancelled_caught
    assert received == b"hello"[:after]


async def test_what_is_stalled_goes_on_when_it_is_resumed(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = StallingStream(server, receive_after=3, send_after=2)
    await client.send_all(b"hello")
    assert await stream.receive_some(2) == b"he"
    assert await stream.receive_some(2) == b"l"
    received, sent = [], []

    async def receive() -> None:
        received.append(await stream.receive_some())

    async def send() -> None:
        await stream.send_all(b"answer")
        sent.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        nursery.start_soon(send)
        await trio.sleep(100)
        assert (received, sent) == ([], [])
        assert await client.receive_some() == b"an"
        with pytest.raises(trio.BusyResourceError):
            await stream.send_all(b"")
        with pytest.raises(trio.BusyResourceError):
            await stream.wait_send_all_might_not_block()
        with pytest.raises(trio.BusyResourceError):
            await stream.receive_some()
        stream.resume()
    assert received == [b"lo"]
    assert await client.receive_some() == b"swer"


async def test_a_cancellation_in_the_stall_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = StallingStream(server, receive_after=0, send_after=2)
    await client.send_all(b"hello")
    for call in (stream.receive_some, partial(stream.send_all, b"answer"), stream.wait_send_all_might_not_block):
        with trio.move_on_after(1) as scope:
            await call()
        assert scope.cancelled_caught
    stream.resume()
    assert await stream.receive_some() == b"hello"
    await stream.send_all(b"!")
    assert await client.receive_some() == b"an!"


async def test_an_empty_send_does_not_stall() -> None:
    client, stream = pair(partial(StallingStream, send_after=0))
    with trio.testing.assert_checkpoints():
        await stream.send_all(b"")
    assert isinstance(stream, trio.abc.HalfCloseableStream)
    await stream.send_eof()
    assert await receive_all(client) == b""


async def test_who_stalls_is_told_that_the_stream_was_closed() -> None:
    client, stream = pair(partial(StallingStream, receive_after=0, send_after=0))
    told = []

    async def call(what: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await what()
        told.append(what)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, stream.receive_some)
        nursery.start_soon(call, partial(stream.send_all, b"x"))
        await trio.testing.wait_all_tasks_blocked()
        assert not told
        await stream.aclose()
    for what in (stream.receive_some, stream.wait_send_all_might_not_block, partial(stream.send_all, b"x")):
        with trio.testing.assert_checkpoints():
            await call(what)
    assert len(told) == 5
    assert await receive_all(client) == b""


async def test_a_stall_at_any_time(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = StallingStream(server)
    await client.send_all(b"hello")
    stream.stall(send=False)
    await stream.send_all(b"not stalled")
    with trio.move_on_after(1) as scope:
        await stream.receive_some()
    assert scope.cancelled_caught
    stream.resume()
    stream.stall(receive=False)
    assert await stream.receive_some() == b"hello"
    with trio.move_on_after(1) as scope:
        await stream.send_all(b"stalled")
    assert scope.cancelled_caught


async def test_a_receive_that_has_begun_is_let_through_and_the_next_one_stalls(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = StallingStream(server)
    received = []

    async def receive() -> None:
        while True:
            received.append(await stream.receive_some(3))

    with trio.move_on_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            stream.stall()
            await client.send_all(b"hello")
    assert received == [b"hel"]


async def test_a_stall_of_one_side_leaves_the_other_as_it_was(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = StallingStream(server, receive_after=2, send_after=2)
    await client.send_all(b"hello")
    stream.stall(send=False)
    with trio.move_on_after(1):
        await stream.send_all(b"hello")
    assert await client.receive_some() == b"he"

    client, server = trio.testing.memory_stream_pair()
    stream = StallingStream(server, receive_after=2, send_after=2)
    await client.send_all(b"hello")
    stream.stall(receive=False)
    assert await stream.receive_some() == b"he"
    with trio.move_on_after(1) as scope:
        await stream.receive_some()
    assert scope.cancelled_caught


class Timed(Echo):
    idle_timeout = 5
    write_timeout = 7
    linger_timeout = 0


@pytest.mark.parametrize(("fault", "kind"), [({"receive_after": 4}, "idle"), ({"send_after": 4}, "write")])
async def test_a_conversation_over_a_stream_that_stalls(
    autojump_clock: trio.testing.MockClock, fault: dict[str, int], kind: TimeoutKind
) -> None:
    client, stream = pair(with_fault(StallingStream, fault))
    chat = Timed(stream)
    await client.send_all(b"one\ntwo\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        assert await receive_all(client) == b"one\n"
    assert chat.frames == ([b"one"] if kind == "idle" else [b"one", b"two"])
    assert ("timeout", kind) in chat.calls
    assert trio.current_time() == (5 if kind == "idle" else 7)


# ---------------------------------------------------------------------- breaks


@pytest.mark.parametrize("after", [0, 1, 4, 5])
async def test_a_receive_breaks_after_so_many_bytes(after: int) -> None:
    client, stream = pair(partial(BreakingStream, receive_after=after))
    await client.send_all(b"hello")
    if after:
        assert await stream.receive_some() == b"hello"[:after]
    for _ in range(2):
        with trio.testing.assert_checkpoints(), pytest.raises(trio.BrokenResourceError, match=f"receive_after={after}"):
            await stream.receive_some()
    with trio.testing.assert_checkpoints(), pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"x")
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")


@pytest.mark.parametrize("after", [0, 1, 4, 5])
async def test_a_send_breaks_after_so_many_bytes(after: int) -> None:
    client, stream = pair(partial(BreakingStream, send_after=after))
    if after == 5:
        await stream.send_all(b"hello")
    with trio.testing.assert_checkpoints(), pytest.raises(trio.BrokenResourceError, match=f"send_after={after}"):
        await stream.send_all(b"hello!")
    assert isinstance(stream, trio.abc.HalfCloseableStream)
    for call in (stream.receive_some, stream.wait_send_all_might_not_block, stream.send_eof):
        with trio.testing.assert_checkpoints(), pytest.raises(trio.BrokenResourceError):
            await call()
    await stream.aclose()
    assert await receive_all(client) == b"hello"[:after]


async def test_nothing_at_all_is_passed_on_where_it_breaks() -> None:
    counting = CountingStream(trio.testing.memory_stream_pair()[1])
    stream = BreakingStream(counting, send_after=0)
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"hello")
    assert counting.sends == []


@pytest.mark.parametrize("side", ["receive", "send"])
async def test_one_side_alone_breaks(side: str) -> None:
    client, stream = pair(
        partial(
            BreakingStream,
            receive_after=0 if side == "receive" else None,
            send_after=0 if side == "send" else None,
            one_way=True,
        )
    )
    await client.send_all(b"hello")
    if side == "receive":
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        await stream.send_all(b"hello")
        assert await client.receive_some() == b"hello"
    else:
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"


@pytest.mark.parametrize("how", ["break_now", "send"])
async def test_who_is_in_a_call_fails_at_once(how: str) -> None:
    _, server = trio.testing.lockstep_stream_pair()
    stream = BreakingStream(server, send_after=0 if how == "send" else None)
    told = []

    async def call(what: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await what()
        told.append(what)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, stream.receive_some)
        if how == "break_now":
            nursery.start_soon(call, partial(stream.send_all, b"x"))
        await trio.testing.wait_all_tasks_blocked()
        assert not told
        if how == "break_now":
            stream.break_now()
        else:
            await call(partial(stream.send_all, b"x"))
    assert len(told) == 2


async def test_what_was_received_when_it_broke_is_not_lost() -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = BreakingStream(server)
    received = []

    async def receive() -> None:
        received.append(await stream.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(b"hello")
        stream.break_now()
    assert received == [b"hello"]


async def test_a_cancellation_goes_before_a_break(autojump_clock: trio.testing.MockClock) -> None:
    _, stream = pair(BreakingStream)
    assert isinstance(stream, BreakingStream)
    with trio.move_on_after(1) as scope:
        await stream.receive_some()
    assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel()
        stream.break_now()
        await stream.receive_some()
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("fault", "frames"),
    [({"receive_after": 6}, [b"one"]), ({"send_after": 6}, [b"one", b"two"]), ({"send_after": 0}, [b"one", b"two"])],
)
async def test_a_conversation_over_a_stream_that_breaks(
    autojump_clock: trio.testing.MockClock, fault: dict[str, int], frames: list[bytes]
) -> None:
    client, stream = pair(with_fault(BreakingStream, fault))
    chat = Echo(stream)
    await client.send_all(b"one\ntwo\n")
    await chat.run()
    assert chat.frames == frames
    assert "eof" not in chat.names
    assert chat.names[-1] == "close"
    sent = await receive_all(client)
    assert sent == b"one\ntwo\n"[: fault["send_after"]] if "send_after" in fault else sent in (b"", b"one\n")
    assert trio.current_time() == 0


# ---------------------------------------------------------------------- short pieces


async def test_what_is_received_in_short_pieces() -> None:
    client, stream = pair(partial(ShortPiecesStream, receive_bytes=2))
    await client.send_all(b"hello")
    assert [await stream.receive_some(max_bytes) for max_bytes in (None, 1, 100)] == [b"he", b"l", b"lo"]
    with pytest.raises(ValueError, match="max_bytes"):
        await stream.receive_some(0)


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6])
async def test_what_is_sent_in_short_pieces(size: int) -> None:
    counting = CountingStream(trio.testing.memory_stream_pair()[1])
    stream = ShortPiecesStream(counting, send_bytes=size)
    await stream.send_all(b"hello")
    await stream.send_all(b"")
    assert counting.sends == [*(b"hello"[i : i + size] for i in range(0, 5, size)), b""]


async def test_a_cancellation_leaves_a_part_sent() -> None:
    counting = CountingStream(trio.testing.memory_stream_pair()[1])
    stream = ShortPiecesStream(counting, send_bytes=1)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"hello")
            while len(counting.sends) < 3:
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert scope.cancelled_caught
    assert 3 <= len(counting.sends) < 5


async def test_a_conversation_over_short_pieces() -> None:
    client, stream = pair(partial(ShortPiecesStream, receive_bytes=1, send_bytes=1))
    chat = Echo(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await client.send_all(b"one\ntwo\n")
        await client.send_eof()
        assert await receive_all(client) == b"one\ntwo\n"
    assert chat.frames == [b"one", b"two"]
    assert max(len(data) for name, data in chat.calls if name == "data" and isinstance(data, bytes)) == 1


# ---------------------------------------------------------------------- closes


async def test_the_nth_receive_finds_it_closed() -> None:
    client, stream = pair(partial(ClosingStream, at_receive=3))
    await client.send_all(b"hello")
    assert [await stream.receive_some(1), await stream.receive_some(1)] == [b"h", b"e"]
    await stream.send_all(b"x")
    for _ in range(2):
        with trio.testing.assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await stream.send_all(b"x")
    assert stream.closed
    assert await receive_all(client) == b"x"


async def test_the_nth_send_finds_it_closed_and_who_receives_is_told() -> None:
    client, stream = pair(partial(ClosingStream, at_send=2))
    told = []

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        told.append(True)

    await stream.send_all(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.ClosedResourceError, match="at_send=2"):
            await stream.send_all(b"x")
    assert told
    assert await receive_all(client) == b"x"


@pytest.mark.parametrize("fault", [{"at_receive": 1}, {"at_receive": 2}, {"at_send": 1}])
async def test_a_conversation_over_a_stream_that_somebody_closes(
    autojump_clock: trio.testing.MockClock, fault: dict[str, int]
) -> None:
    client, stream = pair(with_fault(ClosingStream, fault))
    chat = Echo(stream)
    await client.send_all(b"one\n")
    await chat.run()
    assert chat.frames == ([] if fault == {"at_receive": 1} else [b"one"])
    assert chat.names[-1] == "close"
    assert await receive_all(client) in (b"", b"one\n"[: 4 * (fault == {"at_receive": 2})])


# ---------------------------------------------------------------------- by lot


def random_stream(seed: int, faults: list[RandomFault]) -> tuple[MemoryStream, CountingStream, RandomlyFaultyStream]:
    client, server = trio.testing.memory_stream_pair()
    counting = CountingStream(server)
    return client, counting, RandomlyFaultyStream(counting, seed=seed, within_bytes=50, within_calls=5, faults=faults)


async def history(seed: int, faults: list[RandomFault]) -> list[object]:
    """What comes of sending and receiving a hundred bytes."""
    client, counting, stream = random_stream(seed, faults)
    await client.send_all(bytes(100))
    events: list[object] = [repr(stream)]
    try:
        for _ in range(20):
            await stream.send_all(bytes(5))
            events.append(len(await stream.receive_some(5)))
    except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
        events += [type(exc), f"seed={seed}: " in str(exc)]
    return [*events, *map(len, counting.sends)]


async def test_the_same_seed_gives_the_same() -> None:
    histories = [await history(seed, ["none", "break", "close"]) for seed in range(40)]
    assert histories == [await history(seed, ["none", "break", "close"]) for seed in range(40)]
    assert len({str(each) for each in histories}) == 40
    ends = [[event for event in each if isinstance(event, type | bool)] for each in histories]
    assert {tuple(end) for end in ends} == {(), (trio.BrokenResourceError, True), (trio.ClosedResourceError, True)}


def test_the_plan_can_be_read() -> None:
    plans = {repr(random_stream(seed, ["stall", "break", "close"])[2]) for seed in range(200)}
    assert all(plan.startswith("<RandomlyFaultyStream seed=") for plan in plans)
    for fault in ("StallingStream receive_after=", "BreakingStream send_after=", "ClosingStream at_receive="):
        assert any(fault in plan for plan in plans)


def drawn(**options: Any) -> dict[str, set[int]]:
    """The numbers that are drawn for each fault."""
    numbers: dict[str, set[int]] = {}
    for seed in range(2000):
        plan = repr(RandomlyFaultyStream(trio.testing.memory_stream_pair()[0], seed=seed, **options))
        kind, number = re.findall(r", <(\w+) \w+=(\d+)>", plan)[0] if ", <" in plan else ("", 0)
        numbers.setdefault(kind, set()).add(int(number))
    return numbers


def test_any_fault_is_drawn_within_so_many_bytes_or_calls() -> None:
    numbers = drawn()
    assert numbers.keys() == {"", "StallingStream", "BreakingStream", "ClosingStream"}
    assert numbers["ClosingStream"] == set(range(1, 11))
    for kind in ("StallingStream", "BreakingStream"):
        assert numbers[kind] <= set(range(1000))
        assert max(numbers[kind]) > 900
    numbers = drawn(within_bytes=2, within_calls=2)
    assert numbers == {"": {0}, "StallingStream": {0, 1}, "BreakingStream": {0, 1}, "ClosingStream": {1, 2}}


class Steps(trio.abc.Instrument):
    """Counts the steps of the task that has made it."""

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self.count = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task is self._task


@pytest.mark.parametrize("side", ["receive", "send"])
async def test_there_are_pauses_and_pieces_of_all_sizes_on_both_sides(side: str) -> None:
    plans = (random_stream(seed, ["none"]) for seed in range(1000))
    client, counting, stream = next(plan for plan in plans if "pieces of up to 20 bytes" in repr(plan[2]))
    steps, steps_of_calls, sizes = Steps(), [], set()
    trio.lowlevel.add_instrument(steps)
    for _ in range(300):
        await client.send_all(bytes(20))
        before = steps.count
        if side == "receive":
            sizes.add(len(await stream.receive_some()))
        else:
            await stream.send_all(b"x")
        steps_of_calls.append(steps.count - before)
    trio.lowlevel.remove_instrument(steps)
    assert {count - min(steps_of_calls) for count in steps_of_calls} == {0, 1, 2}
    if side == "send":
        await stream.send_all(bytes(3000))
        sizes |= {len(data) for data in counting.sends[300:-1]}
    assert sizes == set(range(1, 21))


@pytest.mark.parametrize("seed", range(60))
async def test_a_conversation_over_a_stream_that_fails_by_lot(
    autojump_clock: trio.testing.MockClock, seed: int
) -> None:
    client, _, stream = random_stream(seed, ["none", "stall", "break", "close"])
    chat = Timed(stream)
    lines = [b"%d" % number for number in range(40)]
    await client.send_all(b"".join(line + b"\n" for line in lines))
    await client.send_eof()
    with trio.fail_after(100):
        await chat.run()
    assert chat.frames == lines[: len(chat.frames)]
    assert chat.names[-1] == "close"
    answer = await receive_all(client)
    assert b"".join(line + b"\n" for line in lines).startswith(answer)
    if "none" in repr(stream) or repr(stream).count("Stream ") == 1:
        assert chat.frames == lines
        assert answer.endswith(b"39\n")


@pytest.mark.parametrize("faults", [[], ["brake"], ["none", "brake"]])
def test_faults_that_do_not_exist_cannot_be_drawn(faults: list[RandomFault]) -> None:
    with pytest.raises(ValueError, match="faults are some of"):
        RandomlyFaultyStream(trio.testing.memory_stream_pair()[0], seed=1, faults=faults)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"faults": "break"}, TypeError, "faults is a sequence, .*; got 'break'"),
        ({"faults": {"break"}}, TypeError, "faults is a sequence, .*; got {'break'}"),
        ({"faults": iter(["break"])}, TypeError, "faults is a sequence, "),
        ({"seed": None}, TypeError, "seed is a whole number, .*; got None"),
        ({"within_bytes": 0}, ValueError, "within_bytes is at least 1; got 0"),
        ({"within_calls": 0}, ValueError, "within_calls is at least 1; got 0"),
    ],
)
def test_a_plan_that_cannot_be_drawn_or_repeated_is_refused(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        RandomlyFaultyStream(trio.testing.memory_stream_pair()[0], **{"seed": 1, **options})


def test_half_a_byte_is_refused() -> None:
    with pytest.raises(TypeError, match=r"receive_after is a whole number; got 1\.5"):
        StallingStream(trio.testing.memory_stream_pair()[0], receive_after=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", KINDS)
def test_they_go_around_streams_alone(make: Make) -> None:
    with pytest.raises(TypeError, match=r"goes around a trio\.abc\.Stream; got 3"):
        make(3)  # type: ignore[arg-type]
