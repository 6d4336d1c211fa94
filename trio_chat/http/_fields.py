r"""The field lines of a request's head: their grammar, and what the server itself has to know of them.

A client sends most of its requests with the same field lines. What was found out about some is kept, until others take
their place: the next request with these very bytes need not be looked through again, nor does the application get its
header objects made anew. That is 4 MB at the most, of whatever clients send, Cookie and Authorization included. The
benchmarks have heads of which no two are alike as well (`tests/benchmarks/`: `http_cases.py`, `http_head.py`), so that
nobody takes what is kept for the whole truth.

One match says whether lines are valid, and one search finds the few fields that the server looks at. The others become
objects when the application looks at them (`tests/benchmarks/http_head.py` has what that costs).

No expression can backtrack: every repetition is possessive and is followed by something that it cannot contain.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ._errors import HTTPError
from ._framing import body_length, expects_continue, keeps_alive, the_host
from ._headers import FIELD_TEXT, TCHARS, Headers

_MAX_KEPT = 128
_MAX_KEPT_BYTES = 2048  # of each

# RFC 9112, section 5: field-name ":" OWS field-value OWS, each line after a CRLF. A line that begins with a blank
# (obs-fold), a blank before the colon, a bare CR or LF and other controls do not match.
_field_lines = re.compile(rf"(?:\r\n{TCHARS}:{FIELD_TEXT})*+")
_field_line = re.compile(r"\r\n([^:]++):[ \t]*+([^\r]*+)")
# The fields that say something about the rest of the message or of the connection: see `_framing.py`.
_framing_line = re.compile(
    r"\r\n(host|connection|content-length|transfer-encoding|expect):[ \t]*+([^\r]*+)", re.ASCII | re.IGNORECASE
)


class FieldLines:
    """Valid field lines, and what they say about the rest of the message and of the connection. Immutable.

    Attributes:
        http_version: "1.1" or "1.0".
        text: the lines as sent, each behind a CRLF.
        count: how many they are.
        host: what Host says; empty if there is none, in HTTP/1.0.
        body_length: how many bytes of body follow; None: the body is chunked.
        keeps_alive: whether the client wants to go on after the response.
        expects_continue: whether it waits for "100 Continue".
    """

    __slots__ = ("_headers", "body_length", "count", "expects_continue", "host", "http_version", "keeps_alive", "text")

    def __init__(self, text: str, http_version: str) -> None:
        """Raises HTTPError: 400 if they are malformed or say what cannot be; and what the functions below raise."""
        if not is_fields(text):
            raise HTTPError(400, "malformed header field, or a line that does not end in CRLF")
        framing: dict[str, list[str]] = {}
        for name, value in _framing_line.findall(text):
            framing.setdefault(name.lower(), []).append(value.rstrip(" \t"))
        self.http_version: str = http_version
        self.text: str = text
        self.count: int = text.count("\r\n")
        self.host: str = the_host(framing, http_version)
        self.body_length: int | None = body_length(framing, http_version)
        self.keeps_alive: bool = keeps_alive(framing, http_version)
        self.expects_continue: bool = expects_continue(framing, http_version)
        self._headers: Headers | None = None

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = Headers.from_valid(fields_of(self.text))
        return self._headers


def field_lines(lines: bytes, minor_version: str) -> FieldLines:
    """The field lines that these bytes are, with a CRLF between two, in HTTP/1. Raises what `FieldLines` does."""
    return (_kept if len(lines) <= _MAX_KEPT_BYTES else _new)(lines, minor_version)


def _new(lines: bytes, minor_version: str) -> FieldLines:
    http_version = "1.0" if minor_version == "0" else "1.1"  # what is higher is taken for 1.1: RFC 9110, section 2.5
    return FieldLines(f"\r\n{lines.decode('latin-1')}" if lines else "", http_version)


_kept = lru_cache(_MAX_KEPT)(_new)


def is_fields(text: str) -> bool:
    """Whether `text` is nothing but field lines, each behind a CRLF."""
    return _field_lines.fullmatch(text) is not None


def fields_of(lines: str) -> list[tuple[str, str]]:
    """Names and values of field lines that are valid."""
    return [(name, value.rstrip(" \t")) for name, value in _field_line.findall(lines)]
