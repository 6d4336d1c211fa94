"""The key-value server as a real process, with Redis's own clients."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from processes import TIMEOUT, Server, lines, running

RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER: closing resets the connection


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running("kv_server.py", tmp_path) as server:
        yield server
        assert server.stop(signal.SIGINT) == 0
        assert server.process.stdout is not None
        assert server.process.stdout.read() == "stopped\n"
        assert server.log == ""


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with redis.Redis(port=server.port, protocol=2, socket_timeout=TIMEOUT) as client:
        yield client


def run(server: Server, program: str, *arguments: str, sent: bytes = b"") -> str:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    command = [program, "-p", str(server.port), *arguments]
    return subprocess.run(command, input=sent, check=True, capture_output=True, timeout=TIMEOUT).stdout.decode()


def resident_bytes(server: Server) -> int:
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096


def test_redis_cli_with_arguments(server: Server) -> None:
    assert run(server, "redis-cli", "SET", "a b", "x\r\ny") == "OK\n"
    assert run(server, "redis-cli", "--no-raw", "GET", "a b") == '"x\\r\\ny"\n'
    assert run(server, "redis-cli", "--no-raw", "TTL", "a b") == "(integer) -1\n"
    assert run(server, "redis-cli", "GET") == "ERR wrong number of arguments for 'get' command\n\n"


def test_redis_cli_as_one_types(server: Server) -> None:
    typed = b"MULTI\nset n 41\nincr n\nEXEC\nget 'n'\nfoo \"b\\x41r\"\nping\n"
    assert run(server, "redis-cli", "--no-raw", sent=typed).splitlines() == [
        "OK", "QUEUED", "QUEUED", "1) OK", "2) (integer) 42", '"42"',
        "(error) ERR unknown command 'foo', with args beginning with: 'bAr' ", "PONG",
    ]  # fmt: skip


def test_redis_cli_inserts_masses(server: Server, client: Any) -> None:
    commands = [b"*3\r\n$3\r\nSET\r\n$%d\r\nk%d\r\n$1\r\nv\r\n" % (1 + len(str(n)), n) for n in range(5000)]
    assert "errors: 0, replies: 5000\n" in run(server, "redis-cli", "--pipe", sent=b"".join(commands))
    assert client.dbsize() == 5000


def test_redis_benchmark(server: Server, client: Any) -> None:
    output = run(server, "redis-benchmark", "-P", "16", "-q", "-n", "1600", "-t", "ping,set,get,incr,mset")
    for name in ("PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"):
        assert f"{name}: " in output
    assert client.get("counter:__rand_int__") == b"1600"
    assert client.strlen("key:__rand_int__") == 3


def test_redis_py(client: Any) -> None:
    assert client.ping()
    assert client.set("a", b"\0\r\n") is True
    assert client.set("a", "b", nx=True) is None
    assert client.set("a", "b", xx=True, get=True) == b"\0\r\n"
    assert client.mset({"c": 1, "d": 2})
    assert client.mget("a", "c", "none", "d") == [b"b", b"1", None, b"2"]
    assert (client.incr("c", 9), client.decr("c"), client.append("c", "!"), client.strlen("c")) == (10, 9, 2, 2)
    assert (client.exists("a", "a", "none"), client.type("a"), client.getdel("a"), client.delete("a")) == (
        2, b"string", b"b", 0,
    )  # fmt: skip
    assert sorted(client.keys("[cd]")) == [b"c", b"d"]
    assert client.info()["redis_version"] == "7.0.0"
    with pytest.raises(redis.ResponseError, match="value is not an integer or out of range"):
        client.incr("c")
    with pytest.raises(redis.ResponseError, match="DB index is out of range"):
        client.execute_command("SELECT", 1)
    assert client.flushall()
    assert client.dbsize() == 0


def test_redis_py_with_a_transaction(client: Any) -> None:
    with client.pipeline(transaction=True) as pipeline:
        pipeline.set("a", 1).incr("a").set("b", "x").incr("b").get("a")
        answers = pipeline.execute(raise_on_error=False)
        assert answers[:3] + answers[4:] == [True, 2, True, b"2"]
        assert isinstance(answers[3], redis.ResponseError)
        pipeline.set("a", 3).execute_command("GET")
        with pytest.raises(redis.ResponseError, match="wrong number of arguments"):
            pipeline.execute()
    assert client.get("a") == b"2"


def test_redis_py_lets_keys_expire(client: Any) -> None:
    client.set("long", 1, ex=100)
    client.set("short", 1, px=20)
    client.set("shorter", 1)
    client.pexpire("shorter", 1)
    while client.exists("short", "shorter"):
        pass  # it ends, for the server's clock runs
    assert 0 < client.pttl("long") <= 100_000
    assert client.persist("long")
    assert (client.ttl("long"), client.ttl("short")) == (-1, -2)


def test_a_value_may_be_as_long_as_is_allowed_and_no_longer(client: Any) -> None:
    value = bytes(range(256)) * (8 * 4096)
    assert client.set("a", value)
    assert client.get("a") == value
    with pytest.raises(redis.ResponseError, match="string exceeds maximum allowed size"):
        client.append("a", "x")
    with pytest.raises((redis.ResponseError, redis.ConnectionError)):
        client.set("b", value + b"x")
    assert client.dbsize() == 1


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory in /proc")
def test_who_promises_much_and_sends_little_takes_no_memory(server: Server, client: Any) -> None:
    client.ping()
    before = resident_bytes(server)
    greedy = [server.connect() for _ in range(50)]
    for connection in greedy:
        connection.sendall(b"PING\r\n*1048576\r\n$3\r\nSET\r\n$8388608\r\nabc")
        assert connection.recv(7) == b"+PONG\r\n"
    assert resident_bytes(server) - before < 8 * 1024 * 1024
    for connection in greedy:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()
    assert client.ping()


def test_clients_that_are_killed_midway_disturb_nobody(server: Server, client: Any) -> None:
    for sent in (b"", b"*", b"*2\r\n$3\r\nGE", b"*1\r\n$4\r\nPING\r\n" * 1000, b"MULTI\r\nSET a 1\r\n") * 5:
        connection = server.connect()
        connection.sendall(sent)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()
    assert client.dbsize() == 0


def test_by_hand(server: Server) -> None:
    with lines(server.connect()) as file:
        file.write(b"set greeting 'hello, world'\nGET greeting\n\r\nset 'a\n")
        assert file.read() == b"+OK\r\n$12\r\nhello, world\r\n-ERR Protocol error: unbalanced quotes in request\r\n"
