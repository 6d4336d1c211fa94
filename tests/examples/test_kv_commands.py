"""The key-value server in memory: the same answers however the bytes are split, its limits, and its clock."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing
from bounded import converse, talk
from processes import load
from support import receive_exactly

from trio_chat import AsyncChat
from trio_chat.testing import assert_same_under_every_split

kv_server = load("kv_server.py")
MAX_BULK_BYTES = 1000


def client(stream: trio.abc.Stream, store: Any = None) -> AsyncChat:
    chat: AsyncChat = kv_server.Client(stream, store or kv_server.Store(), MAX_BULK_BYTES)
    return chat


async def answers_to(*chunks: bytes) -> bytes:
    answers: bytes = (await converse(client, list(chunks)))[1]
    return answers


def command(*arguments: bytes) -> bytes:
    return b"*%d\r\n" % len(arguments) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in arguments)


async def test_one_stream_under_every_split(autojump_clock: trio.testing.MockClock) -> None:
    sent = (
        command(b"SET", b"a", b"1\r\n2") + b"get a\n" + command(b"get", b"a") + b"\r\nappend a ''\r\n*0\r\n*-1\r\n"
        + command(b"MULTI") + b"INCR n\n" + command(b"EXEC") + command(b"FOO", b"") + b'ping "a b"\r\n'
        + b"*1\r\n$x\r\nPING\n"
    )  # fmt: skip
    answers = (
        b"+OK\r\n$4\r\n1\r\n2\r\n$4\r\n1\r\n2\r\n:4\r\n"
        b"+OK\r\n+QUEUED\r\n*1\r\n:1\r\n-ERR unknown command 'FOO', with args beginning with: '' \r\n"
        b"$3\r\na b\r\n-ERR Protocol error: invalid bulk length\r\n"
    )
    assert await answers_to(sent) == answers
    await assert_same_under_every_split(client, sent, most=300)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"*x\r\n", b"invalid multibulk length"),
        (b"*11\n", b"invalid multibulk length"),
        (b"*01\r\n", b"invalid multibulk length"),
        (b"*1048577\r\n", b"invalid multibulk length"),
        (b"*" + b"9" * 5000 + b"\r\n", b"invalid multibulk length"),
        (b"*1\r\n:4\r\n", b"expected '$', got ':'"),
        (b"*1\r\n\r\n", b"expected '$', got ' '"),
        (b"*1\r\n$\r\n", b"invalid bulk length"),
        (b"*1\r\n$-1\r\n", b"invalid bulk length"),
        (b"*1\r\n$+4\r\n", b"invalid bulk length"),
        (b"*1\r\n$1001\r\n", b"invalid bulk length"),
        (b"*1\r\n$9223372036854775808\r\n", b"invalid bulk length"),
        (b"*1\r\n$4\r\nPINGPING", b"expected a line end after an argument"),
        (b'"', b"unbalanced quotes in request"),
        (b"echo 'a'b", b"unbalanced quotes in request"),
        (b"echo 'a\\'", b"unbalanced quotes in request"),
    ],
)
async def test_what_is_no_command_is_answered_and_the_end(
    sent: bytes, why: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    assert await answers_to(sent + b"\nPING\n") == b"-ERR Protocol error: %b\r\n" % why


@pytest.mark.parametrize(
    ("start", "what"),
    [(b"", b"inline request"), (b"*", b"mbulk count string"), (b"*1\r\n", b"bulk count string")],
)
async def test_a_line_that_is_too_long(start: bytes, what: bytes, autojump_clock: trio.testing.MockClock) -> None:
    line = b"1" * (65537 - (start == b"*"))
    for chunks in ([start + line], [start + line + b"\r\n"], [start + line[:40000], line[40000:]]):
        assert await answers_to(*chunks) == b"-ERR Protocol error: too big %b\r\n" % what


async def test_the_longest_line_the_longest_value_and_the_most_arguments(
    autojump_clock: trio.testing.MockClock,
) -> None:
    word = b"x" * (65536 - len(b"strlen "))
    assert await answers_to(b"strlen " + word + b"\n") == b":0\r\n"
    value = b"x" * MAX_BULK_BYTES
    assert await answers_to(b"*1048576\r\n$4\r\nPING\r\n") == b""  # it is waited for the rest
    assert await answers_to(command(b"ECHO", value)) == b"$1000\r\n%b\r\n" % value


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        (b"a", b"a"),
        (b'"a b"', b"a b"),
        (b"'a b'", b"a b"),
        (b"''", b""),
        (b'a"b c"', b"ab c"),
        (rb'"\x41\n\r\t\b\a\"\\\q\x4"', b'A\n\r\t\b\a"\\qx4'),
        (rb"'\'\n'", rb"'\n"),
        (rb"a\n", rb"a\n"),
        (b"a\vb\f", b"a\vb\f"),
        (b'\v\fa\v"b"\v', b"a\vb"),
    ],
)
async def test_quotes(typed: bytes, value: bytes, autojump_clock: trio.testing.MockClock) -> None:
    assert await answers_to(b" ECHO \t " + typed + b" \r\n") == b"$%d\r\n%b\r\n" % (len(value), value)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (b"HELLO", b"*2\r\n$5\r\nproto\r\n$1\r\n2\r\n"),
        (b"HELLO 2 SETNAME me", b"*2\r\n$5\r\nproto\r\n$1\r\n2\r\n"),
        (b"HELLO 3", b"-NOPROTO unsupported protocol version\r\n"),
        (b"COMMAND DOCS", b"*0\r\n"),
        (b"CONFIG GET save", b"*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        (b"CONFIG GET appendonly", b"*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n"),
        (b"CONFIG GET other", b"*0\r\n"),
        (b"CLIENT SETNAME me", b"+OK\r\n"),
        (b"CLIENT setinfo LIB-NAME me", b"+OK\r\n"),
        (b"FLUSHALL\nFLUSHALL async\nFLUSHDB SYNC", b"+OK\r\n" * 3),
        (b"FLUSHALL x", b"-ERR syntax error\r\n"),
        (b"FLUSHDB SYNC SYNC", b"-ERR syntax error\r\n"),
        (b"CLIENT KILL me", b"-ERR syntax error\r\n"),
        (b"INFO server", b"$33\r\nredis_version:7.0.0\r\ndb0:keys=0\r\n\r\n"),
        (b"APPEND a " + b"x" * 1001, b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"),
        (b"KEYS " + b"x" * 1001, b"-ERR the pattern is too long\r\n"),
        (b"DECRBY a -9223372036854775808", b"-ERR decrement would overflow\r\n"),
        (b"INCRBY a -9223372036854775808", b":-9223372036854775808\r\n"),
        (b"DECRBY a -1\nINCRBY a 9223372036854775807", b":1\r\n-ERR increment or decrement would overflow\r\n"),
        (b"SET a 1\nPEXPIRE a -9223372036854775808\nEXISTS a", b"+OK\r\n:1\r\n:0\r\n"),
        (b"SET a 1\nEXPIRE a -9223372036854775\nEXISTS a", b"+OK\r\n:1\r\n:0\r\n"),
        (b"EXPIRE a -9223372036854776", b"-ERR invalid expire time in 'expire' command\r\n"),
        (b"PEXPIRE a 9223372036854775807", b"-ERR invalid expire time in 'pexpire' command\r\n"),
    ],
)
async def test_what_clients_ask_besides(asked: bytes, answer: bytes, autojump_clock: trio.testing.MockClock) -> None:
    assert await answers_to(asked + b"\n") == answer


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        (b"[!a]", b"!a"),
        (rb"[\!a]", b"!a"),
        (b"[^!a]", b"\n*-[]^bz"),
        (b"[[^a]", b"[^a"),
        (rb"[a\]b]", b"]ab"),
        (rb"[a\-z]", b"-az"),
        (rb"[a\*b]", b"*ab"),
        (b"[z-^]", b"^abz"),
        (b"[[-]]", b"[]"),
        (b"[-b]", b"-b"),
        (b"[ab", b"ab"),
        (b"[^ab", b"\n!*-[]^z"),
        (b"[]", b""),
        (b"[^]", b"\n!*-[]^abz"),
        (rb"\*", b"*"),
        (rb"\b", b"b"),
        (b"\\", b""),
        (b"?", b"\n!*-[]^abz"),
        (b"??", b""),
        (b"*" * 1000, b"\n!*-[]^abz"),
    ],
)
def test_patterns(pattern: bytes, keys: bytes) -> None:
    store = kv_server.Store()
    for key in b"\n!*-[]^abz":
        store.set(bytes([key]), b"")
    assert b"".join(store.keys(pattern)) == keys


def test_no_pattern_takes_for_ever() -> None:
    store = kv_server.Store()
    store.set(b"a" * 10_000, b"")
    assert store.keys(b"*a" * 400 + b"*b") == []
    assert store.keys(b"*[ab]?" * 160 + b"b") == []
    assert store.keys(b"*a" * 400 + b"*") == [b"a" * 10_000]


async def test_a_long_value_in_tiny_pieces_takes_no_more_than_it_is_long() -> None:
    _, server = trio.testing.memory_stream_pair()
    chat = client(server)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(50_000):
            chat.collect_incoming_data(number.to_bytes(2, "big"))
        assert tracemalloc.get_traced_memory()[0] - before < 2 * 100_000
    finally:
        tracemalloc.stop()


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_server, "MAX_COMMAND_BYTES", 1000)


TOO_BIG = b"-ERR Protocol error: too big command, transaction or answer\r\n"


@pytest.mark.usefixtures("little_room")
@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (b"*100\r\n" + b"$0\r\n\r\n" * 40, b""),
        (b"MULTI\n" + b"PING\n" * 40, b"+OK\r\n" + b"+QUEUED\r\n" * 28),
        (b"SET a %b\nMGET a a a a\n" % (b"x" * 500), b"+OK\r\n"),
        (b"SET a %b\nMULTI\n%bEXEC\n" % (b"x" * 500, b"GET a\n" * 3), b"+OK\r\n" * 2 + b"+QUEUED\r\n" * 3),
    ],
)
async def test_commands_transactions_and_answers_are_bounded(
    sent: bytes, answers: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    assert await answers_to(sent) == answers + TOO_BIG


@pytest.mark.usefixtures("little_room")
async def test_what_was_answered_leaves_room_for_the_next(autojump_clock: trio.testing.MockClock) -> None:
    sent = command(b"SET", b"a", b"x" * 900) + (b"MULTI\n" + command(b"GET", b"a") + b"DISCARD\n") * 5
    assert await answers_to(sent) == b"+OK\r\n" + b"+OK\r\n+QUEUED\r\n+OK\r\n" * 5


async def test_what_nobody_asks_for_is_swept_out_little_by_little(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    store = kv_server.Store()
    nursery.start_soon(store.sweep)
    async with talk(lambda stream: client(stream, store)) as (_, peer):
        keys = b"".join(b"set %d x ex 1\n" % number for number in range(2500))
        await peer.send_all(b"set stays 1\n" + keys)
        assert await receive_exactly(peer, 5 * 2501) == b"+OK\r\n" * 2501
        await trio.sleep(1)
        sizes = [2501]
        while sizes[-1] > 1:
            await trio.sleep(kv_server.SWEEP_SECONDS)
            sizes.append(len(store.values))
        assert max(earlier - later for earlier, later in pairwise(sizes)) == kv_server.SWEEP_KEYS
        assert store.values == {b"stays": b"1"}
        assert store.deadlines == {}
    nursery.cancel_scope.cancel()
