"""The scripted peer: what it hears, what it does not, and what of a handler it does not let pass."""

from __future__ import annotations

import logging
import math
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import repeat
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_chat import AsyncChat
from trio_chat.compat import asynchat
from trio_chat.testing import BreakingStream, Mismatch, Peer, ShortPiecesStream, StreamPair, WrappedStream, open_chat

Script = Callable[[Peer], Awaitable[object]]


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
                log_a_failure()
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


def log_a_failure(logger: str = "trio_chat.something", level: int = logging.ERROR) -> None:
    try:
        raise LookupError("as you wish")
    except LookupError:
        logging.getLogger(logger).log(level, "it failed", exc_info=True)


async def converse(script: Script, factory: Any = Echo, **options: Any) -> Peer:
    async with open_chat(factory, **options) as peer:
        await script(peer)
    return peer


async def mismatch(script: Script, factory: Any = Echo, **options: Any) -> Mismatch:
    """What it says if the script does not pass."""
    with pytest.raises(Mismatch) as caught:
        await converse(script, factory, **options)
    return caught.value


async def do_nothing(peer: Peer) -> None:
    pass


def around_ours(kind: Callable[..., Any], **options: Any) -> StreamPair:
    """Memory streams, of which the peer's has something around it."""

    def make() -> tuple[Any, Any]:
        ours, theirs = trio.testing.memory_stream_pair()
        return kind(ours, **options), theirs

    return make


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


async def test_a_side_that_has_ended_is_not_ended_again(mock_clock: MockClock) -> None:
    class Slow(Echo):
        async def handle_eof(self) -> None:
            await trio.sleep(3)
            super().handle_eof()

    peer = await converse(Peer.send_eof, Slow)
    assert str(peer.dialogue) == "C: <eof>\nS: <eof>"


async def test_who_ends_it_again_has_ended_it_once() -> None:
    async def script(peer: Peer) -> None:
        for end in (peer.send_eof, peer.break_connection, peer.break_connection, peer.send_eof):
            await end()

    peer = await converse(script)
    assert str(peer.dialogue) == "C: <eof>\nC: <reset>"


@pytest.mark.parametrize("end", [Peer.send_eof, Peer.break_connection])
async def test_who_has_ended_its_side_says_nothing_more(end: Script) -> None:
    async with open_chat(Echo) as peer:
        await end(peer)
        with pytest.raises(RuntimeError, match="has ended its side"):
            await peer.send(b"one\n")


async def test_behind_an_end_that_is_known_nothing_comes() -> None:
    async with open_chat(Echo) as peer:
        await peer.send_eof()
        await peer.expect_eof()
        await peer.expect_nothing()
        await peer.expect_eof()
    async with open_chat(Echo) as peer:
        await peer.break_connection()
        await peer.expect_nothing()


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


async def test_what_comes_in_short_pieces_is_heard_as_if_it_came_whole() -> None:
    async with open_chat(Echo, streams=around_ours(ShortPiecesStream, receive_bytes=1)) as peer:
        await peer.send(b"one\ntwo--\n--three--\n")
        await peer.expect(b"one\n")
        assert await peer.expect_until(b"--\n") == b"two--\n"
        assert await peer.expect_until(b"--\n") == b"--three--\n"


async def test_after_a_break_the_end_that_came_before_is_still_the_end() -> None:
    async with open_chat(Echo) as peer:
        await peer.send(b"quit\n")
        await peer.expect_eof()
        with trio.testing.assert_checkpoints():
            await peer.break_connection()
        await peer.expect_eof()


@pytest.mark.parametrize("close", [False, True])
async def test_the_block_may_have_done_with_the_peers_stream(*, close: bool) -> None:
    async with open_chat(Echo, streams=around_ours(BreakingStream)) as peer:
        await peer.send(b"quit\n")
        await peer.expect_eof()
        assert isinstance(peer.stream, BreakingStream)
        peer.stream.break_now()
        if close:
            await peer.stream.aclose()


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
            error = await peer.expect_error(LookupError, match="you w.sh")
            assert str(error) == "as you wish"


async def test_one_expected_error_after_the_other() -> None:
    async with open_chat(Echo) as peer:
        for _ in range(2):
            await peer.send(b"log\n")
            await peer.expect_error(LookupError)
        await peer.send(b"log\nfail\n")
        await peer.expect_error(LookupError)
        await peer.expect_error(LookupError)


@pytest.mark.parametrize(("kind", "match"), [(ValueError, ""), (LookupError, "as I wish")])
async def test_an_error_of_another_kind_or_with_other_words(kind: type[Exception], match: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"fail\n")
        await peer.expect_error(kind, match)

    told = await mismatch(script)
    assert "what has failed is LookupError('as you wish')" in str(told)


async def test_an_error_is_not_waited_for_when_all_is_over(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"quit\n")
        await peer.expect_error(LookupError)

    assert "what has failed is nothing" in str(await mismatch(script))
    assert trio.current_time() == 0


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


async def test_a_clock_that_stands_still_is_moved_until_the_handler_has_ended(mock_clock: MockClock) -> None:
    class Slow(Echo):
        async def handle_close(self) -> None:
            for seconds in (1, 3.5, 0.25):
                await trio.sleep(seconds)

    await converse(do_nothing, Slow)
    assert trio.current_time() == 4.75


async def test_time_goes_by_when_all_are_asleep_and_until_they_are_again(mock_clock: MockClock) -> None:
    class Slow(Echo):
        awake = False

        async def late(self) -> None:
            await self.some_steps()
            await trio.sleep(3)
            await self.some_steps()
            self.awake = True

        async def some_steps(self) -> None:
            for _ in range(20):
                await trio.lowlevel.checkpoint()

    async with open_chat(Slow) as peer:
        await peer.send(b"late\n")
        await peer.pause(3)
        assert isinstance(peer.chat, Slow)
        assert peer.chat.awake


async def test_a_clock_with_a_rate_does_not_stand_still(mock_clock: MockClock) -> None:
    mock_clock.rate = 1000
    async with open_chat(Echo, patience=math.inf) as peer:
        await peer.send(b"late\n")
        await peer.expect(b"late\n")


async def test_threads_are_waited_for_on_a_clock_that_stands_still(mock_clock: MockClock) -> None:
    async with open_chat(Echo) as peer:
        await peer.send(b"thread\n")
        await peer.expect(b"thread\n")


async def all_there(peer: Peer) -> list[Callable[[], Awaitable[object]]]:
    """Calls of all methods, in an order in which each finds there what it waits for."""
    await peer.send(b"one\ntwo\nlog\nquit\n")
    await peer.expect(b"one\n")
    await trio.testing.wait_all_tasks_blocked()
    return [
        lambda: peer.send(b"three\n"),
        lambda: peer.pause(0),
        lambda: peer.expect(b"tw"),
        lambda: peer.expect_until(b"\n"),
        lambda: peer.expect_error(LookupError),
        peer.expect_eof,
        peer.expect_nothing,
        peer.send_eof,
        peer.send_eof,
        peer.break_connection,
    ]


async def test_all_are_checkpoints_even_if_what_they_wait_for_is_there() -> None:
    async with open_chat(Echo) as peer:
        for method in await all_there(peer):
            with trio.testing.assert_checkpoints():
                await method()


async def test_what_is_cancelled_at_once_leaves_all_as_it_was() -> None:
    async with open_chat(Echo) as peer:
        *methods, break_connection = await all_there(peer)
        for method in methods:
            before = str(peer.dialogue)
            with trio.move_on_after(0) as scope:
                await method()
            assert scope.cancelled_caught
            assert str(peer.dialogue) == before
            await method()
        await break_connection()


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


async def test_the_difference_is_pointed_at_whatever_quotes_stand_around_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"it's aab\n")
        await peer.expect(b"it's aaa\"\n")

    assert str(await mismatch(script)).splitlines()[1:4] == [
        r"""expected  b'it\'s aaa"\n'""",
        r"""received  b'it\'s aab\n'""",
        r"""                    ^ byte 7""",
    ]


async def test_an_answer_that_cannot_become_the_right_one_is_not_waited_for(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"two\n")
        await peer.expect(b"one\n")

    for streams in (trio.testing.memory_stream_pair, around_ours(ShortPiecesStream, receive_bytes=1)):
        told = await mismatch(script, streams=streams)
        assert r"what has come is b'two\n'" in str(told)  # all of it, although its first byte is wrong
    assert trio.current_time() == 0


async def test_a_long_difference_is_cut(autojump_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"x" * 300 + b"\n")
        await peer.expect(b"x" * 200 + b"y" * 100 + b"\n")

    _, expected, received, pointer, *_ = str(await mismatch(script)).splitlines()
    assert expected == f"expected  …b'{'x' * 40}{'y' * 60}'…"
    assert pointer.index("^") == expected.index("y")
    assert received.startswith("received  …b'xxx")


@pytest.mark.parametrize(("size", "dots"), [(60, ""), (61, "…")])
async def test_a_difference_shows_where_it_was_cut(size: int, dots: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"x\n")
        await peer.expect(b"y" * size)

    assert f"expected  b'{'y' * 60}'{dots}\nreceived  b'x\\n'\n" in str(await mismatch(script))


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
    told = str(await mismatch(script))
    assert words in told
    assert told.endswith("\n  the dialogue:\n    (nothing was said)")
    assert trio.current_time() == 5


async def test_nothing_comes_while_a_clock_stands_still(mock_clock: MockClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"late\n")
        await peer.expect(b"late\n")

    async def expect_anything(peer: Peer) -> None:
        await peer.expect(b"anything\n")

    told = str(await mismatch(script))
    assert "nothing has come, and the clock stands still 3 seconds before the next" in told
    assert trio.current_time() == 0
    told = str(await mismatch(expect_anything))
    assert "and the clock stands still\n" in told


@pytest.mark.parametrize(
    ("line", "script", "words"),
    [
        (b"one\n", lambda peer: peer.expect_nothing(), r"expected nothing; what has come is b'one\n'"),
        (b"quit\n", lambda peer: peer.expect_nothing(), "expected nothing; what has come is <eof>"),
        (b"one\n", lambda peer: peer.expect_eof(), r"expected the end of the connection; what has come is b'one\n'"),
        (b"one\nquit\n", lambda peer: peer.expect(b"one\ntwo\n"), r"what has come is b'one\n', and <eof>"),
        (b"one\nquit\n", lambda peer: peer.expect(b"one\ntwo\n"), "^ byte 4"),
        (b"quit\n", lambda peer: peer.expect_until(b"\n"), "what has come is <eof>"),
    ],
)
async def test_something_else_comes(line: bytes, script: Script, words: str) -> None:
    async def say_and_expect(peer: Peer) -> None:
        await peer.send(line)
        await script(peer)

    assert words in str(await mismatch(say_and_expect))


@pytest.mark.parametrize("whose", ["peer", "handler"])
async def test_a_reset_is_not_the_end_of_the_connection(whose: str) -> None:
    async def script(peer: Peer) -> None:
        if whose == "peer":
            await peer.break_connection()
        await peer.expect_eof()

    told = await mismatch(script, streams=around_ours(BreakingStream, receive_after=None if whose == "peer" else 0))
    assert "expected the end of the connection; what has come is <reset>" in str(told)


async def test_what_was_not_expected_is_still_there_afterwards() -> None:
    async with open_chat(Echo) as peer:
        await peer.send(b"one\nquit\n")
        for expectation in (peer.expect_nothing, peer.expect_eof):
            with pytest.raises(Mismatch):
                await expectation()
        await peer.expect(b"one\n")
        await peer.expect_eof()


async def test_nothing_comes_only_when_no_thread_works_on_it() -> None:
    class Slow(Echo):
        async def by_thread(self) -> None:
            await trio.to_thread.run_sync(time.sleep, 0.01)
            self.push(b"thread\n")

    async def script(peer: Peer) -> None:
        await peer.send(b"thread\n")
        await peer.expect_nothing()

    assert r"what has come is b'thread\n'" in str(await mismatch(script, Slow))


async def test_who_is_busy_with_a_thread_is_not_sent_anything_twice(autojump_clock: MockClock) -> None:
    go_on = threading.Event()

    class Busy(Echo):
        async def by_thread(self) -> None:
            await trio.to_thread.run_sync(go_on.wait)

    async def script(peer: Peer) -> None:
        await peer.send(b"thread\n")
        try:
            await peer.send(b"one\n")
        finally:
            go_on.set()

    told = await mismatch(script, Busy, streams=trio.testing.lockstep_stream_pair, patience=0.05)
    assert "does not receive what is sent" in str(told)


async def test_what_the_handler_has_said_is_shown_to_who_speaks_to_nobody() -> None:
    class Rude(Echo):
        linger_timeout = 0

        def handle_connect(self) -> None:
            self.push(b"bye\n")
            self.close_when_done()

    async def script(peer: Peer) -> None:
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(b"hello\n")

    told = str(await mismatch(script, Rude))
    assert told.startswith("the handler has closed the connection")
    assert told.endswith("    C: hello\n    S: bye\n    S: <eof>")


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


async def test_who_has_closed_the_peers_stream_can_say_nothing() -> None:
    async def script(peer: Peer) -> None:
        await peer.stream.aclose()
        await peer.send(b"one\n")

    assert isinstance((await mismatch(script)).__cause__, trio.ClosedResourceError)


async def test_a_failure_of_the_handler_is_the_cause_of_what_does_not_come() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"fail\n")
        await peer.expect(b"anything")

    told = await mismatch(script)
    assert isinstance(told.__cause__, LookupError)
    assert not hasattr(told, "__notes__")


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

    assert r"sent more than was expected: b'bye\n'" in str(await mismatch(do_nothing, Talkative))

    told = await mismatch(lambda peer: peer.send(b"x" * 9000 + b"\n"))
    assert len(str(told).splitlines()[0]) < 600


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
        log_a_failure("another_library")


async def test_what_is_logged_as_less_than_an_error_is_none() -> None:
    async with open_chat(Echo):
        log_a_failure(level=logging.WARNING)


async def test_an_error_that_is_logged_without_an_exception_is_no_failure() -> None:
    async with open_chat(Echo):
        logging.getLogger("trio_chat").error("it failed")


async def test_after_an_inner_conversation_the_outer_one_is_told_again() -> None:
    async with open_chat(Echo) as peer:
        await converse(do_nothing)
        log_a_failure()
        await peer.expect_error(LookupError)


async def test_nothing_is_left_at_the_logger() -> None:
    before = logging.getLogger("trio_chat").handlers[:]
    await converse(do_nothing)
    assert logging.getLogger("trio_chat").handlers == before


async def test_a_handler_that_goes_on(autojump_clock: MockClock) -> None:
    class Stubborn(Echo):
        async def handle_eof(self) -> None:
            await trio.sleep_forever()

    async def script(peer: Peer) -> None:
        await peer.send(b"one\n")
        await peer.expect(b"one\n")

    assert "still runs, although the peer has ended" in str(await mismatch(script, Stubborn))


async def test_a_handler_that_leaks_a_task() -> None:
    over = trio.Event()

    class Leaking(Echo):
        def handle_connect(self) -> None:
            trio.lowlevel.spawn_system_task(over.wait, name="one leak")
            trio.lowlevel.spawn_system_task(over.wait, name="another leak")

    try:
        assert "has started tasks that still run: another leak, one leak" in str(await mismatch(do_nothing, Leaking))
    finally:
        over.set()


async def test_a_task_that_comes_to_its_end_is_no_leak() -> None:
    async def take_some_steps() -> None:
        for _ in range(20):
            await trio.lowlevel.checkpoint()

    class Tidying(Echo):
        def handle_close(self) -> None:
            trio.lowlevel.spawn_system_task(take_some_steps)

    await converse(do_nothing, Tidying)


async def test_the_tasks_that_serve_all_connections_are_no_leak_of_one() -> None:
    def accept(sock: Any, addr: object) -> None:
        asynchat.async_chat(sock).set_terminator(b"\n")

    async def hold_a_channel(task_status: trio.TaskStatus[None]) -> None:
        async with open_chat(asynchat.handler_factory(accept)):
            task_status.started()
            await over.wait()

    over = trio.Event()
    async with trio.open_nursery() as nursery:
        async with open_chat(Echo):
            await nursery.start(hold_a_channel)
            await trio.testing.wait_all_tasks_blocked()
        over.set()


async def test_the_blocks_own_exception_comes_out_as_itself() -> None:
    async def script(peer: Peer) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await converse(script)


async def test_a_factory_that_fails_comes_out_as_itself() -> None:
    def fail(stream: trio.abc.Stream) -> AsyncChat:
        raise ZeroDivisionError

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
            for _ in range(110_000):
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


async def test_a_failure_with_a_cause_of_its_own_keeps_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"fail\n")
        await trio.testing.wait_all_tasks_blocked()
        raise ZeroDivisionError from OSError()

    with pytest.raises(ZeroDivisionError) as caught:
        await converse(script)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__notes__ == ["the handler has failed, too, with LookupError('as you wish')"]


async def test_a_failure_that_came_of_the_handlers_tells_of_it_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"fail\n")
        try:
            await peer.expect_eof()
            await peer.expect(b"anything")
        except Mismatch:
            raise ZeroDivisionError  # noqa: B904

    with pytest.raises(ZeroDivisionError) as caught:
        await converse(script)
    assert not hasattr(caught.value, "__notes__")


async def test_several_failures_come_out_together() -> None:
    class Twice(Echo):
        def handle_close(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        await converse(lambda peer: peer.send(b"log\n"), Twice)
    assert sorted(map(repr, caught.value.exceptions)) == ["LookupError('as you wish')", "ZeroDivisionError()"]


async def test_an_error_that_is_logged_is_told_at_once(autojump_clock: MockClock) -> None:
    async with open_chat(Echo) as peer:
        await peer.send(b"log\n")
        await peer.expect_error(LookupError)
        await peer.send(b"one\n")
        await peer.expect(b"one\n")
    assert trio.current_time() == 0


async def test_patience_may_have_no_end(mock_clock: MockClock) -> None:
    await converse(do_nothing, patience=math.inf)


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
            with pytest.raises(Mismatch, match="tasks take step after step, and something may come at any time"):
                await peer.expect_nothing()
        finally:
            peer.chat.close()
        await peer.expect_eof()

    await converse(script, Spinning, patience=0.5)


async def test_what_comes_without_an_end_is_not_waited_for(mock_clock: MockClock) -> None:
    class Flood(Echo):
        def handle_connect(self) -> None:
            self.push_with_producer(repeat(bytes(65536)))

    async def script(peer: Peer) -> None:
        await peer.expect(b"hello")

    told = str(await mismatch(script, Flood))
    assert "received  b'\\x00" in told
    assert len(told) < 5000


class CleansUp(Echo):
    """Takes its time for that, as one should: in a shield, and not for ever."""

    async def handle_close(self) -> None:
        with trio.move_on_after(10, shield=True):
            await trio.sleep_forever()


async def test_the_time_that_a_handler_takes_to_end_goes_by(mock_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_chat(CleansUp):
            raise ZeroDivisionError
    assert trio.current_time() == 10


async def test_a_cancellation_of_the_block_leaves_as_itself(mock_clock: MockClock) -> None:
    with trio.CancelScope() as scope:
        async with open_chat(CleansUp):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, pytest.fail.Exception, pytest.skip.Exception])
async def test_what_is_no_exception_leaves_as_itself(kind: type[BaseException]) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"fail\n")
        await trio.testing.wait_all_tasks_blocked()
        raise kind

    with pytest.raises(kind) as caught:
        await converse(script)
    assert isinstance(caught.value.__cause__, LookupError)


async def test_an_error_that_is_logged_and_raised_is_one() -> None:
    class Twice(Echo):
        def found_terminator(self) -> None:
            error = LookupError("as you wish")
            logging.getLogger("trio_chat.something").error("it failed", exc_info=error)
            raise error

    async with open_chat(Twice) as peer:
        await peer.send(b"x\n")
        await peer.expect_error(LookupError)
    with pytest.raises(LookupError):
        await converse(lambda peer: peer.send(b"x\n"), Twice)


async def test_an_error_that_is_logged_and_raised_in_a_group_is_one() -> None:
    class InATask(Echo):
        async def found_terminator(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.fail)

        async def fail(self) -> None:
            error = LookupError("as you wish")
            logging.getLogger("trio_chat.something").error("it failed", exc_info=error)
            raise error

    async with open_chat(InATask) as peer:
        await peer.send(b"x\n")
        await peer.expect_error(LookupError)


async def test_an_error_that_a_thread_logs() -> None:
    class Threaded(Echo):
        async def found_terminator(self) -> None:
            await trio.to_thread.run_sync(log_a_failure)
            self.push(b"done\n")

    async with open_chat(Threaded) as peer:
        await peer.send(b"x\n")
        await peer.expect_error(LookupError)
        await peer.expect(b"done\n")


def test_an_error_that_is_logged_is_printed_as_ever() -> None:
    """By logging's last resort, where nobody has configured anything."""
    program = """
        import logging, trio
        from trio_chat import AsyncChat
        from trio_chat.testing import open_chat

        async def main():
            async with open_chat(AsyncChat) as peer:
                logging.getLogger("trio_chat.something").error("it failed", exc_info=LookupError("as you wish"))
                await peer.expect_error(LookupError)

        trio.run(main)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    assert result.stderr.splitlines() == ["it failed", "LookupError: as you wish"]


async def test_what_has_failed_is_logged_if_somebody_gives_up(
    mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.CancelScope() as scope, caplog.at_level(logging.ERROR, "trio_chat.testing"):
        async with open_chat(Echo) as peer:
            await peer.send(b"fail\n")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.lowlevel.checkpoint()
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError


async def test_who_waits_for_ever_in_a_shield_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_chat.testing._tasks._REST_SECONDS", 0.01)

    class Shielded(Echo):
        async def handle_close(self) -> None:
            with trio.CancelScope(shield=True):
                await go_on.wait()

    class Rescue(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            go_on.set()

    go_on, rescue, logger = trio.Event(), Rescue(), logging.getLogger("trio_chat.testing")
    logger.addHandler(rescue)
    try:
        with pytest.raises(ZeroDivisionError):
            async with open_chat(Shielded):
                raise ZeroDivisionError
    finally:
        logger.removeHandler(rescue)
    (record,) = caplog.records
    assert "does not end although it is cancelled" in record.getMessage()
    assert f"handle_close(), {__file__}:" in record.getMessage()


async def test_what_comes_too_late_is_told_so() -> None:
    class Slow(Echo):
        async def by_thread(self) -> None:
            await trio.to_thread.run_sync(time.sleep, 0.2)
            self.push(b"done\n")

    async def script(peer: Peer) -> None:
        await peer.send(b"thread\n")
        await peer.expect(b"done\n")

    assert r"b'done\n' has come, but later than within 0.15 seconds" in str(await mismatch(script, Slow, patience=0.15))


async def test_several_threads_are_waited_for_on_a_clock_that_runs(mock_clock: MockClock) -> None:
    class Slow(Echo):
        async def by_thread(self) -> None:
            for _ in range(2):
                await trio.to_thread.run_sync(time.sleep, 0.1)
                self.push(b"x")

    mock_clock.rate = 100
    async with open_chat(Slow) as peer:
        await peer.send(b"thread\n")
        await peer.expect(b"xx")


async def test_several_failures_are_not_told_of_twice() -> None:
    class Twice(Echo):
        def handle_close(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        await converse(lambda peer: peer.send(b"log\n"), Twice)
    assert not hasattr(caught.value, "__notes__")
    assert caught.value.__cause__ is None


async def test_a_farewell_that_waits_to_be_heard() -> None:
    class Polite(Echo):
        def handle_eof(self) -> None:
            self.push(b"bye\n")
            super().handle_eof()

    async def do_nothing(peer: Peer) -> None:
        pass

    told = str(await mismatch(do_nothing, Polite, streams=trio.testing.lockstep_stream_pair))
    assert "sent more than was expected: b'bye\\n'" in told


async def test_a_clock_does_not_jump_over_a_timeout_while_a_thread_works(autojump_clock: MockClock) -> None:
    class Patient(Echo):
        idle_timeout = 60

        async def in_thread(self) -> None:
            await trio.to_thread.run_sync(time.sleep, 0.03)
            self.push(b"done\n")

        def found_terminator(self) -> None:
            self.nursery.start_soon(self.in_thread)

    async with open_chat(Patient) as peer:
        await peer.send(b"x\n")
        await peer.expect(b"done\n")
        assert trio.current_time() == 0


async def test_threads_are_waited_for_on_a_clock_that_jumps(autojump_clock: MockClock) -> None:
    class Slow(Echo):
        async def by_thread(self) -> None:
            await trio.to_thread.run_sync(time.sleep, 0.01)
            self.push(b"thread\n")

    async with open_chat(Slow) as peer:
        await peer.send(b"thread\n")
        await peer.expect(b"thread\n")


async def test_what_is_no_handler_and_what_are_no_bytes() -> None:
    with pytest.raises(TypeError, match="returned 3, not an AsyncChat"):
        await converse(do_nothing, lambda stream: 3)
    async with open_chat(Echo) as peer:
        methods: list[Any] = [peer.send, peer.expect, peer.expect_until]
        for wrong in ("text", None, 10, (b"one", b"two")):
            for method in methods:
                with pytest.raises(
                    TypeError, match=re.escape(f"{method.__name__}() takes is bytes, or like bytes; got {wrong!r}")
                ):
                    await method(wrong)
        for kind in (bytes, bytearray, memoryview):
            for method, data in zip(methods, (b"one\ntwo\n", b"one\n", b"\n"), strict=True):
                await method(kind(data))


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
async def test_a_pause_that_there_cannot_be(seconds: float) -> None:
    async with open_chat(Echo) as peer:
        with pytest.raises(ValueError, match=f"takes a number of seconds; got {seconds}"):
            await peer.pause(seconds)
        assert not peer.dialogue.turns


async def test_an_error_of_one_of_several_kinds() -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"log\n")
        assert isinstance(await peer.expect_error((OSError, LookupError)), LookupError)
        await peer.send(b"log\n")
        await peer.expect_error((OSError, ValueError), "no")

    told = await mismatch(script)
    assert "expected OSError or ValueError with 'no'; what has failed is LookupError('as you wish')" in str(told)


@pytest.mark.parametrize("kind", ["LookupError", (), (LookupError, "OSError")])
async def test_what_is_no_kind_of_error(kind: Any) -> None:
    async with open_chat(Echo) as peer:
        with pytest.raises(TypeError, match="takes an exception class, or a tuple of them; got"):
            await peer.expect_error(kind)


async def test_long_dialogues_take_time_in_proportion() -> None:
    async with open_chat(Echo) as peer:
        for _ in range(300):
            await peer.send(b"x" * 1000 + b"\n")
        await peer.expect((b"x" * 1000 + b"\n") * 300)
        assert len(peer.dialogue.turns) == 2


async def test_however_it_ends_both_streams_are_closed() -> None:
    async def be_cancelled(peer: Peer) -> None:
        scope.cancel()
        await peer.expect(b"anything")

    def fail(stream: trio.abc.Stream) -> AsyncChat:
        raise ZeroDivisionError

    class Careless(Echo):
        async def run(self) -> None:
            await trio.sleep_forever()

    for script, factory in ((do_nothing, Echo), (be_cancelled, Careless), (do_nothing, fail)):
        ours, theirs = map(WrappedStream, trio.testing.memory_stream_pair())
        with trio.CancelScope() as scope, suppress(ZeroDivisionError):
            await converse(script, factory, streams=lambda ends=(ours, theirs): ends)
        assert ours.closed
        assert theirs.closed
        assert scope.cancelled_caught == (script is be_cancelled)
