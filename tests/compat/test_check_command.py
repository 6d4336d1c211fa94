"""The checker as a command: which files it takes, what it prints, how it ends; and programs of several files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trio_chat.compat._check_kinds import KINDS
from trio_chat.compat.check import check_files, main

HAZARD = "import asynchat\nclass Channel(asynchat.async_chat):\n    def found_terminator(self): self.push('text')\n"
CLEAN = "from trio_chat.compat import asynchat\n"
OLD_SERVER = """\
import asynchat
import asyncore
import socket


class Session(asynchat.async_chat):
    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator(b"\\r\\n")

    def found_terminator(self):
        self.push("250 " + socket.getfqdn() + "\\r\\n")

    def handle_error(self):
        self.close()


class Server(asyncore.dispatcher):
    def handle_accepted(self, sock, addr):
        Session(sock)


asyncore.loop()
"""


def run(*arguments: str | Path, stdin: str | bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-m", "trio_chat.compat.check", *arguments]
    data = stdin.encode() if isinstance(stdin, str) else stdin
    return subprocess.run(command, input=data, capture_output=True, timeout=30, check=False)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(HAZARD)
    return path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


def found_in(folder: Path) -> list[tuple[str, int, str]]:
    findings, _ = check_files([str(folder)])
    shown = [finding for finding in findings if finding.kind.severity != "note"]
    return [(Path(finding.path).relative_to(folder).as_posix(), finding.line, finding.code) for finding in shown]


# ---------------------------------------------------------------------- several files


@pytest.mark.parametrize(
    "imported",
    [
        "from base import Base\nclass Channel(Base):",
        "from base import Base as B\nclass Channel(B):",
        "import base as b\nclass Channel(b.Base):",
        "from base import *\nclass Channel(Base):",
        "from reexport import Base\nclass Channel(Base):",
        "try:\n    from base import Base\nexcept ImportError: Base = None\nclass Channel(object, Base):",
        "from asynchat import async_chat as X\nclass Channel(X):",
        "import asynchat as a\nBase = a.async_chat\nclass Channel(Base):",
        "from project.lib import asynchat_25 as asynchat\nclass Channel(asynchat.async_chat):",
        "try: from compat import asynchat\nexcept ImportError: import asynchat\nclass Channel(asynchat.async_chat):",
    ],
)
def test_classes_are_followed(imported: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "base.py": "import asynchat\nclass Base(asynchat.async_chat): ...\n",
            "reexport.py": "from base import Base\n",
            "channel.py": f"{imported}\n    def refill_buffer(self): ...\n",
        },
    )
    line = imported.count("\n") + 2
    assert found_in(tmp_path) == [("channel.py", line, "TC101")]


@pytest.mark.parametrize("folder", ["project", "project.1/.hidden"])
def test_packages_and_relative_imports(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    tmp_path /= folder
    write(
        tmp_path,
        {
            "app/__init__.py": "",
            "app/net/__init__.py": "from .base import Base\n",
            "app/net/base.py": "import asynchat\nclass Base(asynchat.async_chat): ...\n",
            "app/one.py": "from .net import Base\nclass One(Base):\n    def refill_buffer(self): ...\n",
            "app/two.py": "import app.net.base\nclass Two(app.net.base.Base):\n    def refill_buffer(self): ...\n",
            "other/base.py": "class Base: ...\n",
            "other/three.py": "from .base import Base\nclass Three(Base):\n    def refill_buffer(self): ...\n",
        },
    )
    assert found_in(tmp_path) == [("app/one.py", 3, "TC101"), ("app/two.py", 3, "TC101")]


def test_helpers_in_other_files_are_followed(tmp_path: Path) -> None:
    channel = "import asynchat, names\nclass C(asynchat.async_chat):\n    def found_terminator(self): names.look_up()\n"
    write(tmp_path, {"channel.py": channel, "names.py": "import socket\ndef look_up(): socket.getfqdn()\n"})
    assert found_in(tmp_path) == [("names.py", 2, "TC501")]


def test_the_old_library_itself_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"asynchat.py": HAZARD, "lib/asyncore_25.py": "import select\nselect.select([], [], [])\n"})
    assert found_in(tmp_path) == []


def test_classes_in_a_circle_and_of_one_name(tmp_path: Path) -> None:
    circle = "class A(B): ...\nclass B(A): ...\nclass A: ...\ndef f():\n    class A(A):\n        def send(self): ...\n"
    write(tmp_path, {"a.py": f"import asynchat\nfrom b import *\n{circle}", "b.py": "from a import *\n"})
    assert found_in(tmp_path) == []


# ---------------------------------------------------------------------- which files


def test_directories_are_searched(tmp_path: Path) -> None:
    hidden = {".venv/x.py": HAZARD, "__pycache__/x.py": HAZARD, "notes.txt": HAZARD}
    write(tmp_path, {"a.py": HAZARD, "b/c/d.py": HAZARD, **hidden})
    assert found_in(tmp_path) == [("a.py", 3, "TC701"), ("b/c/d.py", 3, "TC701")]


def test_a_directory_without_python_files_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"notes.txt": HAZARD})
    assert main([str(tmp_path)]) == 2
    assert f"{tmp_path}:1:1: TC902 cannot be checked: there is no Python file in it\n" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_directories_that_must_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir(mode=0)
    assert main([str(tmp_path)]) == 2


def test_a_file_is_checked_once(program: Path) -> None:
    findings, files = check_files([str(program), str(program.parent), f"{program.parent}/./program.py"])
    assert (files, [finding.code for finding in findings]) == (1, ["TC208", "TC701"])


def test_standard_input() -> None:
    done = run("-", stdin=HAZARD)
    assert done.returncode == 1
    assert done.stdout.startswith(b"<stdin>:3:33: TC701 push() is given text\n    | def found_terminator")


@pytest.mark.parametrize(
    ("source", "line", "code", "said"),
    [
        (b"import asynchat\nprint 'x'\n", 2, "TC901", "is Python 2: Missing parentheses"),
        (b"try: pass\nexcept OSError, e: pass\n", 2, "TC901", "is Python 2"),
        (b"raise OSError, 'x'\n", 1, "TC901", "is Python 2"),
        (b"exec 'x'\n", 1, "TC901", "is Python 2"),
        (b"if 1:\n\tx = 1\n        y = 2\n", 3, "TC901", "is Python 2"),
        (b"x = (\n", 1, "TC901", "is not Python 3: '(' was never closed"),
        (b"x = 1\n\0\n", 2, "TC902", "null byte"),
        (b"x = 1\ny = '\xe4'\n", 2, "TC902", "not utf-8"),
        (b"# -*- coding: no-such -*-\n", 1, "TC902", "unknown encoding: no-such"),
        (b"x = " + b"(" * 5000 + b")" * 5000, 1, "TC903", "too many nested parentheses"),
        (b"x = " + b"-" * 50000 + b"1", 1, "TC903", "nested too deeply"),
    ],
)
def test_what_is_no_python_3(
    source: bytes, line: int, code: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old.py"
    path.write_bytes(source)
    assert main([str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{path}:{line}:")
    assert f" {code} " in printed.out
    assert said in printed.out
    assert printed.out.endswith("Nothing found in 0 files. 1 file could not be checked.\n")
    assert printed.err == ""


@pytest.mark.parametrize(
    ("source", "line", "said", "advice"),
    [
        (b"x = '\xe4'\n", 1, "missing encoding declaration", "coding: latin-1"),
        (b"x = 1\n\ny = '\xe4'\n", 3, "not utf-8", "coding: latin-1"),
        (b"#!/usr/bin/python\n# coding: ascii\nx = '\xe4'\n", 3, "not ascii", "coding: latin-1"),
        (b"# coding: no-such\n", 1, "unknown encoding", "coding: latin-1"),
        (b"# coding: rot13\n", 1, "rot13", "coding: latin-1"),
        (b"\xef\xbb\xbf# coding: latin-1\n", 1, "encoding problem", "coding: latin-1"),
        (b"# coding: utf-7\nx = '+2AA-'\n", 1, "surrogates not allowed", "coding: latin-1"),
        (b"# coding: utf-7\n\nx = '+AAA-'\n", 3, "null byte", "iconv -f utf-16 -t utf-8 FILE"),
        (b"x = 1\n\0\n", 2, "null byte", "iconv -f utf-16 -t utf-8 FILE"),
        ("\ufeffx = 'ä'\n".encode("utf-16-le"), 1, "null byte", "iconv -f utf-16 -t utf-8 FILE"),
    ],
)
def test_what_is_encoded_otherwise_is_told_how_to_say_so(
    source: bytes, line: int, said: str, advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old.py"
    path.write_bytes(source)
    assert main([str(path), "--format=json"]) == 2
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["line"], found["code"]) == (line, "TC902")
    assert said in found["message"]
    assert advice in found["advice"]


@pytest.mark.parametrize("name", ["missing.py", ""])
def test_what_is_no_python_file_is_told_what_to_name(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / name)]) == 2
    assert "    = Name Python files, or directories with such.\n" in capsys.readouterr().out


def test_the_conversion_is_named_and_there_is_no_traceback() -> None:
    done = run("-", stdin="print 'x'")
    assert done.returncode == 2
    assert b"2to3 -w FILE" in done.stdout
    assert done.stderr == b""


@pytest.mark.parametrize(
    "source",
    [
        "# -*- coding: latin-1 -*-\n" + HAZARD.replace("text", "ä"),
        "\ufeff" + HAZARD,
        HAZARD.replace("\n", "\r\n"),
        HAZARD.replace("\n", "\r"),
        HAZARD.rstrip(),
        "\f" + HAZARD,
    ],
    ids=["a coding cookie", "a byte order mark", "CRLF", "CR", "no line end", "a form feed"],
)
def test_encodings_and_line_ends(source: str, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_bytes(source.encode("latin-1" if "latin-1" in source else "utf-8"))
    findings, _ = check_files([str(path)])
    assert [(finding.code, finding.line - source.startswith("#")) for finding in findings][-1] == ("TC701", 3)
    assert "self.push(" in findings[-1].source


def test_missing_files_do_not_keep_others_from_being_checked(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["missing.py", str(program)]) == 2
    printed = capsys.readouterr().out
    assert "missing.py:1:1: TC902 cannot be read: No such file or directory\n" in printed
    assert "TC701" in printed
    assert "1 error in 1 file. 1 file could not be checked." in printed


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_must_not_be_read(program: Path) -> None:
    program.chmod(0)
    assert run(program).returncode == 2


def test_deep_expressions_that_can_be_parsed(tmp_path: Path) -> None:
    deep = HAZARD.replace("'text'", " + ".join(["'x'"] * 1500))
    findings, _ = check_files([write_one(tmp_path, "deep.py", deep), write_one(tmp_path, "plain.py", HAZARD)])
    assert {finding.code for finding in findings if finding.path.endswith("plain.py")} == {"TC208", "TC701"}
    assert {finding.code for finding in findings if finding.path.endswith("deep.py")} >= {"TC903"}


def write_one(folder: Path, name: str, source: str) -> str:
    write(folder, {name: source})
    return str(folder / name)


# ---------------------------------------------------------------------- what it prints, and how it ends


def test_text(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(program)]) == 1
    assert capsys.readouterr().out == (
        f"{program}:3:33: TC701 push() is given text\n"
        "    | def found_terminator(self): self.push('text')\n"
        '    = Encode it: "…".encode("ascii"), or a literal b"…".\n'
        "1 error in 1 file. 1 note more with --notes.\n"
    )


def test_the_readme_shows_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    shown = readme.split("$ python -m trio_chat.compat.check old_server.py\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    Path("old_server.py").write_text(OLD_SERVER)
    assert main(["old_server.py"]) == 1
    printed = capsys.readouterr().out
    beginning, end = shown.split("…\n")
    assert printed.startswith(beginning)
    assert printed.endswith(end)


def test_json(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(program), "--format=json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found == {
        "path": str(program),
        "line": 3,
        "column": 33,
        "code": "TC701",
        "severity": "error",
        "message": "push() is given text",
        "advice": KINDS["TC701"].advice,
        "source": "def found_terminator(self): self.push('text')",
    }


def test_clean_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_one(tmp_path, "clean.py", CLEAN)
    assert main([path]) == 0
    assert capsys.readouterr().out == "Nothing found in 1 file.\n"
    assert main([path, "--format", "json"]) == 0
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.parametrize(
    ("options", "codes", "status"),
    [
        (["--notes"], ["TC208", "TC701"], 1),
        (["--select", "TC2"], ["TC208"], 0),
        (["--select", "tc7,TC201"], ["TC701"], 1),
        (["--select", "TC5"], [], 0),
        (["--ignore", "TC70"], [], 0),
        (["--notes", "--ignore", "TC701"], ["TC208"], 0),
    ],
)
def test_selection(
    options: list[str], codes: list[str], status: int, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(program), *options, "--format", "json"]) == status
    assert [found["code"] for found in json.loads(capsys.readouterr().out)] == codes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name files or directories"),
        (["x", "--select", "TC5,E501"], "no code begins with 'E501'; see --list"),
        (["--explain", "TC999"], "there is no code 'TC999'; see --list"),
        (["x", "--format", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_the_codes_explain_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--explain", "tc502"]) == 0
    explained = capsys.readouterr().out
    assert explained.startswith(
        "TC502 warning: touches a channel from another thread\n      Only push, push_with_producer, "
    )
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert explained in listed
    assert [line.split()[0] for line in listed.splitlines() if line.startswith("TC")] == sorted(KINDS)


def test_a_reader_that_stops_reading(program: Path) -> None:
    command = f"'{sys.executable}' -P -m trio_chat.compat.check --list | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, timeout=30, check=False)
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")


def test_what_cannot_be_printed_is_escaped(tmp_path: Path) -> None:
    path = write_one(tmp_path, "program.py", HAZARD.replace("text", "€"))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-P", "-m", "trio_chat.compat.check", path]
    done = subprocess.run(command, capture_output=True, timeout=30, check=False, env=environment)
    assert (done.returncode, done.stderr) == (1, b"")
    assert b"self.push('\\u20ac')" in done.stdout


def test_the_source_is_neither_imported_nor_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    write_one(tmp_path, "program.py", f"open({str(marker)!r}, 'w')\n{HAZARD}")
    assert run(tmp_path / "program.py").returncode == 1
    assert not marker.exists()
