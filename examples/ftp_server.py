"""An FTP server of one directory, for Unix. Try it with: curl ftp://localhost:2121/

Anybody may read, as "anonymous"; with --user and --password-file there is somebody who may write, too. An upload takes
the place of an old file when it is complete, as far as FTP can tell: a client that is killed looks like one that has
finished. If it breaks off, what has come of a new file is kept for the client to go on with, by APPE, or by STOR after
REST, which write to the file itself. No name leads out of the directory, and no link is followed. Nothing is encrypted.

Stop it with Ctrl-C or SIGTERM: transfers have a minute to finish. A second time stops it at once.
"""

import argparse
import errno
import hmac
import inspect
import io
import os
import posixpath
import re
import secrets
import signal
import stat
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, partialmethod
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import trio

from trio_chat import AsyncChat, SocketListener, TimeoutKind, open_tcp_listeners, serve_listeners

BLOCK_BYTES = 256 * 1024
PIECE_BYTES = 32 * 1024  # who takes as much in STALL_SECONDS is not too slow
STALL_SECONDS = 60  # in which nothing of a transfer moves
LAST_SECONDS = 2  # the same, once the client has ended its side: it may have gone, or wait for its answers
WRONG_PASSWORDS = 3
WRONG_PASSWORD_SECONDS = 2
DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW  # to open one, and not what a link leads to
FLAGS = {"ab": os.O_WRONLY | os.O_APPEND, "rb": os.O_RDONLY, "r+b": os.O_RDWR}  # to open an old file

Answer = tuple[Any, ...]  # a code, a text, and more lines if there are any
Work = Callable[[], Awaitable[None]]  # what a transfer does
FEATURES = ("EPRT", "EPSV", "MDTM", "MLST type*;size*;modify*;", "REST STREAM", "SIZE", "TVFS", "UTF8")
ANSWERS: dict[str, Answer] = {
    "ACCT": (202, "there are no accounts"),
    "ALLO": (202, "there is nothing to do"),
    "FEAT": (211, "features:", *FEATURES),
    "HELP": (214, "RFC 959, 2389, 2428 and 3659; FEAT tells more"),
    "MODE": (200, "stream"),
    "NOOP": (200, "fine"),
    "QUIT": (221, "goodbye"),
    "STRU": (200, "file"),
    "SYST": (215, "UNIX Type: L8"),
}
SETTINGS = {"MODE": ["S"], "STRU": ["F"], "TYPE": ["A", "A N", "I", "L 8"]}
ALIASES = {"XCUP": "CDUP", "XCWD": "CWD", "XMKD": "MKD", "XPWD": "PWD", "XRMD": "RMD"}  # RFC 775; Windows says them
WITHOUT_LOGIN = {"ACCT", "FEAT", "HELP", "NOOP", "OPTS", "PASS", "QUIT", "SYST", "USER"}
WRITING = {"APPE", "DELE", "MKD", "RMD", "RNFR", "RNTO", "STOR"}
TRANSFERS = {"APPE", "LIST", "MLSD", "NLST", "RETR", "STOR"}
DURING_TRANSFER = {"ABOR", "NOOP", "STAT"}
TELNET = re.compile(rb"(\xff[\xfb-\xfe].|[\xf0-\xff])*", re.DOTALL)  # before ABOR; no command begins with such a byte


def as_ls(name: str, info: os.stat_result) -> str:
    recent = 0 <= time.time() - info.st_mtime < 180 * 86400
    modified = time.strftime("%b %d %H:%M" if recent else "%b %d  %Y", time.gmtime(info.st_mtime))
    return f"{stat.filemode(info.st_mode)} {info.st_nlink:3} ftp ftp {info.st_size:12} {modified} {name}"


def as_facts(name: str, info: os.stat_result) -> str:
    kind = "dir" if stat.S_ISDIR(info.st_mode) else f"file;size={info.st_size}"
    return f"type={kind};modify={timestamp(info)}; {name}"


def timestamp(info: os.stat_result) -> str:
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(info.st_mtime))


def settle(part: str, name: str, directory: int, complete: bool) -> None:
    """Put an upload where it belongs. A part of it is better than nothing, and worse than an old file."""
    try:
        if not complete and os.lstat(part, dir_fd=directory).st_size:
            with suppress(FileExistsError):
                os.close(os.open(name, os.O_CREAT | os.O_EXCL, dir_fd=directory))
                complete = True
        if complete:
            os.replace(part, name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part, dir_fd=directory)
        os.close(directory)


class Session(AsyncChat):
    """One client's control connection.

    The command XYZ is obeyed by do_xyz, which gives the answer, or what a transfer is to do. It is called in a thread,
    because files can be slow, unless it is a coroutine function.
    """

    terminator = (b"\r\n", b"\n")
    max_frame_bytes = 5000
    on_oversize = "skip"
    idle_timeout = 300
    message_timeout = 60

    def __init__(self, stream: trio.abc.Stream, root: str, writer: bytes) -> None:
        super().__init__(stream)
        self.root = root
        self.writer = writer  # the name and password of who may write
        self.host, self.client = (str(end[0]) if isinstance(end, tuple) else "" for end in (self.local, self.peer))
        self.wrong_passwords = 0
        self.logged_in = self.may_write = False
        self.directory = "/"
        self.ascii = True  # until the client says TYPE I
        self.before = ("", "")  # the command before, if its answer was 3xx: it awaits another one
        self.listener: SocketListener | None = None  # after PASV or EPSV
        self.port = 0  # after PORT or EPRT
        self.epsv_only = False
        self.transfer: trio.CancelScope | None = None  # the one in progress
        self.transferred = trio.Event()
        self.patience = STALL_SECONDS
        self.outcome: Answer = ()
        self.count = 0

    def handle_connect(self) -> None:
        if (setsockopt := getattr(self.stream, "setsockopt", None)) is not None:
            setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_OOBINLINE, 1)  # some of ABOR may come as urgent data
        self.nursery.start_soon(self.hurry_at_the_end)
        self.reply(220, "ready")

    async def hurry_at_the_end(self) -> None:
        await self.wait_eof()  # which may be behind commands that wait for a transfer
        self.patience = LAST_SECONDS
        if self.transfer is not None:
            self.transfer.deadline = trio.current_time() + LAST_SECONDS

    async def found_terminator(self) -> None:
        verb, _, argument = os.fsdecode(TELNET.sub(b"", self._get_data(), count=1)).partition(" ")
        verb = ALIASES.get(verb.upper(), verb.upper())
        if self.transfer is not None and verb not in DURING_TRANSFER:
            await self.transferred.wait()  # answers come in the order of the commands, even of ABOR after this one
        answer: Answer
        try:
            answer = await self.obey(verb, argument)
        except OSError as error:
            answer = 550, error.strerror or "failed"
        except ValueError:  # no number, no address, or no name
            answer = 501, "that makes no sense"
        self.before = (verb, argument) if answer[0] // 100 == 3 else ("", "")
        self.reply(*answer)
        if answer[0] in (221, 421):
            self.close_when_done()

    async def obey(self, verb: str, argument: str) -> Answer:
        if not (self.logged_in or verb in WITHOUT_LOGIN):
            return 530, "log in first"
        if verb in WRITING and not (self.may_write and argument):
            return (501, "a name is missing") if self.may_write else (550, "you may only read")
        if verb in TRANSFERS and not (self.listener or self.port):
            return 425, "PASV, EPSV, PORT or EPRT comes first"
        if verb in SETTINGS and argument.upper() not in SETTINGS[verb]:
            return 504, f"only {' or '.join(SETTINGS[verb])}"
        if (command := getattr(self, f"do_{verb.lower()}", None)) is None:
            return ANSWERS.get(verb) or ((502 if re.fullmatch("[A-Z]{3,4}", verb) else 500), "no such command")
        is_async = inspect.iscoroutinefunction(command)
        result = await (command(argument) if is_async else trio.to_thread.run_sync(command, argument))
        return result if isinstance(result, tuple) else self.begin(result)

    def reply(self, code: int, text: str, *lines: str) -> None:
        if self.closing:  # the connection has broken meanwhile
            return
        if code == 257:  # RFC 959, appendix II
            text = '"' + text.replace('"', '""') + '"'
        if lines:
            text = "\r\n".join([text, *(f" {line}" for line in lines), f"{code} end"])
        self.push(os.fsencode(f"{code}{'-' if lines else ' '}{text}\r\n"))

    def handle_oversize(self) -> None:
        self.incoming.clear()
        self.reply(500, "that line is too long")

    def between_messages(self) -> bool:
        return self.transfer is None or not self.closing_when_idle  # a transfer holds up a stop, and no message

    def handle_timeout(self, kind: TimeoutKind) -> None:
        if self.transfer is None:
            self.reply(421, "you have been silent for too long")
            self.close_when_done()

    def do_user(self, argument: str) -> Answer:
        self.logged_in = self.may_write = False
        return 331, "and the password?"

    async def do_pass(self, argument: str) -> Answer:
        verb, user = self.before
        if verb != "USER":
            return 503, "USER comes first"
        self.may_write = hmac.compare_digest(os.fsencode(f"{user}\n{argument}"), self.writer)
        self.logged_in = self.may_write or user.lower() in ("anonymous", "ftp")
        if self.logged_in:
            return 230, "you may read and write" if self.may_write else "you may read"
        self.wrong_passwords += 1
        await trio.sleep(WRONG_PASSWORD_SECONDS)
        return (421 if self.wrong_passwords == WRONG_PASSWORDS else 530), "that is not the password"

    def do_opts(self, argument: str) -> Answer:
        if argument.upper().split(" ")[0] == "MLST":
            return 200, "MLST OPTS type;size;modify;"  # whatever the client prefers
        return (200, "always") if argument.upper() == "UTF8 ON" else (504, "only UTF8 ON, or MLST")

    def do_type(self, argument: str) -> Answer:
        self.ascii = argument.upper().startswith("A")
        return 200, "text" if self.ascii else "binary"

    def name(self, argument: str) -> str:
        """A name as clients see it, from the root on. Above that is nothing, however many ".." lead there."""
        if "\r" in argument:
            raise ValueError("a name is one line")
        return "/" + posixpath.normpath(posixpath.join(self.directory, argument)).lstrip("/")

    @contextmanager
    def at(self, argument: str) -> Iterator[tuple[str, int]]:
        """The last part of a name, and its directory, open: no link on the way there is followed, be it a new one."""
        *way, last = self.name(argument)[1:].split("/")
        here = os.open(self.root, DIRECTORY)
        try:
            for part in way:
                above, here = here, os.open(part, DIRECTORY, dir_fd=here)
                os.close(above)
            yield last or ".", here
        finally:
            os.close(here)

    def look(self, argument: str) -> os.stat_result:
        with self.at(argument) as (last, directory):
            info = os.lstat(last, dir_fd=directory)
        if stat.S_ISLNK(info.st_mode):
            raise OSError(errno.ELOOP, "no link is followed")
        return info

    def do_pwd(self, argument: str) -> Answer:
        return 257, self.directory

    def do_cwd(self, argument: str) -> Answer:
        if not stat.S_ISDIR(self.look(argument).st_mode):
            return 550, "no such directory"
        self.directory = self.name(argument)
        return 250, "you are there"

    def do_cdup(self, argument: str) -> Answer:
        return self.do_cwd("..")

    def change(self, code: int, act: Callable[..., object], argument: str) -> Answer:
        with self.at(argument) as (last, directory):
            act(last, dir_fd=directory)
        return code, self.name(argument)

    do_dele = partialmethod(change, 250, os.unlink)
    do_mkd = partialmethod(change, 257, os.mkdir)
    do_rmd = partialmethod(change, 250, os.rmdir)
    do_rnfr = partialmethod(change, 350, os.lstat)

    def do_rnto(self, argument: str) -> Answer:
        verb, old = self.before
        if verb != "RNFR":
            return 503, "RNFR comes first"
        with self.at(old) as (source, above), self.at(argument) as (target, below):
            os.rename(source, target, src_dir_fd=above, dst_dir_fd=below)
        return 250, self.name(argument)

    def do_size(self, argument: str) -> Answer:
        info = self.look(argument)
        if self.ascii or not stat.S_ISREG(info.st_mode):  # as text, it would be another one
            return 550, "only of a file, and with TYPE I"
        return 213, str(info.st_size)

    def do_mdtm(self, argument: str) -> Answer:
        return 213, timestamp(self.look(argument))

    def do_mlst(self, argument: str) -> Answer:
        return 250, "facts:", as_facts(self.name(argument), self.look(argument))

    def do_stat(self, argument: str) -> Answer:
        if argument:
            return 213, "status:", *self.lines(as_ls, argument)
        return 211, "no transfer" if self.transfer is None else f"{self.count} bytes so far"

    def lines(self, form: Callable[[str, os.stat_result], str], argument: str) -> list[str]:
        """What is in a directory, if it can be reached, and named in a line; for a file, itself."""
        info = self.look(argument)
        if not stat.S_ISDIR(info.st_mode) and form is not as_facts:
            return [form(posixpath.basename(self.name(argument)), info)]
        lines = []
        with self.at(posixpath.join(argument, "entry")) as (_, directory):
            for entry in sorted(os.listdir(directory)):
                with suppress(OSError):
                    info = os.lstat(entry, dir_fd=directory)
                    if (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)) and not {"\r", "\n"} & set(entry):
                        lines.append(form(entry, info))
        return lines

    def send_lines(self, form: Callable[[str, os.stat_result], str], argument: str) -> Work:
        if form is not as_facts:  # clients give LIST and NLST the options of ls
            argument = re.sub(r"(-\S+\s*)*", "", argument, count=1)
        text = "".join(f"{line}\n" for line in self.lines(form, argument))
        return partial(self.send, io.BytesIO(os.fsencode(text)), True)

    do_list = partialmethod(send_lines, as_ls)
    do_mlsd = partialmethod(send_lines, as_facts)
    do_nlst = partialmethod(send_lines, lambda name, info: name)

    def do_rest(self, argument: str) -> Answer:
        return (504, "only with TYPE I") if self.ascii or int(argument) < 0 else (350, "RETR or STOR will go on there")

    @property
    def offset(self) -> int:
        verb, argument = self.before
        return int(argument) if verb == "REST" else 0

    def open(self, argument: str, mode: str, offset: int = 0) -> Any:
        """Open an old file. It is changed only when the data connection is there."""
        with self.at(argument) as (last, directory):
            info = os.lstat(last, dir_fd=directory)
            if not stat.S_ISREG(info.st_mode) or offset > info.st_size:
                raise OSError(errno.EINVAL, "not a plain file, or one that ends before that")
            file = os.fdopen(os.open(last, FLAGS[mode] | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory), mode)
        file.seek(offset)
        return file

    def do_retr(self, argument: str) -> Work:
        return partial(self.send, self.open(argument, "rb", self.offset), self.ascii)

    def do_appe(self, argument: str) -> Work:
        try:
            return partial(self.receive, self.open(argument, "ab"))
        except FileNotFoundError:
            return self.replace(argument)

    def do_stor(self, argument: str) -> Work:
        if self.offset:
            return partial(self.receive, self.open(argument, "r+b", self.offset))
        return self.replace(argument)

    def replace(self, argument: str) -> Work:
        part = f".{secrets.token_hex(8)}.part"
        with self.at(argument) as (last, directory):
            old = 0
            with suppress(FileNotFoundError):
                old = os.lstat(last, dir_fd=directory).st_mode
            if stat.S_ISDIR(old):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            file = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=directory), "wb")
            try:
                if stat.S_ISREG(old):
                    os.fchmod(file.fileno(), old & 0o777)
                return partial(self.receive, file, partial(settle, part, last, os.dup(directory)))
            except OSError:
                file.close()
                os.unlink(part, dir_fd=directory)
                raise

    def begin(self, work: Work) -> Answer:
        """Have a task do the work of a transfer, while commands are obeyed."""
        self.transfer = trio.CancelScope(deadline=trio.current_time() + self.patience)
        self.transferred, self.count, self.outcome = trio.Event(), 0, (425, "nobody is there")
        self.nursery.start_soon(self.conduct, self.transfer, work)
        return 150, "here it comes"

    async def conduct(self, transfer: trio.CancelScope, work: Work) -> None:
        try:
            with transfer, suppress(trio.BrokenResourceError):
                await work()
                self.outcome = 226, "done"
        except OSError as error:
            self.outcome = (452 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 451), error.strerror or "failed"
        outcome = self.outcome  # whatever ABOR says of it from now on
        await self.forget_port()
        self.reply(*outcome)
        self.transfer = None
        self.transferred.set()
        if self.closing_when_idle:
            self.close_when_idle()

    def note_progress(self, count: int = 0) -> None:
        self.count += count
        self.outcome = 426, "broken off"
        if self.transfer is not None:
            self.transfer.deadline = trio.current_time() + self.patience

    async def do_abor(self, argument: str) -> Answer:
        if self.transfer is not None:
            self.outcome = 426, "aborted"
            self.transfer.cancel()
            await self.transferred.wait()
        return 226, "nothing goes on"

    async def send(self, file: io.BufferedIOBase, text: bool) -> None:
        async with trio.wrap_file(file) as source, await self.connect() as stream:
            self.note_progress()
            cr = b""  # at the end of the block before
            while block := await source.read(BLOCK_BYTES):
                data = memoryview(block)
                if text:  # its line ends may be CR LF already, and in two blocks
                    data = memoryview((cr + block).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").removeprefix(cr))
                    cr = b"\r" if block.endswith(b"\r") else b""
                while data:
                    await stream.send_all(data[:PIECE_BYTES])
                    self.note_progress(len(data[:PIECE_BYTES]))
                    data = data[PIECE_BYTES:]

    async def receive(self, file: io.BufferedIOBase, settle: Callable[[bool], None] = lambda complete: None) -> None:
        complete, held = False, b""
        try:
            async with trio.wrap_file(file) as target, await self.connect() as stream:
                self.note_progress()
                if isinstance(file, io.BufferedRandom):  # which goes on after REST
                    await target.truncate()
                while data := bytes(await stream.receive_some(BLOCK_BYTES)):
                    self.note_progress(len(data))
                    if self.ascii:  # a line end may come in two pieces
                        data = held + data
                        held = b"\r" if data.endswith(b"\r") else b""
                        data = data.removesuffix(held).replace(b"\r\n", b"\n")
                    await target.write(data)
                await target.write(held)
            complete = True
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(settle, complete)

    async def connect(self) -> trio.abc.Stream:
        """Make the data connection, with the client's host and no other."""
        try:
            while self.listener is not None:
                stream = await self.listener.accept()
                with suppress(OSError):  # it may be gone already
                    if stream.socket.getpeername()[0] == self.client:
                        return stream
                await stream.aclose()
            return await trio.open_tcp_stream(self.client, self.port, local_address=self.host)
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def do_pasv(self, argument: str) -> Answer:
        if self.epsv_only or ":" in self.host:
            return 503, "use EPSV"
        port = await self.listen()
        return 227, f"listening ({self.host.replace('.', ',')},{port // 256},{port % 256})"

    async def do_epsv(self, argument: str) -> Answer:
        protocol = "2" if ":" in self.host else "1"
        if argument.upper() not in ("", "ALL", protocol):
            return 522, f"use ({protocol})"
        if argument.upper() == "ALL":
            self.epsv_only = True
            return 200, "so be it"
        return 229, f"listening (|||{await self.listen()}|)"

    async def listen(self) -> int:
        await self.forget_port()
        (self.listener,) = await open_tcp_listeners(0, host=self.host, backlog=5)
        port: int = self.listener.socket.getsockname()[1]
        return port

    async def do_port(self, argument: str) -> Answer:
        *host, high, low = bytes(int(number) for number in argument.split(","))
        return await self.aim(".".join(map(str, host)), high * 256 + low)

    async def do_eprt(self, argument: str) -> Answer:
        _, protocol, host, port, _ = argument.split(argument[:1])
        return await self.aim(host, int(port)) if protocol in ("1", "2") else (522, "use (1,2)")

    async def aim(self, host: str, port: int) -> Answer:
        """Connect to the client later, and not to others whom it might have us attack (RFC 2577)."""
        if self.epsv_only:
            return 503, "use EPSV"
        if ip_address(host) != ip_address(self.client.partition("%")[0]) or not 1024 <= port <= 65535:
            return 504, "only to the address that you come from, and to no privileged port"
        await self.forget_port()
        self.port = port
        return 200, "I will connect"

    async def forget_port(self) -> None:
        listener, self.listener, self.port = self.listener, None, 0
        if listener is not None:
            await trio.aclose_forcefully(listener)

    handle_close = forget_port


async def main(host: str, port: int, root: str, writer: bytes) -> None:
    try:
        listeners = await open_tcp_listeners(port, host=host)
    except (OSError, ValueError) as error:
        sys.exit(f"cannot listen on {host}, port {port}: {error}")
    print(f"listening on {host}, port {listeners[0].socket.getsockname()[1]}", flush=True)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_on_signals, stop, nursery.cancel_scope)
        factory = partial(Session, root=root, writer=writer)
        await serve_listeners(factory, listeners, max_connections_per_peer=50, stop=stop, shutdown_grace=60)
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=2121)
    parser.add_argument("--root", default=".", help="the directory; by default the current one")
    parser.add_argument("--user", help="who may write")
    parser.add_argument("--password-file", type=Path, help="which holds the password of --user")
    options = parser.parse_args()
    if not os.path.isdir(options.root):
        parser.error(f"{options.root} is not a directory")
    if (options.user is None) != (options.password_file is None):
        parser.error("--user and --password-file go together")
    try:  # without a file, it is a password that nobody knows
        password = options.password_file.read_bytes().strip() if options.password_file else secrets.token_bytes()
    except OSError as error:
        parser.error(f"cannot read the password: {error}")
    if not password:
        parser.error("there is no password in the file")
    writer = os.fsencode(options.user or "") + b"\n" + password
    trio.run(main, options.host, options.port, os.path.realpath(options.root), writer)
