r"""A request's head: RFC 9112's grammar, transcribed into regular expressions that see the whole head at once.

It is kept to the letter but for the target, which may have any visible ASCII character except "#": browsers send some
that RFC 3986 wants percent-encoded.

The alternative was llhttp, through `httptools`. It is lenient where we must not be: it takes `HTTP/2.0`, a missing or
second Host, and merges trailers into the header fields; and it knows a list of methods, and refuses all others. The
checks beside it would be as many as the expressions here, which are the RFC's own rules and need nothing compiled. They
cost about twice the time of llhttp without those checks: 8 µs instead of 4 for the ten fields of a browser, most of it
not for the grammar but for the objects (`tests/benchmarks/http_head.py`).

No expression can backtrack: every repetition is possessive and is followed by something that it cannot contain.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ._errors import HTTPError
from ._headers import FIELD_TEXT, TOKEN, Headers, encode_head

# Section 3: method SP request-target SP HTTP-version. A target has no blank, no control and no fragment.
_request_line = re.compile(
    rb"(%b) ([\x21\x22\x24-\x7e]++) HTTP/([0-9])\.([0-9])(?=\r|\Z)" % TOKEN,
)
# Section 5: field-name ":" OWS field-value OWS, each line after a CRLF. A line that begins with a blank (obs-fold), a
# blank before the colon, a bare CR or LF and other controls do not match.
_field_lines = re.compile(rb"(?:\r\n%b:%b)*+" % (TOKEN, FIELD_TEXT))
_field_line = re.compile(rb"\r\n([^:]++):[ \t]*+([^\r]*+)")


class Head(NamedTuple):
    method: str
    target: str
    minor_version: int  # of HTTP/1
    headers: Headers

    @property
    def request_line(self) -> str:
        return f"{self.method} {self.target} HTTP/1.{self.minor_version}"

    def encode(self) -> bytes:
        """The head on the wire, with the empty line at its end."""
        return encode_head(self.request_line, self.headers.raw)


def is_fields(data: bytes, at: int = 0) -> bool:
    """Whether `data` is, from `at` on, nothing but field lines, each behind a CRLF."""
    return _field_lines.fullmatch(data, at) is not None


def fields_of(data: bytes, at: int = 0) -> list[tuple[bytes, bytes]]:
    """Names and values of field lines that are valid."""
    return [(name, value.rstrip(b" \t")) for name, value in _field_line.findall(data, at)]


def parse_head(data: bytes, *, max_target_bytes: int, max_fields: int) -> Head:
    """The head that `data` is, without the empty line at its end.

    Raises:
        HTTPError: 400 if it is none, 414 for a target that is too long, 431 for more than `max_fields` field lines, 505
            for another major version.
    """
    line = _request_line.match(data)
    if line is None:
        raise HTTPError(400, "malformed request line")
    method, target, major, minor = line.groups()
    if not is_fields(data, line.end()):
        raise HTTPError(400, "malformed header field, or a line that does not end in CRLF")
    if major != b"1":
        raise HTTPError(505, "this server speaks HTTP/1.1")  # RFC 9110, section 15.6.6
    if len(target) > max_target_bytes:
        raise HTTPError(414)
    raw = fields_of(data, line.end())
    if len(raw) > max_fields:
        raise HTTPError(431, "too many header fields")
    return Head(method.decode("ascii"), target.decode("ascii"), int(minor), Headers.from_raw(raw))
