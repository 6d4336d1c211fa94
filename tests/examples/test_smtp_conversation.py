"""The SMTP server in memory: what it answers and stores, however the bytes are split, and its limits and timeouts."""

from __future__ import annotations

import errno
import os
import re
import ssl
import stat
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import trio
import trio.testing
from processes import load
from support import splits

from trio_chat import AsyncChat
from trio_chat.testing import assert_same_under_every_split, open_chat

smtp_server = load("smtp_server.py")
SMTPServer: Any = smtp_server.SMTPServer
HOST = smtp_server.HOSTNAME.encode()

ENVELOPE = b"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"


class SmallServer(SMTPServer):  # type: ignore[misc]
    max_mail_bytes = 100
    max_recipients = 3


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    return new_maildir(tmp_path)


def new_maildir(path: Path) -> Path:
    for folder in ("tmp", "new", "cur"):
        (path / folder).mkdir()
    return path


def stored(maildir: Path) -> list[bytes]:
    """The mails in the order in which they came, without what is never the same twice, and nothing else is there."""
    assert list(maildir.glob("tmp/*")) == []
    mails = sorted(maildir.glob("new/*"), key=lambda path: int(re.findall(r"Q(\d+)", path.name)[0]))
    return [re.sub(rb" id .+; .+", b" id ...", path.read_bytes()) for path in mails]


class Exactly(trio.abc.Stream):
    """Gives the chunks one by one, however long the other side is busy in between; keeps what is sent."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = iter(chunks)
        self.sent = b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return next(self.chunks, b"")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def hold(maildir: Path, *chunks: bytes) -> list[bytes]:
    """The replies to a conversation, behind the greeting, without the mails' names."""
    stream = Exactly(chunks)
    await SmallServer(stream, maildir).run()
    greeting, *replies = stream.sent.split(b"\r\n")
    assert greeting == b"220 " + HOST + b" ESMTP trio_chat"
    assert replies.pop() == b""
    return [re.sub(rb"it is .+", b"it is ...", reply) for reply in replies]


async def codes(maildir: Path, *chunks: bytes) -> str:
    """Of the replies, in their order, those of EHLO as one."""
    return " ".join(reply[:3].decode() for reply in await hold(maildir, *chunks) if reply[3:4] == b" ")


DIALOGUE = (
    b"MAIL FROM:<x@y>\r\nEHLO me\r\nMAIL FROM:<> BODY=8BITMIME\r\nRCPT TO:<c@d>\r\nrcpt to:<@r:e@f> \r\nDATA\r\n"
    b"\xff\r\n.\xff..\r\n\r\n..\r\n...\r\n. \r\n.\r\nDATA\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\n"
    b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\n.\r\nx\n.\r\nNOOP\r\r\n.\r\r\n.\r\nNOOP\n\r\n"
    b"RSET\r\nQUIT\r\nNOOP\r\n"
)


async def test_a_conversation_is_the_same_however_it_is_split(
    maildir: Path, mock_clock: trio.testing.MockClock
) -> None:
    replies = await hold(maildir, DIALOGUE)
    assert [int(reply[:3]) for reply in replies if reply[3:4] == b" "] == [
        *(503, 250, 250, 250, 250, 354, 250),
        *(503, 250, 250, 354, 250),
        *(250, 250, 354, 554, 500, 250, 221),
    ]
    received = b"Received: from me ([unknown])\n\tby " + HOST + b" with ESMTP id ...\n"
    assert stored(maildir) == [
        b"Return-Path: <>\nDelivered-To: c@d\nDelivered-To: e@f\n" + received + b"\xff\n\xff..\n\n.\n..\n \n",
        b"Return-Path: <a@b>\nDelivered-To: c@d\n" + received,
    ]

    def server(stream: trio.abc.Stream) -> AsyncChat:
        return SmallServer(stream, new_maildir(Path(mkdtemp(dir=maildir))))

    await assert_same_under_every_split(
        server,
        DIALOGUE,
        most=len(DIALOGUE) + 50,
        comparable=lambda output: re.sub(rb"250 it is \S+", b"", output),
        result=lambda chat: stored(chat.maildir),
    )


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        pytest.param(b"HELO", "501", id="no name"),
        pytest.param(b"EHLO me and you", "501", id="a strange name"),
        pytest.param(b"EHLO a)(b", "501", id="a name that ends a comment"),
        pytest.param(b"ehlo [IPv6:::1]", "250", id="an address, lower case"),
        pytest.param(b"RCPT TO:<c@d>", "503", id="RCPT before EHLO"),
        pytest.param(b"EHLO x\r\nRCPT TO:<c@d>\r\nDATA", "250 503 503", id="no MAIL"),
        pytest.param(b"EHLO x\r\nMAIL FROM:<a@b>\r\nMAIL FROM:<c@d>\r\nDATA", "250 250 503 503", id="MAIL twice"),
        pytest.param(b"EHLO x\r\nMAIL FROM:<a@b>\r\nEHLO x\r\nRCPT TO:<c@d>", "250 250 250 503", id="EHLO again"),
        pytest.param(ENVELOPE + b"RSET\r\nDATA", "250 250 250 250 503", id="RSET"),
        pytest.param(ENVELOPE + b"DATA x\r\nRSET x\r\nQUIT x", "250 250 250 501 501 501", id="arguments too many"),
        pytest.param(
            b"NOOP\r\nNOOP x\r\nHELP\r\nHELP MAIL\r\nVRFY ann\r\nVRFY", "250 250 214 214 252 501", id="others"
        ),
        pytest.param(b"\r\nEXPN x\r\nNO OP\r\nSTARTTLS", "500 502 500 502", id="no such commands"),
        pytest.param(b"NOOP \xc3\xa9\r\nNOOP\t\r\nNOOP \0\r\nNOOP x\nQUIT", "500 500 500 500", id="not printable"),
        pytest.param(b"NOOP\nQUIT\r\nNOOP\rQUIT\r\nNOOP\r\r\nNOOP", "500 500 500 250", id="line ends of other kinds"),
        pytest.param(b"NOOP\r\n" * 15 + b"x\r\n" * 20, "250 " * 15 + "500 " * 10 + "421", id="too many errors"),
    ],
)
async def test_commands(maildir: Path, commands: bytes, expected: str) -> None:
    assert await codes(maildir, commands + b"\r\n") == expected
    assert stored(maildir) == []


@pytest.mark.parametrize(
    ("path", "address"),
    [
        (b"<ann@example.org>", b"ann@example.org"),
        (b" <ann@example.org>", b"ann@example.org"),
        (b"<@one.org,@two.org:ann@example.org>", b"ann@example.org"),
        (b"<Postmaster>", b"Postmaster"),
        (b'<"a b\\"> c@x"@[127.0.0.1]>', b'"a b\\"> c@x"@[127.0.0.1]'),
        (b"<o'neil+tag=1@[IPv6:2001:db8::1]>", b"o'neil+tag=1@[IPv6:2001:db8::1]"),
    ],
)
async def test_addresses(maildir: Path, path: bytes, address: bytes) -> None:
    mail = b"EHLO me\r\nMAIL FROM:" + path + b"\r\nrcpt to:" + path + b"\r\nDATA\r\n.\r\n"
    assert await codes(maildir, mail) == "250 250 250 354 250"
    assert stored(maildir)[0].startswith(b"Return-Path: <" + address + b">\nDelivered-To: " + address + b"\n")


@pytest.mark.parametrize(
    "argument",
    [
        *(b"", b"<a@b>", b"FROM", b"FROM:", b"FROM:a@b", b"TO:<a@b>", b"FROM:<a@b", b"FROM:a@b>", b"FROM:<a b@c>"),
        *(b"FROM:<a@b>x", b"FROM:<a@b@c>", b"FROM:<@b>", b"FROM:<a@>", b"FROM:<<a@b>>", b"FROM:<a@b>SIZE=1"),
        *(b'FROM:<"a@b>', b"FROM:<a@b> SIZE=", b"FROM:<a@b> SIZE=-1", b"FROM:<a@b> SIZE", b"FROM:<a@b> BODY=9BIT"),
    ],
)
async def test_malformed_arguments(maildir: Path, argument: bytes) -> None:
    assert await codes(maildir, b"EHLO me\r\nMAIL " + argument + b"\r\nMAIL FROM:<a@b>\r\n") == "250 501 250"
    to = argument.replace(b"TO:", b"FR:").replace(b"FROM:", b"TO:")
    if b" SIZE" not in to and b" BODY" not in to:
        assert await codes(maildir, b"EHLO me\r\nMAIL FROM:<>\r\nRCPT " + to + b"\r\n") == "250 250 501"


async def test_parameters_that_are_not_known(maildir: Path) -> None:
    assert await codes(maildir, b"EHLO me\r\nMAIL FROM:<a@b> SIZE=1 AUTH=<>\r\n") == "250 555"
    assert await codes(maildir, ENVELOPE + b"RCPT TO:<> \r\nRCPT TO:<e@f> NOTIFY=NEVER\r\n") == "250 250 250 501 555"


@pytest.mark.parametrize("parameters", [b" ".join(b"%d" % n for n in range(100, 235)), b"x" * 538])
async def test_a_reply_that_names_parameters_is_not_too_long(maildir: Path, parameters: bytes) -> None:
    replies = await hold(maildir, b"EHLO me\r\nMAIL FROM:<> " + parameters + b"\r\n")
    assert replies[-1].startswith(b"555 not known here: ")
    assert len(replies[-1]) <= 510  # RFC 5321, section 4.5.3.1.5, without CR LF


async def test_too_many_recipients(maildir: Path) -> None:
    recipients = b"".join(b"RCPT TO:<%d@d>\r\n" % i for i in range(5))
    commands = b"EHLO me\r\nMAIL FROM:<a@b>\r\n" + recipients + b"DATA\r\n.\r\n"
    assert await codes(maildir, commands) == "250 250 250 250 250 452 452 354 250"
    assert re.findall(rb"Delivered-To: (\d)@d\n", stored(maildir)[0]) == [b"0", b"1", b"2"]


@pytest.mark.parametrize(("excess", "reply"), [(-1, "250"), (0, "250"), (1, "500")])
async def test_the_longest_command(maildir: Path, excess: int, reply: str) -> None:
    line = b"NOOP ".ljust(SmallServer.max_command_bytes - 2 + excess, b"x") + b"\r\n"
    for chunks in ([line + line], [line[:-1], b"\n" + line[:9], line[9:]]):
        assert await codes(maildir, *chunks, b"NOOP\r\n") == f"{reply} {reply} 250"


@pytest.mark.parametrize(("excess", "replies"), [(-1, "250 250"), (0, "250 250"), (1, "500 421"), (100_000, "500 421")])
async def test_the_longest_line_of_a_mail(
    maildir: Path, monkeypatch: pytest.MonkeyPatch, excess: int, replies: str
) -> None:
    monkeypatch.setattr(SmallServer, "max_mail_bytes", 1_000_000)
    line = b"x" * (SmallServer.max_frame_bytes + excess)
    for chunks in ([line + b"\r\n.\r\n"], [line[:100], line[100:-1], line[-1:] + b"\r", b"\n.\r", b"\n"]):
        assert await codes(maildir, ENVELOPE + b"DATA\r\n", *chunks, b"NOOP\r\n") == f"250 250 250 354 {replies}"
    assert [mail.endswith(b"\n" + line + b"\n") for mail in stored(maildir)] == [True, True] * (excess <= 0)


async def test_the_longest_command_that_is_not_kept(maildir: Path) -> None:
    assert await codes(maildir, b"x" * 200_000, b"x\r\nNOOP\r\n") == "500 250"


@pytest.mark.parametrize(("excess", "reply"), [(-1, "250"), (0, "250"), (1, "552")])
async def test_the_biggest_mail(maildir: Path, excess: int, reply: str) -> None:
    size = SmallServer.max_mail_bytes + excess
    text = b"..\r\n" + b"x" * (size - 5) + b"\r\n"  # one of the dots does not count
    for chunks in ([text, b".\r\n"], [text + b".\r\n"], [text[:9], text[9:-1], b"\n.\r", b"\n"]):
        assert await codes(maildir, ENVELOPE + b"DATA\r\n", *chunks, b"NOOP\r\n") == f"250 250 250 354 {reply} 250"
    assert len(stored(maildir)) == (3 if reply == "250" else 0)
    assert await codes(maildir, b"EHLO me\r\nMAIL FROM:<> SIZE=%d\r\nNOOP\r\n" % size) == f"250 {reply} 250"


async def test_what_is_too_big_is_not_stored_on_the_way(maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SmallServer, "max_mail_bytes", 1_000_000)
    sizes: list[int] = []

    def chunks() -> Iterable[bytes]:
        yield ENVELOPE + b"DATA\r\n"
        for _ in range(30):
            yield b"x" * 998 * 64 + b"\r\n"
            sizes.extend(path.stat().st_size for path in maildir.glob("tmp/*"))
        yield b".\r\nNOOP\r\n"

    stream = Exactly(chunks())
    await SmallServer(stream, maildir).run()
    assert stream.sent.split(b"\r\n")[-3:-1] == [b"552 that is too big", b"250 still here"]
    assert len(sizes) == 30
    assert 500_000 < max(sizes) <= 1_001_000
    assert stored(maildir) == []


@pytest.mark.parametrize(
    ("piece", "least"),
    [pytest.param(b"x" * 998 + b"\r\n", 200_000, id="lines"), pytest.param(b"x" * 1000, 65_536, id="one line")],
)
async def test_a_mail_that_has_no_end_is_given_up(
    maildir: Path, monkeypatch: pytest.MonkeyPatch, piece: bytes, least: int
) -> None:
    monkeypatch.setattr(SmallServer, "max_mail_bytes", 100_000)
    taken = 0

    def chunks() -> Iterable[bytes]:
        nonlocal taken
        yield ENVELOPE + b"DATA\r\n"
        for _ in range(1000):
            taken += 1000
            yield piece

    stream = Exactly(chunks())
    await SmallServer(stream, maildir).run()
    assert b"421 " in stream.sent.splitlines()[-1]
    assert least < taken < 2 * least
    assert stored(maildir) == []


async def test_a_mail_that_drips_in_is_given_up(maildir: Path, mock_clock: trio.testing.MockClock) -> None:
    class Hurried(SmallServer):
        max_mail_seconds = 1000.0

    async with open_chat(partial(Hurried, maildir=maildir)) as peer:
        await peer.send(ENVELOPE + b"DATA\r\n")
        await peer.expect_until(b"\r\n354 end it with a line that is a dot\r\n")
        for _ in range(4):
            await peer.pause(200)
            await peer.send(b"x\r\n")
            await peer.expect_nothing()
        await peer.pause(200)
        assert (await peer.expect_until(b"\r\n")).startswith(b"421 ")
        await peer.expect_eof()
    assert stored(maildir) == []


@pytest.mark.parametrize("name", ["open", "rename", "fsync"])
async def test_a_mail_of_which_the_client_is_told_that_it_is_not_stored_is_not(
    maildir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    function = getattr(os, name)

    def fail_for_directories(what: int | Path, *arguments: int) -> object:
        if name == "rename" or stat.S_ISDIR(os.stat(what).st_mode):
            raise OSError(errno.EIO, "the disk has gone")
        return function(what, *arguments)

    monkeypatch.setattr(os, name, fail_for_directories)
    assert await codes(maildir, ENVELOPE + b"DATA\r\nx\r\n.\r\n") == "250 250 250 354 451"
    assert stored(maildir) == []


@pytest.mark.parametrize(
    "ending", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n\n.\r\n\r\n"]
)
async def test_nothing_but_cr_lf_ends_a_line(maildir: Path, ending: bytes) -> None:
    smuggled = b"MAIL FROM:<evil@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nevil\r\n"
    mail = b"DATA\r\ngood" + ending + smuggled + b".\r\n"
    assert await codes(maildir, ENVELOPE + mail + b"NOOP\r\n") == "250 250 250 354 554 250"
    assert stored(maildir) == []


STARTING_TLS = b"EHLO me\r\nSTARTTLS\r\nNOOP\r\nNOOP\r\n"


@pytest.mark.parametrize("chunks", splits(STARTING_TLS), ids=lambda chunks: f"{len(chunks)}-{len(chunks[0])}")
async def test_what_comes_behind_starttls_is_never_obeyed(
    maildir: Path, server_context: ssl.SSLContext, chunks: list[bytes]
) -> None:
    stream = Exactly(chunks)
    await SmallServer(stream, maildir, server_context).run()
    before, _, after = stream.sent.partition(b"220 go on with TLS\r\n")
    assert before.endswith(b"250 STARTTLS\r\n")
    if after.startswith(b"5"):
        assert after == b"554 nothing may come between STARTTLS and TLS\r\n"
    else:
        assert after == b"" or after[0] == 21  # an alert of TLS


async def test_a_client_that_vanishes_leaves_nothing(maildir: Path) -> None:
    mail = ENVELOPE + b"DATA\r\n" + b"x" * 90 + b"\r\n.\r\n"
    for length in range(len(ENVELOPE), len(mail)):
        assert "354 250" not in await codes(maildir, mail[:length])
        assert stored(maildir) == []
    assert await codes(maildir, mail) == "250 250 250 354 250"
    assert len(stored(maildir)) == 1


@pytest.mark.parametrize("folder", ["tmp", "new"])
async def test_a_maildir_that_fails(maildir: Path, folder: str) -> None:
    (maildir / folder).rmdir()
    expected = "250 250 250 451 503" if folder == "tmp" else "250 250 250 354 451 500"
    assert await codes(maildir, ENVELOPE + b"DATA\r\n", b"DATA\r\n" if folder == "tmp" else b".\r\n\r\n") == expected
    assert list(maildir.glob("*/*")) == []


# ---------------------------------------------------------------------- time


@pytest.fixture
def server(maildir: Path) -> Callable[[trio.abc.Stream], AsyncChat]:
    return partial(SmallServer, maildir=maildir)


READY = b" ESMTP trio_chat\r\n"
WAITED = b"421 " + HOST + b" has waited for too long\r\n"
STOPPING = b"421 " + HOST + b" is shutting down\r\n"


@pytest.mark.parametrize(
    ("sent", "last_reply"),
    [
        (b"", READY),
        (b"EHLO me\r\n", b"250 SIZE 100\r\n"),
        (ENVELOPE, b"to whom else?\r\n"),
        (ENVELOPE + b"DATA\r\n", b"is a dot\r\n"),
        (ENVELOPE + b"DATA\r\nabc\r\n.", b"is a dot\r\n"),
    ],
)
async def test_five_minutes_of_silence(
    maildir: Path, server: Any, mock_clock: trio.testing.MockClock, sent: bytes, last_reply: bytes
) -> None:
    async with open_chat(server) as peer:
        await peer.send(sent)
        await peer.expect_until(last_reply)
        await peer.pause(299.9)
        await peer.expect_nothing()
        await peer.pause(0.1)
        await peer.expect(WAITED)
        await peer.expect_eof()
    assert stored(maildir) == []


async def test_a_command_of_which_a_byte_comes_now_and_then(server: Any, mock_clock: trio.testing.MockClock) -> None:
    async with open_chat(server) as peer:
        await peer.expect_until(READY)
        for _ in range(6):
            await peer.send(b"x")
            await peer.expect_nothing()
            await peer.pause(50)
        await peer.expect(WAITED)
        await peer.expect_eof()


@pytest.mark.parametrize("sent", [b"", b"NO", ENVELOPE])
async def test_a_stop_is_told_to_who_is_not_sending_a_mail(
    server: Any, mock_clock: trio.testing.MockClock, sent: bytes
) -> None:
    async with open_chat(server) as peer:
        await peer.send(sent)
        await peer.expect_until(b"to whom else?\r\n" if sent == ENVELOPE else READY)
        await peer.expect_nothing()
        peer.chat.close_when_idle()
        await peer.expect(STOPPING)
        await peer.expect_eof()


async def test_a_stop_waits_for_a_mail(maildir: Path, server: Any, mock_clock: trio.testing.MockClock) -> None:
    async with open_chat(server) as peer:
        await peer.send(ENVELOPE + b"DATA\r\n")
        await peer.expect_until(b"is a dot\r\n")
        peer.chat.close_when_idle()
        await peer.send(b"text\r\n.\r\n" + ENVELOPE)
        assert (await peer.expect_until(b"\r\n")).startswith(b"250 it is ")
        await peer.expect(STOPPING)
        await peer.expect_eof()
    assert len(stored(maildir)) == 1


async def test_a_stop_before_the_greeting(maildir: Path) -> None:
    stream = Exactly([b"NOOP\r\n"])
    chat: AsyncChat = SmallServer(stream, maildir)
    chat.close_when_idle()
    await chat.run()
    assert stream.sent == STOPPING
