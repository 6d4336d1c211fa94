"""How conversations end: end of file, errors, cancellation, a peer that breaks off."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support import MemoryStream, RecordingChat, converse, receive_all, receive_exactly, talk

from trio_chat import FrameTooLong


class Boom(Exception):
    pass


class Bang(Exception):
    pass


async def test_at_end_of_file_what_was_held_back_is_handed_over() -> None:
    class CrLf(RecordingChat):
        terminator = b"\r\n"

    chat, _ = await converse(CrLf, [b"line\r\nrest\r"])
    assert chat.calls[-2:] == [("eof", b"rest\r"), ("close", None)]


async def test_at_end_of_file_what_is_queued_still_goes_out() -> None:
    class Answering(RecordingChat):
        async def handle_eof(self) -> None:  # type: ignore[override]
            self.push(b"x" * 100_000)
            await trio.testing.wait_all_tasks_blocked()
            self.push(b"bye")
            self.close_when_done()

    _, output = await converse(Answering, [b"question"])
    assert output == b"x" * 100_000 + b"bye"


async def test_a_handler_may_go_on_sending_after_end_of_file() -> None:
    class HalfOpen(RecordingChat):
        def handle_eof(self) -> None:
            self.calls.append(("eof", None))
            self.nursery.start_soon(self.go_on)

        async def go_on(self) -> None:
            for i in range(3):
                await trio.testing.wait_all_tasks_blocked()
                self.push(b"%d" % i)
            self.close_when_done()

    chat, output = await converse(HalfOpen, [])
    assert output == b"012"
    assert chat.names == ["connect", "eof", "close"]


async def test_a_peer_that_breaks_off_is_no_error() -> None:
    client, server = trio.testing.memory_stream_pair()
    chat = RecordingChat(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await client.send_all(b"one\ntw")
        await trio.testing.wait_all_tasks_blocked()
        server.receive_stream.put_data(b"")  # nothing more comes …
        server.receive_stream.receive_some_hook = raise_broken
        server.receive_stream.put_eof()
    assert chat.frames == [b"one"]
    assert chat.names[-1] == "close"


async def raise_broken() -> None:
    raise trio.BrokenResourceError("reset by peer")


async def test_an_exception_leaves_run_as_itself() -> None:
    class Failing(RecordingChat):
        def found_terminator(self) -> None:
            raise Boom

    client, server = trio.testing.memory_stream_pair()
    chat = Failing(server)
    await client.send_all(b"x\n")
    with pytest.raises(Boom):
        await chat.run()
    assert chat.names == ["connect", "data", "close"]
    assert await client.receive_some() == b""


class Draining(RecordingChat):
    """Has a nursery of its own within a callback, where a task waits for the end in vain."""

    tasks: tuple[str, ...] = ("learn",)
    over: trio.Event

    async def found_terminator(self) -> None:
        self.over = trio.Event()
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            for nursery, task in zip((inner, outer), self.tasks, strict=False):
                nursery.start_soon(getattr(self, task))

    async def learn(self) -> None:
        await self.over.wait()
        await self.drain()

    async def fail(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Bang

    async def insist(self) -> None:
        await self.over.wait()
        self.push(b"more")

    async def end(self) -> None:
        await trio.testing.wait_all_tasks_blocked()
        self.close()
        self.over.set()


@pytest.mark.parametrize("nursery", [True, False])
async def test_the_end_is_no_error_in_a_nursery_of_the_handlers_own(nursery: bool) -> None:
    class Learning(Draining):
        uses_nursery = nursery

    async with talk(Learning) as (chat, client):
        await client.send_all(b"x\n")
        await chat.end()
    assert chat.names == ["connect", "data", "close"]


@pytest.mark.parametrize("nursery", [True, False])
@pytest.mark.parametrize(("others", "error"), [("fail", Bang), ("insist", trio.ClosedResourceError)])
async def test_but_what_else_has_failed_there_is(nursery: bool, others: str, error: type[Exception]) -> None:
    class Failing(Draining):
        uses_nursery = nursery
        tasks = ("learn", others)

    async def fail() -> None:
        async with talk(Failing) as (chat, client):
            await client.send_all(b"x\n")
            await chat.end()

    with pytest.raises(ExceptionGroup) as raised:
        await fail()
    failure: Exception = raised.value
    while isinstance(failure, ExceptionGroup):
        (failure,) = failure.exceptions
    assert isinstance(failure, error)


async def test_a_group_is_handled_as_itself() -> None:
    class Failing(RecordingChat):
        def found_terminator(self) -> None:
            raise Bangs("of the handler's own", [Bang(), Bang()])

        def handle_error(self, exc: Exception) -> None:
            self.calls.append(("error", type(exc)))

    chat, _ = await converse(Failing, [b"x\n"])
    assert ("error", Bangs) in chat.calls


class Bangs(ExceptionGroup[Bang]):
    pass


async def test_exceptions_of_several_tasks_leave_in_a_group() -> None:
    class Failing(RecordingChat):
        def handle_connect(self) -> None:
            self.nursery.start_soon(self.fail)

        async def fail(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise Bang

        def found_terminator(self) -> None:
            raise Boom

    client, server = trio.testing.memory_stream_pair()
    await client.send_all(b"x\n")
    with pytest.raises(ExceptionGroup) as raised:
        await Failing(server).run()
    assert {type(exc) for exc in raised.value.exceptions} == {Boom, Bang}


async def test_the_cause_of_an_exception_is_kept() -> None:
    class Failing(RecordingChat):
        def found_terminator(self) -> None:
            raise Boom from Bang()

    client, server = trio.testing.memory_stream_pair()
    await client.send_all(b"x\n")
    with pytest.raises(Boom) as raised:
        await Failing(server).run()
    assert isinstance(raised.value.__cause__, Bang)


async def test_background_tasks_are_cancelled_when_the_conversation_ends() -> None:
    class Background(RecordingChat):
        cancelled = False

        def handle_connect(self) -> None:
            self.nursery.start_soon(self.work)

        async def work(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                self.cancelled = True

    chat, _ = await converse(Background, [b"x"])
    assert chat.cancelled
    with pytest.raises(RuntimeError, match=r"run\(\)"):
        _ = Background(trio.testing.memory_stream_pair()[0]).nursery


async def test_an_exception_of_a_background_task_ends_the_conversation() -> None:
    class Background(RecordingChat):
        def handle_connect(self) -> None:
            super().handle_connect()
            self.nursery.start_soon(self.work)

        async def work(self) -> None:
            raise Boom

    client, server = trio.testing.memory_stream_pair()
    chat = Background(server)
    with pytest.raises(Boom):
        await chat.run()
    assert chat.names == ["connect", "close"]
    assert await client.receive_some() == b""


class Tolerant(RecordingChat):
    def handle_error(self, exc: Exception) -> None:
        self.calls.append(("error", type(exc)))


@pytest.mark.parametrize("split", [[b"bad\ngood\n"], [b"bad", b"\n", b"good\n"]])
async def test_a_handled_error_does_not_end_the_conversation(split: list[bytes]) -> None:
    class Choosy(Tolerant):
        def collect_incoming_data(self, data: bytes) -> None:
            if data == b"bad":
                raise Boom
            super().collect_incoming_data(data)

        async def found_terminator(self) -> None:
            super().found_terminator()
            if not self.frames[-1]:
                raise Bang

    chat, _ = await converse(Choosy, split)
    assert [call for call in chat.calls if call[0] in ("error", "found")] == [
        ("error", Boom),
        ("found", b""),
        ("error", Bang),
        ("found", b"good"),
    ]


async def test_an_error_handler_may_be_async_and_close() -> None:
    class Closing(RecordingChat):
        def handle_connect(self) -> None:
            raise Boom

        async def handle_error(self, exc: Exception) -> None:
            await trio.lowlevel.checkpoint()
            self.push(repr(exc).encode())
            self.close_when_done()

    chat, output = await converse(Closing, [b"x\n"])
    assert output == b"Boom()"
    assert chat.names == ["close"]


async def test_frame_too_long_raised_by_a_callback_is_the_callbacks_error() -> None:
    class Nested(Tolerant):
        def found_terminator(self) -> None:
            raise FrameTooLong(5)

    chat, _ = await converse(Nested, [b"x\n"])
    assert chat.names == ["connect", "data", "error", "eof", "close"]


async def test_an_error_in_the_last_callback_leaves_run() -> None:
    class Failing(RecordingChat):
        def handle_close(self) -> None:
            raise Boom

    with pytest.raises(Boom):
        await converse(Failing, [])


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
async def test_other_exceptions_are_not_handled(exception: type[BaseException]) -> None:
    class Interrupted(Tolerant):
        def found_terminator(self) -> None:
            raise exception

    client, server = trio.testing.memory_stream_pair()
    chat = Interrupted(server)
    await client.send_all(b"x\n")
    with pytest.raises(exception):
        await chat.run()
    assert chat.names == ["connect", "data", "close"]


async def cancelled_while(block: str) -> tuple[Tolerant, MemoryStream]:
    class Blocking(Tolerant):
        async def handle_connect(self) -> None:  # type: ignore[override]
            await self.block_in("connect")

        async def found_terminator(self) -> None:
            await self.block_in("found")

        async def handle_close(self) -> None:  # type: ignore[override]
            super().handle_close()
            await trio.lowlevel.checkpoint()
            self.calls.append(("never", None))

        async def block_in(self, place: str) -> None:
            if place == block:
                self.push(b"sent before")
                await trio.sleep_forever()

    client, server = trio.testing.memory_stream_pair()
    chat = Blocking(server)
    await client.send_all(b"x\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return chat, client


@pytest.mark.parametrize("block", ["connect", "found", "receive"])
async def test_cancellation_closes_the_stream_and_calls_handle_close(block: str) -> None:
    chat, client = await cancelled_while(block)
    assert chat.names[-1] == "close"
    assert "error" not in chat.names
    assert await receive_all(client) == (b"" if block == "receive" else b"sent before")


async def test_after_the_last_output_the_peer_may_finish_sending(mock_clock: trio.testing.MockClock) -> None:
    class Rejecting(RecordingChat):
        def found_terminator(self) -> None:
            self.push(b"go away")
            self.close_when_done()

    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Rejecting(server).run)
        await client.send_all(b"x\n")
        assert await receive_all(client) == b"go away"
        await client.send_all(b"still sending")  # a stream closed both ways would raise
        for _ in range(3):  # whoever goes on sending is waited for
            mock_clock.jump(1.9)
            await trio.testing.wait_all_tasks_blocked()
            await client.send_all(b"still sending")
            await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(2)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"too late")


async def test_close_when_idle_waits_for_the_message_in_progress() -> None:
    async with talk(RecordingChat) as (chat, client):
        await client.send_all(b"one\ntw")
        await trio.testing.wait_all_tasks_blocked()
        chat.close_when_idle()
        assert chat.closing_when_idle
        await trio.testing.wait_all_tasks_blocked()
        assert not chat.closing
        await client.send_all(b"o\nthree\n")
        assert await receive_all(client) == b""
    assert chat.frames == [b"one", b"two", b"three"]


async def test_close_when_idle_asks_a_handler_of_several_frames_a_message() -> None:
    class TwoLines(RecordingChat):
        def between_messages(self) -> bool:
            return len(self.frames) % 2 == 0

    async with talk(TwoLines) as (chat, client):
        await client.send_all(b"1\n2\n3\n")
        await trio.testing.wait_all_tasks_blocked()
        chat.close_when_idle()
        await trio.testing.wait_all_tasks_blocked()
        assert not chat.closing
        await client.send_all(b"4\n")
        assert await receive_all(client) == b""
    assert chat.frames == [b"1", b"2", b"3", b"4"]


async def test_close_when_idle_closes_at_once_and_even_before_run() -> None:
    async with talk(RecordingChat) as (chat, client):
        await trio.testing.wait_all_tasks_blocked()
        chat.close_when_idle()
        assert await receive_all(client) == b""
    client, server = trio.testing.memory_stream_pair()
    late = RecordingChat(server)
    late.close_when_idle()
    await late.run()
    assert late.names == ["connect", "close"]


async def test_whoever_closes_the_stream_ends_the_conversation() -> None:
    async with talk(RecordingChat) as (chat, client):
        await trio.testing.wait_all_tasks_blocked()
        await chat.stream.aclose()
        with pytest.raises(AssertionError, match="end of file"):
            await receive_exactly(client, 1)
    assert chat.names == ["connect", "close"]


@pytest.mark.parametrize("how", ["error", "cancel", "eof"])
async def test_whoever_pushes_while_a_connection_ends_is_told_so(how: str) -> None:
    """Another connection's task must get the documented exception, at whichever moment it comes."""
    ending = trio.Event()

    class Ending(RecordingChat):
        async def found_terminator(self) -> None:
            ending.set()
            if how == "error":
                raise Boom
            await trio.sleep_forever()

        def handle_eof(self) -> None:
            ending.set()
            self.close()

    client, server = trio.testing.memory_stream_pair()
    chat = Ending(server)
    told = 0

    async def push_from_elsewhere(turns: int) -> None:
        nonlocal told
        await ending.wait()
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        if how == "cancel":
            scope.cancel()
        try:
            chat.push(b"x")
        except trio.ClosedResourceError:
            told += 1

    async with trio.open_nursery() as nursery:
        for turns in [0] * 10 + list(range(10)):  # tasks that are ready run in random order
            nursery.start_soon(push_from_elsewhere, turns)
        await (client.send_eof() if how == "eof" else client.send_all(b"x\n"))
        with trio.CancelScope() as scope:
            if how == "error":
                with pytest.raises(Boom):
                    await chat.run()
            else:
                await chat.run()
    assert told


async def test_whoever_never_stops_sending_is_waited_for_ten_times_as_long(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, server = trio.testing.memory_stream_pair()
    chat = RecordingChat(server)
    chat.push(b"bye")
    chat.close_when_done()

    async def send_for_ever() -> None:
        while True:
            await client.send_all(b"x")
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever()
    assert trio.current_time() == 20


class Ticker(RecordingChat):
    """Pushes once a second, from a background task that knows nothing of the end."""

    write_timeout = 5

    def handle_connect(self) -> None:
        self.nursery.start_soon(self.tick)

    async def tick(self) -> None:
        while True:
            self.push(b"tick ")
            await self.drain()
            await trio.sleep(1)


@pytest.mark.parametrize("end", ["close", "close_when_done", "eof", "close_when_idle"])
async def test_a_background_task_that_learns_of_the_end_by_pushing_is_no_error(
    autojump_clock: trio.testing.MockClock, end: str
) -> None:
    async with talk(Ticker) as (chat, client):
        await trio.sleep(2.5)
        if end == "eof":
            await client.send_eof()
        else:
            getattr(chat, end)()
        assert await receive_all(client) == b"tick tick tick "
        await trio.sleep(10)
    assert chat.names[-1] == "close"


async def test_a_background_task_that_learns_of_a_stall_is_no_error(autojump_clock: trio.testing.MockClock) -> None:
    _, server = trio.testing.lockstep_stream_pair()
    chat = Ticker(server)
    chat.low_water_bytes = 0
    await chat.run()
    assert trio.current_time() == 5
    assert chat.names[-2:] == ["timeout", "close"]


async def test_a_limit_that_is_none_ends_the_connection_as_any_other() -> None:
    for name, value in [("max_frame_bytes", 1e6), ("on_oversize", "ignore"), ("idle_timeout", None)]:
        client, server = trio.testing.memory_stream_pair()
        chat = RecordingChat(server)
        setattr(chat, name, value)
        with pytest.raises((TypeError, ValueError), match=name):
            await chat.run()
        assert chat.names == ["close"]
        assert await client.receive_some() == b""


async def test_a_broken_stream_of_the_handlers_own_is_its_error() -> None:
    class Proxy(RecordingChat):
        async def handle_connect(self) -> None:  # type: ignore[override]
            raise trio.BrokenResourceError("upstream")

    client, server = trio.testing.memory_stream_pair()
    chat = Proxy(server)
    await client.aclose()
    with pytest.raises(trio.BrokenResourceError, match="upstream"):
        await chat.run()


async def test_what_was_queued_before_an_error_still_goes_out() -> None:
    class Failing(RecordingChat):
        def found_terminator(self) -> None:
            line = self._get_data()
            if line == b"fail":
                raise Boom
            self.push(b"<" + line + b">")

    client, server = trio.testing.memory_stream_pair()
    chat = Failing(server)
    await client.send_all(b"one\ntwo\nfail\nthree\n")
    with pytest.raises(Boom):
        await chat.run()
    assert await receive_all(client) == b"<one><two>"


async def test_a_callback_that_pushes_after_it_has_closed_is_in_error() -> None:
    class Careless(RecordingChat):
        def found_terminator(self) -> None:
            self.close_when_done()
            self.push(b"x")

    client, server = trio.testing.memory_stream_pair()
    await client.send_all(b"x\n")
    with pytest.raises(trio.ClosedResourceError, match="after close"):
        await Careless(server).run()


async def test_close_ends_the_wait_for_the_peer(autojump_clock: trio.testing.MockClock) -> None:
    for method, end in [("close", 1), ("close_when_idle", 2)]:
        client, server = trio.testing.memory_stream_pair()
        chat = RecordingChat(server)
        chat.push(b"bye")
        chat.close_when_done()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chat.run)
            assert await receive_all(client) == b"bye"
            await trio.sleep(1)
            getattr(chat, method)()
        assert trio.current_time() == end


async def test_a_conversation_that_could_not_begin_is_not_begun_again() -> None:
    chat = RecordingChat(trio.testing.memory_stream_pair()[0])
    chat.max_frame_bytes = "x"  # type: ignore[assignment]
    with pytest.raises(TypeError):
        await chat.run()
    with pytest.raises(RuntimeError, match="once"):
        await chat.run()
    assert chat.names == ["close"]


@pytest.mark.parametrize("nursery", [True, False])
async def test_an_exception_leaves_run_with_what_it_came_from_and_nothing_else(nursery: bool) -> None:
    """Its report would tell all of it twice, if it were said to have come from the group of a nursery."""

    class Failing(RecordingChat):
        uses_nursery = nursery

        async def found_terminator(self) -> None:
            try:
                raise Bang
            except Bang:
                raise Boom from None

        def handle_connect(self) -> None:
            self.set_terminator(1)

    with pytest.raises(Boom) as failure:
        await converse(Failing, [b"x"])
    assert type(failure.value.__context__) is Bang
    assert failure.value.__context__.__context__ is None
