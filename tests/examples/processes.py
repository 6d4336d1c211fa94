"""The examples, for tests to talk to: as real processes, and as modules."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, BinaryIO

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT = 20


class Server:
    """An example that is running; it has said on which port."""

    def __init__(self, name: str, tmp_path: Path, *options: str | Path) -> None:
        self.log_path = tmp_path / f"{name}.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", EXAMPLES / name, "--port", "0", *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.greeting = self.process.stdout.readline()
        port = re.search(r".*(?:port |:)(\d+)", self.greeting)
        assert port, f"{self.greeting!r}, {self.log}"
        self.port = int(port[1])
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)

    def stop(self, with_signal: int) -> int:
        self.process.send_signal(with_signal)
        return self.process.wait(TIMEOUT)


@contextmanager
def running(name: str, tmp_path: Path, *options: str | Path) -> Iterator[Server]:
    server = Server(name, tmp_path, *options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        assert server.process.stdout is not None
        server.process.stdout.close()


@contextmanager
def lines(connection: socket.socket) -> Iterator[BinaryIO]:
    with connection, connection.makefile("rwb", buffering=0) as file:
        yield file  # type: ignore[misc]


def load(name: str) -> Any:
    """An example as a module, to be talked to in memory."""
    spec = spec_from_file_location(name.removesuffix(".py"), EXAMPLES / name)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
