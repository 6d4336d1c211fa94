"""Old programs, in which `▸` marks where the checker is to find something."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

from trio_chat.compat.check import check_files

CHANNEL = "import asynchat, asyncore\nclass Channel(asynchat.async_chat):\n"
SERVER = "import asyncore\nclass Server(asyncore.dispatcher):\n    def handle_accepted(self, sock, addr): ...\n"


def find(source: str, folder: Path) -> list[tuple[str, int, int]]:
    path = folder / "program.py"
    path.write_text(source)
    findings, files = check_files([str(path)])
    assert files == 1
    return [(finding.code, finding.line, finding.column) for finding in findings]


def marks(source: str) -> tuple[str, list[tuple[int, int]]]:
    """The source without marks, and their lines and columns."""
    places = []
    for number, line in enumerate(source.split("\n"), 1):
        assert line.count("▸") <= 1
        if "▸" in line:
            places.append((number, line.index("▸") + 1))
    return source.replace("▸", ""), places


def check(code: str, marked: str, folder: Path) -> None:
    source, places = marks(marked)
    assert [(line, column) for found, line, column in find(source, folder) if found == code] == places


def method(body: str, name: str = "found_terminator", arguments: str = "self") -> str:
    """A channel with a method."""
    return CHANNEL + f"    def {name}({arguments}):\n" + indent(dedent(body), " " * 8)
