"""The checker: every code at its place, and nothing at its clean twin."""

from __future__ import annotations

import re
from operator import attrgetter
from pathlib import Path
from textwrap import dedent

import pytest
import trio
from marked_programs import CHANNEL, SERVER, check, find, method

import trio_chat
from trio_chat.compat._check_kinds import KINDS
from trio_chat.compat._check_names import (
    CALLBACKS,
    DEAD_METHODS,
    GONE,
    LOOP_METHODS,
    SET_UP,
    SIZES,
    SOCKET_METHODS,
    STATE,
)

CASES = {
    "a method that nothing calls": ("TC101", CHANNEL + "    ▸def refill_buffer(self): self.producer_fifo.first()"),
    "as an attribute": ("TC101", CHANNEL + "    ▸handle_expt_event = print"),
    "not a channel": ("TC101", CHANNEL + "    pass\nclass Other:\n    def refill_buffer(self): ..."),
    "creates and connects": ("TC102", method("▸self.create_socket()\n▸self.connect(('', 1))", "__init__")),
    "connects by super": ("TC102", method("▸super().connect(('', 1))", "connect")),
    "a connect of its own": ("TC102", CHANNEL + "    def connect(self): ...\n    def run(self): self.connect()"),
    "sets a socket": ("TC102", method("▸self.set_socket(make())", "start")),
    "sets the socket it was given": ("TC102", method("self.set_socket(sock)", "__init__", "self, sock")),
    "a client from outside": ("TC102", CHANNEL + "    pass\nchannel = Channel()\n▸channel.connect(('', 1))"),
    "accepts": ("TC103", SERVER + "    def handle_accept(self): sock, addr = ▸self.accept()"),
    "a socket accepts": ("TC103", SERVER + "    def start(self, sock): sock.accept()"),
    "a server": ("TC104", SERVER.replace("class", "▸class") + "    def __init__(self): self.listen(5)"),
    "a server that listens only": (
        "TC104",
        "import asyncore\n▸class Server(asyncore.dispatcher):\n    def start(self): self.listen(5)",
    ),
    "a server's calls go with it": ("TC102", SERVER + "    def start(self): self.bind(('', 1)); self.listen(5)"),
    "but not those of one that derives from it": (
        "TC102",
        SERVER + "class Other(Server):\n    def start(self): ▸self.bind(('', 1))",
    ),
    "a connection": ("TC105", "from asyncore import dispatcher as d\n▸class Talk(d):\n    def handle_read(self): ..."),
    "a connection that sends": ("TC105", "import asyncore as a\n▸class Talk(a.dispatcher_with_send): ..."),
    "a channel is no such connection": ("TC105", "import asynchat as a\nclass Talk(a.async_chat): ..."),
    "a pipe": ("TC106", "import asyncore\n▸class Pipe(asyncore.file_dispatcher): ..."),
    "the loop": ("TC201", CHANNEL + "    pass\n▸asyncore.loop()"),
    "the loop by name": ("TC201", "from asyncore import loop as run\nprint()\n▸run(timeout=1)"),
    "a loop of its own": ("TC201", CHANNEL + "    def loop(self): ...\nloop = print\nloop()"),
    "polls": ("TC201", "import asyncore\nwhile True: ▸asyncore.poll(1)"),
    "the map": ("TC202", CHANNEL + "    pass\nprint(▸asyncore.socket_map)"),
    "closes all": ("TC203", CHANNEL + "    pass\n▸asyncore.close_all()"),
    "ExitNow": ("TC204", method("raise ▸asyncore.ExitNow")),
    "compact_traceback": ("TC205", method("▸asyncore.compact_traceback()")),
    "error numbers": ("TC206", method("return ▸asyncore.EWOULDBLOCK")),
    "a dispatcher's method in a channel": ("TC206", method("▸asyncore.dispatcher.close(self)", "close")),
    "a dispatcher's method in a server": (
        "TC206",
        SERVER + "    def __init__(self): asyncore.dispatcher.__init__(self)",
    ),
    "imports asyncore": ("TC207", "▸import asyncore"),
    "imports asynchat": ("TC208", "▸from asynchat import async_chat"),
    "imports ours": ("TC208", "from trio_chat.compat import asynchat\nclass C(asynchat.async_chat): ..."),
    "imports smtpd": ("TC209", "▸import smtpd\nclass S(smtpd.SMTPServer): ..."),
    "imports smtpd's names": ("TC209", "▸from smtpd import SMTPServer as S, SMTPChannel"),
    "a server of smtpd's": ("TC104", "import smtpd\n▸class S(smtpd.SMTPServer):\n    def process_message(self): ..."),
    "a channel of smtpd's": ("TC101", "import smtpd\nclass C(smtpd.SMTPChannel):\n    ▸def refill_buffer(self): ..."),
    "whose push takes text": (
        "TC701",
        "import smtpd\nclass C(smtpd.SMTPChannel):\n    def f(self): self.push('250 ok')",
    ),
    "whose first parameter is no map": (
        "TC806",
        "import smtpd\nclass C(smtpd.SMTPChannel):\n    def __init__(self, s, c, a): super().__init__(s, c, a)",
    ),
    "an unknown method of the socket": ("TC301", method("▸self.socket.settimeout(3)\nself.socket.setsockopt(1, 2, 3)")),
    "blocking": ("TC301", method("▸self.socket.setblocking(True)\nself.socket.setblocking(False)")),
    "another object's socket": ("TC301", method("self.other.socket.settimeout(3)")),
    "timeouts": (
        "TC301",
        method(
            "self.socket.settimeout(0)\nself.socket.settimeout(0.0)\nself.socket.gettimeout()\n"
            "▸self.socket.settimeout(None)\n▸self.socket.settimeout(self.seconds)\n▸self.socket.setblocking(1)"
        ),
    ),
    "flags": (
        "TC301",
        method("▸self.socket.recv(10, MSG_PEEK)\n▸self.socket.send(b'x', flags)\nself.socket.send(b'x')"),
    ),
    "the socket by the name it was given by": (
        "TC301",
        method("▸conn.settimeout(3)\nother.settimeout(3)\nsuper().__init__(conn)", "__init__", "self, conn, other"),
    ),
    "as an unbound call": (
        "TC301",
        method("asynchat.async_chat.__init__(self, sock=s)\n▸s.settimeout(3)", "__init__", "self, s"),
    ),
    "by way of a base class": (
        "TC301",
        CHANNEL
        + "    def __init__(self, server, conn): super().__init__(conn)\n"
        + "class Sub(Channel):\n    def __init__(self, a, b):\n        Channel.__init__(self, a, b)\n"
        + "        a.settimeout(3)\n        ▸b.settimeout(3)",
    ),
    "by an attribute": (
        "TC301",
        method(
            "super().__init__(sock)\nself.sock = self.s = sock\nself.tls = None\nself.tls = sock",
            "__init__",
            "self, sock",
        )
        + "\n    def f(self):\n        ▸self.sock.makefile()\n        self.s.fileno()\n        ▸self.tls.recv(1, 2)",
    ),
    "by an attribute that is something else, too": (
        "TC301",
        method("super().__init__(sock)\nself.sock = sock", "__init__", "self, sock")
        + "\n    def f(self):\n        self.sock = wrap(self.sock)\n        self.sock.makefile()",
    ),
    "by a name that is something else, too": (
        "TC301",
        method("sock = wrap(sock)\nsock.settimeout(3)\nsuper().__init__(sock)", "__init__", "self, sock"),
    ),
    "in handle_accepted": (
        "TC301",
        (
            "import asyncore\nclass S(asyncore.dispatcher):\n"
            "    def handle_accepted(self, sock, addr): ▸sock.settimeout(3)"
        ),
    ),
    "in a function of that name": ("TC301", CHANNEL + "    pass\ndef handle_accepted(s, addr): ▸s.makefile()"),
    "in a constructor that leads to itself": (
        "TC301",
        (
            "import asynchat\nclass A(B, asynchat.async_chat):\n    def __init__(self, s): super().__init__(s)\n"
            "class B(A):\n    def __init__(self, s): super().__init__(s); s.makefile()"
        ),
    ),
    "in smtpd's channel": (
        "TC301",
        (
            "import smtpd\nclass C(smtpd.SMTPChannel):\n    def __init__(self, s, c, a):\n"
            "        super().__init__(s, c, a)\n        s.f()\n        ▸c.makefile()"
        ),
    ),
    "a select": ("TC302", CHANNEL + "    pass\nimport select\n▸select.select([], [], [])"),
    "TLS": ("TC303", "import ssl\n" + method("self.tls = ▸ssl.wrap_socket(self.socket)")),
    "TLS by a context": (
        "TC303",
        method("self.tls = ▸self.context.wrap_socket(self.socket)\n▸self.tls.do_handshake()"),
    ),
    "TLS elsewhere": ("TC303", CHANNEL + "    pass\ndef connect(context, sock): return context.wrap_socket(sock)"),
    "attributes of Python 2": ("TC401", method("▸self.ac_out_buffer\n▸self.fifo.push(b'')")),
    "a fifo of its own": (
        "TC401",
        CHANNEL + "    def __init__(self): self.fifo = []\n    def f(self): self.fifo.pop()",
    ),
    "the fifo of Python 2": ("TC402", method("▸self.producer_fifo.first()\nself.producer_fifo.popleft()")),
    "asynchat.fifo": ("TC403", "import asynchat\nqueue = ▸asynchat.fifo()"),
    "catches all": ("TC601", method("try: ...\n▸except: pass")),
    "catches BaseException": ("TC601", method("try: ...\n▸except (OSError, BaseException) as exc: print(exc)")),
    "catches and raises": (
        "TC601",
        method("try: ...\nexcept: raise\ntry: ...\nexcept BaseException as exc: raise exc"),
    ),
    "catches Exception": ("TC601", method("try: ...\nexcept Exception: pass")),
    "catches all elsewhere": ("TC602", CHANNEL + "    pass\ntry: ...\n▸except: pass"),
    "exits": ("TC603", "import sys\n" + method("▸sys.exit(1)\n▸raise SystemExit(1)")),
    "exits elsewhere": ("TC603", "import sys\n" + CHANNEL + "    pass\ndef main(): sys.exit(1)"),
    "handle_error": ("TC801", CHANNEL + "    ▸def handle_error(self): ..."),
    "methods of the loop": ("TC802", CHANNEL + "    ▸def send(self, data): ...\n    ▸def readable(self): ..."),
    "methods of the loop on the instance": ("TC802", method("▸self.recv = self.tls_recv", "start")),
    "a server's go with it": ("TC802", SERVER + "    def readable(self): ..."),
    "not a channel's methods": (
        "TC802",
        CHANNEL + "    pass\nclass Other:\n    def send(self): ...\n    def recv(self): ...",
    ),
    "sends directly": ("TC803", method("▸self.send(b'')\nself.queue.send(b'')")),
    "state": ("TC804", method("if ▸self.producer_fifo: ...\n▸self.terminator = b''")),
    "sizes": ("TC805", method("▸self.ac_in_buffer_size = 1") + "\n    ac_out_buffer_size = 1"),
    "a map by name": ("TC806", method("▸asynchat.async_chat.__init__(self, sock, map=m)", "__init__", "self, sock, m")),
    "a map by place": (
        "TC806",
        method("▸super().__init__(sock, m)\nsuper().__init__(sock, None)", "__init__", "self, sock, m"),
    ),
    "the map of the instance": ("TC806", method("return ▸self._map")),
}


@pytest.mark.parametrize(("code", "source"), CASES.values(), ids=CASES.keys())
def test_found_where_it_stands(code: str, source: str, tmp_path: Path) -> None:
    check(code, source, tmp_path)


def test_every_code_of_this_file_has_a_case_that_finds_it() -> None:
    found = {code for code, source in CASES.values() if "▸" in source}
    in_the_files_beside = ("TC5", "TC7", "TC807", "TC9")
    elsewhere = {code for code in KINDS if code.startswith(in_the_files_beside)}
    assert found == KINDS.keys() - elsewhere


def test_a_new_program_is_clean(tmp_path: Path) -> None:
    source = """\
        import trio
        from trio_chat import serve_tcp
        from trio_chat.compat import asynchat

        class Echo(asynchat.async_chat):
            def __init__(self, sock):
                super().__init__(sock)
                self.set_terminator(b"\\n")

            collect_incoming_data = asynchat.async_chat._collect_incoming_data

            def found_terminator(self):
                line = self._get_data()
                if line == b"quit":
                    self.close_when_done()
                self.push(line + b"\\n")

        def handle_accepted(sock, addr):
            Echo(sock)

        if __name__ == "__main__":
            trio.run(serve_tcp, asynchat.handler_factory(handle_accepted), 8007)
        """
    assert find(dedent(source), tmp_path) == []


def test_what_is_said_of_the_adapter_is_true() -> None:
    asynchat = pytest.importorskip("trio_chat.compat.asynchat")
    sockets = pytest.importorskip("trio_chat.compat._socket")
    has = set(dir(asynchat.async_chat))
    assert has >= LOOP_METHODS | CALLBACKS | SIZES
    assert not has & (DEAD_METHODS | GONE)
    assert set(dir(sockets.ChannelSocket)) >= SOCKET_METHODS
    channel = asynchat.async_chat()
    assert set(dir(channel)) >= STATE
    for name in SET_UP - {"set_socket"} | {"accept"}:
        with pytest.raises(NotImplementedError):
            getattr(channel, name)()
    with pytest.raises(TypeError):
        channel.set_socket(object())


def test_what_the_advice_names_is_there() -> None:
    advice = " ".join(kind.advice for kind in KINDS.values())
    for dotted in re.findall(r"\btrio(?:\.\w+)+", advice):
        assert attrgetter(dotted.removeprefix("trio."))(trio)
    methods = set(re.findall(r"await self\.(\w+)", advice))
    assert "start_tls" in methods
    assert methods <= set(dir(trio_chat.AsyncChat))
    functions = set(re.findall(r"\bserve_\w+", advice))
    assert functions
    assert functions <= set(dir(trio_chat))


def test_what_has_no_place_in_a_channel_is_told_where_it_belongs() -> None:
    assert "nursery.start_soon" in KINDS["TC104"].advice  # a timer by way of readable()
    assert "define writable()" in KINDS["TC105"].advice
    assert "start_tls" in KINDS["TC303"].advice


def test_a_program_that_has_nothing_to_do_with_asynchat_is_clean(tmp_path: Path) -> None:
    source = """\
        import asyncio, select, signal, os, time, sys, threading
        class dispatcher:
            def handle_read(self): time.sleep(1); self.push("text"); self.create_socket()
            def more(self): return "text"
        class async_chat(dispatcher):
            def refill_buffer(self): sys.exit(select.select([], [], []))
        threading.Thread(target=dispatcher().push).start()
        try: os.fork()
        except: asyncio.run(async_chat().loop())
        """
    assert find(dedent(source), tmp_path) == []


def test_a_code_is_named_once_per_line_and_in_order(tmp_path: Path) -> None:
    source = method("self.push('a'); self.push('b'); asyncore.close_all(); asyncore.close_all()")
    assert [found for found in find(source, tmp_path) if found[1] == 4] == [("TC701", 4, 9), ("TC203", 4, 41)]


def test_columns_count_characters(tmp_path: Path) -> None:
    check("TC701", method("print('äöü€'); ▸self.push('ä')"), tmp_path)


@pytest.mark.parametrize(
    ("comment", "codes"),
    [
        ("# trio-chat: ignore", []),
        ("# trio-chat: ignore[TC701]", ["TC203"]),
        ("# fine  #Trio-Chat:Ignore[ TC203 , tc701 ]", []),
        ("# trio-chat: ignore[TC702]", ["TC701", "TC203"]),
        ("# trio-chat is to ignore this", ["TC701", "TC203"]),
        ("; '# trio-chat: ignore'", ["TC701", "TC203"]),
    ],
)
def test_comments_suppress(comment: str, codes: list[str], tmp_path: Path) -> None:
    source = method(f"self.push('a'); asyncore.close_all() {comment}")
    assert [code for code, line, _ in find(source, tmp_path) if line == 4] == codes
