"""The generic promises: each broken one is found in a handler that breaks it, and right handlers keep them all."""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_chat import AsyncChat, TerminatorBuffer
from trio_chat.http import HTTPError, HTTPRequestHandler, Request, Response
from trio_chat.testing import BrokenPromise, check_handler


def dateless(output: bytes) -> bytes:
    return re.sub(rb"Date: [^\r]+", b"", output)


INPUT = b"one\r\ntwo\r\n\r\nthree\r"


class Right(AsyncChat):
    terminator = b"\r\n"

    async def found_terminator(self) -> None:
        await trio.lowlevel.checkpoint()
        self.push(self._get_data() + b"|")


class WaitsForTheClient(Right):
    """Waits in a callback, where it is cancelled, stopped, or left alone."""

    async def found_terminator(self) -> None:
        self.push(self._get_data() + b"|")
        await self.wait_eof()


class WorksInThreads(Right):
    """They cannot be cancelled, and what they have done is answered."""

    async def found_terminator(self) -> None:
        await trio.to_thread.run_sync(time.sleep, 0.001)
        self.push(self._get_data() + b"|")


class SwallowsCancelledOfAThread(Right):
    async def found_terminator(self) -> None:
        try:
            await trio.to_thread.run_sync(time.sleep, 0.1, abandon_on_cancel=True)
        except BaseException:
            logging.getLogger("test").debug("whatever")


class LosesHeldBackBytes(AsyncChat):
    """Has a buffer of its own for each chunk."""

    terminator = None

    def collect_incoming_data(self, data: bytes) -> None:
        buffer = TerminatorBuffer(b"\r\n")
        buffer.feed(data)
        for pieces, ended in buffer:
            for piece in pieces:
                self.push(piece + b"|" * ended)


class LeaksATask(Right):
    leaks: trio.CancelScope

    def handle_connect(self) -> None:
        trio.lowlevel.spawn_system_task(self.go_on, name="the leak")

    async def go_on(self) -> None:
        with self.leaks:
            await trio.sleep_forever()


class SwallowsCancelled(Right):
    async def found_terminator(self) -> None:
        try:
            await trio.sleep(1)
        except BaseException:
            logging.getLogger("test").debug("whatever")
        self.push(self._get_data())


class SwallowsItForEver(Right):
    async def found_terminator(self) -> None:
        while not self.closing:
            try:
                await trio.sleep(1)
            except BaseException:
                continue


class GoesOnAfterTheEnd(Right):
    async def handle_eof(self) -> None:
        await trio.sleep_forever()


class PushesAtTheEnd(Right):
    def handle_close(self) -> None:
        self.push(b"bye")


class MindsABrokenConnection(Right):
    async def found_terminator(self) -> None:
        self.push(self._get_data())
        try:
            await self.wait_eof()
            await self.drain()
        except trio.BrokenResourceError:
            raise RuntimeError("where is everybody?") from None


class Fails(Right):
    async def found_terminator(self) -> None:
        raise OverflowError(self._get_data())


class FailsAtTheEnd(Right):
    def handle_eof(self) -> None:
        if self.incoming:
            raise EOFError
        super().handle_eof()


@pytest.mark.parametrize("handler", [Right, WaitsForTheClient])
async def test_right_handlers(handler: Any, autojump_clock: MockClock) -> None:
    await check_handler(handler, INPUT)


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (SwallowsCancelled, "keeps the cancellation for itself, in found_terminator()"),
        (SwallowsItForEver, "goes on and on when it is cancelled: trio.Cancelled has to leave every callback"),
        (GoesOnAfterTheEnd, "goes on for more than 5 seconds when the client ends its side; after b''"),
        (
            PushesAtTheEnd,
            "fails with Ended('push() after close() or close_when_done()') when it is cancelled; after b''",
        ),
        (MindsABrokenConnection, "fails with RuntimeError('where is everybody?') when the connection breaks"),
        (Fails, "fails with OverflowError(b'one') when it is given this input; after b'one\\r\\n'"),
        (FailsAtTheEnd, "fails with EOFError() when the client ends its side; after b'o'"),
    ],
)
async def test_broken_promises(handler: Any, words: str, autojump_clock: MockClock) -> None:
    with pytest.raises(BrokenPromise) as caught:
        await check_handler(handler, INPUT)
    assert words in str(caught.value)


async def test_a_handler_that_works_in_threads(mock_clock: MockClock) -> None:
    await check_handler(WorksInThreads, b"one\r\ntwo\r\n", most=10)
    with pytest.raises(BrokenPromise, match="keeps the cancellation for itself, in found_terminator"):
        await check_handler(SwallowsCancelledOfAThread, b"\r\n")


async def test_lost_bytes_are_found() -> None:
    with pytest.raises(BrokenPromise, match="does not do the same if its input is split as"):
        await check_handler(LosesHeldBackBytes, INPUT)


async def test_a_leak_is_found() -> None:
    class Leaking(LeaksATask):
        leaks = trio.CancelScope()

    try:
        with pytest.raises(BrokenPromise, match="leaves tasks behind: the leak; after b''"):
            await check_handler(Leaking, INPUT)
    finally:
        Leaking.leaks.cancel()


async def test_the_http_handler(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(request: Request) -> Response:
        return Response(200, await request.read())

    monkeypatch.setattr("trio_chat.http._response_head.http_date", lambda timestamp: "today")
    data = (
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\nNONSENSE\r\n\r\n"
    )
    await check_handler(lambda stream: HTTPRequestHandler(stream, app), data, most=100)


class OutOfStock(Exception):
    pass


def shop(*, sells: bool) -> Any:
    async def app(request: Request) -> Response:
        await request.read()
        if not sells:
            raise OutOfStock
        await request.disconnected()
        raise HTTPError(410)

    return lambda stream: HTTPRequestHandler(stream, app)


async def test_what_is_only_logged_is_found(autojump_clock: MockClock) -> None:
    async def careless(request: Request) -> Response:
        try:
            return Response(204, await request.read())
        except HTTPError:
            raise LookupError("half a body") from None

    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    with pytest.raises(BrokenPromise) as caught:
        await check_handler(lambda stream: HTTPRequestHandler(stream, careless), data, comparable=dateless)
    assert "logs as an error LookupError('half a body') when the client ends its side; after b'POST /" in str(
        caught.value
    )
    assert isinstance(caught.value.__cause__, LookupError)


async def test_what_others_log_is_not_its_fault(autojump_clock: MockClock) -> None:
    async def log_again_and_again() -> None:
        while True:
            logging.getLogger("trio_chat.http").error("not here", exc_info=LookupError())
            await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(log_again_and_again)
        await check_handler(WaitsForTheClient, b"one\r\n", most=5)
        nursery.cancel_scope.cancel()


async def test_expected_errors(autojump_clock: MockClock) -> None:
    class Starts(Right):
        def handle_connect(self) -> None:
            self.nursery.start_soon(self.fail)

        async def fail(self) -> None:
            raise OutOfStock

    data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for factory in (shop(sells=False), Starts):
        with pytest.raises(BrokenPromise, match=r"OutOfStock\(\).* when it is given this input"):
            await check_handler(factory, data, most=30, comparable=dateless)
        await check_handler(factory, data, most=30, comparable=dateless, expected_errors=OutOfStock)
        await check_handler(factory, data, most=30, comparable=dateless, expected_errors=(KeyError, OutOfStock))


async def test_an_answer_that_is_an_error_is_none(autojump_clock: MockClock) -> None:
    await check_handler(shop(sells=True), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", comparable=dateless)


class ShieldsSomething(Right):
    async def found_terminator(self) -> None:
        data = self._get_data()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.01)
        self.push(data)


async def test_a_shield_is_nobodys_fault(autojump_clock: MockClock) -> None:
    await check_handler(ShieldsSomething, b"one\r\ntwo\r\n")


def with_nursery(handler: type[AsyncChat], uses_nursery: bool) -> Any:
    return type(handler.__name__, (handler,), {"uses_nursery": uses_nursery})


class ShieldsItsLastStep(Right):
    async def found_terminator(self) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.01)
        self.close()


class EndsWithAThread(Right):
    async def found_terminator(self) -> None:
        await trio.to_thread.run_sync(time.sleep, 0.001)
        self.close()


@pytest.mark.parametrize("uses_nursery", [True, False])
async def test_who_ends_behind_a_shield_keeps_no_cancellation(*, uses_nursery: bool, autojump_clock: MockClock) -> None:
    await check_handler(with_nursery(ShieldsItsLastStep, uses_nursery), b"one\r\ntwo\r\n")


@pytest.mark.parametrize("uses_nursery", [True, False])
async def test_who_ends_behind_a_thread_keeps_no_cancellation(*, uses_nursery: bool, mock_clock: MockClock) -> None:
    await check_handler(with_nursery(EndsWithAThread, uses_nursery), b"one\r\ntwo\r\n", most=10)


class CleansUpStepByStep(Right):
    async def handle_close(self) -> None:
        with trio.CancelScope(shield=True):
            for _ in range(900):
                await trio.lowlevel.checkpoint()


class CleansUpForALongTime(Right):
    async def handle_close(self) -> None:
        with trio.move_on_after(4, shield=True):
            await trio.sleep_forever()


@pytest.mark.parametrize("handler", [CleansUpStepByStep, CleansUpForALongTime])
async def test_who_takes_its_time_to_clean_up_is_right(handler: Any, mock_clock: MockClock) -> None:
    await check_handler(handler, b"one\r\n", most=3)


async def test_on_a_clock_that_stands_still(mock_clock: MockClock) -> None:
    class Sleeping(Right):
        async def found_terminator(self) -> None:
            await trio.sleep(0.01)
            self.push(self._get_data())

    await check_handler(Right, INPUT, most=20)
    await check_handler(Sleeping, b"one\r\ntwo\r\n", most=20)


class SwallowsAtACheckpoint(Right):
    """It never waits there."""

    async def found_terminator(self) -> None:
        self.push(self._get_data())
        with suppress(BaseException):
            await trio.lowlevel.checkpoint()


class SwallowsAtTheEnd(Right):
    async def handle_close(self) -> None:
        with suppress(BaseException):
            await trio.lowlevel.checkpoint()


class FailsIfCancelledAtACheckpoint(Right):
    async def found_terminator(self) -> None:
        done = False
        try:
            await trio.lowlevel.checkpoint()
            done = True
        finally:
            self.push(b"!" * (1 // done))


class KeepsItInRun(Right):
    async def run(self) -> None:
        with suppress(trio.Cancelled):
            await super().run()


class ReadsByItself(Right):
    """Has its own idea of a conversation."""

    async def run(self) -> None:
        async for data in self.stream:
            await self.stream.send_all(data)


class ClosesIfCancelled(ReadsByItself):
    async def run(self) -> None:
        try:
            await super().run()
        except BaseException as exc:
            await trio.aclose_forcefully(self.stream)
            if not isinstance(exc, trio.BrokenResourceError):
                raise


class ClosesUnlessCancelledThen(ClosesIfCancelled):
    async def run(self) -> None:
        await super().run()
        await trio.lowlevel.checkpoint()
        await self.stream.aclose()


class NeverStops(Right):
    """Takes no notice of the end of the input once it is to stop."""

    stopping = False

    def close_when_idle(self) -> None:
        self.stopping = True

    def handle_eof(self) -> None:
        if not self.stopping:
            super().handle_eof()


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (SwallowsAtACheckpoint, "keeps the cancellation for itself, in found_terminator()"),
        (SwallowsAtTheEnd, "keeps the cancellation for itself, in handle_close()"),
        (FailsIfCancelledAtACheckpoint, "fails with ZeroDivisionError"),
        (KeepsItInRun, "keeps the cancellation for itself: trio.Cancelled has to leave run(); after b''"),
        (ReadsByItself, "leaves its stream open when it is cancelled; after b''"),
        (ClosesIfCancelled, "leaves its stream open when the client ends its side; after b''"),
        (ClosesUnlessCancelledThen, "leaves its stream open when it is cancelled; after b'one"),
        (NeverStops, "goes on for more than 5 seconds when it is to stop, and the client ends its side; after b''"),
    ],
)
async def test_every_promise_is_looked_at(handler: Any, words: str, autojump_clock: MockClock) -> None:
    with pytest.raises(BrokenPromise) as caught:
        await check_handler(handler, INPUT)
    assert words in str(caught.value)
