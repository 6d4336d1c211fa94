"""Takes mail by SMTP into a Maildir, whomever it is for. Try it with: swaks --server localhost:2525 --to ann@localhost

It relays nothing, and asks nobody who they are. With a certificate it offers STARTTLS.

Stop it with Ctrl-C or SIGTERM: a mail that is coming in has ten seconds to finish, all other clients are told to come
back later. A second time stops it at once.
"""

import argparse
import itertools
import logging
import os
import re
import signal
import socket
import ssl
import sys
import time
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from pathlib import Path

import trio

from trio_chat import AsyncChat, PlaintextBeforeTLS, Reply, TimeoutKind, open_tcp_listeners, serve_listeners

HOSTNAME = socket.gethostname()
CLIENT_NAME = re.compile(r"[\w.:\[\]-]+")  # a host, or an address in brackets
PATH = re.compile(
    r"""(?P<keyword>FROM|TO):\ ?  # no space should be there, but many clients send one
    <(?:@[\w.,@-]+:)?             # a route, as there were once, is ignored
    (?P<address>(?:(?:[\w!#$%&'*+/=?^`{|}~.-]+|"(?:[^"\\]|\\.)*")(?:@(?:[\w.-]+|\[[\w.:-]+\]))?)?)>
    (?P<parameters>(?:\ +[!-~]+)*)""",
    re.VERBOSE | re.IGNORECASE,
)
FIXED_REPLIES = {
    "NOOP": (250, "still here"),
    "HELP": (214, "RFC 5321 tells it all"),
    "VRFY": (252, "whoever that is, mail to them is taken"),
    "EXPN": (502, "there are no lists here"),
}

log = logging.getLogger("smtp")
in_thread = trio.to_thread.run_sync


class Mail:
    """The text of a mail on its way into the Maildir: written to tmp/, moved to new/ when it is complete.

    One that is refused is read to its end all the same, if it seems to have one: the client does not listen before.
    """

    numbers = itertools.count()

    def __init__(self, maildir: Path, most_bytes: int) -> None:
        self.name = f"{time.time_ns()}.P{os.getpid()}Q{next(self.numbers)}.{HOSTNAME}"
        self.draft = maildir / "tmp" / self.name
        self.inbox = maildir / "new"
        self.bytes_left = most_bytes
        self.unwritten = bytearray()
        self.refusal: tuple[int, str] | None = None
        self.complete = False

    def add(self, line: bytes) -> None:
        if line == b".":
            self.complete = True
            return
        line = line.removeprefix(b".")
        self.bytes_left -= len(line) + 2
        if self.bytes_left < 0:
            self.refuse(552, "that is too big")
        elif b"\r" in line or b"\n" in line:
            # Another server may take it for the end of a line, and what follows for the end of the mail and commands.
            self.refuse(554, "CR and LF are allowed only together, as the end of a line")
        elif self.refusal is None:
            self.unwritten += line + b"\n"

    def refuse(self, code: int, why: str) -> None:
        self.refusal = self.refusal or (code, why)
        self.unwritten.clear()

    def worth_writing(self) -> bool:
        return self.complete or len(self.unwritten) >= 65536

    # What follows may wait for the disk, and is for threads.

    def open(self) -> None:
        self.file = self.draft.open("xb")

    def write(self) -> None:
        try:
            self.file.write(self.unwritten)
        except OSError as error:
            self.refuse(451, f"cannot store it now: {error.strerror}")
        self.unwritten.clear()

    def deliver(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        arrived = self.inbox / self.name
        inbox = os.open(self.inbox, os.O_RDONLY)  # before the mail is there, for it may fail
        try:
            self.draft.rename(arrived)
            os.fsync(inbox)  # else a power failure may take the new name back
        except OSError:
            arrived.unlink(missing_ok=True)  # the client is told that it has to send it again
            raise
        finally:
            os.close(inbox)

    def clean_up(self) -> None:
        with suppress(OSError):  # a disk that is full is so here, too
            self.file.close()
        self.draft.unlink(missing_ok=True)


class SMTPServer(AsyncChat):
    """The conversation with a client: commands, each a line, and the lines of a mail after each DATA."""

    terminator = b"\r\n"  # and nothing else, in commands and in mails
    max_frame_bytes = 65536  # RFC 5321 has lines of 1000 bytes in mails, but not every sender knows
    on_oversize = "skip"
    idle_timeout = message_timeout = write_timeout = 300.0  # its section 4.5.3.2 wants five minutes at the least

    max_command_bytes = 512 + 26 + 17  # as RFC 5321 has it, and what SIZE and BODY add
    max_mail_bytes = 10 * 1024 * 1024
    max_mail_seconds = 3600.0
    max_recipients = 100
    max_errors = 10

    def __init__(self, stream: trio.abc.Stream, maildir: Path, tls_context: ssl.SSLContext | None = None) -> None:
        super().__init__(stream)
        self.maildir = maildir
        self.tls_context = tls_context
        self.errors = 0
        self.mail: Mail | None = None  # the one that is being received
        self.forget_all()

    def forget_all(self) -> None:
        self.client_name = self.protocol = ""
        self.forget_mail()

    def forget_mail(self) -> None:
        self.sender: str | None = None  # "" is one: reports about mail that cannot be delivered come from there
        self.recipients: list[str] = []

    def handle_connect(self) -> None:
        self.reply(220, f"{HOSTNAME} ESMTP trio_chat")

    def found_terminator(self) -> Reply:
        if self.mail is None:
            return self.obey(self._get_data())
        self.mail.add(self._get_data())
        if self.mail.bytes_left < -self.max_mail_bytes:
            self.leave("takes no more of that mail")  # somebody who does not mean to end it
        return None

    def handle_oversize(self) -> None:
        self.incoming.clear()
        if self.mail is None:
            self.reply(500, "that line is too long")
        else:
            self.reply(500, "a line of it is too long")
            self.leave("takes no more of that mail")  # the line may have no end; who ends the mail soon listens then

    def handle_timeout(self, kind: TimeoutKind) -> None:
        self.leave("has waited for too long")

    def between_messages(self) -> bool:
        return self.mail is None

    def close_when_idle(self) -> None:
        if self.between_messages():
            self.leave("is shutting down")
        super().close_when_idle()

    def leave(self, why: str) -> None:
        self.reply(421, f"{HOSTNAME} {why}")
        self.close_when_done()

    def reply(self, code: int, *lines: str) -> None:
        if self.closing:
            return
        for line in lines[:-1]:
            self.push(f"{code}-{line}\r\n".encode())
        self.push(f"{code} {lines[-1]}\r\n".encode())
        if code >= 500:
            self.errors += 1
            if self.errors == self.max_errors:
                self.leave("has seen too many errors")

    async def obey(self, line: bytes) -> None:
        command = line.decode("ascii", "replace").rstrip(" ")
        verb, _, argument = command.partition(" ")
        if len(line) + 2 > self.max_command_bytes:
            self.reply(500, "that line is too long")
        elif not (command.isascii() and command.isprintable()):
            self.reply(500, "a command is printable ASCII, and ends in CR LF")
        else:
            await self.obey_verb(verb.upper(), argument)
        if self.closing_when_idle:
            self.leave("is shutting down")

    async def obey_verb(self, verb: str, argument: str) -> None:
        match verb:
            case "EHLO" | "HELO":
                self.greet(verb, argument)
            case "MAIL":
                self.begin_mail(argument)
            case "RCPT":
                self.add_recipient(argument)
            case "DATA" | "RSET" | "QUIT" | "STARTTLS" if argument:
                self.reply(501, f"nothing may follow {verb}")
            case "DATA" if not self.recipients:
                self.reply(503, "first MAIL, then RCPT")
            case "DATA":
                await self.receive_mail()
            case "RSET":
                self.forget_mail()
                self.reply(250, "forgotten")
            case "STARTTLS":
                await self.encrypt()
            case "QUIT":
                self.reply(221, f"{HOSTNAME} says goodbye")
                self.close_when_done()
            case "VRFY" if not argument:
                self.reply(501, "VRFY whom?")
            case _:
                self.reply(*FIXED_REPLIES.get(verb, (500, "no such command")))

    def greet(self, verb: str, argument: str) -> None:
        if not CLIENT_NAME.fullmatch(argument):
            self.reply(501, f"{verb}, and the name of your host")
            return
        self.forget_mail()
        self.client_name = argument
        self.protocol, offers = "SMTP", []
        if verb == "EHLO":
            self.protocol = "ESMTPS" if self.encrypted else "ESMTP"
            offers = ["PIPELINING", "8BITMIME", f"SIZE {self.max_mail_bytes}"]
            if self.tls_context is not None and not self.encrypted:
                offers.append("STARTTLS")
        self.reply(250, HOSTNAME, *offers)

    @property
    def encrypted(self) -> bool:
        return isinstance(self.stream, trio.SSLStream)

    async def encrypt(self) -> None:
        if self.encrypted:
            self.reply(503, "it is encrypted already")
        elif self.tls_context is None:
            self.reply(502, "there is no certificate here")
        else:
            self.reply(220, "go on with TLS")
            try:
                await self.start_tls(self.tls_context)
            except PlaintextBeforeTLS:  # perhaps of somebody who wants it to be taken for the client's
                self.reply(554, "nothing may come between STARTTLS and TLS")
                self.close_when_done()
            self.forget_all()

    def begin_mail(self, argument: str) -> None:
        path = PATH.fullmatch(argument)
        if not self.client_name:
            self.reply(503, "first EHLO")
        elif self.sender is not None:
            self.reply(503, "one mail at a time")
        elif not path or path["keyword"].upper() != "FROM":
            self.reply(501, "MAIL FROM:<address>")
        else:
            pairs = (parameter.partition("=") for parameter in path["parameters"].upper().split())
            parameters = {name: value for name, _, value in pairs}
            size, body = parameters.pop("SIZE", "0"), parameters.pop("BODY", "7BIT")
            if parameters:
                self.reply(555, f"not known here: {next(iter(parameters))[:64]}")
            elif not size.isdecimal() or body not in ("7BIT", "8BITMIME"):
                self.reply(501, "SIZE=number, BODY=7BIT or BODY=8BITMIME")
            elif int(size) > self.max_mail_bytes:
                self.reply(552, "that is too big")
            else:
                self.sender = path["address"]
                self.reply(250, "to whom?")

    def add_recipient(self, argument: str) -> None:
        path = PATH.fullmatch(argument)
        if self.sender is None:
            self.reply(503, "first MAIL")
        elif not path or path["keyword"].upper() != "TO" or not path["address"]:
            self.reply(501, "RCPT TO:<address>")
        elif path["parameters"]:
            self.reply(555, "no parameter of RCPT is known here")
        elif len(self.recipients) == self.max_recipients:
            self.reply(452, "too many; they have to get it from another mail")
        else:
            self.recipients.append(path["address"])
            self.reply(250, "to whom else?")

    async def receive_mail(self) -> None:
        """Have the mail on the disk before saying so: until then it is the client who answers for it."""
        self.mail = mail = Mail(self.maildir, self.max_mail_bytes)
        try:
            await in_thread(mail.open)
            try:
                self.reply(354, "end it with a line that is a dot")
                mail.unwritten += self.trace(mail.name)
                until = trio.current_time() + self.max_mail_seconds
                while not mail.complete:
                    patience = until - trio.current_time()
                    if self.closing or not await self.receive_more(patience, mail.worth_writing):
                        return
                    if mail.worth_writing():
                        await in_thread(mail.write)
                if mail.refusal is None:
                    await in_thread(mail.deliver)
            finally:
                with trio.CancelScope(shield=True):
                    await in_thread(mail.clean_up)
        except OSError as error:
            mail.refuse(451, f"cannot store it now: {error.strerror}")
        finally:
            self.mail = None
        log.info("%s from <%s> to <%s>: %s", mail.name, self.sender, ">, <".join(self.recipients), mail.refusal or "ok")
        self.forget_mail()
        self.reply(*mail.refusal or (250, f"it is {mail.name}"))

    def trace(self, name: str) -> bytes:
        """The header fields that a server adds. All mail goes into one Maildir: they also say whose it is."""
        host = str(self.peer[0]) if isinstance(self.peer, tuple) else "unknown"
        fields = [f"Return-Path: <{self.sender}>", *(f"Delivered-To: {recipient}" for recipient in self.recipients)]
        fields.append(f"Received: from {self.client_name} ([{'IPv6:' * (':' in host)}{host}])")
        fields.append(f"\tby {HOSTNAME} with {self.protocol} id {name}; {formatdate(localtime=True)}")
        return "".join(f"{field}\n" for field in fields).encode()


async def main(host: str, port: int, maildir: Path, tls_context: ssl.SSLContext | None) -> None:
    os.umask(0o077)  # mail is for its owner's eyes
    try:
        for folder in ("tmp", "new", "cur"):
            (maildir / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"cannot store mail in {maildir}: {error}")
    try:
        listeners = await open_tcp_listeners(port, host=host)
    except (OSError, ValueError) as error:
        sys.exit(f"cannot listen on {host}, port {port}: {error}")
    print(f"listening on {host}, port {listeners[0].socket.getsockname()[1]}", flush=True)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_on_signals, stop, nursery.cancel_scope)
        handler = partial(SMTPServer, maildir=maildir, tls_context=tls_context)
        await serve_listeners(handler, listeners, stop=stop, max_connections=100)
        nursery.cancel_scope.cancel()
    print("stopped", flush=True)


async def stop_on_signals(stop: trio.Event, everything: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if stop.is_set():
                everything.cancel()
            else:
                print("stopping; once more to stop at once", flush=True)
                stop.set()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2525)
    parser.add_argument("--maildir", type=Path, default=Path("Maildir"))
    parser.add_argument("--cert", type=Path, help="PEM file of the certificate and the chain")
    parser.add_argument("--key", type=Path, help="PEM file of its key, if it is not in the same")
    options = parser.parse_args()
    if options.key and not options.cert:
        parser.error("--key is of no use without --cert")
    tls_context = None
    if options.cert:
        tls_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        key = options.key or options.cert
        try:
            for path in (options.cert, key):
                path.open().close()  # its error tells which of them is not there; OpenSSL's does not
            tls_context.load_cert_chain(options.cert, key)
        except OSError as error:
            parser.error(f"cannot use the certificate in {options.cert} and the key that should be in {key}: {error}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    trio.run(main, options.host, options.port, options.maildir, tls_context)
