"""The checker, on text where bytes are needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from marked_programs import CHANNEL, check, method

from trio_chat.compat._check_kinds import KINDS

CASES = {
    "pushes text": ("TC701", method("▸self.push('ok %d' % 1)\nself.push(b'ok %d' % 1)")),
    "pushes formatted text": ("TC701", method("▸self.push(f'{self}')\n▸self.push('{}'.format(1) + self.end)")),
    "pushes what may be bytes": ("TC701", method("self.push(self.banner)\nself.push('ok'.encode())")),
    "pushes text by the base class": ("TC701", method("▸asynchat.async_chat.push(self, 'ok')", "push")),
    "a push of its own": (
        "TC701",
        method("asynchat.async_chat.push(self, text.encode())", "push", "self, text")
        + "\n    def found_terminator(self): self.push('ok')",
    ),
    "pushes text from outside": ("TC701", CHANNEL + "    pass\ndef greet(session): ▸session.push('hello')"),
    "pushes what it was given as text": (
        "TC701",
        CHANNEL
        + "    def tell(self, line): ▸self.push(line)\n"
        + "    def found_terminator(self): self.tell('ok'); self.tell('no' + '!')",
    ),
    "pushes what it was given": (
        "TC701",
        CHANNEL
        + "    def tell(self, line): self.push(line)\n"
        + "    def found_terminator(self): self.tell('ok'); self.tell(self.x)",
    ),
    "pushes what it has looked at": (
        "TC701",
        CHANNEL
        + "    def tell(self, line):\n        if not isinstance(line, str): self.push(line)\n"
        + "    def found_terminator(self): self.tell('ok')",
    ),
    "a stack's push": ("TC701", method("self.stack.push('x'); self.undo_history.push('x')\n▸self.peer.push('x')")),
    "pushes JSON": (
        "TC701",
        "import json\n" + method("▸self.push(json.dumps({}))\nself.push(json.dumps({}).encode())"),
    ),
    "sends text": (
        "TC701",
        method("▸self.send('x')\n▸self.socket.send('x')\n▸self.socket.sendall('%d' % 1)\nself.mail.send('x')"),
    ),
    "sends text to what it was given": (
        "TC701",
        CHANNEL + "    pass\ndef handle_accepted(sock, addr):\n    ▸sock.sendall('busy')\n    sock.send(b'busy')",
    ),
    "a send of its own": ("TC701", method("self.send('x')") + "\n    def send(self, text): ..."),
    "another's push": (
        "TC701",
        CHANNEL + "    pass\nclass Stack:\n    def push(self, item): ...\ndef greet(stack): stack.push('hello')",
    ),
    "a producer of text": ("TC701", CHANNEL + "    pass\n▸asynchat.simple_producer('text')"),
    "a producer of bytes": ("TC701", CHANNEL + "    pass\nasynchat.simple_producer(b'bytes')"),
    "more() gives text": ("TC701", CHANNEL + "    pass\nclass P:\n    def more(self): return ▸'x' if self else 'y'"),
    "more() ends": ("TC701", CHANNEL + "    pass\nclass P:\n    def more(self): return ''"),
    "a terminator of text": ("TC702", "END = '\\n'\n" + method("▸self.set_terminator(END)", "__init__")),
    "as a class attribute": ("TC702", CHANNEL + "    ▸terminator = '\\n'"),
    "that is encoded": ("TC702", CHANNEL + "    use_encoding = 1\n    def f(self): self.set_terminator('\\n')"),
    "a terminator of bytes": ("TC702", method("self.set_terminator(b'\\n')\nself.set_terminator(10)")),
    "adds received bytes to text": (
        "TC703",
        method("self.buffer = ''", "__init__")
        + "\n    def collect_incoming_data(self, data): ▸self.buffer += data"
        + "\n    def other(self, data): self.buffer = ▸self.buffer + b''",
    ),
    "adds decoded text to text": (
        "TC703",
        method("self.buffer = ''", "__init__")
        + "\n    def collect_incoming_data(self, data):\n"
        + "        data = str(data, 'ascii')\n        self.buffer += data",
    ),
    "joins received bytes": (
        "TC703",
        method("self.parts.append(data)", "collect_incoming_data", "self, data")
        + "\n    def found_terminator(self):\n        line = ▸''.join(self.parts)\n        self.parts = []",
    ),
    "joins what helpers collect": ("TC703", method("return ▸''.join(self.incoming)\nreturn b''.join(self.incoming)")),
    "splits at text": ("TC703", method("words = ▸self._get_data().strip().split(' ')\nwords[0].startswith(b'x')")),
    "looks for text": ("TC703", method("line = self._get_data()\n▸line.startswith('x')\nprint(▸'x' in line[1:])")),
    "text after decoding": ("TC703", method("line = self._get_data().decode()\nline.startswith('x')\n'x' in line")),
    "of a loop": ("TC703", method("for line in self.lines:\n    line.startswith('x')\n    line = b''")),
    "compares with text": ("TC704", method("return ▸self._get_data().lower() == 'quit'")),
    "looks for bytes among text": (
        "TC704",
        "WORDS = ('quit', 'exit')\n"
        + method("line = self._get_data()\n▸line in ('a', 'b')\n▸line not in ['a']\n▸line in {'a'}\n▸line in WORDS"),
    ),
    "among bytes": ("TC704", method("line = self._get_data()\nline in (b'a', b'b')\nline in ('a', b)\nline in ()")),
    "begins with one of": (
        "TC703",
        method("line = self._get_data()\n▸line.startswith(('a', 'b'))\nline.endswith((b'a',))"),
    ),
    "compares a byte": (
        "TC704",
        method(
            "raw = self._get_data()\n▸raw[0] == ':'\n▸raw[-1] != b':'\nraw[0] == 58\nraw[:1] == b':'\n▸b':' == raw[0]"
        ),
    ),
    "looks for a byte among strings": (
        "TC704",
        method(
            "raw = self._get_data()\n▸raw[0] in ('+', '-')\n▸raw[0] not in [b'+']\nraw[0] in b'+-'\nraw[0] in (43, 45)"
        ),
    ),
    "looks for a byte in text": ("TC703", method("raw = self._get_data()\n▸raw[0] in '+-'\nraw[0] in b'+-'")),
    "compares a byte of text": ("TC704", method("raw = self._get_data().decode()\nraw[0] == ':'")),
    "compares with bytes": ("TC704", method("return self._get_data().lower() == b'quit'")),
}


@pytest.mark.parametrize(("code", "source"), CASES.values(), ids=CASES.keys())
def test_found_where_it_stands(code: str, source: str, tmp_path: Path) -> None:
    check(code, source, tmp_path)


def test_every_code_has_a_case_that_finds_it() -> None:
    assert {code for code, source in CASES.values() if "▸" in source} == {code for code in KINDS if code[:3] == "TC7"}
