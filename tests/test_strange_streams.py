"""What becomes of a conversation whose stream fails as no stream should, in the writer's task or elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing
from support import CountingStream, Echo, MemoryListener, MemoryStream, ask, receive_all

from trio_chat import serve_listeners


class AsyncEcho(Echo):
    async def found_terminator(self) -> None:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        super().found_terminator()


class Strange(CountingStream):
    """Fails in a way that no stream should, when it sends."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("strange")


class StrangeWhenCancelled(CountingStream):
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("strange")


class StrangeInside(CountingStream):
    """Its tasks fail, one of them when it is cancelled: their group holds the cancellation, too."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(StrangeWhenCancelled(self.inner).send_all, data)


class StrangeAtOnce(Strange):
    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        raise ValueError("strange")


class Boom(Exception):
    pass


class Talkative(Echo):
    """Fails on the line "fail", waits on others; says everything twice."""

    async def found_terminator(self) -> None:  # type: ignore[override]
        super().found_terminator()
        await trio.lowlevel.checkpoint()
        super().found_terminator()
        if ("found", b"fail") in self.calls:
            raise Boom


def pair_of(kind: type[CountingStream]) -> tuple[MemoryStream, CountingStream]:
    client, server = trio.testing.memory_stream_pair()
    return client, kind(server)


@pytest.mark.parametrize("factory", [Echo, AsyncEcho, Talkative])
async def test_a_strange_failure_of_a_stream_leaves_run_as_itself(factory: type[Echo]) -> None:
    client, stream = pair_of(Strange)
    chat = factory(stream)
    await client.send_all(b"line\n")
    with pytest.raises(ValueError, match="strange"):
        await chat.run()
    assert chat.names[-1] == "close"
    assert await receive_all(client) == b""


async def test_it_leaves_run_after_close_when_done_as_well() -> None:
    class Quitting(Echo):
        def found_terminator(self) -> None:
            super().found_terminator()
            self.close_when_done()

    client, stream = pair_of(Strange)
    await client.send_all(b"line\n")
    with pytest.raises(ValueError, match="strange"):
        await Quitting(stream).run()


async def test_it_leaves_run_together_with_what_a_callback_raised() -> None:
    client, stream = pair_of(Strange)
    await client.send_all(b"fail\n")
    with pytest.raises(ExceptionGroup) as raised:
        await Talkative(stream).run()
    assert [type(exc) for exc in raised.value.exceptions] == [Boom, ValueError]


async def test_a_background_task_that_waits_for_the_output_is_told() -> None:
    told: list[Exception] = []

    class Draining(Echo):
        low_water_bytes = 0

        def found_terminator(self) -> None:
            super().found_terminator()
            self.nursery.start_soon(self.watch)

        async def watch(self) -> None:
            try:
                await self.drain()
            except trio.BrokenResourceError as exc:
                told.append(exc)

    client, stream = pair_of(Strange)
    await client.send_all(b"line\n")
    with pytest.raises(ValueError, match="strange"):
        await Draining(stream).run()
    assert len(told) == 1


async def test_a_strange_failure_to_send_at_once_does_not_disturb_what_a_callback_waits_for() -> None:
    """It is found when the callback is about to wait, which Trio knows already: that wait has to come to its end."""
    go_on, left = trio.Event(), trio.Event()

    class Waiting(Echo):
        async def found_terminator(self) -> None:  # type: ignore[override]
            super().found_terminator()
            await go_on.wait()
            left.set()

    async def run() -> None:
        with pytest.raises(ValueError, match="strange"):
            await Waiting(stream).run()
        assert left.is_set()
        await trio.sleep_forever()  # raises if something else wakes this task

    client, stream = pair_of(StrangeAtOnce)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await client.send_all(b"line\n")
        await trio.testing.wait_all_tasks_blocked()
        assert not left.is_set()
        go_on.set()
        assert await receive_all(client) == b""
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_a_strange_failure_to_send_at_once_is_told_to_who_drains() -> None:
    class Draining(Echo):
        low_water_bytes = 0

        async def found_terminator(self) -> None:  # type: ignore[override]
            super().found_terminator()
            with pytest.raises(trio.BrokenResourceError):
                await self.drain()
            self.calls.append(("told", None))

    client, stream = pair_of(StrangeAtOnce)
    chat = Draining(stream)
    await client.send_all(b"line\n")
    with pytest.raises(ValueError, match="strange"):
        await chat.run()
    assert "told" in chat.names


# ---------------------------------------------------------------------- in a server


@pytest.mark.parametrize("kind", [Strange, StrangeAtOnce])
async def test_a_stream_that_fails_strangely_ends_its_connection_alone(
    kind: type[CountingStream], nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    listener = MemoryListener()
    streams: list[Callable[[MemoryStream], trio.abc.Stream]] = [kind, CountingStream]
    await nursery.start(serve_listeners, lambda stream: Echo(streams.pop()(stream)), [listener])
    good = await listener.connect()
    await ask(good, b"before")
    bad = await listener.connect()
    await bad.send_all(b"line\n")
    assert await receive_all(bad) == b""
    await ask(good, b"after")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("trio_chat.server", logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", [StrangeWhenCancelled, StrangeInside])
async def test_a_stream_that_fails_strangely_when_the_server_is_cancelled_is_logged_and_no_more(
    kind: type[CountingStream], caplog: pytest.LogCaptureFixture
) -> None:
    listener = MemoryListener()
    async with trio.open_nursery() as serving:
        await serving.start(serve_listeners, lambda stream: Echo(kind(stream)), [listener])
        client = await listener.connect()
        await client.send_all(b"line\n")
        await trio.testing.wait_all_tasks_blocked()
        serving.cancel_scope.cancel()
    assert await receive_all(client) == b""
    assert "the handler of the connection from None failed" in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("kind", [StrangeWhenCancelled, StrangeInside])
async def test_a_stream_that_fails_strangely_at_the_deadline_of_a_stop_is_logged_and_no_more(
    kind: type[CountingStream], autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    listener, stop = MemoryListener(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_listeners, lambda stream: Echo(kind(stream)), [listener], stop=stop))
        client = await listener.connect()
        await client.send_all(b"line\n")
        await trio.testing.wait_all_tasks_blocked()
        stop.set()
    assert trio.current_time() == 10
    assert await receive_all(client) == b""
    assert "the handler of the connection from None failed" in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("kind", [StrangeWhenCancelled, StrangeInside])
async def test_a_stream_that_fails_strangely_when_the_conversation_is_closed_leaves_run(
    kind: type[CountingStream],
) -> None:
    client, stream = pair_of(kind)
    chat = Echo(stream)
    await client.send_all(b"line\n")
    with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chat.run)
            await trio.testing.wait_all_tasks_blocked()
            chat.close()
    assert raised.group_contains(ValueError, match="strange")
