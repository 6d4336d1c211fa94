"""The key-value server beside Redis itself: the same bytes go to both, and the same bytes have to come back."""

from __future__ import annotations

import random
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest
import trio
import trio.testing
from bounded import converse
from processes import TIMEOUT, load

from trio_chat import AsyncChat

kv_server = load("kv_server.py")
SEQUENCES = 300
COMMANDS = 60
KEYS = [b"a", b"b", b"n", b"long key \r\n\0\xff"]
NUMBERS = [b"0", b"1", b"-1", b"7", b"-9223372036854775808", b"9223372036854775807"]
NO_NUMBERS = [b"9223372036854775808", b"01", b"+1", b" 1", b"1.5", b"-0", b"", b"x"]
WORDS = [*NUMBERS, *NO_NUMBERS, b"y" * 200, bytes(range(256))]

Random = random.Random


def key(random: Random) -> bytes:
    return random.choice(KEYS)


def word(random: Random) -> bytes:
    return random.choice(WORDS)


def amount(random: Random) -> bytes:
    return random.choice([*NUMBERS, *NO_NUMBERS])


def option(random: Random) -> bytes:
    return random.choice([b"nx", b"XX", b"GET", b"get", b"KeepTTL", b"EX", b"PX", b"100", b"100000", *NO_NUMBERS])


def seconds(random: Random) -> bytes:
    return random.choice(
        [b"100", b"1000", b"-100", b"-4611686018427387905", b"-9223372036854775", *NUMBERS, *NO_NUMBERS]
    )


def how(random: Random) -> bytes:
    return random.choice([b"SYNC", b"async", b"x"])


def database(random: Random) -> bytes:
    return random.choice([b"0", b"99", b"-1", *NO_NUMBERS])


#: What a command is given. How much time is left in milliseconds is never the same twice: PTTL is for others to test.
ARGUMENTS: dict[bytes, list[Callable[[Random], bytes]]] = {
    b"GET": [key], b"SET": [key, word], b"SETNX": [key, word], b"GETSET": [key, word], b"GETDEL": [key],
    b"MGET": [key, key, key], b"MSET": [key, word, key, word], b"DEL": [key, key], b"EXISTS": [key, key, key],
    b"TYPE": [key], b"APPEND": [key, word], b"STRLEN": [key], b"INCR": [key], b"DECR": [key], b"INCRBY": [key, amount],
    b"DECRBY": [key, amount], b"EXPIRE": [key, seconds], b"PEXPIRE": [key, seconds], b"TTL": [key], b"PERSIST": [key],
    b"DBSIZE": [], b"FLUSHALL": [how], b"FLUSHDB": [how], b"PING": [word], b"ECHO": [word], b"MULTI": [], b"EXEC": [],
    b"DISCARD": [], b"SELECT": [database], b"NONE": [seconds, seconds],
}  # fmt: skip
OFTEN = [b"SET", b"GET", b"INCR", b"TTL", b"MULTI", b"EXEC"]


def some_command(random: Random) -> list[bytes]:
    name = random.choice([*ARGUMENTS, *OFTEN * 3])
    arguments = [make(random) for make in ARGUMENTS[name]]
    if name == b"SET":
        arguments += [option(random) for _ in range(random.choice([0, 0, 1, 2, 2, 3, 4]))]
    elif random.random() < 0.1:
        arguments = arguments[:-1]
    elif name in (b"EXEC", b"DISCARD") and random.random() < 0.1:
        arguments = [word(random)]
    return [random.choice([name, name.lower(), name.title()]), *arguments]


def encoded(arguments: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(arguments) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in arguments)


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    version = subprocess.run(["redis-server", "--version"], check=True, capture_output=True, text=True).stdout
    if (found := re.search(r"v=(\d+)", version)) is None or found[1] != "7":
        pytest.skip(f"it answers in other words than Redis 7: {version}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    settings = {
        "port": port,
        "bind": "127.0.0.1",
        "save": "",
        "appendonly": "no",
        "dir": tmp_path_factory.mktemp("redis"),
    }
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    with subprocess.Popen(["redis-server", *options], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            log = ""
            while "Ready to accept connections" not in log:
                line = server.stdout.readline()
                assert line, log
                log += line
            yield port
        finally:
            server.kill()


async def answers(redis_port: int, sent: bytes) -> tuple[bytes, bytes]:
    """Ours and Redis's, up to the end of the connection."""
    store = kv_server.Store()

    def client(stream: trio.abc.Stream) -> AsyncChat:
        chat: AsyncChat = kv_server.Client(stream, store, 8 * 1024 * 1024)
        return chat

    _, ours = await converse(client, [sent])
    return ours, answers_of_redis(redis_port, sent)


def answers_of_redis(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
        connection.sendall(encoded([b"FLUSHALL"]))
        assert connection.recv(5) == b"+OK\r\n"
        connection.sendall(sent)
        received = b""
        while data := connection.recv(65536):
            received += data
        return received


@pytest.mark.parametrize("seed", range(SEQUENCES))
async def test_a_sequence_of_commands(seed: int, redis_port: int, autojump_clock: trio.testing.MockClock) -> None:
    random = Random(seed)
    commands = [some_command(random) for _ in range(COMMANDS)]
    ours, theirs = await answers(redis_port, b"".join(map(encoded, commands)) + encoded([b"QUIT"]))
    assert ours == theirs, commands


@pytest.mark.parametrize("seed", range(5))
async def test_commands_as_one_types_them(seed: int, redis_port: int, autojump_clock: trio.testing.MockClock) -> None:
    random = Random(seed)
    pieces = ["a", "b", " ", "\t", '"', '"', "'", "'", "\\", "\\x4", "\\x41", "\\n", '\\"', "\\'", "\r", "\v", "\f"]
    for _ in range(100):
        line = "ECHO " + "".join(random.choices(pieces, k=random.randrange(1, 12)))
        ours, theirs = await answers(redis_port, f"{line}\r\nQUIT\n".encode())
        assert ours == theirs, line


@pytest.mark.parametrize(
    "sent",
    [
        b"*x\r\n", b"*\r\n", b"*01\r\n", b"*1\r\n:4\r\n", b"*1\r\n\r\n", b"*1\r\n$\r\n", b"*1\r\n$-1\r\n",
        b"*1\r\n$+4\r\n", b"*1\r\n$x\r\n", b"*1\r\n$9223372036854775808\r\n", b"*0\r\n*-1\r\n\r\n\nQUIT\r\n",
        b"'a\r\n", b'"a"b\r\n', b"PING\r\n*2\r\n$4\r\nECHO\r\n$1\r\na\r\nquit now\r\nPING\r\n",
        b"hello 4\r\nquit\r\n", b"a\r\nb 'c d'\r\nquit\r\n", b"*1\r\n$4\r\nPING\r\n*1\r\n*1\r\n",
        b"*2\r\n$4\r\nA\r\nB\r\n$3\r\nC\nD\r\nquit\r\n",
        b"x" * 70000, b"*" + b"1" * 70000, b"*1\r\n$" + b"1" * 70000,
    ],
)  # fmt: skip
async def test_the_end(sent: bytes, redis_port: int, autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = await answers(redis_port, sent)
    assert ours == theirs


@pytest.mark.parametrize("seed", range(5))
async def test_patterns(seed: int, redis_port: int, autojump_clock: trio.testing.MockClock) -> None:
    random = Random(seed)
    keys = ["".join(random.choices("abc*?[]^-\\!\n", k=random.randrange(1, 5))) for _ in range(200)]
    setting = b"".join(encoded([b"SET", key.encode(), b""]) for key in keys)
    pieces = ["a", "b", "c", "*", "?", "[a", "[^", "[b-", "[ab]", "[^b-c]", "[", "]", "-", "^", "\\", "!", "\n"]
    patterns = ["".join(random.choices(pieces, k=random.randrange(7))).encode() for _ in range(100)]
    for pattern in patterns:
        ours, theirs = await answers(redis_port, setting + encoded([b"KEYS", pattern]) + encoded([b"QUIT"]))
        assert sorted(ours.split(b"\r\n")) == sorted(theirs.split(b"\r\n")), pattern
