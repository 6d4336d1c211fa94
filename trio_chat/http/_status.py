"""Status codes in words."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus

# RFC 9110, section 15.5, has new names for these; Python has them since 3.13.
_NEW_NAMES = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}


@lru_cache
def status_line(status: int) -> str:
    """The first line of a response, with its CRLF. RFC 9112, section 4."""
    return f"HTTP/1.1 {status:d} {phrase(status)}\r\n"


def phrase(status: int) -> str:
    """The reason phrase of a status; empty if it has none."""
    try:
        return _NEW_NAMES.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return ""
