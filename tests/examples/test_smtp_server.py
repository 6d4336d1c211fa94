"""The SMTP server as a real process, with clients that are not ours: smtplib, swaks, msmtp, and some of bad will."""

from __future__ import annotations

import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from mailbox import Maildir
from pathlib import Path

import pytest
import trustme
from processes import EXAMPLES, TIMEOUT, Server, lines, running

ENVELOPE = b"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
RESET_WHEN_CLOSED = (socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


class MailServer:
    def __init__(self, server: Server, path: Path) -> None:
        self.server = server
        self.path = path

    def client(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.server.port, local_hostname="me", timeout=TIMEOUT)

    def texts(self) -> list[bytes]:
        """The mails in new/, without the four lines that are the server's if there is one recipient."""
        maildir = Maildir(self.path, create=False)
        mails = sorted(maildir.keys(), key=lambda key: int(re.findall(r"Q(\d+)", key)[0]))
        return [maildir.get_bytes(mail).split(b"\n", 4)[4] for mail in mails]


@pytest.fixture
def mail_server(tmp_path: Path) -> Iterator[MailServer]:
    with running("smtp_server.py", tmp_path, "--maildir", tmp_path / "mail") as server:
        yield MailServer(server, tmp_path / "mail")
        assert server.stop(signal.SIGTERM) == 0
        assert "Traceback" not in server.log
        assert list(tmp_path.glob("mail/tmp/*")) == []


def run_client(name: str, *arguments: str, text: str | None = None) -> str:
    """Run a program with some input, or skip the test if there is no such program; what it has printed."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([name, *arguments], check=False, input=text, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---------------------------------------------------------------------- clients of good will


def test_mails_of_smtplib(mail_server: MailServer) -> None:
    texts = [
        b"Subject: one\r\n\r\ntext\r\n",
        b".\r\n..\r\n...\r\n.x\r\n",
        b"no end of line",
        b"\xff\xfe 8 bits\r\n",
        b"x" * 5000 + b"\r\n",
        b"\r\n",
    ]
    with mail_server.client() as client:
        assert client.ehlo()[0] == 250
        assert client.esmtp_features == {"pipelining": "", "8bitmime": "", "size": str(10 * 1024 * 1024)}
        for text in texts:
            assert client.sendmail("ann@example.org", "bob@example.org", text, ["BODY=8BITMIME"]) == {}
    assert mail_server.texts() == [text.replace(b"\r\n", b"\n").removesuffix(b"\n") + b"\n" for text in texts]


def test_the_fields_that_the_server_adds(mail_server: MailServer) -> None:
    with mail_server.client() as client:
        client.sendmail("ann@example.org", ["bob@example.org", "carl@example.org"], b"Subject: hello\r\n\r\ntext\r\n")
        client.sendmail("", "bob@example.org", b"Subject: not delivered\r\n\r\ntext\r\n")
    both, report = sorted(Maildir(mail_server.path, create=False), key=lambda mail: str(mail["Subject"]))
    assert both["Return-Path"] == "<ann@example.org>"
    assert both.get_all("Delivered-To") == ["bob@example.org", "carl@example.org"]
    received = r"from me \(\[127\.0\.0\.1\]\)\s+by \S+ with ESMTP id \S+; \w+, \d+ \w+ \d{4} \d\d:\d\d:\d\d [+-]\d{4}"
    assert re.fullmatch(received, both["Received"])
    assert both.get_payload() == "text\n"
    assert (report["Return-Path"], report.get_all("Delivered-To")) == ("<>", ["bob@example.org"])


def test_nobody_else_can_read_the_mail(mail_server: MailServer) -> None:
    with mail_server.client() as client:
        client.sendmail("ann@example.org", "bob@example.org", b"text")
    paths = [mail_server.path, *mail_server.path.rglob("*")]
    assert len(paths) == 5
    assert [path.stat().st_mode & 0o077 for path in paths] == [0] * 5


def test_smtplib_hears_what_is_wrong(mail_server: MailServer) -> None:
    with mail_server.client() as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            client.sendmail("a@b", "c@d", bytes(10 * 1024 * 1024 + 1))
        assert refused.value.smtp_code == 552
        refusals = client.sendmail("a@b", [f"{i}@d" for i in range(102)], b"text")
        assert {who: code for who, (code, _) in refusals.items()} == {"100@d": 452, "101@d": 452}
        assert client.verify("ann")[0] == 252
        assert client.noop()[0] == 250
        assert client.help() == b"RFC 5321 tells it all"


def test_a_big_mail_is_not_kept_in_memory(mail_server: MailServer) -> None:
    status = Path(f"/proc/{mail_server.server.process.pid}/status")
    if not status.exists():
        pytest.skip("reads the memory that a process takes in /proc")

    def most_kib() -> int:
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])

    text = b"".join(b"%070d\r\n" % i for i in range(140_000))
    with mail_server.client() as client:
        client.sendmail("a@b", "c@d", text[:300_000])
        before = most_kib()
        client.sendmail("a@b", "c@d", text)
    assert most_kib() - before < 2048 < len(text) / 1024
    assert mail_server.texts()[1] == text.replace(b"\r\n", b"\n")


def test_everything_in_one_segment(mail_server: MailServer) -> None:
    with lines(mail_server.server.connect()) as file:
        file.write(ENVELOPE + b"DATA\r\none\r\n.\r\n" + ENVELOPE + b"RCPT TO:<>\r\nDATA\r\n.\r\nQUIT\r\n")
        replies = file.read()
    codes = re.findall(rb"^(\d{3}) ", replies, re.MULTILINE)
    assert codes == [b"220", *[b"250"] * 3, b"354", b"250", *[b"250"] * 3, b"501", b"354", b"250", b"221"]
    assert mail_server.texts() == [b"one\n", b""]


def test_swaks(mail_server: MailServer) -> None:
    options = ["--server", f"127.0.0.1:{mail_server.server.port}", "--from", "ann@example.org"]
    run_client("swaks", *options, "--to", "bob@example.org", "--body", ".dots\n.\n..")
    run_client("swaks", *options, "--to", "bob@example.org", "--body", "pipelined", "--pipeline")
    run_client("swaks", *options, "--to", "bob@example.org", "--protocol", "SMTP", "--body", "old")
    dots, pipelined, old = mail_server.texts()
    assert dots.rstrip().endswith(b"\n\n.dots\n.\n..")
    assert pipelined.rstrip().endswith(b"\n\npipelined")
    assert old.rstrip().endswith(b"\n\nold")


def test_msmtp(mail_server: MailServer) -> None:
    options = ["--host=127.0.0.1", f"--port={mail_server.server.port}", "--from=ann@example.org"]
    run_client("msmtp", *options, "bob@example.org", text="Subject: hello\n\n.dots\n.\n\xe9\n")
    assert mail_server.texts()[0].endswith("Subject: hello\n\n.dots\n.\n\xe9\n".encode())


# ---------------------------------------------------------------------- clients of bad will, or bad luck


@pytest.mark.parametrize("ending", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n.\n"])
def test_a_mail_cannot_be_smuggled_in_another(mail_server: MailServer, ending: bytes) -> None:
    with lines(mail_server.server.connect()) as file:
        file.write(ENVELOPE + b"DATA\r\ngood" + ending + ENVELOPE + b"DATA\r\nevil\r\n.\r\nQUIT\r\n")
        replies = file.read()
    assert re.findall(rb"^(\d{3}) ", replies, re.MULTILINE) == [b"220", *[b"250"] * 3, b"354", b"554", b"221"]
    assert mail_server.texts() == []


@pytest.mark.parametrize("sent", [b"", b"x", b"x" * 300_000 + b"\r\n", b"x\r\n.", b"x\r\n.\r"])
def test_a_client_that_is_killed_midway_leaves_nothing(mail_server: MailServer, sent: bytes) -> None:
    for reset in (True, False):
        with mail_server.server.connect() as connection, lines(connection) as file:
            file.write(ENVELOPE + b"DATA\r\n")
            while not file.readline().startswith(b"354 "):
                pass
            file.write(sent)
            if reset:
                connection.setsockopt(*RESET_WHEN_CLOSED)
    with mail_server.client() as client:
        while list(mail_server.path.glob("tmp/*")):
            client.noop()  # until the server has noticed
    assert mail_server.texts() == []


def test_a_disk_that_is_full(mail_server: MailServer) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("another process's limits cannot be set here")
    _, hard = resource.prlimit(mail_server.server.process.pid, resource.RLIMIT_FSIZE)
    with mail_server.client() as client:
        # It fails when the rest is flushed, when the last of it is written, or before.
        for limit, kilobytes in ((1000, 2), (100_000, 110), (100_000, 1000)):
            resource.prlimit(mail_server.server.process.pid, resource.RLIMIT_FSIZE, (limit, hard))
            with pytest.raises(smtplib.SMTPDataError) as refused:
                client.sendmail("a@b", "c@d", (b"x" * 998 + b"\r\n") * kilobytes)
            assert refused.value.smtp_code == 451
        assert list(mail_server.path.glob("*/*")) == []
        resource.prlimit(mail_server.server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        client.sendmail("a@b", "c@d", (b"x" * 998 + b"\r\n") * 110)
    assert len(mail_server.texts()) == 1


def test_the_hundred_and_first_client_waits(mail_server: MailServer) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(mail_server.client()) for _ in range(100)]
        waiting = stack.enter_context(mail_server.server.connect())
        for _ in range(20):  # the server has time to do what it must not
            assert clients[-1].noop()[0] == 250
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.recv(100)
        clients[0].quit()
        waiting.settimeout(TIMEOUT)
        assert waiting.recv(100).startswith(b"220 ")


# ---------------------------------------------------------------------- TLS


@pytest.fixture
def encrypting_server(tmp_path: Path, authority: trustme.CA) -> Iterator[MailServer]:
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    certificate = tmp_path / "cert.pem"
    with running("smtp_server.py", tmp_path, "--maildir", tmp_path / "mail", "--cert", certificate) as server:
        yield MailServer(server, tmp_path / "mail")
        assert server.stop(signal.SIGTERM) == 0
        assert "Traceback" not in server.log
        assert list(tmp_path.glob("mail/tmp/*")) == []


def test_smtplib_over_tls(encrypting_server: MailServer, client_context: ssl.SSLContext) -> None:
    text = b"Subject: secret\r\n\r\n" + (b"x" * 998 + b"\r\n") * 1000
    with encrypting_server.client() as client:
        client.ehlo()
        assert client.has_extn("starttls")
        assert client.mail("mallory@example.org")[0] == 250
        assert client.starttls(context=client_context)[0] == 220
        assert client.rcpt("bob@example.org") == (503, b"first MAIL")  # what was said before is forgotten
        assert client.mail("ann@example.org") == (503, b"first EHLO")
        client.ehlo()
        assert not client.has_extn("starttls")
        assert client.docmd("STARTTLS")[0] == 503
        client.sendmail("ann@example.org", "bob@example.org", text)
    (mail,) = Maildir(encrypting_server.path, create=False)
    assert mail["Return-Path"] == "<ann@example.org>"
    assert " with ESMTPS id " in mail["Received"]
    assert encrypting_server.texts() == [text.replace(b"\r\n", b"\n")]


def test_swaks_over_tls(encrypting_server: MailServer) -> None:
    if "TLS supported" not in run_client("swaks", "--support"):
        pytest.skip("swaks needs Net::SSLeay to speak TLS")
    options = ["--server", f"127.0.0.1:{encrypting_server.server.port}", "--from", "ann@example.org"]
    run_client("swaks", *options, "--to", "bob@example.org", "--tls", "--body", "secret")
    assert encrypting_server.texts()[0].rstrip().endswith(b"\n\nsecret")


def test_msmtp_over_tls(encrypting_server: MailServer, authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    options = ["--host=localhost", f"--port={encrypting_server.server.port}", "--from=ann@example.org"]
    options += ["--tls=on", "--tls-starttls=on", f"--tls-trust-file={tmp_path / 'ca.pem'}"]
    run_client("msmtp", *options, "bob@example.org", text="Subject: secret\n\ntext\n")
    assert encrypting_server.texts()[0].endswith(b"Subject: secret\n\ntext\n")


@pytest.mark.parametrize("injected", [b"M", b"NOOP\r\n", b"\r\n", ENVELOPE])
def test_nothing_is_injected_into_what_is_encrypted(encrypting_server: MailServer, injected: bytes) -> None:
    with lines(encrypting_server.server.connect()) as file:
        file.write(b"EHLO me\r\nSTARTTLS\r\n" + injected)
        replies = file.read()
    assert re.findall(rb"^(\d{3}) ", replies, re.MULTILINE) == [b"220", b"250", b"220", b"554"]


def test_a_handshake_that_is_none(encrypting_server: MailServer) -> None:
    for sent in (b"NOOP\r\n" * 10, b""):
        with encrypting_server.server.connect() as connection, lines(connection) as file:
            file.write(b"STARTTLS\r\n")
            while not file.readline().endswith(b" go on with TLS\r\n"):
                pass
            file.write(sent)
            connection.shutdown(socket.SHUT_WR)
            assert b"250" not in file.read()
    with encrypting_server.client() as client:
        assert client.noop()[0] == 250


def test_a_stop_amid_the_handshake(encrypting_server: MailServer, client_context: ssl.SSLContext) -> None:
    server = encrypting_server.server
    assert server.process.stdout is not None
    with server.connect() as connection:
        connection.sendall(b"STARTTLS\r\n")
        with connection.makefile("rb") as replies:
            while not replies.readline().endswith(b" go on with TLS\r\n"):
                pass
        server.process.send_signal(signal.SIGINT)
        assert server.process.stdout.readline() == "stopping; once more to stop at once\n"
        with client_context.wrap_socket(connection, server_hostname="localhost") as encrypted:
            assert re.fullmatch(rb"421 \S+ is shutting down\r\n", encrypted.recv(100))
    assert server.process.wait(TIMEOUT) == 0
    assert server.process.stdout.read() == "stopped\n"


def test_there_is_no_tls_without_a_certificate(mail_server: MailServer) -> None:
    with mail_server.client() as client:
        client.ehlo()
        assert not client.has_extn("starttls")
        assert client.docmd("STARTTLS")[0] == 502


# ---------------------------------------------------------------------- starting and stopping


def test_a_stop_waits_for_a_mail_and_for_nobody_else(tmp_path: Path) -> None:
    with running("smtp_server.py", tmp_path, "--maildir", tmp_path / "mail") as server, ExitStack() as stack:
        idle, sending = (stack.enter_context(lines(server.connect())) for _ in range(2))
        assert idle.readline().startswith(b"220 ")
        sending.write(ENVELOPE + b"DATA\r\ntext\r\n")
        while not sending.readline().startswith(b"354 "):
            pass
        server.process.send_signal(signal.SIGINT)
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == "stopping; once more to stop at once\n"
        assert re.fullmatch(rb"421 \S+ is shutting down\r\n", idle.read())
        sending.write(b".\r\n")
        assert re.fullmatch(rb"250 it is \S+\r\n421 \S+ is shutting down\r\n", sending.read())
        stack.close()
        assert server.process.wait(TIMEOUT) == 0
        assert server.process.stdout.read() == "stopped\n"
        assert MailServer(server, tmp_path / "mail").texts() == [b"text\n"]
        assert "Traceback" not in server.log


def test_a_second_time_stops_it_at_once(tmp_path: Path) -> None:
    with running("smtp_server.py", tmp_path, "--maildir", tmp_path / "mail") as server:
        with lines(server.connect()) as sending:
            sending.write(ENVELOPE + b"DATA\r\ntext\r\n")
            while not sending.readline().startswith(b"354 "):
                pass
            server.process.send_signal(signal.SIGINT)
            assert server.process.stdout is not None
            assert server.process.stdout.readline() == "stopping; once more to stop at once\n"
            assert server.stop(signal.SIGINT) == 0
            assert server.process.stdout.read() == "stopped\n"
            assert sending.read() == b""
        assert list(tmp_path.glob("mail/*/*")) == []
        assert "Traceback" not in server.log


def test_what_keeps_it_from_starting_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for options, error in [
            (f"--port={port}", f"cannot listen on 127.0.0.1, port {port}: "),
            (f"--port=0 --maildir={file}", f"cannot store mail in {file}: "),
            ("--port=99999", "cannot listen on 127.0.0.1, port 99999: a port is a number from 0 to 65535"),
            (f"--cert={file}", f"cannot use the certificate in {file} and the key that should be in {file}: "),
            (f"--key={file}", "--key is of no use without --cert"),
        ]:
            command = [sys.executable, "-P", str(EXAMPLES / "smtp_server.py"), *options.split()]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT, cwd=tmp_path)
            assert done.returncode in (1, 2)
            assert done.stderr.splitlines()[-1].removeprefix("smtp_server.py: error: ").startswith(error)
            assert "Traceback" not in done.stderr


def test_it_is_told_which_file_lacks_the_certificate_or_its_key(tmp_path: Path, authority: trustme.CA) -> None:
    none, cert, key, other_key = (str(tmp_path / name) for name in ("none", "cert", "key", "other_key"))
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    authority.issue_cert("localhost").private_key_pem.write_to_path(other_key)
    for files, why in [
        ((none, key), f"No such file or directory: '{none}'"),
        ((cert, none), f"No such file or directory: '{none}'"),
        ((cert, str(tmp_path)), f"Is a directory: '{tmp_path}'"),
        ((cert,), "PEM"),
        ((cert, other_key), "key values mismatch"),
    ]:
        options = [f"--{option}={file}" for option, file in zip(("cert", "key"), files, strict=False)]
        command = [sys.executable, "-P", str(EXAMPLES / "smtp_server.py"), *options]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT, cwd=tmp_path)
        assert done.returncode == 2
        where = f"cannot use the certificate in {files[0]} and the key that should be in {files[-1]}: "
        assert where in done.stderr.splitlines()[-1]
        assert why in done.stderr.splitlines()[-1].partition(where)[2]
