r"""A request's head: RFC 9112's grammar, transcribed into a regular expression that sees the whole head at once.

It is kept to the letter but for the target, which may have any visible ASCII character except "#": browsers send some
that RFC 3986 wants percent-encoded.

The alternative was llhttp, through `httptools`. It is lenient where we must not be: it takes `HTTP/2.0`, a missing or
second Host, and merges trailers into the header fields; and it knows a list of methods, and refuses all others. The
checks beside it would be as many as the expressions here, which are the RFC's own rules and need nothing compiled.

One match says whether a head is valid, and one search finds the few fields that the server itself has to know. The
others become objects when the application looks at them (`tests/benchmarks/http_head.py` has what that costs).

No expression can backtrack: every repetition is possessive and is followed by something that it cannot contain.
"""

from __future__ import annotations

import re

from ._errors import HTTPError
from ._headers import FIELD_TEXT, TCHARS, Headers

# Section 3: method SP request-target SP HTTP-version. A target has no blank, no control and no fragment.
_REQUEST_LINE = rf"({TCHARS}) ([\x21\x22\x24-\x7e]++) HTTP/([0-9])\.([0-9])"
# Section 5: field-name ":" OWS field-value OWS, each line after a CRLF. A line that begins with a blank (obs-fold), a
# blank before the colon, a bare CR or LF and other controls do not match.
_FIELD_LINES = rf"(?:\r\n{TCHARS}:{FIELD_TEXT})*+"
_head = re.compile(rf"{_REQUEST_LINE}({_FIELD_LINES})")
_field_lines = re.compile(_FIELD_LINES)
_field_line = re.compile(r"\r\n([^:]++):[ \t]*+([^\r]*+)")
# The fields that say something about the rest of the message or of the connection: see `_framing.py`.
_framing_line = re.compile(
    r"\r\n(host|connection|content-length|transfer-encoding|expect):[ \t]*+([^\r]*+)", re.ASCII | re.IGNORECASE
)


class Head:
    __slots__ = ("field_lines", "framing", "method", "minor_version", "target")

    def __init__(
        self, method: str, target: str, minor_version: int, field_lines: str, framing: dict[str, list[str]]
    ) -> None:
        self.method: str = method
        self.target: str = target
        self.minor_version: int = minor_version  # of HTTP/1
        self.field_lines: str = field_lines  # as sent, each behind a CRLF
        #: The values of those fields that the server looks at, by lower-case name.
        self.framing: dict[str, list[str]] = framing

    @property
    def request_line(self) -> str:
        return f"{self.method} {self.target} HTTP/1.{self.minor_version}"

    def headers(self) -> Headers:
        return Headers.from_valid(fields_of(self.field_lines))

    def encode(self) -> bytes:
        """The head on the wire, with the empty line at its end."""
        return f"{self.request_line}{self.field_lines}\r\n\r\n".encode("latin-1")


def is_fields(text: str) -> bool:
    """Whether `text` is nothing but field lines, each behind a CRLF."""
    return _field_lines.fullmatch(text) is not None


def fields_of(lines: str) -> list[tuple[str, str]]:
    """Names and values of field lines that are valid."""
    return [(name, value.rstrip(" \t")) for name, value in _field_line.findall(lines)]


def parse_head(data: bytes, *, max_target_bytes: int, max_fields: int) -> Head:
    """The head that `data` is, without the empty line at its end.

    Raises:
        HTTPError: 400 if it is none, 414 for a target that is too long, 431 for more than `max_fields` field lines, 505
            for another major version.
    """
    text = data.decode("latin-1")
    if (match := _head.fullmatch(text)) is None:
        is_line = re.match(rf"{_REQUEST_LINE}(?=\r|\Z)", text) is not None
        what = "header field, or a line that does not end in CRLF" if is_line else "request line"
        raise HTTPError(400, f"malformed {what}")
    method, target, major, minor, lines = match.groups()
    if major != "1":
        raise HTTPError(505, "this server speaks HTTP/1.1")  # RFC 9110, section 15.6.6
    if len(target) > max_target_bytes:
        raise HTTPError(414)
    if lines.count("\r\n") > max_fields:
        raise HTTPError(431, "too many header fields")
    framing: dict[str, list[str]] = {}
    for name, value in _framing_line.findall(lines):
        framing.setdefault(name.lower(), []).append(value.rstrip(" \t"))
    return Head(method, target, int(minor), lines, framing)
