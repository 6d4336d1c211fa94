"""`Begun`: a callback that waits is awaited as if nobody had taken its first step by hand."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest
import trio
import trio.testing
from sockets import noting_pair, talk_over_sockets
from support import RecordingChat

from trio_chat import SocketStream
from trio_chat._begun import Begun


async def test_who_looks_for_the_place_where_a_task_waits_sees_through() -> None:
    tasks: list[trio.lowlevel.Task] = []
    lot = trio.lowlevel.ParkingLot()

    class Waiting(RecordingChat):
        async def found_terminator(self) -> None:
            tasks.append(trio.lowlevel.current_task())
            await self.wait_twice()

        async def wait_twice(self) -> None:
            await lot.park()
            await lot.park()

    def places() -> list[str]:
        return [frame.f_code.co_name for frame, _ in tasks[0].iter_await_frames()]

    async with talk_over_sockets(Waiting) as (_, client, _):
        await client.send_all(b"line\n")
        for _ in range(2):
            await trio.testing.wait_all_tasks_blocked()
            at = places().index("found_terminator")
            assert places()[at : at + 3] == ["found_terminator", "wait_twice", "park"]
            lot.unpark()
        await trio.testing.wait_all_tasks_blocked()
        assert "found_terminator" not in places()


class SelfWakes(trio.abc.Instrument):
    """Finds tasks that are woken before they wait. Trio takes that amiss as soon as they are cancelled then."""

    def __init__(self) -> None:
        self.tasks: list[trio.lowlevel.Task] = []

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        if inspect.getcoroutinestate(task.coro) == inspect.CORO_RUNNING:
            self.tasks.append(task)


async def test_who_begins_to_wait_for_more_while_another_task_looks_out_for_the_end_is_not_woken() -> None:
    class Asking(RecordingChat):
        async def handle_connect(self) -> None:  # type: ignore[override]
            await self.receive_more()

    sock, client = noting_pair()
    chat = Asking(SocketStream(sock))
    wakes = SelfWakes()
    trio.lowlevel.add_instrument(wakes)
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(chat.wait_eof)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(chat.run)
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(b"line\n")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.frames == [b"line"]
        await client.send_eof()
    trio.lowlevel.remove_instrument(wakes)
    assert wakes.tasks == []


class Draining(RecordingChat):
    async def handle_connect(self) -> None:  # type: ignore[override]
        self.push(bytes(1_000_000))
        await self.drain()


class Detaching(RecordingChat):
    async def handle_connect(self) -> None:  # type: ignore[override]
        self.push(bytes(1_000_000))
        await self.detach()


@pytest.mark.parametrize("factory", [Draining, Detaching])
async def test_who_begins_to_wait_for_the_output_is_not_woken(factory: type[RecordingChat]) -> None:
    wakes = SelfWakes()
    trio.lowlevel.add_instrument(wakes)
    for _ in range(20):  # which task goes first, this one or the writer's, is drawn by lot
        async with talk_over_sockets(factory) as (chat, _, _):
            assert chat.queued_bytes > 0
    trio.lowlevel.remove_instrument(wakes)
    assert wakes.tasks == []


# ---------------------------------------------------------------------- the awaitable itself


@types.coroutine
def give(message: str) -> Generator[str, object, object]:
    return (yield message)


class Driven:
    """A callback that is awaited by way of `Begun`, and driven by hand as Trio would; its first step is taken."""

    def __init__(self, callback: Callable[[list[object]], Coroutine[Any, Any, None]]) -> None:
        self.events: list[object] = []
        self.coroutine = callback(self.events)
        message = self.coroutine.send(None)
        begun = Begun(self.coroutine, message, lambda: self.events.append("resume"), lambda: self.events.append("wait"))
        self.waiter = self._wait_for(begun)
        assert self.waiter.send(None) is message

    @staticmethod
    async def _wait_for(begun: Begun) -> None:
        await begun


async def stubborn(events: list[object]) -> None:
    for message in ("one", "two", "three"):
        try:
            events.append(await give(message))
        except ValueError as exc:
            events.append(str(exc))
        finally:
            events.append("left " + message)


def test_what_is_sent_and_thrown_is_passed_on() -> None:
    driven = Driven(stubborn)
    assert driven.events == []
    assert driven.waiter.send(1) == "two"
    assert driven.events == ["resume", 1, "left one", "wait"]
    assert driven.waiter.throw(ValueError("thrown")) == "three"
    assert driven.events[4:] == ["resume", "thrown", "left two", "wait"]
    with pytest.raises(StopIteration):
        driven.waiter.send(3)
    assert driven.events[8:] == ["resume", 3, "left three"]  # it does not wait any more


def test_what_is_not_caught_comes_back() -> None:
    driven = Driven(stubborn)
    with pytest.raises(KeyError):
        driven.waiter.throw(KeyError())
    assert driven.events == ["resume", "left one"]


def test_closing_closes_the_callback() -> None:
    driven = Driven(stubborn)
    driven.waiter.close()
    assert driven.events == ["left one"]
