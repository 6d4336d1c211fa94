"""A gibibyte, each way: what the server holds of it at one time."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GIB = 2**30
SMALL = 2**22
PIECE = bytes(2**20)
MAX_GROWTH = 8 * 2**20

SERVER = textwrap.dedent("""
    import sys
    import trio
    from trio_chat.http import FileResponse, Request, Response, serve

    async def app(request: Request) -> Response:
        match request.path:
            case "/up":
                return Response(200, str(sum([len(piece) async for piece in request.stream()])))
            case "/down":
                return Response(200, pieces(int(request.query) // 65536))
            case "/file":
                return FileResponse(f"{sys.argv[1]}/{request.query}")
        with open("/proc/self/status") as status:
            return Response(200, status.read())

    async def pieces(count):
        for _ in range(count):
            yield bytes(65536)

    async def main():
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(serve, app, 0)
            print(listener.socket.getsockname()[1], flush=True)

    trio.run(main)
""")

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


class Client:
    """Speaks HTTP with as little as possible, for the sake of speed."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def ask(self, request_line: str, *fields: str) -> None:
        self.send("\r\n".join([f"{request_line} HTTP/1.1", "Host: a", *fields, "", ""]).encode())

    def head(self) -> dict[str, str]:
        assert self._file.readline() == b"HTTP/1.1 200 OK\r\n"
        lines = iter(lambda: self._file.readline().decode().strip(), "")
        return dict(line.split(": ", 1) for line in lines)

    def body(self) -> bytes:
        return self._file.read(int(self.head()["Content-Length"]))

    def count(self, size: int) -> int:
        counted = 0
        while counted < size and (data := self._file.read(min(2**20, size - counted))):
            counted += len(data)
        return counted

    def count_chunks(self) -> int:
        counted = 0
        while size := int(self._file.readline(), 16):
            counted += self.count(size)
            assert self._file.readline() == b"\r\n"
        assert self._file.readline() == b"\r\n"
        return counted

    def peak(self) -> int:
        """The peak of the server's resident memory, in bytes."""
        self.ask("GET /status")
        found = re.search(rb"VmHWM:\s+(\d+) kB", self.body())
        assert found
        return int(found[1]) * 1024


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    for size in (SMALL, GIB):
        with (tmp_path / str(size)).open("wb") as file:
            file.truncate(size)
    command = [sys.executable, "-P", "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            client = Client(int(process.stdout.readline()))
            try:
                for way in (up, up_in_chunks, down, down_from_file):
                    way(client, SMALL)  # so that nothing but size can make the peak grow
                yield client
            finally:
                client.close()
        finally:
            process.kill()


def up(client: Client, size: int) -> None:
    client.ask("POST /up", f"Content-Length: {size}")
    for _ in range(size // len(PIECE)):
        client.send(PIECE)
    assert client.body() == str(size).encode()


def up_in_chunks(client: Client, size: int) -> None:
    client.ask("POST /up", "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
    for _ in range(size // len(PIECE)):
        client.send(chunk)
    client.send(b"0\r\n\r\n")
    assert client.body() == str(size).encode()


def down(client: Client, size: int) -> None:
    client.ask(f"GET /down?{size}")
    assert client.head()["Transfer-Encoding"] == "chunked"
    assert client.count_chunks() == size


def down_from_file(client: Client, size: int) -> None:
    client.ask(f"GET /file?{size}")
    assert client.count(int(client.head()["Content-Length"])) == size


@pytest.mark.parametrize("way", [up, up_in_chunks, down, down_from_file])
def test_a_gibibyte_is_never_held(way: Callable[[Client, int], None], client: Client) -> None:
    before = client.peak()
    way(client, GIB)
    assert client.peak() - before < MAX_GROWTH
