"""The FTP server as a real process, with clients of bad will, and such as break off."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ftp_site import RESET_WHEN_CLOSED, FTPServer, fetch, on_linux, refused, serving
from processes import TIMEOUT


@pytest.fixture
def ftp_server(tmp_path: Path) -> Iterator[FTPServer]:
    with serving(tmp_path) as ftp_server:
        yield ftp_server
        assert ftp_server.server.stop(signal.SIGTERM) == 0
        assert ftp_server.server.log == ""


# ---------------------------------------------------------------------- where nobody should get


def test_nothing_leads_out(ftp_server: FTPServer) -> None:
    root = ftp_server.root
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "secret").write_text("secret")
    (root.parent / "root-and-more").write_text("secret")
    (root / "sub").mkdir()
    (root / "out").symlink_to("../outside")
    (root / "direct").symlink_to("../outside/secret")
    (root / "absolute").symlink_to(root.parent)
    (root / "loop").symlink_to("loop")
    (root / "sub" / "up").symlink_to("../..")
    ways = ["out/secret", "direct", "absolute/outside/secret", "sub/up/outside/secret", "loop", "../outside/secret"]
    ways += ["/../outside/secret", "sub/../../outside/secret", str(root.parent / "outside/secret")]
    before = sorted(path for path in root.parent.rglob("*") if path.name != "ftp_server.py.log")
    with ftp_server.client() as client:
        for way in ways:
            for command in ("RETR", "APPE"):
                assert refused(client.transfercmd, f"{command} {way}") == "550", (command, way)
            for command in ("SIZE", "MDTM", "MLST", "CWD"):
                assert refused(client.sendcmd, f"{command} {way}") == "550", (command, way)
        assert refused(client.sendcmd, "MDTM ../root-and-more") == "550"
        for way in ("out", "absolute", "sub/up", "sub/../out/../sub/up"):
            assert refused(client.cwd, way) == "550"
            assert refused(client.nlst, way) == "550"
            for command in ("MKD", "STOR", "DELE", "RMD"):
                assert refused(client.transfercmd, f"{command} {way}/new") == "550"
            assert refused(client.rename, "sub", f"{way}/new") == "550"
        for command in ("RMD /", "DELE /", "MKD /", "STOR /", "APPE /", "MKD .."):
            assert refused(client.transfercmd, command) == "550", command
        for command in ("RMD", "DELE", "MKD", "RNFR", "STOR", "APPE", "RMD a\0b"):
            assert refused(client.transfercmd, command) == "501", command
        assert refused(client.rename, "/", "new") == refused(client.rename, "sub", "/") == "550"
        assert sorted(path for path in root.parent.rglob("*") if path.name != "ftp_server.py.log") == before
        client.storbinary("STOR direct", io.BytesIO(b"mine"))  # replaces the link, not what it leads to
        client.delete("out")
        client.cwd("../../..")
        assert client.nlst() == ["direct", "sub"]
    assert (root.parent / "outside" / "secret").read_text() == "secret"
    assert (root / "direct").read_text() == "mine"


def test_no_link_is_followed_wherever_it_is_moved(ftp_server: FTPServer) -> None:
    """Who may write could lead readers out with a link that is harmless where it is."""
    root = ftp_server.root
    (root.parent / "secret").write_text("secret")
    (root / "a" / "b").mkdir(parents=True)
    (root / "secret").write_text("harmless")
    (root / "a" / "b" / "link").symlink_to("../../secret")
    (root / "a" / "b" / "up").symlink_to("../..")
    moves = [("a/b/link", "a/b/link"), ("a/b", "b"), ("b/link", "link"), ("b/up", "up")]
    with ftp_server.client() as client:
        for old, new in moves:
            client.rename(old, new)
            links = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink()]
            for way in (*links, *(f"{link}/secret" for link in links)):
                for command in ("RETR", "APPE", "SIZE", "MDTM", "MLST", "NLST", "LIST", "MLSD"):
                    assert refused(client.transfercmd, f"{command} {way}") == "550", (command, way)
        assert client.nlst() == ["a", "b", "secret"]
    assert (root.parent / "secret").read_text() == "secret"
    assert (root / "secret").read_text() == "harmless"


def test_an_upload_stays_in_its_directory_wherever_that_is_moved(ftp_server: FTPServer) -> None:
    (ftp_server.root / "sub").mkdir()
    with ftp_server.client() as client, ftp_server.client() as other:
        with client.transfercmd("STOR sub/file") as data:
            data.sendall(b"content")
            other.rename("sub", "moved")
            (ftp_server.root / "sub").symlink_to("..")
        assert client.voidresp().startswith("226")
        assert fetch(other, "moved/file") == b"content"
    assert not (ftp_server.root.parent / "file").exists()


def test_what_is_no_plain_file_is_refused_at_once(ftp_server: FTPServer) -> None:
    os.mkfifo(ftp_server.root / "pipe")
    (ftp_server.root / "sub").mkdir()
    with ftp_server.client() as client:
        for name in ("pipe", "sub", "nowhere", "nowhere/file", "x" * 300):
            assert refused(client.transfercmd, f"RETR {name}") == "550"
            assert refused(client.size, name) == "550"
        for name in ("pipe", "sub", "nowhere/file", "x" * 300):
            assert refused(client.transfercmd, f"APPE {name}") == "550"
        for name in ("sub", "nowhere/file", "x" * 300):
            assert refused(client.transfercmd, f"STOR {name}") == "550"
        assert refused(list, client.mlsd("pipe")) == "550"
        assert client.nlst("pipe") == ["pipe"]
    assert ftp_server.files == ["pipe", "sub"]


def test_anonymous_may_only_read(ftp_server: FTPServer) -> None:
    (ftp_server.root / "file").write_bytes(b"content")
    with ftp_server.client("anonymous") as client:
        assert fetch(client, "file") == b"content"
        for command in ("STOR file", "APPE file", "DELE file", "MKD new", "RMD new", "RNFR file", "RNTO new"):
            assert refused(client.sendcmd, command) == "550"
    assert ftp_server.files == ["file"]


@on_linux
def test_active_mode_is_not_for_attacking_others(ftp_server: FTPServer) -> None:
    with socket.create_server(("127.0.0.2", 0)) as victim, ftp_server.client() as client:
        port = victim.getsockname()[1]
        high, low = divmod(port, 256)
        for command in (
            f"PORT 127,0,0,2,{high},{low}",
            f"EPRT |1|127.0.0.2|{port}|",
            "PORT 127,0,0,1,0,25",
            "EPRT |1|127.0.0.1|1023|",
            "EPRT |1|127.0.0.1|65536|",
        ):
            assert refused(client.sendcmd, command) == "504"
            assert refused(client.sendcmd, "LIST") == "425"
        for numbers in ("127,0,0,1,256,0", "127,0,0,1,4,256", "127,0,0,1,4,-1", "127,0,0,257,4,0", "4,0", ""):
            assert refused(client.sendcmd, f"PORT {numbers}") == "501"
        victim.settimeout(0)
        with pytest.raises(BlockingIOError):
            victim.accept()


@on_linux
def test_a_data_connection_of_somebody_else_is_closed(ftp_server: FTPServer) -> None:
    with ftp_server.client() as client:
        host, port = client.makepasv()
        with socket.create_connection((host, port), TIMEOUT, source_address=("127.0.0.2", 0)) as stranger:
            client.putcmd("LIST")
            assert client.getresp().startswith("150")
            assert stranger.recv(1) == b""
        with socket.create_connection((host, port), TIMEOUT) as data:
            assert data.recv(1) == b""
        assert client.voidresp().startswith("226")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port), TIMEOUT)


@on_linux
def test_strangers_who_connect_and_reset_do_not_end_a_transfer(ftp_server: FTPServer) -> None:
    with ftp_server.client() as client:
        address = client.makepasv()
        for _ in range(3):
            with socket.create_connection(address, TIMEOUT, source_address=("127.0.0.2", 0)) as stranger:
                stranger.setsockopt(*RESET_WHEN_CLOSED)
        client.putcmd("LIST")
        assert client.getresp().startswith("150")
        with socket.create_connection(address, TIMEOUT) as data:
            assert data.recv(1) == b""
        assert client.voidresp().startswith("226")


# ---------------------------------------------------------------------- broken off


def test_a_broken_upload_keeps_the_old_file(ftp_server: FTPServer) -> None:
    (ftp_server.root / "old").write_bytes(b"old")
    with ftp_server.client() as client:
        for name in ("old", "new"):
            data = client.transfercmd(f"STOR {name}")
            data.sendall(b"a part")
            while client.sendcmd("STAT") != "211 6 bytes so far":
                pass
            data.setsockopt(*RESET_WHEN_CLOSED)
            data.close()
            assert refused(client.voidresp) == "426"
        assert (ftp_server.root / "old").read_bytes() == b"old"
        client.voidcmd("TYPE I")
        assert client.size("new") == 6
        client.storbinary("STOR new", io.BytesIO(b", and the rest"), rest=6)
        assert (ftp_server.root / "new").read_bytes() == b"a part, and the rest"
        assert client.nlst() == ["new", "old"]


def test_a_data_connection_that_is_reset_before_it_is_used(ftp_server: FTPServer) -> None:
    with ftp_server.client() as client:
        address = client.makepasv()
        with socket.create_connection(address, TIMEOUT) as data:
            data.setsockopt(*RESET_WHEN_CLOSED)
        client.putcmd("STOR file")
        assert client.getresp().startswith("150")
        assert client.abort().startswith("426")
        assert client.voidresp().startswith("226")
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        client.sendport("127.0.0.1", port)
        client.putcmd("STOR file")
        assert client.getresp().startswith("150")
        assert refused(client.voidresp) == "425"
    assert ftp_server.files == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at file descriptors in /proc")
def test_clients_killed_midway_leave_nothing_behind(ftp_server: FTPServer) -> None:
    ftp_server.make_huge_file()
    script = """import ftplib, os
client = ftplib.FTP()
client.connect("127.0.0.1", {port})
client.login("ann", "secret")
{midway}
os.kill(os.getpid(), 9)
"""
    ways = [
        "client.makepasv()",
        "client.makepasv(); client.sendcmd('RETR huge')",
        "client.makeport(); client.sendcmd('STOR other')",
        "client.transfercmd('RETR huge').recv(1000)",
        "client.transfercmd('STOR new').send(b'a part')",
        "client.transfercmd('APPE new').send(b'a part')",
        "client.transfercmd('LIST'); client.sock.send(b'PWD')",
    ]
    with ftp_server.client() as client:
        assert fetch(client, "huge", rest=999_999_999) == b"\0"
        before = ftp_server.descriptors
        programs = [script.format(port=ftp_server.port, midway=way) for way in ways]
        killed = [subprocess.Popen([sys.executable, "-c", program]) for program in programs]
        assert [process.wait(TIMEOUT) for process in killed] == [-signal.SIGKILL] * len(ways)
        for _ in range(1000):
            client.voidcmd("NOOP")
            if ftp_server.descriptors == before and not list(ftp_server.root.glob(".*.part")):
                break
            fetch(client, "huge", rest=990_000_000)
        assert ftp_server.descriptors == before
        assert not list(ftp_server.root.glob(".*.part"))
