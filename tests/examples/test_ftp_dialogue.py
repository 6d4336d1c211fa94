"""The FTP server in memory: its answers, however the commands are split, and its limits and timeouts."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from processes import load
from support import MemoryStream, converse, splits, talk

ftp_server = load("ftp_server.py")
Session: Any = ftp_server.Session
WRITER = b"ann\nsecret"

DIALOGUE = """
    220
    530 PWD
    530 RETR file
    331 USER ann
    530 RNTO x
    503 PASS secret
    331 user ann
    230 pass secret
    503 PASS secret
    200 NOOP
    257 XPWD
    250 CWD sub
    250 CDUP
    501 CWD a\rb
    501 MKD a\0b
    350 RNFR sub
    200 NOOP
    503 RNTO other
    350 RNFR sub
    250 RNTO Other
    213 STAT /
    211 STAT
    504 REST 5
    200 TYPE I
    501 REST x
    504 REST -1
    501 REST
    350 REST 5
    425 RETR file
    504 TYPE E
    504 MODE B
    504 STRU R
    501 PORT x
    501 PORT 1,2,3,4,5,6
    501 EPRT
    501 EPRT |1|127.0.0.1|
    522 EPRT |3|127.0.0.1|2000|
    501 EPRT |1|127.0.0.1|2000|
    522 EPSV 3
    200 EPSV ALL
    503 PASV
    503 EPRT |1|127.0.0.1|2000|
    502 SITE CHMOD
    502 REIN
    500 CHMOD 0 file
    500
    500 é
    226 \xff\xf4\xff\xf2ABOR
    215 SYST
    214 HELP
    211 FEAT
    221 QUIT
    """
LINES = [line.strip(" ").partition(" ") for line in DIALOGUE.strip("\n ").split("\n")]
CODES = [code for code, _, _ in LINES]
COMMANDS = b"".join(command.encode("latin-1") + b"\r\n" for _, _, command in LINES[1:])


def session(root: Path) -> Callable[[trio.abc.Stream], Any]:
    return partial(Session, root=str(root.resolve()), writer=WRITER)


def codes(answers: bytes) -> list[str]:
    return re.findall(r"^(\d{3}) ", answers.decode(), re.MULTILINE)


async def test_a_long_dialogue(tmp_path: Path) -> None:
    for chunks in splits(COMMANDS)[:2]:  # whole, and byte by byte
        (tmp_path / "sub").mkdir()
        _, answers = await converse(session(tmp_path), chunks)
        assert codes(answers) == CODES
        (tmp_path / "Other").rmdir()


async def test_a_dialogue_is_the_same_however_it_is_split(tmp_path: Path) -> None:
    too_long = b"x" * 5001
    commands = b"USER ann\r\nPASS secret\nMKD a\r\nRNFR a\r\nRNTO b\r\n\xff\xf4\xffABOR\r\nRMD b\r\n\r\nQUIT\r\n"
    for chunks in splits(commands):
        _, answers = await converse(session(tmp_path), [too_long, b"\r\n", *chunks])
        assert codes(answers) == ["220", "500", "331", "230", "257", "350", "250", "226", "250", "500", "221"]


async def test_lines_may_end_with_a_line_feed_alone(tmp_path: Path) -> None:
    _, answers = await converse(session(tmp_path), [b"USER ftp\nPASS\nPWD\n\nQUIT\n"])
    assert codes(answers) == ["220", "331", "230", "257", "500", "221"]


@pytest.mark.parametrize(("length", "code"), [(4999, "550"), (5000, "550"), (5001, "500")])
async def test_a_line_that_is_too_long_is_refused_and_the_next_is_not(tmp_path: Path, length: int, code: str) -> None:
    line = b"CWD ".ljust(length, b"x") + b"\r\n"
    _, answers = await converse(session(tmp_path), [b"USER ftp\r\nPASS\r\n", line, b"NOOP\r\n"])
    assert codes(answers) == ["220", "331", "230", code, "200"]


async def answer_of(client: trio.abc.ReceiveStream) -> str:
    """The code of the next answer, which is one line; "" at the end."""
    line = b""
    while not line.endswith(b"\n") and (data := await client.receive_some(1)):
        line += data
    return line[:3].decode()


async def ask(client: MemoryStream, command: str) -> str:
    await client.send_all(f"{command}\r\n".encode())
    return await answer_of(client)


async def test_who_guesses_passwords_waits_and_has_three_attempts(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with talk(session(tmp_path)) as (_, client):
        assert await answer_of(client) == "220"
        for user, code in (("ann", "530"), ("nobody", "530"), ("ann", "421")):
            assert await ask(client, f"USER {user}") == "331"
            began = trio.current_time()
            assert await ask(client, "PASS wrong") == code
            assert trio.current_time() - began == ftp_server.WRONG_PASSWORD_SECONDS
        assert await answer_of(client) == ""


async def test_anonymous_never_writes(tmp_path: Path) -> None:
    _, answers = await converse(session(tmp_path), [b"USER anonymous\r\nPASS secret\r\nMKD x\r\nQUIT\r\n"])
    assert codes(answers) == ["220", "331", "230", "550", "221"]


async def test_another_user_is_not_logged_in_as_the_one_before(tmp_path: Path) -> None:
    commands = b"USER ann\r\nPASS secret\r\nMKD x\r\nUSER ftp\r\nPWD\r\nMKD y\r\nPASS\r\nMKD y\r\n"
    _, answers = await converse(session(tmp_path), [commands])
    assert codes(answers) == ["220", "331", "230", "257", "331", "530", "530", "503", "530"]


@pytest.mark.parametrize(("sent", "seconds"), [(b"", 300), (b"NOO", 60)])
async def test_silence_is_answered_with_421(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, sent: bytes, seconds: float
) -> None:
    async with talk(session(tmp_path)) as (_, client):
        assert await answer_of(client) == "220"
        began = trio.current_time()
        await client.send_all(sent)
        assert await answer_of(client) == "421"
        assert trio.current_time() - began == seconds
        assert await answer_of(client) == ""


# ---------------------------------------------------------------------- transfers


class MemorySession(Session):  # type: ignore[misc]
    """The client's end of its one data connection is `data`, and passes nothing on that nobody waits for."""

    def __init__(self, stream: trio.abc.Stream, root: Path) -> None:
        super().__init__(stream, str(root.resolve()), WRITER)
        self.port = 20
        self.data, self.ours = trio.testing.lockstep_stream_pair()

    async def connect(self) -> trio.abc.Stream:
        return self.ours


class LonelySession(MemorySession):
    async def connect(self) -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError


@asynccontextmanager
async def transferring(
    root: Path, *commands: str, make: type[MemorySession] = MemorySession
) -> AsyncGenerator[tuple[MemorySession, MemoryStream], None]:
    """A session in which the last of the commands has begun a transfer, and its client."""
    async with talk(partial(make, root=root)) as (chat, client):
        assert await answer_of(client) == "220"
        answers = [await ask(client, command) for command in ("USER ann", "PASS secret", *commands)]
        assert answers[-1] == "150"
        yield chat, client


async def test_a_text_is_stored_the_same_however_it_comes(tmp_path: Path) -> None:
    for chunks in splits(b"a\r\nb\r\r\n\n\r"):
        async with transferring(tmp_path, "STOR text") as (chat, client):
            for chunk in chunks:
                await chat.data.send_all(chunk)
            await chat.data.aclose()
            assert await answer_of(client) == "226"
        assert (tmp_path / "text").read_bytes() == b"a\nb\r\n\n\r"


async def test_a_data_connection_that_nobody_makes(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with transferring(tmp_path, "STOR file", make=LonelySession) as (_, client):
        mock_clock.jump(ftp_server.STALL_SECONDS - 1)
        assert await ask(client, "STAT") == "211"
        mock_clock.jump(1)
        assert await answer_of(client) == "425"
        assert await ask(client, "NOOP") == "200"
    assert list(tmp_path.iterdir()) == []


async def test_a_client_that_sends_no_more(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with transferring(tmp_path, "TYPE I", "STOR file") as (chat, client):
        for _ in range(3):
            mock_clock.jump(ftp_server.STALL_SECONDS - 1)
            await chat.data.send_all(b"part")
            await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(ftp_server.STALL_SECONDS)
        assert await answer_of(client) == "426"
        assert await ask(client, "NOOP") == "200"
    assert (tmp_path / "file").read_bytes() == b"partpartpart"


async def test_a_client_that_reads_no_more(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    (tmp_path / "file").write_bytes(bytes(ftp_server.BLOCK_BYTES * 2))
    async with transferring(tmp_path, "TYPE I", "RETR file") as (chat, client):
        assert await chat.data.receive_some() != b""
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(ftp_server.STALL_SECONDS)
        assert await answer_of(client) == "426"
        assert await ask(client, "NOOP") == "200"


async def test_a_transfer_is_no_silence(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with transferring(tmp_path, "STOR file") as (chat, client):
        for _ in range(20):
            mock_clock.jump(ftp_server.STALL_SECONDS - 1)
            await chat.data.send_all(b"part")
            await trio.testing.wait_all_tasks_blocked()
        await chat.data.aclose()
        assert await answer_of(client) == "226"
        mock_clock.jump(Session.idle_timeout - 1)
        await trio.testing.wait_all_tasks_blocked()
        assert await ask(client, "NOOP") == "200"
        mock_clock.jump(Session.idle_timeout)
        assert await answer_of(client) == "421"


async def test_the_end_of_the_control_connection_ends_an_upload(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    async with transferring(tmp_path, "STOR file") as (chat, client):
        await chat.data.send_all(b"new")
        await client.send_eof()
        assert await chat.data.receive_some() == b""
        assert await answer_of(client) == ""
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("make", [MemorySession, LonelySession])
async def test_an_upload_is_aborted_before_anything_has_come(tmp_path: Path, make: type[MemorySession]) -> None:
    async with transferring(tmp_path, "STOR file", make=make) as (_, client):
        assert await ask(client, "ABOR") == "426"
        assert await answer_of(client) == "226"
        assert await ask(client, "RETR file") == "425"  # the port was for that transfer only
    assert list(tmp_path.iterdir()) == []


async def test_a_client_that_does_not_want_to_know(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """It reads no answers while a command waits for the end of a transfer: that is its end, and no fault of ours."""
    client, server = trio.testing.lockstep_stream_pair()
    chat = MemorySession(server, tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        for command in ("USER ann", "PASS secret", "STOR file"):
            await answer_of(client)
            await client.send_all(f"{command}\r\n".encode())
        assert await answer_of(client) == "150"
        await client.send_all(b"NOOP\r\nPWD\r\n")
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(Session.write_timeout)
        assert await chat.data.receive_some() == b""
    assert chat.closing


async def test_a_disk_that_is_full(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    async with transferring(tmp_path, "APPE file") as (chat, client):
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
            await chat.data.send_all(bytes(100_000))
            assert await answer_of(client) == "451"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
