r"""Requests, and what RFC 9112 and RFC 9110 make of them: the data of test_http_vectors.py.

Written from the RFCs, not from the server. Where they leave the server a choice, an expectation has every status that
they allow; where the server has made one of its own, a comment begins with "Choice:".
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias


class Seen(NamedTuple):
    """A request that the application gets and answers with `status`."""

    method: str = "POST"
    target: str = "/"
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    status: int = 200


class Refused(NamedTuple):
    """A request that the server answers itself, and of which the application gets no whole body."""

    statuses: frozenset[int]
    method: str = ""  # matters if it is HEAD


#: What the server does in the end: it stays "open"; it is "closed" and interprets nothing that follows; it "waits" for
#: the rest of what began like a request, and refuses it only if the input ends; it waits or closes: "either".
End: TypeAlias = Literal["open", "closed", "waits", "either"]


class Expected(NamedTuple):
    answers: tuple[Seen | Refused, ...]
    end: End


class Vector(NamedTuple):
    name: str
    section: str
    request: bytes
    expected: Expected


# ---------------------------------------------------------------- expectations


def opens(*answers: Seen | Refused) -> Expected:
    return Expected(answers, "open")


def closes(*answers: Seen | Refused) -> Expected:
    return Expected(answers, "closed")


def refused(*statuses: int, method: str = "", end: End = "closed") -> Expected:
    return Expected((Refused(frozenset(statuses), method),), end)


HELLO = Seen(body=b"hello")
EMPTY = Seen()
BAD = Refused(frozenset({400}))
IS_BAD = refused(400)
WAITS = refused(400, end="waits")

# ---------------------------------------------------------------- requests

POST, GET, HEAD = b"POST / HTTP/1.1", b"GET / HTTP/1.1", b"HEAD / HTTP/1.1"
POST_1_0, GET_1_0 = b"POST / HTTP/1.0", b"GET / HTTP/1.0"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"  # what is said to a request whose body does not matter
INNER = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"  # a request only for those who lose count
MAX_BODY = 1024 * 1024


def message(*fields: bytes, line: bytes = POST, host: bytes = b"Host: a", body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *([host] if host else []), *fields, b"", body])


def chunked(body: bytes, *fields: bytes, line: bytes = POST) -> bytes:
    return message(b"Transfer-Encoding: chunked", *fields, line=line, body=body)


def sized(body: bytes, *fields: bytes, line: bytes = POST) -> bytes:
    return message(b"Content-Length: %d" % len(body), *fields, line=line, body=body)


def trailed(trailers: bytes) -> bytes:
    return chunked(b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n")


# ---------------------------------------------------------------- vectors


def vectors(section: str, cases: dict[str, tuple[bytes, Expected]]) -> list[Vector]:
    return [Vector(name, section, request, expected) for name, (request, expected) in cases.items()]


def alike(section: str, expected: Expected, cases: dict[str, bytes]) -> list[Vector]:
    """Requests of which the same is expected."""
    return [Vector(name, section, request, expected) for name, request in cases.items()]


def each(section: str, expected: Expected, name: str, template: bytes, values: Iterable[bytes]) -> list[Vector]:
    """Requests that differ in one place, the "@" of the template."""
    assert template.count(b"@") == 1
    return [Vector(f"{name} {value!r:.60}", section, template.replace(b"@", value), expected) for value in values]


# ---------------------------------------------------------------- RFC 9112, section 2.2: message parsing

MESSAGE_PARSING = [
    # "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line"
    *alike("9112 2.2", opens(HELLO, HELLO), {
        "empty line after a chunked body": chunked(CHUNKS) + b"\r\n" + chunked(CHUNKS),
        "empty line after a sized body": sized(b"hello") + b"\r\n" + chunked(CHUNKS),
    }),
    # "a recipient MAY recognize a single LF as a line terminator". Choice: this one does not.
    # "A recipient of such a bare CR MUST consider that element to be invalid or replace each bare CR with SP".
    *each("9112 2.2", IS_BAD, "end of the request line", b"GET / HTTP/1.1@Host: a\r\nX: y\r\n\r\n", [
        b"\n", b"\n\r", b"\r\r\n",
    ]),
    *each("9112 2.2", IS_BAD, "end of a field line", b"GET / HTTP/1.1\r\nHost: a@X: y\r\n\r\n", [b"\n", b"\r\r\n"]),
    *each("9112 2.2", IS_BAD, "end of the head", b"GET / HTTP/1.1\r\nHost: a@" + INNER, [
        b"\n\n", b"\n\r\n", b"\r\n\n", b"\r\n\r\r\n",
    ]),
    *alike("9112 2.2", IS_BAD, {"LF before the CRLF at the end of the input": message(b"X: y\n", body=b"")[:-2]}),
    *each("9112 2.2", IS_BAD, "line before the request line", b"@" + message(), [b"\n", b" \r\n", b"\0\r\n"]),
    *each("9112 2.2", IS_BAD, "whitespace before the first field", b"GET / HTTP/1.1\r\n@Host: a\r\n\r\n", [
        b" X: y\r\n", b" \r\n",
    ]),
    *alike("9112 2.2", closes(HELLO, BAD), {
        "blank after a sized body": sized(b"hello") + b" " + message(),
        "blank after a chunked body": chunked(CHUNKS) + b" " + message(),
        "LF after a chunked body": chunked(CHUNKS) + b"\n" + message(),
        "chunks after a chunked body": chunked(CHUNKS) + CHUNKS,
    }),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9112, section 3: request line

REQUEST_LINE = [
    # request-line = method SP request-target SP HTTP-version
    *each("9112 3", IS_BAD, "request line", b"@\r\nHost: a\r\n\r\n", [
        b"GET\x0b/ HTTP/1.1", b"GET /\x00HTTP/1.1", b"GET /\r\n",
    ]),
    *each("9112 3.1", IS_BAD, "method", b"@ / HTTP/1.1\r\nHost: a\r\n\r\n", [b"G/T", b"G\rT"]),
    *each("9112 3.2", IS_BAD, "target", b"GET @ HTTP/1.1\r\nHost: a\r\n\r\n", [
        b"/a\rb", b"/\x80", b"http://a/#b", b"http://:80/",
    ]),
    *alike("9112 3.2.4", IS_BAD, {"asterisk of POST": message(line=b"POST * HTTP/1.1")}),
    # Choice: CONNECT is recognized and not implemented (RFC 9110, section 9.1).
    *alike("9112 3.2.3", refused(501), {"CONNECT": message(line=b"CONNECT a:80 HTTP/1.1", body=INNER)}),
    # HTTP-version = "HTTP" "/" DIGIT "." DIGIT
    *each("9112 2.3", IS_BAD, "version", b"GET / @\r\nHost: a\r\n\r\n", [
        b"HTTP/1.1.1", b"HTTP/2", b"HTTP/1 .1", b"HTTP/1.1\0",
    ]),
    *alike("9110 15.6.6", refused(505), {"HTTP/2.1": message(line=b"GET / HTTP/2.1")}),
    *alike("9110 15.6.6", refused(400, 505), {"HTTP/2.0 without Host": b"GET / HTTP/2.0\r\n\r\n"}),
    *vectors("9110 2.5", {"HTTP/1.2 has chunked bodies": (chunked(CHUNKS, line=b"POST / HTTP/1.2"), opens(HELLO))}),
    *alike("9112 3", refused(400, 414, 431, 501), {"endless method": b"A" * 40_000 + b" / HTTP/1.1\r\n\r\n"}),
    *alike("9112 3", refused(414), {"endless target": b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n"}),
    # "It is RECOMMENDED that all HTTP senders and recipients support, at a minimum, request-line lengths of 8000
    # octets."
    *vectors("9112 3", {
        "8000 octets": (message(line=b"GET /%b HTTP/1.1" % (b"a" * 7986)), opens(Seen("GET", "/" + "a" * 7986))),
    }),
    *vectors("9112 3.2.2", {
        "absolute form": (message(line=b"POST http://b/x?y HTTP/1.1"), opens(Seen("POST", "http://b/x?y"))),
        "absolute form, no path": (message(line=b"OPTIONS http://a HTTP/1.1"), opens(Seen("OPTIONS", "http://a"))),
    }),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9112, sections 3.2 and 5: Host, field lines

FIELD_LINES = [
    *each("9112 3.2", opens(EMPTY), "Host", message(host=b"Host:@"), [b" a:123456", b" a,b"]),
    # "any request message that contains more than one Host header field line or a Host header field with an invalid
    # field value". Choice: an empty one is invalid, since an http URI has a host (RFC 9110, section 4.2.1).
    *each("9112 3.2", IS_BAD, "Host", message(host=b"Host:@"), [
        b"", b":80", b"a :80", b"[1::2::3]", b"[::1]x", b"a\r\nHost: a", b"a\r\n Host: b",
    ]),
    *alike("9112 3.2", IS_BAD, {
        "no Host, but an absolute form": message(host=b"", line=b"POST http://a/ HTTP/1.1"),
        "no Host in HTTP/1.2": message(host=b"", line=b"GET / HTTP/1.2"),
        "no Host, but a body": message(b"Content-Length: 5", host=b"", body=b"hello"),
    }),
    # field-line = field-name ":" OWS field-value OWS
    *each("9112 5", opens(EMPTY), "field line", message(b"@"), [b"GET: / HTTP/1.1", b"0:" + bytes(range(0x21, 0x7F))]),
    *each("9112 5", IS_BAD, "field line", message(b"@"), [
        b"X/: y", b"X\xa0: y", b"X=y", b"X: y\r\nZ", b"X:\x02", b"X\rY: z",
    ]),
    # "A server MUST reject, with a response status code of 400 (Bad Request), any received request message that
    # contains whitespace between a header field name and colon."
    *each("9112 5.1", IS_BAD, "field line", message(b"@"), [b"X \t: y", b"Content-Length : 0"]),
    # "A server that receives an obs-fold in a request message that is not within a "message/http" container MUST either
    # reject the message by sending a 400 (Bad Request) [...] or replace each received obs-fold". Choice: reject.
    *each("9112 5.2", IS_BAD, "field line", message(b"@"), [b"X: a\r\n b\r\n c", b"X: a\r\n Y: b"]),
    # "A server that receives a request header field line, field value, or set of fields larger than it wishes to
    # process MUST respond with an appropriate 4xx (Client Error) status code."
    *vectors("9110 5.4", {
        "100 field lines": (message(*[b"X: y"] * 99), opens(EMPTY)),
        "101 field lines": (message(*[b"X: y"] * 99, b"Content-Length: 5", body=b"hello"), refused(431)),
        "endless field name": (message(b"X" * 40_000 + b": y"), refused(431)),
        "endless field value": (message(b"X: " + b"y" * 40_000), refused(431)),
    }),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9112, section 6.1: Transfer-Encoding

_CODED = message(b"Transfer-Encoding: @", body=CHUNKS)

TRANSFER_ENCODING = [
    *each("9112 6.1", opens(HELLO), "Transfer-Encoding", _CODED, [b"chunked", b" \t chunked \t ", b" cHuNkEd"]),
    *alike("9112 6.1", opens(HELLO), {
        "name in capitals": message(b"TRANSFER-ENCODING: chunked", body=CHUNKS),
        "named by Connection": chunked(CHUNKS, b"Connection: Transfer-Encoding"),
        "Content-Encoding frames nothing": chunked(CHUNKS, b"Content-Encoding: gzip"),
        "TE frames nothing": chunked(CHUNKS, b"TE: trailers, gzip", b"Connection: TE"),
    }),
    # "A sender MUST NOT apply the chunked transfer coding more than once to a message body".
    *each("9112 6.1", IS_BAD, "Transfer-Encoding", _CODED, [
        b"chunked, chunked", b"gzip, chunked, chunked", b"chunked\r\ntransfer-encoding: chunked",
        b"chunked\r\nX: y\r\nTransfer-Encoding: Chunked",
    ]),
    # "A recipient MUST parse and ignore a reasonable number of empty list elements" (RFC 9110, section 5.6.1.2).
    # Choice: in this list, none.
    *each("9112 6.1", IS_BAD, "Transfer-Encoding", _CODED, [
        b"", b",", b"chunked,", b",chunked", b"chunked\r\nTransfer-Encoding:",
    ]),
    # "The chunked coding does not define any parameters. Their presence SHOULD be treated as an error."
    *each("9112 7", IS_BAD, "Transfer-Encoding", _CODED, [b"chunked;q=1", b'chunked;a="b"', b"chunked;"]),
    # "If a Transfer-Encoding header field is present in a request and the chunked transfer coding is not the final
    # encoding [...] the server MUST respond with the 400 (Bad Request) status code and then close the connection."
    *each("9112 6.3 number 4", IS_BAD, "Transfer-Encoding", _CODED, [
        b"gzip", b"identity", b"chunked, gzip", b"chunked\r\nTransfer-Encoding: identity", b'"chunked"', b"xchunked",
        b"gzip chunked", b"\xa0chunked", b"\x0bchunked", b"chun\xe2\x84\xaaed", b"gzip,\r\n chunked",
    ]),
    # "A server that receives a request message with a transfer coding it does not understand SHOULD respond with 501"
    *each("9112 6.1", refused(501), "Transfer-Encoding", _CODED, [
        b"gzip, chunked", b"gzip;a=b, chunked", b"gzip\r\nTransfer-Encoding: chunked",
    ]),
    *each("9112 6.1", refused(400, 501), "Transfer-Encoding", _CODED, [b"identity, chunked", b", gzip, chunked"]),
    # "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat the
    # message as if the framing is faulty, even if a Content-Length is present, and close the connection".
    *each("9112 6.1", IS_BAD, "HTTP/1.0 and", message(b"@", line=POST_1_0, body=CHUNKS), [
        b"Transfer-Encoding: chunked", b"Transfer-Encoding:", b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked\r\nContent-Length: 15",
    ]),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9110, section 8.6: Content-Length

_SIZED = message(b"Content-Length: @", body=b"hello")

CONTENT_LENGTH = [
    # Content-Length = 1*DIGIT
    *each("9110 8.6", opens(HELLO), "Content-Length", _SIZED, [b"5", b"\t 5 \t", b"0" * 30 + b"5"]),
    *alike("9110 8.6", opens(HELLO), {"named by Connection": sized(b"hello", b"Connection: Content-Length")}),
    *each("9110 8.6", IS_BAD, "Content-Length", _SIZED, [
        b"", b"+5", b"5-", b"0_5", b"0\t5", b"5;q=1", b"\xd9\xa5", b"\xef\xbc\x95", b"\xb2", b"\x0b5", b"5\x0c", b"5\0",
        b"0\r5", b"\r\n 5", b"0\r\n 5",
    ]),
    # "a recipient of a Content-Length header field value consisting of the same decimal value repeated as a
    # comma-separated list [...] MAY either reject the message as invalid or replace that invalid field value"
    # (RFC 9110, section 8.6). Choice: reject.
    *each("9112 6.3 number 5", IS_BAD, "Content-Length", _SIZED, [
        b"5, 5", b"5, 05", b"0, 5", b"5,", b",5", b"5\r\nContent-Length: 5", b"0\r\nContent-Length: 5",
        b"5\r\nContent-Length: 0", b"5\r\nX: y\r\ncontent-LENGTH: 5",
    ]),
    # "a recipient MUST anticipate potentially large decimal numerals and prevent parsing errors due to integer
    # conversion overflows or precision loss due to integer conversion".
    *each("9110 8.6", refused(413), "Content-Length", _SIZED,
          [b"%d" % number for number in (MAX_BODY + 1, 2**32 + 5, 2**63, 2**64 + 5, 2**128 + 5)]),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9112, section 6.3: message body length

BODY_LENGTH = [
    *vectors("9112 6.3", {
        f"request within the {how} body of {method.decode()}": (request, opens(Seen(method.decode(), "/", INNER)))
        for method in (b"GET", b"HEAD", b"OPTIONS")
        for how, request in {
            "sized": sized(INNER, line=method + b" / HTTP/1.1"),
            "chunked": chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER), line=method + b" / HTTP/1.1"),
        }.items()
    }),
    # "the message body length is zero (no message body is present)"
    *alike("9112 6.3 number 7", opens(EMPTY, Seen("GET")), {
        "no length, but a type": message(b"Content-Type: text/plain") + message(line=GET),
        "length 0": sized(b"") + message(line=GET),
    }),
    *alike("9112 6.3 number 6", opens(HELLO), {
        "HTTP/1.0 that keeps alive": sized(b"hello", b"Connection: keep-alive", line=POST_1_0),
    }),
    # "Such a message might indicate an attempt to perform request smuggling [...] and ought to be handled as an error."
    *each("9112 6.3 number 3", IS_BAD, "both", message(b"Transfer-Encoding: @", body=CHUNKS), [
        b"chunked\r\nContent-Length: 15", b"chunked\r\nContent-Length: 0", b"chunked\r\nContent-Length:",
        b"chunked\r\nContent-Length: 5\r\nContent-Length: 5", b"gzip, chunked\r\nContent-Length: 15",
        b"identity\r\nContent-Length: 15", b"\r\nContent-Length: 15",
    ]),
    *each("9112 6.3 number 3", IS_BAD, "both", message(b"@", body=CHUNKS), [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Content-Length: 15\r\nTransfer-Encoding: x",
    ]),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9112, section 7.1: chunks

CHUNKED = [
    # chunked-body = *chunk last-chunk trailer-section CRLF
    # chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
    *vectors("9112 7.1", {
        f"chunks {body!r:.50}": (chunked(body), opens(Seen(body=content)))
        for body, content in [
            (b"0\r\n\r\n", b""),
            (b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
            (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
            (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
            (b"1f\r\n%b\r\n0\r\n\r\n" % bytes(31), bytes(31)),
            (b"00005\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"0" * 40 + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"5\r\nhello\r\n000\r\n\r\n", b"hello"),
            (b"5\r\nhello\r\n" + b"0" * 40 + b"\r\n\r\n", b"hello"),
            (b"7\r\nhello\r\n\r\n0\r\n\r\n", b"hello\r\n"),
            (b"1\r\n\r\r\n0\r\n\r\n", b"\r"),
            (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
            (b"5\r\n\r\n0\r\n\r\n0\r\n\r\n", b"\r\n0\r\n"),
            (b"100\r\n%b\r\n0\r\n\r\n" % bytes(range(256)), bytes(range(256))),
            (b"1\r\nx\r\n" * 500 + b"0\r\n\r\n", b"x" * 500),
            (b"100000\r\n%b\r\n0\r\n\r\n" % bytes(MAX_BODY), bytes(MAX_BODY)),
        ]
    }),
    # chunk-size = 1*HEXDIG
    *each("9112 7.1", IS_BAD, "size", chunked(b"@\r\nhello\r\n0\r\n\r\n"), [
        b"", b"+5", b"-5", b"0x5", b"g", b"0_5", b"5=a", b" 5", b"5 ", b"5\t", b"5 5", b"5\0", b"\xa05", b"\n5", b"5\r",
    ]),
    # "recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing errors"
    *each("9112 7.1", refused(400, 413), "size", chunked(b"@\r\nhello\r\n0\r\n\r\n"), [
        b"f" * 16, b"1" + b"0" * 15 + b"5", b"f" * 2000,
    ]),
    *each("9112 7.1", refused(400, 413, end="either"), "size", chunked(b"@\r\nhello\r\n0\r\n\r\n"), [
        b"100001", b"100000005",
    ]),
    *alike("9112 7.1", refused(400, 413), {
        "larger in sum than the server takes": chunked(b"100000\r\n%b\r\n1\r\nx--" % bytes(MAX_BODY)),
    }),
    *each("9112 7.1", IS_BAD, "end of the size line", chunked(b"5@hello\r\n0\r\n\r\n"), [b"\n", b"\r", b"\n\r", b""]),
    *each("9112 7.1", IS_BAD, "end of the data", chunked(b"5\r\nhello@0\r\n\r\n"), [
        b"", b"\n", b"\r", b"\r\r\n", b"--", b"\r\n\r\n", b"!\r\n",
    ]),
    *each("9112 7.1", IS_BAD, "data shorter than 5 bytes", chunked(b"5\r\n@\r\n0\r\n\r\n"), [b"hell"]),
    *each("9112 7.1", IS_BAD, "last chunk", chunked(b"5\r\nhello\r\n@" + INNER), [
        b"0\n\r\n", b"0\r\n\n", b"0\r\n\r", b"0\r\r\n\r\n", b"0 \r\n\r\n", b"-0\r\n\r\n", b"\r\n\r\n", b"0\r\n", b"",
    ]),
    *each("9112 7.1", IS_BAD, "body", chunked(b"@"), [INNER, b"5\nhello\n0\n\n", b"\r\n" + CHUNKS, b"0\r\n" + CHUNKS]),
    *alike("9112 7.1", refused(400, method="HEAD"), {"size of HEAD": chunked(b"x\r\n\r\n", line=HEAD)}),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9112, section 7.1.1: chunk extensions

_EXTENDED = chunked(b"5@\r\nhello\r\n0\r\n\r\n")

EXTENSIONS = [
    # chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
    # "A recipient MUST ignore unrecognized chunk extensions."
    *each("9112 7.1.1", opens(HELLO), "extension", _EXTENDED, [
        b";a=b", b";!#$%&'*+-.^_`|~09AZaz=!#$%&'*+-.^_`|~09AZaz", b';a="b"', b';a=""', b';a=" \t"',
        b';a="(),/:;<=>?[]{}"', b';a="\\""', b';a="\\\\"', b';a="\\a\\ \\\t\\\xff"', b';a;b=c;d="e"', b" ;a",
        b' ; a = b \t;\tc = "d" ; e',
    ]),
    *alike("9112 7.1.1", opens(HELLO), {
        "of the last chunk": chunked(b'5\r\nhello\r\n00 ;a;b="\\""\r\n\r\n'),
        "of each chunk": chunked(b"3;a\r\nhel\r\n2;b=c\r\nlo\r\n0;d\r\n\r\n"),
        "of 5000 bytes in sum": chunked(b"".join(b"1;%01000d\r\n%c\r\n" % (0, x) for x in b"hello") + b"0\r\n\r\n"),
    }),
    *each("9112 7.1.1", IS_BAD, "extension", _EXTENDED, [
        b";", b";a;", b";a ", b';a="b" ', b";a=", b";=b", b" a", b';"a"', b';a="b', b';a="b\\"', b';a="b"c', b';a="\0"',
        b';a="\\\x7f"', b";\0", b"\x0b;a", b";a\r", b";a\rb", b';a="\r"', b";\n", b";a\nb", b"\n;a", b';a="\n"',
        b';a="\r\n"', b";a\r\n ;b",
    ]),
    *each("9112 7.1.1", IS_BAD, "extension of the last chunk", chunked(b"5\r\nhello\r\n0@\r\n\r\n"), [
        b";", b';a="\r\n"',
    ]),
    # "A server ought to limit the total length of chunk extensions received in a request [...] and generate an
    # appropriate 4xx (Client Error) response if that amount is exceeded."
    *alike("9112 7.1.1", IS_BAD, {
        "endless": _EXTENDED.replace(b"@", b";a=" + b"b" * 20_000),
        "endless blanks": _EXTENDED.replace(b"@", b" " * 20_000 + b";a"),
        "endless in sum": chunked(b"1;%01000d\r\nx\r\n" % 0 * 20 + b"0\r\n\r\n"),
        "endless in sum of short ones": chunked(b"1;%020d\r\nx\r\n" % 0 * 800 + b"0\r\n\r\n"),
    }),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9112, section 7.1.2: trailers

_TRAILED = trailed(b"@\r\n")

TRAILERS = [
    # trailer-section = *( field-line CRLF )
    *vectors("9112 7.1.2", {
        f"trailers {data!r:.50}": (_TRAILED.replace(b"@", data), opens(Seen(body=b"hello", trailers=trailers)))
        for data, trailers in [
            (b"X: y\r\nZ: 1", ((b"X", b"y"), (b"Z", b"1"))),
            (b"X: 1\r\nY: 2\r\nx: 3", ((b"X", b"1"), (b"Y", b"2"), (b"x", b"3"))),
            (b"X:", ((b"X", b""),)),
            (b"X: \t y z\t ", ((b"X", b"y z"),)),
            (b"!#$%&'*+-.^_`|~09aZ: \x80\xff", ((b"!#$%&'*+-.^_`|~09aZ", b"\x80\xff"),)),
            (b"\r\n".join([b"X: y"] * 50), ((b"X", b"y"),) * 50),
            # "Many fields cannot be processed outside the header section because their evaluation is necessary prior to
            # receiving the content, such as those that describe message framing, routing" (RFC 9110, section 6.5.1).
            (b"Content-Length: 5", ((b"Content-Length", b"5"),)),
            (b"Transfer-Encoding: chunked", ((b"Transfer-Encoding", b"chunked"),)),
            (b"Host: b c", ((b"Host", b"b c"),)),
            (b"Connection: close", ((b"Connection", b"close"),)),
            (b"Expect: x", ((b"Expect", b"x"),)),
        ]
    }),
    *vectors("9112 7.1.2", {
        "behind an empty body": (chunked(b"00;a\r\nX: y\r\n\r\n"), opens(Seen(trailers=((b"X", b"y"),)))),
        "of HEAD": (chunked(b"0\r\nX: y\r\n\r\n", line=HEAD), opens(Seen("HEAD", trailers=((b"X", b"y"),)))),
        "like a header field": (
            chunked(b"0\r\nX: y\r\n\r\n", b"X: z", b"Trailer: X"), opens(Seen(trailers=((b"X", b"y"),)))
        ),
        "not those of the next request": (
            trailed(b"X: y\r\n") + chunked(CHUNKS) + sized(b"hello"),
            opens(Seen(body=b"hello", trailers=((b"X", b"y"),)), HELLO, HELLO),
        ),
    }),
    *each("9112 7.1.2", IS_BAD, "trailers", _TRAILED + INNER, [
        b"X", b": y", b"X : y", b"X/: y", b"X: \0", b"X: a\rb", b"X: a\nY: b", b"X: a\n", b" X: y", b" ", b"X: a\r\n b",
        b"0", b"GET / HTTP/1.1",
    ]),
    *each("9112 7.1.2", IS_BAD, "end of the trailers", chunked(b"0\r\nX: y@" + INNER), [
        b"\n\n", b"\r\n\n", b"\r\n\r\r\n", b"\r\n\r", b"\r\n",
    ]),
    # Choice: they are limited as header fields are (RFC 9110, section 5.4).
    *alike("9112 7.1.2", refused(400, 413, 431), {
        "endless": trailed(b"X: " + b"y" * 40_000 + b"\r\n"),
        "endless name": trailed(b"X" * 40_000 + b": y\r\n"),
        "endless in sum": trailed(b"X: y\r\n" * 10_000),
    }),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9112, section 8: incomplete messages

INCOMPLETE = [
    # "A server that receives an incomplete request message [...] MAY send an error response prior to closing the
    # connection."
    *each("9112 8", WAITS, "chunked, and", chunked(b"@"), [
        b"", b"5", b"5\r", b"5\r\n", b'5;a="b\\', b"5 ", b"5;a\r", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r",
        b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r", b"0\r\n", b"0\r\n\r", b"0\r\nX: y", b"0\r\nX: y\r", b"0\r\nX: y\r\n",
        b"0\r\nX: y\r\n\r", b"9\r\n0\r\n\r\n",
    ]),
    *alike("9112 8", WAITS, {
        "blank after the method": b"POST ",
        "request line and CR": b"POST / HTTP/1.1\r",
        "empty line and a method": b"\r\nP",
        "one byte of five": sized(b"hello")[:-4],
        "request as the beginning of a body": message(b"Content-Length: 100", body=INNER),
        "expectation": message(b"Expect: 100-continue", b"Content-Length: 5"),
    }),
    *alike("9112 8", refused(400, method="HEAD", end="waits"), {"chunk of HEAD": chunked(b"5\r\nhel", line=HEAD)}),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9112, section 9: connections

CONNECTION = [
    *each("9112 9.3", opens(Seen("GET")), "HTTP/1.1 and", message(b"@", line=GET), [
        b"Proxy-Connection: close", b"Connection: closed, close-x", b"Connection: x-close",
        b"Connection: keep-alive\r\nKeep-Alive: timeout=5", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
    ]),
    *each("9112 9.3", opens(Seen("GET")), "HTTP/1.0 and", message(b"@", line=GET_1_0), [
        b"Connection: KEEP-ALIVE", b"Connection: x,\tkeep-alive ,y",
    ]),
    *each("9112 9.3", closes(Seen("GET")), "HTTP/1.0 and", message(b"@", line=GET_1_0), [
        b"X: y", b"Keep-Alive: 300", b"Proxy-Connection: keep-alive", b"Connection: keep-alive, close",
    ]),
    *alike("9112 9.3", closes(Seen("GET")), {"HTTP/1.0 without Host": message(line=GET_1_0, host=b"")}),
    # "The server MUST NOT process any further requests received on that connection."
    *each("9112 9.6", closes(Seen("GET")), "HTTP/1.1 and", message(b"@", line=GET, body=INNER), [
        b"Connection: CLOSE", b"Connection: keep-alive,close", b"Connection: , close",
        b"Connection: keep-alive\r\nX: y\r\nConnection: close",
    ]),
    *alike("9112 9.6", closes(HELLO), {
        "close and a chunked body": chunked(CHUNKS, b"Connection: close") + INNER,
        "HTTP/1.0 and a sized body": sized(b"hello", line=POST_1_0) + INNER,
    }),
    *vectors("9112 9.3.2", {
        "all kinds of bodies": (
            message(line=GET) + chunked(CHUNKS) + sized(b"hello") + trailed(b"X: y\r\n") + message(line=GET),
            opens(Seen("GET"), HELLO, HELLO, Seen(body=b"hello", trailers=((b"X", b"y"),)), Seen("GET")),
        ),
        "ten empty chunked bodies": (chunked(b"0\r\n\r\n") * 10, opens(*[EMPTY] * 10)),
        "error of the head after valid requests": (
            chunked(CHUNKS) + sized(b"hello") + message(b"Transfer-Encoding: chunked,") + INNER,
            closes(HELLO, HELLO, BAD),
        ),
        "error of a chunk after valid requests": (
            sized(b"hello") + chunked(CHUNKS) + chunked(b"5\r\nhello!\r\n0\r\n\r\n") + INNER,
            closes(HELLO, HELLO, BAD),
        ),
        "too large after a valid request": (
            chunked(CHUNKS) + message(b"Content-Length: 9999999") + INNER,
            closes(HELLO, Refused(frozenset({413}))),
        ),
    }),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9110, sections 6.4.1 and 9.3.2: no content

WITHOUT_CONTENT = [
    *vectors("9110 9.3.2", {
        "HEAD with a sized body": (sized(b"hello", line=HEAD), opens(Seen("HEAD", body=b"hello"))),
        "HEAD with a chunked body": (chunked(CHUNKS, line=HEAD), opens(Seen("HEAD", body=b"hello"))),
        "HEAD of 204": (message(line=b"HEAD /204 HTTP/1.1"), opens(Seen("HEAD", "/204", status=204))),
        "HEAD of 304": (message(line=b"HEAD /304 HTTP/1.1"), opens(Seen("HEAD", "/304", status=304))),
        "HEAD of HTTP/1.0": (message(line=b"HEAD / HTTP/1.0"), closes(Seen("HEAD"))),
        "HEAD before GET": (message(line=HEAD) + message(line=GET), opens(Seen("HEAD"), Seen("GET"))),
    }),
    *alike("9110 9.3.2", refused(400, method="HEAD"), {
        "HEAD with both lengths": chunked(CHUNKS, b"Content-Length: 5", line=HEAD),
        "HEAD with a bad chunk": chunked(b"5\r\nhello!\r\n0\r\n\r\n", line=HEAD),
        "HEAD with a bad trailer": chunked(b"0\r\nX\r\n\r\n", line=HEAD),
    }),
    *vectors("9110 6.4.1", {
        "204": (chunked(CHUNKS, line=b"PUT /204 HTTP/1.1"), opens(Seen("PUT", "/204", b"hello", status=204))),
        "304": (message(line=b"GET /304 HTTP/1.1"), opens(Seen("GET", "/304", status=304))),
    }),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9110, section 10.1.1: Expect

EXPECT = [
    *vectors("9110 10.1.1", {
        "chunked body": (chunked(CHUNKS, b"EXPECT:\t100-Continue "), opens(HELLO)),
        "empty chunked body": (chunked(b"0\r\n\r\n", b"Expect: 100-continue"), opens(EMPTY)),
        "empty list": (chunked(CHUNKS, b"Expect:"), opens(HELLO)),
        "two requests": (
            chunked(CHUNKS, b"Expect: 100-continue") + sized(b"hello", b"Expect: 100-continue"),
            opens(HELLO, HELLO),
        ),
        # "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation."
        "HTTP/1.0": (sized(b"hello", b"Expect: 100-continue", line=POST_1_0), closes(HELLO)),
        "both lengths": (chunked(CHUNKS, b"Expect: 100-continue", b"Content-Length: 5"), IS_BAD),
        "bad chunk": (chunked(b"5\r\nhello!\r\n0\r\n\r\n", b"Expect: 100-continue"), IS_BAD),
        "too large": (message(b"Expect: 100-continue", b"Content-Length: 9999999"), refused(413)),
    }),
    *each("9110 10.1.1", refused(417), "expectation", sized(INNER, b"Expect: @"), [
        b"x", b"100-continued", b"y 100-continue", b"100-continue, x", b"100-continue\r\nExpect: x",
    ]),
    *alike("9110 10.1.1", refused(417), {"unknown, of a chunked body": chunked(CHUNKS, b"Expect: x")}),
    *each("9110 10.1.1", IS_BAD, "expectation", sized(INNER, b"Expect:@"), [b"\r\n 100-continue", b" 100-continue\n"]),
]  # fmt: skip

# ---------------------------------------------------------------- RFC 9112, sections 11.1 and 11.2: request smuggling

_BODY = b"0\r\n\r\n" + INNER  # for those who go by the chunks, a request follows
_LENGTH_FIRST = sized(_BODY, b"@")
_LENGTH_LAST = message(b"@", b"Content-Length: %d" % len(_BODY), body=_BODY)
_CODING_LAST = message(b"@", b"Transfer-Encoding: chunked", body=_BODY)

SMUGGLING = [
    # Names that are not Transfer-Encoding, but of fields that mean nothing here.
    *each("9112 11.2", opens(Seen(body=_BODY)), "a length and", _LENGTH_FIRST, [
        b"Transfer_Encoding: chunked", b"'Transfer-Encoding: chunked", b"X-Transfer-Encoding: chunked",
        b"X: Transfer-Encoding: chunked",
    ]),
    *each("9112 11.2", opens(HELLO), "a coding and", chunked(CHUNKS, b"@"), [
        b"Content_Length: 3", b"X: Content-Length: 3",
    ]),
    *alike("9112 11.2", closes(EMPTY, BAD), {"no coding": message(b"Transfer_Encoding: chunked", body=CHUNKS)}),
    *alike("9112 11.2", opens(EMPTY, Seen("GET", "/smuggled")), {
        "no length": message(b"Content_Length: 36", body=INNER),
    }),
    # Names and values that some take for Transfer-Encoding: chunked.
    *each("9112 11.2", IS_BAD, "a length and", _LENGTH_FIRST, [
        b"Transfer-Encoding : chunked", b"Transfer-Encoding\n: chunked", b" Transfer-Encoding: chunked",
        b"\0Transfer-Encoding: chunked", b"\rTransfer-Encoding: chunked", b"Transfer-\xc4\x96ncoding: chunked",
        b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding:\n chunked", b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: chunked\n", b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-encoding: cow",
        b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked", b"X: y\r\n\rTransfer-Encoding: chunked",
        b"X: y\r\n Transfer-Encoding: chunked",
    ]),
    *each("9112 11.2", IS_BAD, "before a length", _LENGTH_LAST, [
        b"Transfer-Encoding : chunked", b"Transfer-Encoding: chunked\nX: y",
    ]),
    # The same of Content-Length.
    *each("9112 11.2", IS_BAD, "before a coding", _CODING_LAST, [
        b"Content-Length : 46", b"Content-Length:\x0b46", b"X: y\nContent-Length: 46",
    ]),
    *each("9112 11.2", IS_BAD, "lengths", message(b"@", body=INNER), [
        b"Content-Length: 0\r\nContent-Length : 36", b"Content-Length: 0\r\n Content-Length: 36",
        b"Content-Length: 0\nContent-Length: 36", b"Content-Length: 3\r\n 6",
        b"Expect:\r\n 100-continue\r\nContent-Length: 36",
    ]),
    # A reader that ends lines at LF and one that does not; one that skips two bytes after the data and one that looks.
    *each("9112 11.2", IS_BAD, "chunks", chunked(b"@" + INNER), [
        b"2;\nxx\r\n4a\r\n0\r\n\r\n", b"5;a=b\n0\r\n\r\n", b'5;a="\r\nhello\r\n0\r\n\r\n"\r\n', b";\r\n\r\n",
        b"0_0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"0x24\r\n", b"0\r\n\rX",
        b"0\r\nX: y\nContent-Length: 36\r\n\r\n", b"0\r\nContent-Length : 36\r\n\r\n",
    ]),
    *each("9112 11.2", refused(400, 413), "size that overflows", chunked(b"@\r\n\r\n" + INNER), [
        b"1" + b"0" * 16, b"1" + b"0" * 15 + b"2",
    ]),
    *each("9112 11.1", IS_BAD, "target", b"GET @ HTTP/1.1\r\nHost: a\r\n\r\n", [
        b"/ HTTP/1.1\nX: y\nGET /smuggled", b"/\0", b"/ HTTP/1.1\rHost: b",
    ]),
]  # fmt: skip

GROUPS = {
    "message parsing": MESSAGE_PARSING,
    "request line": REQUEST_LINE,
    "field lines": FIELD_LINES,
    "Transfer-Encoding": TRANSFER_ENCODING,
    "Content-Length": CONTENT_LENGTH,
    "body length": BODY_LENGTH,
    "chunks": CHUNKED,
    "extensions": EXTENSIONS,
    "trailers": TRAILERS,
    "incomplete": INCOMPLETE,
    "connection": CONNECTION,
    "no content": WITHOUT_CONTENT,
    "Expect": EXPECT,
    "smuggling": SMUGGLING,
}
