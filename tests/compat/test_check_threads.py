"""The checker, on what runs where: callbacks that wait, threads and signal handlers that touch channels."""

from __future__ import annotations

from pathlib import Path

import pytest
from marked_programs import CHANNEL, SERVER, check, method

from trio_chat.compat._check_kinds import KINDS
from trio_chat.compat.check import check_files, main

CASES = {
    "sleeps": ("TC501", "import time\n" + method("▸time.sleep(1)")),
    "sleeps by another name": ("TC501", "from time import sleep as nap\n" + method("▸nap(1)")),
    "a local name": ("TC501", "import time\n" + method("time.sleep(1)", arguments="self, time=None")),
    "sleeps elsewhere": ("TC501", "import time\n" + CHANNEL + "    def start(self): time.sleep(1)\ntime.sleep(1)"),
    "by way of a method": ("TC501", "import time\n" + method("self.act()") + "\n    def act(self): ▸time.sleep(1)"),
    "by way of a table": (
        "TC501",
        "import os\n" + method("{b'ls': self.act}[b'ls']()") + "\n    def act(self): ▸os.system('ls')",
    ),
    "by way of a name that is put together": (
        "TC501",
        "import os\n"
        + method("getattr(self, 'do_%s' % name)()")
        + "\n    def do_ls(self): ▸os.system('ls')\n    def ls(self): os.system('ls')",
    ),
    "by way of names that are put together otherwise": (
        "TC501",
        "import os\n"
        + method("getattr(self, f'do_{name}')(); getattr(self, 'on_{}'.format(name))()")
        + "\n    def do_ls(self): ▸os.system('ls')\n    def on_ls(self): ▸os.system('ls')",
    ),
    "by way of the base class": (
        "TC501",
        "import os\n"
        + method("super().act()")
        + "\n    def act(self): ▸os.system('ls')\nclass Sub(Channel):\n    def found_terminator(self): super().act()",
    ),
    "by way of a class's method": (
        "TC501",
        "import os\nclass Tool:\n    def act(self): ▸os.system('ls')\n" + method("Tool.act(None)"),
    ),
    "by way of a constructor": (
        "TC501",
        "import os\nclass Tool:\n    def __init__(self): ▸os.system('ls')\n" + method("Tool()"),
    ),
    "by way of a function": ("TC501", "import time\ndef act(): ▸time.sleep(1)\n" + method("act()")),
    "by way of a function in the callback": (
        "TC501",
        "import time\n" + method("def act():\n    ▸time.sleep(1)\nact()"),
    ),
    "by way of an instance": (
        "TC501",
        "import time\nclass Store:\n    def save(self): ▸time.sleep(1)\n"
        + method("self.store = Store()", "__init__")
        + "\n    def found_terminator(self): self.store.save()",
    ),
    "by way of the server": (
        "TC501",
        "import time\n"
        + method("self.server.process(b'')")
        + "\nclass Server(asyncore.dispatcher):\n    def handle_accept(self): ...\n"
        + "    def process(self, x): ▸time.sleep(1)",
    ),
    "in a class of its family": (
        "TC501",
        "import time\n" + method("self.act()") + "\nclass Sub(Channel):\n    def act(self): ▸time.sleep(1)",
    ),
    "in the constructor of a connection": ("TC501", "import socket\n" + method("▸socket.getfqdn()", "__init__")),
    "in the constructor of a client": (
        "TC501",
        "import socket\n" + method("self.create_socket()\nsocket.getfqdn()", "__init__"),
    ),
    "in more()": ("TC501", CHANNEL + "    pass\nimport time\nclass P:\n    def more(self): ▸time.sleep(1)"),
    "given to a thread": (
        "TC501",
        "import threading, time\n"
        + method("threading.Thread(target=self.work).start()\nself.spawn(target=self.work)")
        + "\n    def work(self): time.sleep(1)",
    ),
    "programs": (
        "TC501",
        "import subprocess\n"
        + method("▸subprocess.run([])\np = subprocess.Popen([])\n▸p.wait()\n▸subprocess.Popen([]).wait()"),
    ),
    "locks": (
        "TC501",
        "import threading\n"
        + method("self.l = threading.Lock()", "__init__")
        + "\n    def found_terminator(self):\n        ▸self.l.acquire()\n"
        + "        self.l.acquire(False)\n        with ▸self.l: ...",
    ),
    "locks from elsewhere": ("TC501", method("▸self.server.lock.acquire()\nself.server.lock.acquire(blocking=False)")),
    "queues": (
        "TC501",
        "import queue\nq = queue.Queue()\n"
        + method("▸q.get()\nq.get(block=False)\nq.get_nowait()\n▸self.job_queue.get()"),
    ),
    "dictionaries": ("TC501", method("self.job_queue.get('x')\nself.jobs.get()\n{}.get(1)")),
    "mail": ("TC501", "import smtplib\n" + method("s = smtplib.SMTP()\n▸s.connect('x')\nt = ▸smtplib.SMTP('x')")),
    "a select": ("TC501", "import select\n" + method("▸select.select([], [], [])")),
    "the web": (
        "TC501",
        "import urllib.request, requests\n" + method("▸urllib.request.urlopen('')\n▸requests.get('')"),
    ),
    "pushes in a thread": (
        "TC807",
        "import threading\n"
        + method("threading.Thread(target=self.work).start()")
        + "\n    def work(self): ▸self.push(b'')",
    ),
    "pushes in a thread by way of a callback's method": (
        "TC807",
        "import threading\n"
        + method("self.write(b'')\nthreading.Thread(None, self.work).start()")
        + "\n    def work(self): ▸self.write(b'')\n    def write(self, data): self.push(data)",
    ),
    "pushes in a thread by way of its own": (
        "TC807",
        "import threading\n"
        + method("threading.Timer(1, self.work).start()")
        + "\n    def work(self): self.write()\n    def write(self): ▸self.push(b'')",
    ),
    "a channel from outside": (
        "TC807",
        CHANNEL
        + "    def tell(self): self.push(b'')\nimport _thread\nchannel = Channel()\n"
        + "def work(): ▸channel.tell()\n_thread.start_new_thread(work, ())",
    ),
    "a subclass of Thread": (
        "TC807",
        CHANNEL
        + "    pass\nfrom threading import Thread\nclass Worker(Thread):\n"
        + "    def __init__(self): self.channel = Channel()\n    def run(self): ▸self.channel.close()",
    ),
    "a pool": ("TC807", CHANNEL + "    pass\ndef go(pool, channel): pool.submit(▸channel.push, b'')"),
    "a lambda": ("TC807", "import threading\n" + method("threading.Thread(target=lambda: ▸self.push(b''))")),
    "a partial": (
        "TC807",
        "import threading, functools\n"
        + method("threading.Thread(target=functools.partial(self.work, 1))")
        + "\n    def work(self, n): ▸self.close_when_done()",
    ),
    "a thread that minds its own business": (
        "TC502",
        CHANNEL
        + "    pass\nimport threading\nclass Stack:\n    def push(self, x): ...\n    def close(self): ...\n"
        + "def work(file, sock):\n    Stack().push(1)\n    file.close()\n    sock.send(b'')\n"
        + "threading.Thread(target=work)",
    ),
    "a thread that hands it over": (
        "TC807",
        "import threading, trio\n"
        + method("threading.Thread(target=self.work).start()")
        + "\n    def work(self): trio.from_thread.run_sync(self.push, b'', trio_token=self.token)",
    ),
    "a loop in a thread": (
        "TC807",
        CHANNEL
        + "    pass\nimport threading\nthreading.Thread(target=asyncore.loop).start()\n"
        + "channel = Channel()\n▸channel.push(b'')\ndef own():\n    asyncore.loop()\n    channel.close()",
    ),
    "a loop that is not in a thread": (
        "TC807",
        CHANNEL + "    pass\nasyncore.loop()\nchannel = Channel()\nchannel.push(b'')",
    ),
    "a loop in a thread, by a local name": (
        "TC807",
        CHANNEL
        + "    pass\nimport threading\ndef run(fast):\n"
        + "    poll = asyncore.poll2 if fast else asyncore.poll\n    while 1: poll(1)\n"
        + "threading.Thread(target=run).start()\nchannel = Channel()\n▸channel.push(b'')",
    ),
    "a server's methods": (
        "TC807",
        SERVER
        + "    def stop(self): self.close(); asyncore.dispatcher.close(self)\n"
        + "    def tell(self, channel): ▸channel.push_with_producer(self)\n"
        + "import threading\nserver = Server()\ndef work(): server.stop(); server.tell(None); server.close()\n"
        + "threading.Thread(target=work).start()",
    ),
    "the methods of dispatchers that are no channels": (
        "TC502",
        (
            "import asyncore, threading\nclass Trigger(asyncore.dispatcher):\n"
            "    def start(self): threading.Thread(target=self.work).start()\n"
            "    def work(self): self.send(b''); self.close()"
        ),
    ),
    "pushes of others": (
        "TC807",
        "import threading\n"
        + method("threading.Thread(target=self.work).start()")
        + "\n    def work(self):\n        self.stack.push(self.x)\n        self.other.push(1)\n"
        + "        self.other.push('x')\n        ▸self.other.push(self.x)\n        ▸self.push(1)",
    ),
    "sets a terminator in a thread": (
        "TC502",
        "import threading\n"
        + method("threading.Thread(target=self.work).start()")
        + "\n    def work(self):\n        self.push(b'')\n        ▸self.set_terminator(3)\n        self.close()",
    ),
    "what any thread may do, and what it must not, in one line": (
        "TC502",
        "import threading\n"
        + method("threading.Thread(target=self.work).start()")
        + "\n    def work(self): self.push(b''); ▸self.discard_buffers(); self.close_when_done()",
    ),
    "all that any thread may do": (
        "TC807",
        "import threading\n"
        + method("threading.Thread(target=self.work).start()")
        + "\n    def work(self):\n        ▸self.push(b'')\n        ▸self.push_with_producer(self.file)\n"
        + "        ▸self.close_when_done()\n        ▸self.close()\n"
        + "        self.set_terminator(3)\n        self.discard_buffers()\n        self.handle_close()\n"
        + "        self.send(b'')",
    ),
    "all else": (
        "TC502",
        "import threading\n"
        + method("threading.Thread(target=self.work).start()")
        + "\n    def work(self):\n        self.push(b'')\n        self.push_with_producer(self.file)\n"
        + "        self.close_when_done()\n        self.close()\n"
        + "        ▸self.set_terminator(3)\n        ▸self.discard_buffers()\n        ▸self.handle_close()\n"
        + "        ▸self.send(b'')",
    ),
    "a callback that sets a terminator": (
        "TC502",
        "import threading\n"
        + method("self.push(b''); self.set_terminator(3)")
        + "\n    def run(self): threading.Thread(target=self.work).start()\n"
        + "    def work(self): ▸self.found_terminator()",
    ),
    "a push of its own that sets a terminator": (
        "TC502",
        "import threading\n"
        + method("super().push(data); self.set_terminator(3)", "push", "self, data")
        + "\n    def run(self): threading.Thread(target=self.work).start()\n    def work(self): ▸self.push(b'')",
    ),
    "a push of its own, given to a thread": (
        "TC502",
        "import threading\n"
        + method("super().push(data); self.set_terminator(3)", "push", "self, data")
        + "\n    def run(self): threading.Thread(target=▸self.push, args=(b'',)).start()",
    ),
    "a push of its own that any thread may call": (
        "TC502",
        "import threading\n"
        + method("super().push(data + b';')", "push", "self, data")
        + "\n    def run(self): threading.Thread(target=self.push, args=(b'',)).start(); self.work()\n"
        + "    def work(self): self.push(b'')",
    ),
    "sets a terminator outside of the loop's thread": (
        "TC502",
        CHANNEL
        + "    pass\nimport threading\nthreading.Thread(target=asyncore.loop).start()\n"
        + "channel = Channel()\nchannel.push(b'')\n▸channel.set_terminator(3)",
    ),
    "forks": ("TC503", CHANNEL + "    pass\nimport os\n▸os.fork()"),
    "a signal handler": (
        "TC504",
        CHANNEL
        + "    pass\nimport signal\ndef stop(number, frame): asyncore.close_all()\n"
        + "channel = Channel()\n▸signal.signal(1, stop)\n▸signal.signal(2, lambda *args: channel.close())",
    ),
    "a harmless signal handler": (
        "TC504",
        CHANNEL
        + "    pass\nimport signal\ndef stop(number, frame): print()\n"
        + "signal.signal(1, stop)\nsignal.signal(2, signal.SIG_IGN)",
    ),
    "flushes": (
        "TC506",
        method(
            "▸while self.producer_fifo and self.connected:\n    self.initiate_send()\n"
            "▸while self.writable(): self.handle_write()\n"
            "while self.producer_fifo: self.producer_fifo.popleft()\nif self.producer_fifo: self.initiate_send()",
            "flush",
        ),
    ),
    "flushes from outside": (
        "TC506",
        CHANNEL + "    pass\nc = Channel()\n▸while len(c.producer_fifo) > 0: c.initiate_send()\n"
        "while other.producer_fifo: other.initiate_send()",
    ),
    "mail that waits": (
        "TC501",
        "import smtpd, time\nclass S(smtpd.SMTPServer):\n    def process_message(self, *args): ▸time.sleep(1)",
    ),
    "reads a path": ("TC505", method("▸self.path.read_text()")),
    "reads a file": ("TC505", method("with open('x') as file: ▸file.read()\nstream = self.stream\nstream.read()")),
    "reads a file elsewhere": ("TC505", CHANNEL + "    pass\nopen('x').read()"),
}


@pytest.mark.parametrize(("code", "source"), CASES.values(), ids=CASES.keys())
def test_found_where_it_stands(code: str, source: str, tmp_path: Path) -> None:
    check(code, source, tmp_path)


def test_a_thread_that_is_started_in_another_file(tmp_path: Path) -> None:
    channel = CHANNEL + "    def work(self): self.push(b'')\n"
    main = "import threading, asynchat\nfrom channel import Channel\nchannel = Channel()\n"
    (tmp_path / "channel.py").write_text(channel)
    (tmp_path / "main.py").write_text(
        f"{main}def go(): channel.work()\nclass T(threading.Thread):\n    def run(self): help(channel)\n"
        "def help(one): one.work()\nthreading.Thread(target=channel.work).start()\n"
    )
    findings, _ = check_files([str(tmp_path)])
    (found,) = [finding for finding in findings if finding.code == "TC807" and finding.path.endswith("channel.py")]
    assert found.message == f"push() is called in a thread, started in {tmp_path / 'main.py'}:8"


def test_what_a_thread_leads_to_is_named(tmp_path: Path) -> None:
    source = method("self.push(b''); self.set_terminator(3)") + (
        "\nimport threading\nchannel = Channel()\ndef work(): channel.found_terminator()\n"
        "threading.Thread(target=work).start()\n"
    )
    (tmp_path / "program.py").write_text(source)
    findings, _ = check_files([str(tmp_path)])
    (found,) = [finding for finding in findings if finding.code == "TC502"]
    assert found.message == "found_terminator() leads to set_terminator() in a thread, started in line 8"


def test_what_any_thread_may_do_is_no_hazard(tmp_path: Path) -> None:
    source = "import threading\n" + method("threading.Thread(target=self.work).start()")
    path = tmp_path / "program.py"
    path.write_text(source + "\n    def work(self): self.push(b''); self.close_when_done()\n")
    assert main([str(path)]) == 0
    path.write_text(source + "\n    def work(self): self.set_terminator(3)\n")
    assert main([str(path)]) == 1


def test_every_code_has_a_case_that_finds_it() -> None:
    found = {code for code, source in CASES.values() if "▸" in source}
    assert found == {code for code in KINDS if code.startswith("TC5")} | {"TC807"}
