"""The examples, each as a real process, with clients that are not ours where there are any."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import trio
from processes import EXAMPLES, TIMEOUT, lines, load, running
from trio_websocket import open_websocket_url


def curl(*arguments: str) -> str:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "--silent", "--show-error", "--max-time", str(TIMEOUT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_echo_server(tmp_path: Path) -> None:
    with running("echo_server.py", tmp_path) as server:
        with lines(server.connect()) as file:
            file.write(b"hello\r\nworld\n" + b"x" * 2000 + b"\nagain\nquit\nunheard\n")
            assert file.read() == b"hello\nworld\nthat line was too long\nagain\nquit\n"
        assert server.stop(signal.SIGINT) == 0
        assert server.log == ""


def test_chat_room(tmp_path: Path) -> None:
    with running("chat_room.py", tmp_path) as server, ExitStack() as stack:
        ann, bob = (stack.enter_context(lines(server.connect())) for _ in range(2))
        ann.write(b"Ann\n")
        assert [ann.readline() for _ in range(2)] == [b"Your name?\n", b"* in the room: Ann\n"]
        bob.write(b"Ann\r\nBob\r\n" + b"x" * 2000 + b"\n\r\nhello, \x1bAnn\r\n")
        assert bob.readline() == b"Your name?\n"
        assert bob.readline().endswith(b"please. Your name?\n")
        assert [bob.readline() for _ in range(2)] == [b"* in the room: Ann, Bob\n", b"* that was too long\n"]
        assert [ann.readline() for _ in range(2)] == [b"* Bob is here\n", b"Bob: hello, Ann\n"]
        with lines(server.connect()) as unnamed:
            unnamed.write(b"\n")
        ann.write(b"hello, Bob\n")
        assert bob.readline() == b"Ann: hello, Bob\n"
        with lines(server.connect()) as carl:
            carl.write(b"Carl\n")
            assert [carl.readline() for _ in range(2)] == [b"Your name?\n", b"* in the room: Ann, Bob, Carl\n"]
        assert [ann.readline() for _ in range(2)] == [b"* Carl is here\n", b"* Carl has left\n"]
        assert server.stop(signal.SIGINT) == 0
        assert server.log == ""


def test_embedded(tmp_path: Path) -> None:
    with running("embedded.py", tmp_path) as server:
        first = json.loads(curl(f"{server.url}/status"))["count"]
        assert first >= 1
        while json.loads(curl(f"{server.url}/status"))["count"] == first:
            pass  # the service goes on beside the endpoint
        assert curl("--write-out", "%{http_code}", f"{server.url}/other") == "not found\n404"
        assert server.stop(signal.SIGINT) == 0
        assert server.log == ""


def test_http_server_with_a_browser_like_client(tmp_path: Path) -> None:
    with running("http_server.py", tmp_path) as server:
        with httpx.Client(base_url=server.url, timeout=TIMEOUT) as client:
            page = client.get("/")
            assert page.status_code == 200
            assert "Visits: 1<" in page.text
            assert '<form method="post" action="/hello">' in page.text
            answer = client.post("/hello", data={"name": "<Ann & Bob>"})
            assert "Hello, &lt;Ann &amp; Bob&gt;!" in answer.text
            assert "Visits: 2<" in answer.text
            assert client.get("/nowhere").status_code == 404
            assert client.put("/", content=b"x").headers["allow"] == "GET, HEAD"
        assert server.log.count("\n") == 4
        assert re.search(r'127\.0\.0\.1 - - \[.+\] "POST /hello HTTP/1\.1" 200 \d+ \d\.\d+\n', server.log)


def test_http_server_with_curl(tmp_path: Path) -> None:
    with running("http_server.py", tmp_path) as server:
        upload = tmp_path / "upload"
        upload.write_bytes(b"name=" + b"x" * 100_000)
        answer = curl("--data", f"@{upload}", f"{server.url}/hello")
        assert "x" * 100_000 in answer
        assert "HTTP/1.1 200 OK" in curl("--head", server.url)
        discard = ("--output", os.devnull)
        twice = curl("--write-out", "%{num_connects}", *discard, server.url, *discard, server.url)
        assert twice == "10"  # one new connection for the first, none for the second


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_http_server_stops_cleanly_under_load(tmp_path: Path, with_signal: int) -> None:
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with running("http_server.py", tmp_path) as server, ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(50)]
        for connection in connections[:40]:
            connection.sendall(request * 20)
        connections[0].recv(100)
        assert server.stop(with_signal) == 0
        assert server.process.stdout is not None
        assert server.process.stdout.read() == "stopping; once more to stop at once\nstopped\n"
        assert "Traceback" not in server.log


def test_http_server_stops_at_once_the_second_time(tmp_path: Path) -> None:
    with running("http_server.py", tmp_path) as server, server.connect() as connection:
        connection.sendall(b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab")
        httpx.get(server.url)  # the connection before has been accepted
        server.process.send_signal(signal.SIGINT)
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == "stopping; once more to stop at once\n"
        assert server.stop(signal.SIGINT) == 0
        assert server.process.stdout.read() == "stopped\n"
        assert connection.recv(100) == b""
        assert "Traceback" not in server.log


def test_http_server_finds_its_cookie_among_others(tmp_path: Path) -> None:
    with running("http_server.py", tmp_path) as server:
        session = httpx.get(server.url).cookies["session"]
        cookies = {"Cookie": f'prefs={{"a":1}}; a[b]=1; flag; session={session}'}
        assert "Visits: 2<" in httpx.get(server.url, headers=cookies).text
        assert "Visits: 1<" in httpx.get(server.url, headers={"Cookie": "session=made-up"}).text


@pytest.mark.parametrize(
    "name", ["echo_server.py", "chat_room.py", "kv_server.py", "http_server.py", "websocket_chat.py", "embedded.py"]
)
def test_a_port_that_is_taken_or_is_none_is_one_line(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        for port in (other.getsockname()[1], 65536, 99999, -1):
            command = [sys.executable, "-P", str(EXAMPLES / name), "--port", str(port)]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT)
            assert done.returncode == 1
            assert done.stderr.startswith(f"cannot listen on 127.0.0.1, port {port}: ")
            assert done.stderr.count("\n") == 1
            assert done.stdout == ""


def test_http_server_keeps_thousands_of_idle_connections_beside_a_busy_one(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 3000
    if hard != resource.RLIM_INFINITY and hard < count + 500:
        pytest.skip(f"only {hard} file descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 500), hard))
    try:
        with running("http_server.py", tmp_path) as server, ExitStack() as stack:
            idle = [stack.enter_context(server.connect()) for _ in range(count)]
            request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
            for connection in idle:
                connection.sendall(request)
                assert connection.recv(15) == b"HTTP/1.1 200 OK"
            with httpx.Client(base_url=server.url, timeout=TIMEOUT) as client:
                assert [client.get("/").status_code for _ in range(100)] == [200] * 100
            for connection in (idle[0], idle[-1]):
                connection.recv(10_000)
                connection.sendall(request)
                assert connection.recv(15) == b"HTTP/1.1 200 OK"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts file descriptors in /proc")
def test_http_server_leaks_no_file_descriptor_when_clients_are_killed_midway(tmp_path: Path) -> None:
    with running("http_server.py", tmp_path) as server:
        descriptors = Path(f"/proc/{server.process.pid}/fd")
        curl(server.url)
        before = len(list(descriptors.iterdir()))
        for sent in [b"", b"GET / HT", b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nabc"] * 30:
            connection = server.connect()
            connection.sendall(sent)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing resets
            connection.close()
        for _ in range(200):
            curl(server.url)
            if len(list(descriptors.iterdir())) <= before:
                break
        assert len(list(descriptors.iterdir())) <= before
        assert "Traceback" not in server.log


def test_websocket_chat(tmp_path: Path) -> None:
    async def converse(url: str) -> list[str | bytes]:
        async with open_websocket_url(url) as one, open_websocket_url(url) as other:
            await one.send_message("first")
            heard = [await other.get_message(), await one.get_message()]
            await one.aclose()
            await other.send_message("second")
            return [*heard, await other.get_message()]

    with running("websocket_chat.py", tmp_path) as server:
        assert "<h1>Chat</h1>" in httpx.get(server.url).text
        assert httpx.get(f"{server.url}/chat").status_code == 426
        assert trio.run(converse, f"{server.url.replace('http', 'ws')}/chat") == ["first", "first", "second"]
        # Not while a WebSocket is closing: in that moment trio-websocket can lose a KeyboardInterrupt to a Cancelled.
        assert httpx.get(f"{server.url}/chat").status_code == 426
        assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.log


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
@pytest.mark.parametrize("name", ["http_server.py", "websocket_chat.py"])
def test_a_browser_can_take_the_url_that_is_told(tmp_path: Path, name: str, host: str) -> None:
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with running(name, tmp_path, "--host", host) as server:
        in_url = {"0.0.0.0": "localhost", "::1": "[::1]"}.get(host, host)
        assert re.fullmatch(rf"point your browser at http://{re.escape(in_url)}:\d+/\n", server.greeting)
        assert httpx.get(server.greeting.split()[-1]).status_code == 200


def test_websocket_chat_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-P", str(EXAMPLES / "websocket_chat.py"), "--help"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT)
    assert "pip install trio-websocket" in done.stdout
    monkeypatch.setitem(sys.modules, "trio_websocket", None)  # as if it were not installed
    with pytest.raises(SystemExit, match=r": pip install trio-websocket$"):
        load("websocket_chat.py")
