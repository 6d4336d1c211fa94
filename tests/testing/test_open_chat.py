"""The scripted peer: what it hears, what it does not, and what of a handler it does not let pass."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_chat import AsyncChat
from trio_chat.testing import Mismatch, Peer, open_chat

Script = Callable[[Peer], Awaitable[None]]


class Echo(AsyncChat):
    """Answers each line with the same."""

    terminator = b"\n"

    def found_terminator(self) -> Any:
        line = self._get_data()
        match line:
            case b"quit":
                self.close_when_done()
            case b"fail":
                raise LookupError("as you wish")
            case b"log":
                try:
                    raise LookupError("as you wish")
                except LookupError:
                    logging.getLogger("trio_chat.something").exception("it failed")
            case b"late":
                return self.late()
            case b"thread":
                return self.by_thread()
            case _:
                self.push(line + b"\n")
        return None

    async def late(self) -> None:
        await trio.sleep(3)
        self.push(b"late\n")

    async def by_thread(self) -> None:
        self.push(await trio.to_thread.run_sync(lambda: b"thread\n"))


async def converse(script: Script, factory: Any = Echo, **options: Any) -> Peer:
    async with open_chat(factory, **options) as peer:
        await script(peer)
    return peer


async def mismatch(script: Script, factory: Any = Echo, **options: Any) -> Mismatch:
    """What it says if the script does not pass."""
    with pytest.raises(Mismatch) as caught:
        await converse(script, factory, **options)
    return caught.value


# ---------------------------------------------------------------------- what goes well


async def test_a_conversation() -> None:
    async with open_chat(Echo) as peer:
        await peer.send(b"one\ntwo\nth")
        await peer.expect(b"one\ntw")
        await peer.expect(b"o\n")
        await peer.expect_nothing()
        await peer.send(b"ree\nfour\n")
        assert await peer.expect_until(b"\n") == b"three\n"
        assert await peer.expect_until(b"ur") == b"four"
        await peer.expect(b"\n")
        await peer.send(b"quit\n")
        await peer.expect_eof()
    assert isinstance(peer.chat, Echo)
    assert str(peer.dialogue).splitlines() == [
        "newline: LF",
        "",
        "C: one",
        "C: two",
        "C: <raw> th",
        "S: one",
        "S: two",
        "C: ree",
        "C: four",
        "S: three",
        "S: four",
        "C: quit",
        "S: <eof>",
    ]


async def test_the_peer_ends_its_side() -> None:
    class Polite(Echo):
        def handle_eof(self) -> None:
            self.push(b"bye\n")
            super().handle_eof()

    async def script(peer: Peer) -> None:
        await peer.send_eof()
        await peer.expect(b"bye\n")
        await peer.expect_eof()

    peer = await converse(script, Polite)
    assert str(peer.dialogue) == "newline: LF\n\nC: <eof>\nS: bye\nS: <eof>"


async def test_the_peer_breaks_the_connection() -> None:
    class Waiting(Echo):
        told: str = ""

        async def found_terminator(self) -> None:
            self.push(b"x")
            try:
                while True:
                    await self.drain()
                    self.push(b"x" * 100_000)
                    await trio.lowlevel.checkpoint()
            except trio.BrokenResourceError as exc:
                self.told = str(exc)
                raise

    async def script(peer: Peer) -> None:
        await peer.send(b"go\n")
        await peer.expect(b"x")
        await peer.break_connection()

    peer = await converse(script, Waiting, streams=trio.testing.lockstep_stream_pair)
    assert isinstance(peer.chat, Waiting)
    assert "peer is gone" in peer.chat.told


@pytest.mark.parametrize(("first", "second"), [(b"one\n", b"two\n"), (b"one\ntwo\n", b"three\n")])
async def test_what_is_unread_when_the_connection_breaks_is_lost_however_it_came(first: bytes, second: bytes) -> None:
    async with open_chat(Echo) as peer:
        await peer.send(first)
        await peer.expect(b"one\n")
        await peer.send(second)
        await trio.testing.wait_all_tasks_blocked()
        await peer.break_connection()


async def test_an_expected_error() -> None:
    for line in (b"fail\n", b"log\n"):
        async with open_chat(Echo) as peer:
            await peer.send(line)
            error = await peer.expect_error(LookupError, match="as .* wish")
            assert str(error) == "as you wish"


async def test_one_expected_error_after_the_other() -> None:
    async with open_chat(Echo) as peer:
        for _ in range(2):
            await peer.send(b"log\n")
            await peer.expect_error(LookupError)
        await peer.send(b"log\nfail\n")
        await peer.expect_error(LookupError)
        await peer.expect_error(LookupError)


async def test_an_answer_may_take_its_time(autojump_clock: MockClock) -> None:
    async with open_chat(Echo) as peer:
        await peer.send(b"late\n")
        await peer.expect_nothing()
        assert trio.current_time() == 0
        await peer.expect(b"late\n")
        assert trio.current_time() == 3


async def test_a_clock_that_stands_still_is_moved(mock_clock: MockClock) -> None:
    async with open_chat(Echo) as peer:
        await peer.send(b"late\n")
        await peer.pause(2.5)
        await peer.expect_nothing()
        await peer.pause(0.5)
        await peer.expect(b"late\n")
    assert trio.current_time() == 3
    assert "\n".join(peer.dialogue.lines()) == "C: late\nC: <pause 2.5>\nC: <pause 0.5>\nS: late\nC: <eof>\nS: <eof>"


async def test_threads_are_waited_for_on_a_clock_that_stands_still(mock_clock: MockClock) -> None:
    async with open_chat(Echo) as peer:
        await peer.send(b"thread\n")
        await peer.expect(b"thread\n")


# ---------------------------------------------------------------------- what does not


async def test_another_answer_shows_the_difference_and_the_dialogue() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"one\ntwo\n")
        await peer.expect(b"one\ntoo\n")

    told = await mismatch(script)
    assert str(told).splitlines() == [
        r"what has come is b'one\ntwo\n'",
        r"expected  b'one\ntoo\n'",
        r"received  b'one\ntwo\n'",
        r"                  ^ byte 5",
        "  the dialogue:",
        "    C: one",
        "    C: two",
        "    S: one",
        "    S: two",
    ]


async def test_a_long_difference_is_cut(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"x" * 300 + b"\n")
        await peer.expect(b"x" * 200 + b"y" * 100 + b"\n")

    _, expected, received, pointer, *_ = str(await mismatch(script)).splitlines()
    assert expected == f"expected  …b'{'x' * 40}{'y' * 60}'…"
    assert pointer.index("^") == expected.index("y")
    assert received.startswith("received  …b'xxx")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (lambda peer: peer.expect(b"anything"), "nothing has come within 5 seconds"),
        (lambda peer: peer.expect_until(b"\n"), r"expected  b'\n' somewhere in it"),
        (lambda peer: peer.expect_eof(), "expected the end of the connection; nothing has come"),
        (lambda peer: peer.expect_error(ValueError, match="x"), "expected ValueError with 'x'"),
    ],
)
async def test_nothing_comes(autojump_clock: MockClock, script: Script, words: str) -> None:
    assert words in str(await mismatch(script))
    assert trio.current_time() == 5


async def test_nothing_comes_while_a_clock_stands_still(mock_clock: MockClock) -> None:
    told = await mismatch(lambda peer: peer.expect(b"anything"))
    assert "nothing has come" in str(told)


@pytest.mark.parametrize(
    ("line", "script", "words"),
    [
        (b"one\n", lambda peer: peer.expect_nothing(), r"expected nothing; what has come is b'one\n'"),
        (b"quit\n", lambda peer: peer.expect_nothing(), "expected nothing; what has come is <eof>"),
        (b"one\n", lambda peer: peer.expect_eof(), r"expected the end of the connection; what has come is b'one\n'"),
        (b"one\nquit\n", lambda peer: peer.expect(b"one\ntwo\n"), r"what has come is b'one\n', and <eof>"),
        (b"quit\n", lambda peer: peer.expect_until(b"\n"), "what has come is <eof>"),
    ],
)
async def test_something_else_comes(line: bytes, script: Script, words: str) -> None:
    async def say_and_expect(peer: Peer) -> None:
        await peer.send(line)
        await script(peer)

    assert words in str(await mismatch(say_and_expect))


async def test_nobody_listens(autojump_clock: MockClock) -> None:
    async def say_after_the_end(peer: Peer) -> None:
        await peer.send(b"quit\n")
        await peer.expect_eof()
        await peer.chat.stream.aclose()
        await peer.send(b"too late")

    async def say_too_much(peer: Peer) -> None:
        await peer.send(b"late\n")
        await peer.send(b"one\n")
        await peer.send(b"two\n")

    assert "the handler has closed the connection" in str(await mismatch(say_after_the_end))

    class Deaf(Echo):
        async def handle_connect(self) -> None:
            await trio.sleep_forever()

    told = await mismatch(say_too_much, Deaf, streams=trio.testing.lockstep_stream_pair)
    assert "does not receive what is sent" in str(told)


async def test_a_failure_of_the_handler_is_the_cause_of_what_does_not_come() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"fail\n")
        await peer.expect(b"anything")

    told = await mismatch(script)
    assert isinstance(told.__cause__, LookupError)


async def test_there_is_nothing_to_expect_in_no_bytes() -> None:
    async with open_chat(Echo) as peer:
        with pytest.raises(ValueError, match="use expect_nothing"):
            await peer.expect(b"")
        with pytest.raises(ValueError, match="at least one byte"):
            await peer.expect_until(b"")


# ---------------------------------------------------------------------- the end of the block


async def test_output_that_nobody_expected() -> None:
    class Talkative(Echo):
        def handle_eof(self) -> None:
            self.push(b"bye\n")
            super().handle_eof()

    async def leave_an_answer(peer: Peer) -> None:
        await peer.send(b"one\ntwo\n")
        await peer.expect(b"one\n")

    assert r"sent more than was expected: b'two\n'" in str(await mismatch(leave_an_answer))

    async def do_nothing(peer: Peer) -> None:
        pass

    assert r"sent more than was expected: b'bye\n'" in str(await mismatch(do_nothing, Talkative))


@pytest.mark.parametrize("line", [b"fail\n", b"log\n"])
async def test_a_failure_that_nobody_expected(line: bytes) -> None:
    with pytest.raises(LookupError, match="as you wish"):
        await converse(lambda peer: peer.send(line))


async def test_what_fails_elsewhere_is_not_this_handlers_failure() -> None:
    async with open_chat(Echo) as peer, open_chat(Echo) as other:
        await peer.send(b"log\n")
        await peer.expect_error(LookupError)
        await other.send(b"one\n")
        await other.expect(b"one\n")


async def test_a_handler_that_goes_on(autojump_clock: MockClock) -> None:
    class Stubborn(Echo):
        async def handle_eof(self) -> None:
            await trio.sleep_forever()

    async def script(peer: Peer) -> None:
        await peer.send(b"one\n")
        await peer.expect(b"one\n")

    assert "still runs, although the peer has ended" in str(await mismatch(script, Stubborn))


async def test_a_handler_that_leaks_a_task() -> None:
    cancel = trio.CancelScope()

    async def leak() -> None:
        with cancel:
            await trio.sleep_forever()

    class Leaking(Echo):
        def handle_connect(self) -> None:
            trio.lowlevel.spawn_system_task(leak, name="the leak")

    async def do_nothing(peer: Peer) -> None:
        pass

    try:
        assert "has started tasks that still run: the leak" in str(await mismatch(do_nothing, Leaking))
    finally:
        cancel.cancel()


async def test_the_blocks_own_exception_comes_out_as_itself() -> None:
    async def script(peer: Peer) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await converse(script)


async def test_a_factory_that_fails_comes_out_as_itself() -> None:
    def fail(stream: trio.abc.Stream) -> AsyncChat:
        raise ZeroDivisionError

    async def do_nothing(peer: Peer) -> None:
        pass

    with pytest.raises(ZeroDivisionError):
        await converse(do_nothing, fail)


async def test_a_failure_of_the_handler_is_not_lost_when_the_block_fails() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"fail\n")
        await trio.testing.wait_all_tasks_blocked()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        await converse(script)
    assert isinstance(caught.value.__cause__, LookupError)
    assert caught.value.__notes__ == ["the handler has failed, too, with LookupError('as you wish')"]


async def test_neither_is_one_that_comes_of_the_end_of_the_block() -> None:
    class FailsAtTheEnd(Echo):
        def handle_close(self) -> None:
            raise LookupError

    async def script(peer: Peer) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        await converse(script, FailsAtTheEnd)
    assert isinstance(caught.value.__cause__, LookupError)


async def test_a_handler_that_swallows_every_cancellation_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """It can only be told: nothing in Trio ends such a task. This one has mercy in the end."""

    class Stubborn(Echo):
        async def handle_connect(self) -> None:
            for _ in range(30_000):
                with suppress(BaseException):
                    await trio.sleep_forever()

    async def script(peer: Peer) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, "trio_chat.testing"), pytest.raises(ZeroDivisionError):
        await converse(script, Stubborn)
    (record,) = caplog.records
    assert "goes on and on although it is cancelled" in record.getMessage()
    assert f"handle_connect(), {__file__}:" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_several_failures_come_out_together() -> None:
    class Twice(Echo):
        def handle_close(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        await converse(lambda peer: peer.send(b"log\n"), Twice)
    assert sorted(map(repr, caught.value.exceptions)) == ["LookupError('as you wish')", "ZeroDivisionError()"]


async def test_an_error_that_is_logged_is_told_at_once(mock_clock: MockClock) -> None:
    async with open_chat(Echo, patience=math.inf) as peer:
        await peer.send(b"log\n")
        await peer.expect_error(LookupError)
        await peer.send(b"one\n")
        await peer.expect(b"one\n")


class Ticking(AsyncChat):
    async def tick(self) -> None:
        while True:
            await trio.sleep(1)
            self.push(b"tick\n")

    def handle_connect(self) -> None:
        self.nursery.start_soon(self.tick)


async def test_patience_is_for_a_whole_expectation(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect_until(b"never")

    told = await mismatch(script, Ticking)
    assert "somewhere in it" in str(told)
    assert trio.current_time() < 7


class Spinning(Echo):
    async def found_terminator(self) -> None:
        while not self.closing:
            await trio.lowlevel.checkpoint()


async def test_a_handler_that_is_never_idle_does_not_hang_the_test() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"x\n")
        try:
            await peer.expect_nothing()
        finally:
            peer.chat.close()
        await peer.expect_eof()

    await converse(script, Spinning)


async def test_threads_are_waited_for_on_a_clock_that_jumps(autojump_clock: MockClock) -> None:
    class Slow(Echo):
        async def by_thread(self) -> None:
            await trio.to_thread.run_sync(time.sleep, 0.01)
            self.push(b"thread\n")

    async with open_chat(Slow) as peer:
        await peer.send(b"thread\n")
        await peer.expect(b"thread\n")


async def test_what_is_no_handler_and_what_are_no_bytes() -> None:
    async def do_nothing(peer: Peer) -> None:
        pass

    with pytest.raises(TypeError, match="returned None, not an AsyncChat"):
        await converse(do_nothing, lambda stream: None)
    async with open_chat(Echo) as peer:
        with pytest.raises(TypeError, match="takes bytes; got 'text'"):
            await peer.send("text")  # type: ignore[arg-type]
        await peer.send(memoryview(b"one\n"))  # type: ignore[arg-type]
        await peer.expect(b"one\n")


async def test_long_dialogues_take_time_in_proportion() -> None:
    async with open_chat(Echo) as peer:
        for _ in range(300):
            await peer.send(b"x" * 1000 + b"\n")
        await peer.expect((b"x" * 1000 + b"\n") * 300)
        assert len(peer.dialogue.turns) == 2


async def test_a_block_that_is_cancelled() -> None:
    with trio.CancelScope() as scope:
        async with open_chat(Echo) as peer:
            scope.cancel()
            await peer.expect(b"anything")
    assert scope.cancelled_caught
