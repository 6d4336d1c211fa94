"""Valid requests, and what becomes of them if bytes, words, numbers and lines are changed by chance."""

import random
import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"

REQUESTS = [
    b"GET /a?b=c HTTP/1.1\r\nHost: example.com:80\r\nAccept: text/html, */*;q=0.8\r\nUser-Agent: x (y; z)\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost:a\r\nConnection: Keep-Alive, x\r\nX:\r\n\r\n",
    b"GET http://a.example/b?c HTTP/1.1\r\nHost: a.example\r\nCookie: a=b; c=d\r\n\r\n",
    b'HEAD /head HTTP/1.1\r\nHost: a\r\nIf-None-Match: "a,b"\r\n\r\n',
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nX: \t y \t\r\n\r\n",
    b"GET /old HTTP/1.0\r\n\r\n",
    b"POST /old HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nX: \x80\xff\r\n\r\nhello\r\n\r\nyou",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    _CHUNKED + b"\r\n5\r\nhello\r\nc\r\n\r\n\r\n you\r\n\r\n\r\n0\r\n\r\n",
    _CHUNKED + b"\r\n1\r\na\r\n02\r\nbc\r\n0;a\r\nX: y\r\nZ: z\r\n\r\n",
    _CHUNKED + b'Trailer: X\r\n\r\n5;a=b;c="d;\\"e"\r\nhello\r\n0A;f\r\n0123456789\r\n00;g=h\r\nX: y\r\nZ: \r\n\r\n',
    _CHUNKED + b"TE: trailers\r\nExpect: 100-continue\r\n\r\n1\r\nx\r\n0\r\n\r\n",
]
_BYTES = [
    *(bytes([byte]) for byte in b'\r\n\t \0:;,"\x0b\x0c\x7f\x80\xff0129+-_x./#%@[=aF\x01'),
    *(b"\r\n", b"\n", b" ", b"\t", b";x", b" ;x"),
]
_WORDS = [
    *(b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"CONNECT", b"HEAD", b"OPTIONS", b"*", b"/#", b"a/b", b"chunked"),
    *(b"0" * 21, b"0" * 20 + b"5", b"9" * 18, b"9" * 19, b"f" * 15, b"f" * 16),
]
_LINES = [
    *(b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 5, 5"),
    *(b"Content-Length: 0000000000000000000000005", b"Content-Length: 10000000000000000000"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: CHUNKED"),
    *(b"Host: a", b"Host:", b"Host: a/b", b"Connection: close", b"Connection: keep-alive", b"Upgrade: websocket"),
    *(b"Expect: 100-continue", b"Expect: x", b"X: y", b" folded", b"X : y", b"5", b"0", b"5;a", b"", b"GET / HTTP/1.1"),
]

Mutation: TypeAlias = Callable[[random.Random, bytes], bytes]


def mutated(chance: random.Random, requests: Sequence[bytes]) -> bytes:
    """One of the requests, or two, with one to three changes."""
    data = b"".join(chance.choices(requests, k=chance.choice([1, 1, 2])))
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        data = chance.choice(_MUTATIONS)(chance, data)
    return data


def _place_in(chance: random.Random, data: bytes) -> int:
    """Any, or at a delimiter, at the end of a line or of a number."""
    pattern = chance.choice([rb"", rb"[ :;=]", rb"\r\n", rb"(?<=[0-9a-f])\b"])
    places = [match.start() for match in re.finditer(pattern, data)] or [0]
    return chance.choice(places) + chance.choice([0, 0, 1])


def _insert(chance: random.Random, data: bytes) -> bytes:
    at = _place_in(chance, data)
    return data[:at] + chance.choice(_BYTES) + data[at:]


def _replace(chance: random.Random, data: bytes) -> bytes:
    at = _place_in(chance, data)
    return data[:at] + chance.choice([chance.choice(_BYTES), chance.randbytes(1)]) + data[at + 1 :]


def _delete(chance: random.Random, data: bytes) -> bytes:
    at = _place_in(chance, data)
    return data[:at] + data[at + 1 :]


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: _place_in(chance, data)] + chance.choice([b"", *_BYTES])


def _change_word(chance: random.Random, data: bytes) -> bytes:
    return _change(chance, data, rb"[^ \r\n:;=]+", lambda word: chance.choice([*_WORDS, word.swapcase()]))


def _change_number(chance: random.Random, data: bytes) -> bytes:
    def change(number: bytes) -> bytes:
        form = chance.choice([b"%d", b"%d", b"%030d", b"%x", b"+%d"])
        return form % (int(number) + chance.choice([-5, -1, 0, 1, 2, 10**20]))

    return _change(chance, data, rb"\d+", change)


def _change(chance: random.Random, data: bytes, pattern: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """One of the places that match."""
    places = [match.span() for match in re.finditer(pattern, data)]
    if not places:
        return data
    start, end = chance.choice(places)
    return data[:start] + change(data[start:end]) + data[end:]


def _change_lines(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(5):
        case 0:
            lines.insert(other, lines[one])
        case 1:
            lines[one], lines[other] = lines[other], lines[one]
        case 2:
            del lines[one]
        case _:
            lines.insert(one, chance.choice(_LINES))
    return b"\r\n".join(lines)


_MUTATIONS: list[Mutation] = [
    *(_insert, _insert, _replace, _replace, _delete, _cut),
    *(_change_word, _change_number, _change_lines),
]
