"""The FTP server as a real process, with its directory, for tests to talk to."""

from __future__ import annotations

import ftplib
import io
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import TIMEOUT, Server, running

RESET_WHEN_CLOSED = (socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.2, and names that are no text")


class FTPServer:
    """The server with its directory, in which Ann may write."""

    def __init__(self, server: Server, root: Path) -> None:
        self.server = server
        self.root = root
        self.port = int(server.greeting.split()[-1])

    def client(self, user: str = "ann", host: str = "127.0.0.1", encoding: str = "utf-8") -> ftplib.FTP:
        client = ftplib.FTP(timeout=TIMEOUT, encoding=encoding)
        client.connect(host, self.port)
        client.login(user, "secret")
        return client

    def url(self, path: str = "", user: str = "ann:secret@") -> str:
        return f"ftp://{user}127.0.0.1:{self.port}/{path}"

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir())

    @property
    def descriptors(self) -> int:
        """How many the process has open."""
        return len(list(Path(f"/proc/{self.server.process.pid}/fd").iterdir()))

    def make_huge_file(self) -> None:
        """One that no kernel's buffers hold."""
        with (self.root / "huge").open("wb") as file:
            file.truncate(1_000_000_000)


@contextmanager
def serving(tmp_path: Path, *options: str) -> Iterator[FTPServer]:
    (root := tmp_path / "root").mkdir()
    (password := tmp_path / "password").write_text("secret\n")
    ann: list[str | Path] = ["--user", "ann", "--password-file", password]
    with running("ftp_server.py", tmp_path, "--root", root, *ann, *options) as server:
        yield FTPServer(server, root)


def fetch(client: ftplib.FTP, name: str, rest: int | None = None) -> bytes:
    received = io.BytesIO()
    assert client.retrbinary(f"RETR {name}", received.write, rest=rest).startswith("226")
    return received.getvalue()


def refused(act: Callable[..., object], *arguments: object) -> str:
    """The code with which the server refuses."""
    with pytest.raises(ftplib.Error) as refusal:
        act(*arguments)
    return str(refusal.value)[:3]
