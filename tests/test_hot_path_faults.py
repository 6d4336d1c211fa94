"""What a review of the way of a chunk through the core has found: each was a fault once."""

from __future__ import annotations

import gc
import socket
import tracemalloc
from collections.abc import Awaitable

import pytest
import trio
import trio.testing
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from trio_chat import AsyncChat, SocketStream, TimeoutKind


class Steps(trio.abc.Instrument):
    """Counts the steps of tasks with such a name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += self.name in task.name


@pytest.mark.parametrize("asks_for_more", [False, True])
async def test_an_idle_connection_keeps_nothing_of_what_a_waiting_callback_was_given(asks_for_more: bool) -> None:
    class Waiting(AsyncChat):
        terminator = b"\n"

        async def found_terminator(self) -> None:
            self.incoming.clear()
            if asks_for_more and not self.asked:
                self.asked = True
                await self.receive_more()
            await trio.sleep(0)

        asked = False

    count = 20
    async with trio.open_nursery() as nursery:
        peers = []
        for _ in range(count):
            peer, stream = memory_stream_pair()
            peers.append(peer)
            nursery.start_soon(Waiting(stream).run)
        await wait_all_tasks_blocked()
        gc.collect()
        tracemalloc.start()
        try:
            for peer in peers:
                await peer.send_all(b"x" * 60_000 + b"\n" + b"y" * 60_000 + b"\n")
            await wait_all_tasks_blocked()
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] / count < 10_000
        finally:
            tracemalloc.stop()
        nursery.cancel_scope.cancel()


async def test_a_piece_of_a_producer_above_the_high_water_mark_holds_input_back(autojump_clock: MockClock) -> None:
    handled: list[bytes] = []

    class Producing(AsyncChat):
        terminator = b"\n"
        high_water_bytes = 100
        low_water_bytes = 10
        ac_out_buffer_size = 50

        def found_terminator(self) -> None:
            handled.append(self._get_data())
            if handled == [b"go"]:
                self.push_with_producer([b"x" * 100_000])

    peer, stream = lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Producing(stream).run)
        await peer.send_all(b"go\n")
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            for number in range(5):
                await peer.send_all(b"%d\n" % number)
        assert handled == [b"go"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("lines", range(4, 11))
async def test_what_has_come_wins_against_a_timeout_in_the_same_turn(lines: int, autojump_clock: MockClock) -> None:
    """Over a socket that is busy enough to be tried first."""
    seen: list[str] = []

    class Slow(AsyncChat):
        terminator = b"\n"
        message_timeout = 1.0

        async def collect_incoming_data(self, data: bytes) -> None:
            if data == b"slow":
                await trio.sleep(2)

        def found_terminator(self) -> None:
            seen.append("frame")

        def handle_timeout(self, kind: TimeoutKind) -> None:
            seen.append(kind)
            self.close()

    for _ in range(10):  # the scheduler's order is random
        seen.clear()
        ours, theirs = socket.socketpair()
        with theirs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Slow(SocketStream(ours)).run)
                for _ in range(lines):
                    theirs.send(b"x\n")
                    await trio.sleep(0.01)
                for part in (b"a", b"slow", b"rest\n"):
                    theirs.send(part)
                    await trio.sleep(0.3)
                await trio.sleep(1.6)
                assert seen == ["frame"] * (lines + 1)
                nursery.cancel_scope.cancel()


async def test_what_was_pushed_before_asking_for_more_is_sent_even_if_more_has_come_and_closes() -> None:
    ours, theirs = socket.socketpair()

    class Closing(AsyncChat):
        terminator = b"\n"

        async def collect_incoming_data(self, data: bytes) -> None:
            self.incoming.append(data)
            if data == b"first":
                theirs.send(b"quit\n")  # so it has come before the callback asks for it

        def found_terminator(self) -> Awaitable[None] | None:
            if self._get_data() == b"first":
                return self.ask()
            self.close()
            return None

        async def ask(self) -> None:
            self.push(b"go on\n")
            await self.receive_more()

    with theirs:
        theirs.send(b"first\n")
        await Closing(SocketStream(ours)).run()
        assert theirs.recv(100) == b"go on\n"


async def test_a_producer_that_has_ended_leaves_no_work_behind() -> None:
    class Producing(AsyncChat):
        terminator = b"\n"

        def found_terminator(self) -> None:
            if self._get_data() == b"produce":
                self.push_with_producer([b"x"])

    peer, stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Producing(stream).run)
        await peer.send_all(b"produce\n")
        await wait_all_tasks_blocked()
        steps = Steps("_run_task")
        trio.lowlevel.add_instrument(steps)
        for _ in range(20):
            await peer.send_all(b"nothing to answer\n")
            await wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(steps)
        assert steps.count == 0
        nursery.cancel_scope.cancel()


async def test_callbacks_that_wait_give_others_no_more_turns_than_they_do_by_waiting() -> None:
    class Waiting(AsyncChat):
        terminator = b"\n"

        async def found_terminator(self) -> None:
            await trio.sleep(0)

    frames = 20_000
    peer, stream = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Waiting(stream).run, name="conversation")
        steps = Steps("conversation")
        trio.lowlevel.add_instrument(steps)
        await peer.send_all(b"\n" * frames)
        await wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(steps)
        assert frames <= steps.count < 1.1 * frames
        nursery.cancel_scope.cancel()
