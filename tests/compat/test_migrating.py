"""The programs of the migration guide, each in its three states, as processes, with clients that are not ours."""

from __future__ import annotations

import re
import smtplib
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "examples" / "MIGRATING.md"
TIMEOUT = 20


def programs(section: str) -> list[str]:
    """Before; with another import, which takes the channel from before; and after."""
    (text,) = re.findall(rf"\n## {section}\n(.*?)\n## ", GUIDE.read_text(), re.DOTALL)
    before, server, after = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    channels, _, _ = before.partition("class " + re.findall(r"class (\w+)\(asyncore", before)[0])
    functions = "".join(re.findall(r"\n\ndef print_message.*?\n\n\n", before, re.DOTALL))
    imports, _, rest = server.partition("\n# class")
    channels = channels.replace("import asynchat\nimport asyncore\n", "")
    return [before, imports + channels + functions + rest.partition("\n")[2], after]


@contextmanager
def running(source: str, tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "program.py").write_text(re.sub(r"\b80\d\d\b", str(port), source))
    command = [sys.executable, "-P", "-W", "ignore::DeprecationWarning", str(tmp_path / "program.py")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT).close()
                break
            except ConnectionRefusedError:
                continue
        yield port, process
    finally:
        process.kill()
        process.communicate()


def talk_to_echo(port: int, process: subprocess.Popen[str]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as client, client.makefile("rb") as replies:
        client.sendall(b"hello\r\n" + b"x" * 1000 + b"\r\n\r\nqu")
        client.sendall(b"it\r\n")
        assert replies.read() == b"hello\r\n" + b"x" * 1000 + b"\r\n\r\nbye\r\n"


def talk_to_smtp(port: int, process: subprocess.Popen[str]) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=TIMEOUT) as client:
        client.sendmail("ann@example.com", ["bob@example.com", "carl@example.com"], "Subject: x\r\n\r\n.one\r\ntwo")
        assert client.docmd("NONSENSE") == (500, b"unknown command")
        client.sendmail("ann@example.com", "bob@example.com", b"again " * 50)
    assert process.stdout is not None
    printed = [process.stdout.readline().upper() for _ in range(2)]  # newer clients say "mail from:"
    assert printed[0] == "FROM:<ANN@EXAMPLE.COM> TO:<BOB@EXAMPLE.COM> TO:<CARL@EXAMPLE.COM> 23\n"
    assert printed[1] == "FROM:<ANN@EXAMPLE.COM> TO:<BOB@EXAMPLE.COM> 300\n"


def talk_to_http(port: int, process: subprocess.Popen[str]) -> None:
    for body in (None, b"x=1", b"y" * 100_000):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/path", body, timeout=TIMEOUT) as answer:
            assert answer.read() == b"%d bytes\n" % len(body or b"")


@pytest.mark.parametrize("state", [0, 1, 2], ids=["before", "another import", "after"])
@pytest.mark.parametrize(
    ("section", "talk"),
    [("A line protocol", talk_to_echo), ("SMTP", talk_to_smtp), ("The HTTP handler", talk_to_http)],
)
def test_the_programs(
    section: str, talk: Callable[[int, subprocess.Popen[str]], None], state: int, tmp_path: Path
) -> None:
    with running(programs(section)[state], tmp_path) as (port, process):
        talk(port, process)
