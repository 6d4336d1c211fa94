"""A server of servers/ as a process of its own: how it is started, what it takes, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from .cores import pinned

HOST = "127.0.0.1"
_SERVERS = f"{__package__}.servers"
_TESTS = Path(__file__).parents[1]
_START_SECONDS = 20.0
_END_SECONDS = 5.0
_IDLE_SECONDS = 10.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_LISTEN = "0A"  # of the states in /proc/net/tcp
_TICKS = os.sysconf("SC_CLK_TCK")


class ServerFailed(Exception):
    """It did not start, or did not live."""


class Program(NamedTuple):
    """A module of servers/, with what it is told besides the port."""

    module: str
    arguments: Sequence[str] = ()


#: The same server without its own transport: what that is worth.
ON_TRIO_SOCKETS = "trio_chat-trio-sockets"
PROGRAMS = {
    "bare": Program("bare_server"),
    "trio_chat": Program("trio_chat_server"),
    ON_TRIO_SOCKETS: Program("trio_chat_server", ["--trio-sockets"]),
    "uvicorn-uvloop": Program("uvicorn_server", ["httptools", "uvloop"]),
    "uvicorn-httptools": Program("uvicorn_server", ["httptools", "asyncio"]),
    "uvicorn-h11": Program("uvicorn_server", ["h11", "asyncio"]),
    "hypercorn-trio": Program("hypercorn_server"),
    "aiohttp": Program("aiohttp_server"),
    "tornado": Program("tornado_server"),
    "granian": Program("granian_server"),
    "waitress": Program("waitress_server"),
}
SERVERS = [name for name in PROGRAMS if name != ON_TRIO_SOCKETS]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


def listening(port: int) -> int:
    """How many sockets listen on a port."""
    _, *sockets = Path("/proc/net/tcp").read_text().splitlines()
    ends = [(int(local.rpartition(":")[2], 16), state) for _, local, _, state, *_ in map(str.split, sockets)]
    return ends.count((port, _LISTEN))


class Server:
    """Starts at once; `wait_until_it_listens` before use. Leaving its block ends it, and what it has started."""

    def __init__(self, program: Program, cores: set[int], port: int | None = None) -> None:
        self.port = port or free_port()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        with pinned(cores):
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"{_SERVERS}.{program.module}", str(self.port), *program.arguments],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env=os.environ | {"PYTHONPATH": str(_TESTS)},
                start_new_session=True,
            )

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def wait_until_it_listens(self, servers: int = 1) -> None:
        """Until it does, or all of several on one port do."""
        deadline = time.monotonic() + _START_SECONDS
        while listening(self.port) < servers:
            self.check()
            if time.monotonic() > deadline:
                raise ServerFailed(f"does not listen after {_START_SECONDS:.0f} seconds: {self._last_line()}")
            time.sleep(0.02)

    def check(self) -> None:
        if (status := self._process.poll()) is not None:
            raise ServerFailed(f"ended with {status}: {self._last_line()}")

    def resident_bytes(self) -> int:
        """The resident memory of the process and of those it has started; what they share is counted in each."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._processes()]
        return sum(pages) * _PAGE_BYTES

    def cpu_seconds(self) -> float:
        """What they have used of the processor so far."""
        ticks = [sum(map(int, stat[11:13])) for stat in self._processes().values()]
        return sum(ticks) / _TICKS

    def wait_until_idle(self) -> None:
        """Until it has done with what the load generator has left to it: that is not for the next one to bear."""
        deadline = time.monotonic() + _IDLE_SECONDS
        used = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(0.1)
            before, used = used, self.cpu_seconds()
            if used - before <= 2 / _TICKS:
                break

    def _processes(self) -> dict[int, list[str]]:
        """The process and all that it has started, which are of one session; `_stat` of each."""
        found = {}
        for entry in os.scandir("/proc"):
            try:
                if entry.name.isdigit() and int((stat := _stat(int(entry.name)))[3]) == self._process.pid:
                    found[int(entry.name)] = stat
            except (FileNotFoundError, ProcessLookupError):
                pass  # it has ended meanwhile
        return found

    def _last_line(self) -> str:
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it says nothing"

    def stop(self) -> None:
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, signal_number)
            except ProcessLookupError:
                break
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third one on, the second being a name that may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
