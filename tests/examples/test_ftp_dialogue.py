"""The FTP server in memory: splits, transfers and their timeouts. Its dialogues are among the transcripts."""

from __future__ import annotations

import errno
import os
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

from trio_chat.testing import assert_same_under_every_split

ftp_server = load("ftp_server.py")
Session: Any = ftp_server.Session
WRITER = b"ann\nsecret"


def session(root: Path) -> Callable[[trio.abc.Stream], Any]:
    return partial(Session, root=str(root.resolve()), writer=WRITER)


def codes(answers: bytes) -> list[str]:
    return re.findall(r"^(\d{3}) ", answers.decode(), re.MULTILINE)


async def test_a_dialogue_is_the_same_however_it_is_split(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    commands = b"USER ann\r\nPASS secret\nMKD a\r\nRNFR a\r\nRNTO b\r\n\xff\xf4\xffABOR\r\nRMD b\r\n\r\nQUIT\r\n"
    _, answers = await converse(session(tmp_path), [commands])
    assert codes(answers) == ["220", "331", "230", "257", "350", "250", "226", "250", "500", "221"]
    await assert_same_under_every_split(session(tmp_path), commands, most=len(commands) + 50)


async def answer_of(client: trio.abc.ReceiveStream) -> str:
    """The code of the next answer, which is one line; "" at the end."""
    line = b""
    while not line.endswith(b"\n") and (data := await client.receive_some(1)):
        line += data
    return line[:3].decode()


async def ask(client: MemoryStream, command: str) -> str:
    await client.send_all(f"{command}\r\n".encode())
    return await answer_of(client)


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


@pytest.mark.parametrize("block_bytes", range(1, 20))
async def test_a_text_is_sent_with_cr_lf_whichever_line_ends_the_file_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(ftp_server, "BLOCK_BYTES", block_bytes)  # CR may be in one, and LF in the next
    (tmp_path / "text").write_bytes(b"\na\r\nb\n\r\n\r\r\nc\rd\n\r")
    async with transferring(tmp_path, "RETR text") as (chat, client):
        received = b"".join([data async for data in chat.data])
        assert await answer_of(client) == "226"
    assert received == b"\r\na\r\nb\r\n\r\n\r\r\nc\rd\r\n\r"


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


@pytest.mark.parametrize("text", ["TYPE A", "TYPE I"])
async def test_a_client_that_reads_slowly(tmp_path: Path, mock_clock: trio.testing.MockClock, text: str) -> None:
    (tmp_path / "file").write_bytes(b"\n" * ftp_server.BLOCK_BYTES)
    expected = ftp_server.BLOCK_BYTES * (2 if text == "TYPE A" else 1)
    async with transferring(tmp_path, text, "RETR file") as (chat, client):
        received = 0
        while data := await chat.data.receive_some(ftp_server.PIECE_BYTES):
            received += len(data)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(ftp_server.STALL_SECONDS - 1)
        assert await answer_of(client) == "226"
        assert received == expected


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


async def test_a_client_that_has_gone_behind_a_command_that_waits(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    async with transferring(tmp_path, "STOR file", make=LonelySession) as (_, client):
        await client.send_all(b"PWD\r\nQUIT\r\n")
        await client.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(ftp_server.LAST_SECONDS)
        assert [await answer_of(client) for _ in range(4)] == ["425", "257", "221", ""]
    assert list(tmp_path.iterdir()) == []


async def test_a_client_that_has_ended_its_side_and_waits_for_its_answers(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    async with transferring(tmp_path, "STOR file") as (chat, client):
        await client.send_all(b"PWD\r\nQUIT\r\n")
        await client.send_eof()
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(ftp_server.LAST_SECONDS - 1)
            await chat.data.send_all(b"part")
        await chat.data.aclose()
        assert [await answer_of(client) for _ in range(4)] == ["226", "257", "221", ""]
    assert (tmp_path / "file").read_bytes() == b"partpartpart"


async def test_a_client_that_has_gone_in_the_middle_of_an_upload(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    async with transferring(tmp_path, "STOR file") as (chat, client):
        await client.send_all(b"QUIT\r\n")
        await client.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        await chat.data.send_all(b"part")
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(ftp_server.LAST_SECONDS)
        assert [await answer_of(client) for _ in range(3)] == ["426", "221", ""]
        assert trio.current_time() == ftp_server.LAST_SECONDS


async def test_a_client_that_has_gone_before_its_upload_begins(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    async with talk(partial(LonelySession, root=tmp_path)) as (_, client):
        await client.send_all(b"USER ann\r\nPASS secret\r\nSTOR file\r\nQUIT\r\n")
        await client.send_eof()
        assert [await answer_of(client) for _ in range(4)] == ["220", "331", "230", "150"]
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(ftp_server.LAST_SECONDS)
        assert [await answer_of(client) for _ in range(3)] == ["425", "221", ""]
        assert trio.current_time() == ftp_server.LAST_SECONDS


async def test_a_connection_that_breaks_while_a_command_is_obeyed(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    async with talk(partial(MemorySession, root=tmp_path)) as (chat, client):
        assert [await answer_of(client), await ask(client, "USER ann")] == ["220", "331"]
        await client.send_all(b"PASS wrong\r\n")
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()
        chat.close()
        mock_clock.jump(ftp_server.WRONG_PASSWORD_SECONDS)


@pytest.mark.parametrize("make", [MemorySession, LonelySession])
async def test_an_upload_is_aborted_before_anything_has_come(tmp_path: Path, make: type[MemorySession]) -> None:
    async with transferring(tmp_path, "STOR file", make=make) as (_, client):
        assert await ask(client, "ABOR") == "426"
        assert await answer_of(client) == "226"
        assert await ask(client, "RETR file") == "425"  # the port was for that transfer only
    assert list(tmp_path.iterdir()) == []


async def test_an_upload_is_aborted_when_it_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with transferring(tmp_path, "STOR file") as (chat, client):

        async def abort() -> None:
            await client.send_all(b"ABOR\r\n")
            await trio.testing.wait_all_tasks_blocked()

        monkeypatch.setattr(chat, "forget_port", abort)
        await chat.data.send_all(b"new")
        await chat.data.aclose()
        assert await answer_of(client) == "226"
        assert await answer_of(client) == "226"
    assert (tmp_path / "file").read_bytes() == b"new"


async def test_an_upload_has_the_mode_of_the_old_file(tmp_path: Path) -> None:
    for mode in (0o600, 0o666, 0o444):
        (tmp_path / "file").touch()
        (tmp_path / "file").chmod(mode)
        async with transferring(tmp_path, "STOR file") as (chat, client):
            assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}  # of the part, too
            await chat.data.send_all(b"new")
            await chat.data.aclose()
            assert await answer_of(client) == "226"
        assert (tmp_path / "file").read_bytes() == b"new"
        assert (tmp_path / "file").stat().st_mode & 0o777 == mode
        (tmp_path / "file").unlink()


@pytest.mark.parametrize("name", ["fchmod", "dup"])
async def test_an_upload_that_cannot_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail(*arguments: int) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    (tmp_path / "file").write_bytes(b"old")
    async with talk(partial(MemorySession, root=tmp_path)) as (_, client):
        assert await answer_of(client) == "220"
        await ask(client, "USER ann")
        assert await ask(client, "PASS secret") == "230"
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            assert await ask(client, "STOR file") == "550"
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


async def test_a_part_is_kept_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))  # as of FAT

    monkeypatch.setattr(os, "link", link)
    for sent in (b"part", b"less"):
        async with transferring(tmp_path, "STOR file") as (chat, client):
            await chat.data.send_all(sent)
            await trio.testing.wait_all_tasks_blocked()
            assert await ask(client, "ABOR") == "426"
            assert await answer_of(client) == "226"
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"part")]


@pytest.mark.parametrize("commands", [("TYPE I", "REST 5", "STOR file"), ("APPE file",), ("APPE new",)])
async def test_nothing_is_changed_before_anybody_has_connected(tmp_path: Path, commands: tuple[str, ...]) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    async with transferring(tmp_path, *commands, make=LonelySession) as (_, client):
        assert not (tmp_path / "new").exists()
        assert await ask(client, "ABOR") == "426"
        assert await answer_of(client) == "226"
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"0123456789"]


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
