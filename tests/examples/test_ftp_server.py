"""The FTP server as a real process, with clients that are not ours: ftplib and curl."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pytest
from ftp_site import FTPServer, fetch, on_linux, refused, serving
from processes import EXAMPLES, TIMEOUT

BIG = random.Random(959).randbytes(3_000_000)
LARGER_THAN_BUFFERS = 30_000_000


@pytest.fixture
def ftp_server(tmp_path: Path) -> Iterator[FTPServer]:
    with serving(tmp_path) as ftp_server:
        yield ftp_server
        assert ftp_server.server.stop(signal.SIGTERM) == 0
        assert ftp_server.server.log == ""


# ---------------------------------------------------------------------- ftplib


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_files_over_both_kinds_of_data_connection(tmp_path: Path, host: str, passive: bool) -> None:
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with serving(tmp_path, "--host", host) as ftp_server:
        with ftp_server.client(host=host) as client:
            client.set_pasv(passive)
            for content in (BIG, b"", b"x"):
                assert client.storbinary("STOR file", io.BytesIO(content)).startswith("226")
                assert (ftp_server.root / "file").read_bytes() == content
                assert fetch(client, "file") == content
            assert client.nlst() == ["file"]
            assert client.quit().startswith("221")
        assert ftp_server.server.stop(signal.SIGINT) == 0
        assert ftp_server.server.log == ""


def test_text_is_converted_on_its_way_and_back(ftp_server: FTPServer) -> None:
    text = b"one\n\n" + b"".join(b"%d\n" % number for number in range(50_000)) + b"a\rb\r\r\r\nno end"
    with ftp_server.client() as client:
        client.storlines("STOR text", io.BytesIO(text))
        stored = text.replace(b"\r\n", b"\n") + b"\n"  # ftplib ends the last line
        assert (ftp_server.root / "text").read_bytes() == stored
        client.sendcmd("TYPE A")
        with client.transfercmd("RETR text") as data, data.makefile("rb") as file:
            assert file.read() == stored.replace(b"\n", b"\r\n").replace(b"\r\r\n", b"\r\n")
        client.voidresp()
        for line_end in (b"\n", b"\r\n"):
            (ftp_server.root / "text").write_bytes(line_end.join([b"one", b"", b"three", b"no end"]))
            received: list[str] = []
            client.retrlines("RETR text", received.append)
            assert received == ["one", "", "three", "no end"]


def test_directories_and_names(ftp_server: FTPServer) -> None:
    with ftp_server.client() as client:
        assert client.mkd("a dir") == "/a dir"
        assert client.mkd('quo"ted') == '/quo"ted'
        client.cwd("a dir")
        assert client.mkd("sub") == "/a dir/sub"
        client.cwd("sub")
        assert client.pwd() == "/a dir/sub"
        client.storbinary("STOR x", io.BytesIO(b"12345"))
        client.cwd("..")
        assert client.pwd() == "/a dir"
        client.rename("sub/x", "/moved")
        client.cwd("/")
        assert client.size("moved") == 5
        assert client.sendcmd("MDTM moved") == "213 " + modified(ftp_server.root / "moved")
        client.rmd("a dir/sub")
        client.rmd("a dir")
        client.delete("moved")
        assert ftp_server.files == ['quo"ted']
        client.cwd('quo"ted')
        assert client.pwd() == '/quo"ted'
        assert client.sendcmd("CDUP").startswith("250")
        assert client.pwd() == "/"


def modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y%m%d%H%M%S")


ODD_NAMES = ["-la", " space", "..x", "ünï", "日本", 'a"b', "semi;colon=1", "tab\t", "*", os.fsdecode(b"\xff\xe9")]


@on_linux
def test_listings_of_odd_names(ftp_server: FTPServer) -> None:
    for name in ODD_NAMES:
        (ftp_server.root / name).write_text(name, errors="surrogateescape")
    (ftp_server.root / "sub").mkdir()
    (ftp_server.root / "two\nlines").touch()
    (ftp_server.root / "carriage\rreturn").touch()
    os.mkfifo(ftp_server.root / "pipe")
    (ftp_server.root / "dangling").symlink_to("nowhere")
    (ftp_server.root / "inner").symlink_to("sub")
    (ftp_server.root / "outer").symlink_to("/")
    expected = sorted([*ODD_NAMES, "sub"])
    raw: list[str] = []
    with ftp_server.client(encoding="latin-1") as client:
        client.retrlines("MLSD", raw.append)
        facts = {os.fsdecode(line.encode("latin-1").split(b"; ", 1)[1]): line.split("; ")[0] for line in raw}
        assert list(facts) == expected
        assert facts["sub"] == f"type=dir;modify={modified(ftp_server.root / 'sub')}"
        length = len(os.fsencode("日本"))
        assert facts["日本"] == f"type=file;size={length};modify={modified(ftp_server.root / '日本')}"
        for command, start in (("NLST", 0), ("LIST", len("-rw-r--r--   1 ftp ftp            6 Nov 26 01:05 "))):
            raw.clear()
            client.retrlines(command, raw.append)
            assert [os.fsdecode(line.encode("latin-1")[start:]) for line in raw] == expected
        assert [line[0] for line in raw] == ["d" if name == "sub" else "-" for name in expected]
        for name in ODD_NAMES:
            wire = os.fsencode(name).decode("latin-1")
            assert fetch(client, wire) == os.fsencode(name)
            client.rename(wire, f"{wire}.new")
            client.delete(f"{wire}.new")


def test_listings_of_one_directory_or_file(ftp_server: FTPServer) -> None:
    for directory in ("sub", "-l"):
        (ftp_server.root / directory).mkdir()
        (ftp_server.root / directory / f"in {directory}").touch()
    with ftp_server.client() as client:
        assert client.nlst("-la sub") == ["in sub"]
        assert client.nlst("-l -a") == ["-l", "sub"]
        assert client.nlst("sub/in sub") == ["in sub"]
        assert [name for name, _ in client.mlsd("-l")] == ["in -l"]
        ((name, facts),) = client.mlsd("-l", facts=["type", "size"])  # the server gives all, and says so
        assert (name, *facts) == ("in -l", "type", "size", "modify")
        assert client.sendcmd("OPTS MLST size;") == "200 MLST OPTS type;size;modify;"
        received: list[str] = []
        client.dir("-a", "sub", received.append)
        assert [line[-6:] for line in received] == ["in sub"]
        assert client.sendcmd("STAT sub").split("\n")[1].endswith("in sub")
        assert client.sendcmd("MLST sub").split("\n")[1].endswith("; /sub")


def test_resuming(ftp_server: FTPServer) -> None:
    with ftp_server.client() as client:
        (ftp_server.root / "file").write_bytes(BIG)
        assert fetch(client, "file", rest=2_999_999) == BIG[-1:]
        assert fetch(client, "file", rest=3_000_000) == b""
        assert fetch(client, "file", rest=0) == BIG
        assert refused(fetch, client, "file", 3_000_001) == "550"
        assert fetch(client, "file") == BIG  # REST is forgotten
        client.storbinary("STOR file", io.BytesIO(b"new end"), rest=10)
        assert (ftp_server.root / "file").read_bytes() == BIG[:10] + b"new end"
        client.storbinary("APPE file", io.BytesIO(b", and more"))
        client.storbinary("APPE other", io.BytesIO(b"first"))
        client.storbinary("APPE other", io.BytesIO(b""))
        assert (ftp_server.root / "file").read_bytes() == BIG[:10] + b"new end, and more"
        assert (ftp_server.root / "other").read_bytes() == b"first"
        assert refused(client.storbinary, "STOR other", io.BytesIO(b"x"), 8192, None, 6) == "550"


def test_ftplib_aborts_a_download(ftp_server: FTPServer) -> None:
    ftp_server.make_huge_file()
    with ftp_server.client() as client:
        with client.transfercmd("RETR huge") as data:
            data.recv(1000)
            assert client.abort().startswith("426")  # sent as urgent data, of which the line's end is a part
            assert client.voidresp().startswith("226")
        assert fetch(client, "huge", rest=999_999_990) == bytes(10)


@pytest.mark.parametrize("flags", [0, socket.MSG_OOB])
@pytest.mark.parametrize("signals", [b"", b"\xff\xf4\xff\xf2", b"\xff\xf4\xf2", b"\xff\xfd\x06\xff\xf2"])
def test_signals_of_telnet_before_abort(ftp_server: FTPServer, signals: bytes, flags: int) -> None:
    ftp_server.make_huge_file()
    with ftp_server.client() as client:
        assert client.sock is not None
        with client.transfercmd("RETR huge") as data:
            data.recv(1000)
            assert client.sendcmd("NOOP").startswith("200")
            assert client.sendcmd("STAT").endswith("bytes so far")
            client.sock.sendall(signals, flags)
            client.sock.sendall(b"ABOR\r\n")
            assert client.getmultiline().startswith("426")
            assert client.voidresp().startswith("226")
        assert client.pwd() == "/"


def test_commands_and_quit_wait_for_the_end_of_a_transfer(ftp_server: FTPServer) -> None:
    (ftp_server.root / "file").write_bytes(bytes(LARGER_THAN_BUFFERS))
    with ftp_server.client() as client:
        assert client.sock is not None
        with client.transfercmd("RETR file") as data, data.makefile("rb") as file:
            client.sock.sendall(b"PWD\r\nQUIT\r\n")
            assert len(file.read()) == LARGER_THAN_BUFFERS
        assert [client.getresp()[:3] for _ in range(3)] == ["226", "257", "221"]
        assert client.sock.recv(1) == b""


def test_several_at_once(ftp_server: FTPServer) -> None:
    def exchange(number: int) -> None:
        content = BIG[number:]
        with ftp_server.client() as client:
            client.storbinary(f"STOR {number}", io.BytesIO(content))
            assert fetch(client, f"{number}") == content
            assert fetch(client, "shared") == BIG

    (ftp_server.root / "shared").write_bytes(BIG)
    with ThreadPoolExecutor() as threads:
        list(threads.map(exchange, range(12)))
    assert ftp_server.files == sorted(["shared", *map(str, range(12))])


# ---------------------------------------------------------------------- curl


@pytest.fixture
def curl() -> Callable[..., str]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    if " ftp " not in subprocess.run(["curl", "--version"], check=True, capture_output=True, text=True).stdout:
        pytest.skip("this curl does not speak FTP")

    def run(*arguments: str | Path) -> str:
        command = ["curl", "--silent", "--show-error", "--max-time", str(TIMEOUT), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    return run


def test_curl_reads(ftp_server: FTPServer, curl: Callable[..., str], tmp_path: Path) -> None:
    (ftp_server.root / "sub").mkdir()
    (ftp_server.root / "sub" / "file").write_bytes(BIG)
    (ftp_server.root / "ümlaut & more").write_text("hello")
    assert curl("--list-only", ftp_server.url(user="")) == "sub\nümlaut & more\n"
    assert curl(ftp_server.url("%C3%BCmlaut%20%26%20more", user="")) == "hello"
    for options in (
        "--ftp-pasv",
        "--disable-epsv",
        "--ftp-method nocwd",
        "--ftp-port -",
        "--disable-eprt --ftp-port -",
    ):
        curl("--output", tmp_path / "copy", *options.split(), ftp_server.url("sub/file"))
        assert (tmp_path / "copy").read_bytes() == BIG
    assert curl("--range", "1-3", ftp_server.url("%C3%BCmlaut%20%26%20more")) == "ell"
    (tmp_path / "copy").write_bytes(BIG[:100])
    curl("--continue-at", "-", "--output", tmp_path / "copy", ftp_server.url("sub/file"))
    assert (tmp_path / "copy").read_bytes() == BIG
    assert "Content-Length: 3000000" in curl("--head", ftp_server.url("sub/file"))


def test_curl_writes(ftp_server: FTPServer, curl: Callable[..., str], tmp_path: Path) -> None:
    (file := tmp_path / "file").write_bytes(BIG)
    curl("--upload-file", file, "--ftp-create-dirs", ftp_server.url("some/new/place"))
    assert (ftp_server.root / "some/new/place").read_bytes() == BIG
    (ftp_server.root / "begun").write_bytes(BIG[:1000])
    curl("--upload-file", file, "--continue-at", "-", ftp_server.url("begun"))
    assert (ftp_server.root / "begun").read_bytes() == BIG
    curl("--upload-file", file, "--append", ftp_server.url("begun"))
    assert (ftp_server.root / "begun").read_bytes() == BIG + BIG
    curl("--quote", "DELE begun", "--quote", "RNFR some/new/place", "--quote", "RNTO moved", ftp_server.url())
    assert ftp_server.files == ["moved", "some"]


# ---------------------------------------------------------------------- start and stop


def test_a_stop_lets_a_transfer_finish(tmp_path: Path) -> None:
    with serving(tmp_path) as ftp_server:
        process = ftp_server.server.process
        (ftp_server.root / "file").write_bytes(bytes(LARGER_THAN_BUFFERS))
        with ExitStack() as stack:
            client, idle = (stack.enter_context(ftp_server.client()) for _ in range(2))
            data = stack.enter_context(client.transfercmd("RETR file"))
            process.send_signal(signal.SIGINT)
            assert idle.sock is not None
            assert idle.sock.recv(1) == b""
            file: BinaryIO = stack.enter_context(data.makefile("rb"))
            assert len(file.read()) == LARGER_THAN_BUFFERS
            assert client.voidresp().startswith("226")
            assert client.sock is not None
            assert client.sock.recv(1) == b""
        assert process.wait(TIMEOUT) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "stopping; once more to stop at once\nstopped\n"
        assert ftp_server.server.log == ""


def test_a_second_stop_is_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as ftp_server:
        process = ftp_server.server.process
        with ftp_server.client() as client, client.transfercmd("STOR file") as data:
            process.send_signal(signal.SIGTERM)
            assert process.stdout is not None
            assert process.stdout.readline() == "stopping; once more to stop at once\n"
            assert ftp_server.server.stop(signal.SIGTERM) == 0
            assert process.stdout.read() == "stopped\n"
            assert data.recv(1) == b""
        assert ftp_server.server.log == ""
        assert ftp_server.files == []


def test_wrong_options_are_told(tmp_path: Path) -> None:
    (empty := tmp_path / "empty").write_text("\n")
    for wrong, message in [
        (["--root", str(tmp_path / "nowhere")], "nowhere is not a directory"),
        (["--user", "ann"], "--user and --password-file go together"),
        (["--user", "ann", "--password-file", str(tmp_path)], f"Is a directory: '{tmp_path}'"),
        (["--user", "ann", "--password-file", str(empty)], "there is no password in the file"),
    ]:
        command = [sys.executable, "-P", str(EXAMPLES / "ftp_server.py"), *wrong]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 2
        assert done.stderr.endswith(f"{message}\n")


def test_a_port_that_is_taken_or_is_none_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        for port in (other.getsockname()[1], 99999, -1):
            command = [sys.executable, "-P", str(EXAMPLES / "ftp_server.py"), "--port", str(port)]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT)
            assert done.returncode == 1
            assert done.stderr.startswith(f"cannot listen on 127.0.0.1, port {port}: ")
            assert done.stderr.count("\n") == 1
