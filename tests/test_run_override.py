"""Handlers that do something before `run()`, around it, or instead of it, in a server."""

from __future__ import annotations

from functools import partial

import trio
import trio.testing
from bounded import LONG
from support import MemoryListener, RecordingChat, receive_all

from trio_chat import serve_listeners
from trio_chat.testing import StallingStream


class Refusing(RecordingChat):
    async def run(self) -> None:
        self.push(b"go away\n")


async def test_who_pushes_and_never_runs_leaves_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    listener, stop = MemoryListener(), trio.Event()
    with trio.fail_after(LONG):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_listeners, Refusing, [listener], stop=stop))
            await trio.testing.wait_all_tasks_blocked()
            before = trio.lowlevel.current_statistics().tasks_living
            for _ in range(3):
                await receive_all(await listener.connect())  # what is pushed then may get lost
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living == before
            stop.set()
    assert trio.current_time() == 0  # there was nobody to wait for


async def test_who_shields_itself_ends_as_it_likes_after_the_deadline_of_a_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Unhurried(RecordingChat):
        async def run(self) -> None:
            with trio.move_on_after(LONG, shield=True):
                await super().run()

        def found_terminator(self) -> None:
            super().found_terminator()
            self.nursery.start_soon(self.count)

        async def count(self) -> None:
            for i in range(4):
                await trio.sleep(2)
                self.push(b"%d" % i)
            self.close_when_done()

        def between_messages(self) -> bool:
            return False

    listener, stop = MemoryListener(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_listeners, Unhurried, [listener], stop=stop, shutdown_grace=1))
        client = await listener.connect()
        await client.send_all(b"line\n")
        await trio.testing.wait_all_tasks_blocked()
        stop.set()
        assert await receive_all(client) == b"0123"
        assert trio.current_time() == 8
        await client.aclose()


async def test_what_is_pushed_before_run_has_to_be_read_in_time(autojump_clock: trio.testing.MockClock) -> None:
    chats: list[RecordingChat] = []

    class Greeting(RecordingChat):
        write_timeout = 5

        def __init__(self, stream: trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]) -> None:
            super().__init__(StallingStream(stream, send_after=0))
            chats.append(self)

        async def run(self) -> None:
            self.push(b"hello\n")
            await trio.sleep(1)
            await super().run()

    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_listeners, Greeting, [listener])
        client = await listener.connect()
        with trio.fail_after(LONG):
            assert await receive_all(client) == b""
        assert trio.current_time() == 1 + 5
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    (chat,) = chats
    assert chat.calls == [("connect", None), ("timeout", "write"), ("close", None)]
