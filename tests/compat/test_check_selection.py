"""The checker, on which files it reads and which of them it parses; and on modules that are only named like the old."""

from __future__ import annotations

import ast
import errno
import os
import socket
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_check_command import HAZARD, found_in, run, write

from trio_chat.compat.check import check_files, main

BASE = "import asynchat\nclass Base(asynchat.async_chat): ...\n"
HEIR = "class Channel(Base):\n    def refill_buffer(self): ...\n"
UNRELATED = "from unrelated import other\nclass Base: ...\nclass Channel(Base):\n    def refill_buffer(self): ...\n"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were parsed."""
    texts: list[str] = []
    parse = ast.parse

    def noting(source: str, *arguments: object, **options: object) -> ast.Module:
        texts.append(source)
        return parse(source, *arguments, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(ast, "parse", noting)
    return texts


@pytest.mark.parametrize(
    ("imported", "given"),
    [
        ("from base import Base", {}),
        ("from base import (  # (the old one)\n    Other,\n    Base,\n)", {}),
        ("from base import Other, \\\n    Base", {}),
        ("try: from base import Base\nexcept ImportError: Base = object", {}),
        ("import os; from base import Base", {}),
        ("from base import *", {}),
        ("from \\\n    base import Base", {}),
        ("from.base import Base", {}),
        ("if 1:from base import Base", {}),
        ("import base as b\nBase = b.Base", {}),
        ("from again import Mine as Base", {"again.py": "from base import Base as Mine\n"}),
        ("from again import Base", {"again.py": "from more import *\n", "more.py": "from base import *\n"}),
        ("from . import base\nBase = base.Base", {}),
        ("from .base import Base", {}),
        ("from pack.deep import Base", {"pack/__init__.py": "", "pack/deep.py": "import asynchat as a\n" + BASE}),
        ("from pack import Base", {"pack/__init__.py": "from .deep import Base\n", "pack/deep.py": BASE}),
    ],
)
def test_a_large_tree_is_parsed_as_far_as_it_matters(
    imported: str, given: dict[str, str], tmp_path: Path, parsed: list[str]
) -> None:
    unrelated = {f"unrelated/{number}/code.py": f"{UNRELATED}# {number}\n" for number in range(20)}
    write(tmp_path, {"base.py": BASE, "heir.py": f"{imported}\n{HEIR}", **given, **unrelated})
    assert found_in(tmp_path) == [("heir.py", imported.count("\n") + 3, "TC101")]
    assert f"{imported}\n{HEIR}" in parsed
    assert not [text for text in parsed if text.startswith(UNRELATED)]


def test_all_line_ends(tmp_path: Path) -> None:
    for name, line_end in (("cr", "\r"), ("crlf", "\r\n")):
        source = f"import os\nfrom base import (\n    Base)\n{HEIR}".replace("\n", line_end)
        (tmp_path / f"{name}.py").write_bytes(source.encode())
    write(tmp_path, {"base.py": BASE})
    assert found_in(tmp_path) == [("cr.py", 5, "TC101"), ("crlf.py", 5, "TC101")]


def test_what_is_called_from_callbacks_is_parsed(tmp_path: Path, parsed: list[str]) -> None:
    channel = "import asynchat\nfrom lib import tool\nclass C(asynchat.async_chat):\n    def found_terminator(self): "
    write(
        tmp_path,
        {
            "channel.py": channel + "tool.act()\n",
            "lib/__init__.py": "",
            "lib/tool.py": "from lib.deeper import go\ndef act(): go()\n",
            "lib/deeper.py": "import time\ndef go(): time.sleep(1)\n",
            "lib/other.py": "import time\ndef go(): time.sleep(1)\n",
        },
    )
    assert found_in(tmp_path) == [("lib/deeper.py", 2, "TC501")]
    assert len(parsed) == 4


def test_the_standard_library_is_none_of_the_program(tmp_path: Path, parsed: list[str]) -> None:
    write(tmp_path, {"channel.py": "import os.path\n" + BASE, "lib/path.py": "import time\n"})
    assert found_in(tmp_path) == []
    assert len(parsed) == 1


def test_files_that_are_named_are_parsed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"old.py": "print 'x'\n"})
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "Nothing found in 1 file.\n"
    assert main([str(tmp_path / "old.py")]) == 2


def test_files_that_are_named_are_kept_as_far_as_they_matter(tmp_path: Path) -> None:
    write(tmp_path, {"base.py": BASE, "heir.py": f"from base import Base\n{HEIR}", "other.py": UNRELATED})
    findings, files = check_files([str(tmp_path / name) for name in ("base.py", "heir.py", "other.py")])
    assert files == 3
    assert [(Path(finding.path).name, finding.code) for finding in findings] == [
        ("base.py", "TC208"),
        ("heir.py", "TC101"),
    ]


# ---------------------------------------------------------------------- what can be read


@pytest.mark.parametrize("encoding", ["rot13", "base64", "hex", "undefined"])
@pytest.mark.parametrize("named", [True, False])
def test_odd_encodings(encoding: str, named: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / "odd.py"
    write(tmp_path, {"odd.py": f"# coding: {encoding}\nx = '..ä'\n", "plain.py": HAZARD})
    assert main([str(odd), str(tmp_path)] if named else [str(tmp_path)]) == 2
    printed = capsys.readouterr().out
    assert f"{odd}:1:1: TC902 cannot be " in printed
    assert "plain.py:3:33: TC701" in printed
    assert "1 error in 1 file. 1 file could not be checked." in printed


def test_pipes_below_directories_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"plain.py": HAZARD})
    os.mkfifo(tmp_path / "pipe.py")
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (1, b"")
    assert b"1 error in 1 file." in done.stdout


@pytest.mark.parametrize(
    "first_line",
    [
        "#!/usr/bin/env python3",
        "#!/usr/bin/python",
        "#! /usr/bin/python3.11 -u",
        "#!/usr/bin/env -S LANG=C python3 -u",
        "#!/usr/bin/env -S /opt/python3-dbg",
        "#!/usr/bin/python2.7\r",
        f"#!/{'long/' * 40}bin/python",
    ],
)
def test_scripts_below_directories_are_known_by_their_first_line(first_line: str, tmp_path: Path) -> None:
    write(tmp_path, {"bin/daemon": f"{first_line}\n{HAZARD}"})
    assert found_in(tmp_path) == [("bin/daemon", 4, "TC701")]


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"\n",
        b"#!",
        b"#!\n#!/usr/bin/python",
        b"#!/bin/sh\n/usr/bin/python",
        b"#!/bin/sh python",
        b"#!/usr/bin/env ruby python",
        b"#!/usr/bin/env\npython",
        b"#!/home/python/perl",
        b"#!/usr/bin/ipython3",
        b" #!/usr/bin/python",
        b"/usr/bin/python",
        b"\x7fELF#!/usr/bin/python",
        b"#!" + b"\xff" * 5000 + b"/python",
    ],
)
def test_what_else_has_no_ending_is_no_script(beginning: bytes, tmp_path: Path) -> None:
    write(tmp_path, {"plain.py": ""})
    (tmp_path / "other").write_bytes(beginning + b"\n" + HAZARD.encode())
    assert check_files([str(tmp_path)]) == ([], 1)


def test_scripts_of_other_endings_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"plain.py": "", "script.orig": f"#!/usr/bin/python\n{HAZARD}", ".git/hook": "#!/usr/bin/python"})
    assert check_files([str(tmp_path)]) == ([], 1)


def test_packed_programs_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"app/__main__.py": HAZARD})
    zipapp.create_archive(tmp_path / "app", tmp_path / "packed", interpreter=f"/{'long/' * 40}bin/python3")
    assert found_in(tmp_path) == [("app/__main__.py", 3, "TC701")]


def test_a_directory_of_scripts_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"daemon": "#!/usr/bin/python3\n"})
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "Nothing found in 1 file.\n"


def test_a_script_is_no_module(tmp_path: Path) -> None:
    """Neither the one that imports a module of its own name, nor one that is named to the command."""
    write(tmp_path, {"daemon": f"#!/usr/bin/python\nfrom daemon import Base\n{HEIR}", "daemon.py": BASE})
    assert found_in(tmp_path) == [("daemon", 4, "TC101")]
    findings, _ = check_files([str(tmp_path / "daemon"), str(tmp_path / "daemon.py")])
    assert [finding.code for finding in findings] == ["TC101", "TC208"]


def test_what_has_no_ending_and_cannot_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"plain.py": HAZARD, "secret": "#!/usr/bin/python\n"})
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    monkeypatch.setattr("builtins.open", refusing(open, tmp_path / "secret"))
    assert found_in(tmp_path) == [("plain.py", 3, "TC701")]


def refusing(function: Callable[..., Any], path: Path) -> Callable[..., Any]:
    """A function that opens anything but one file."""

    def opening(name: str, *arguments: Any, **options: Any) -> Any:
        if name == str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return function(name, *arguments, **options)

    return opening


def test_pipes_and_sockets_without_an_ending_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"plain.py": HAZARD})
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # the path of a socket must not be long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert found_in(tmp_path) == [("plain.py", 3, "TC701")]


def test_a_script_is_read_once_by_whatever_name(tmp_path: Path) -> None:
    write(tmp_path, {"bin/daemon": f"#!/usr/bin/python\n{HAZARD}"})
    (tmp_path / "link").symlink_to("bin/daemon")
    _, files = check_files([str(tmp_path), str(tmp_path / "bin/daemon")])
    assert files == 1


def test_a_pipe_that_is_named_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-P", "-m", "trio_chat.compat.check", str(pipe)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        pipe.write_text(HAZARD)
        printed, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert printed.startswith(f"{pipe}:3:33: TC701".encode())


def test_links_that_lead_nowhere_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"plain.py": HAZARD})
    (tmp_path / "broken.py").symlink_to("nowhere")
    assert main([str(tmp_path)]) == 2
    assert "broken.py:1:1: TC902 cannot be read: No such file or directory" in capsys.readouterr().out


# ---------------------------------------------------------------------- modules of the old names


@pytest.mark.parametrize(
    "imported", ["from . import asyncore", "from pack import asyncore", "from .asyncore import loop, Thing, dispatch"]
)
def test_a_module_of_the_program_that_is_only_named_like_the_old(imported: str, tmp_path: Path) -> None:
    own = "class Thing: ...\ndef loop(): ...\ndispatch = print\n"
    used = "asyncore.loop()\nasyncore.dispatch(asyncore.Thing())\nloop(dispatch)\n"
    write(tmp_path, {"pack/__init__.py": "", "pack/asyncore.py": own, "pack/use.py": f"{imported}\n{used}"})
    assert found_in(tmp_path) == []


@pytest.mark.parametrize("own", ["class dispatcher: ...\n", "from asyncore import *\n", "import asyncore as _a\n"])
def test_a_copy_of_the_old_module_is_taken_for_it(own: str, tmp_path: Path) -> None:
    use = "from . import asyncore\nasyncore.loop()\nasyncore.its_own()\n"
    write(tmp_path, {"pack/__init__.py": "", "pack/asyncore.py": own, "pack/use.py": use})
    assert found_in(tmp_path) == [("pack/use.py", 2, "TC201")]


def test_names_that_asyncore_never_had_are_not_its(tmp_path: Path) -> None:
    write(tmp_path, {"use.py": "from .asyncore import EINVAL, Thing\nThing()\nprint(EINVAL)\n"})
    assert found_in(tmp_path) == [("use.py", 3, "TC206")]
