"""The head of a response. RFC 9112, sections 4 and 6."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from math import floor

from ._dates import http_date
from ._headers import Headers, Prepared, elements_of
from ._status import status_line

#: Status codes of responses that cannot have a body: RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
WITHOUT_CONTENT = {HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED}

_OURS = ("content-length", "connection")  # what was given is put together with what is to be said


def response_head(
    status: int, headers: Headers, length: int | None, http_version: str, closes: bool
) -> tuple[bytes, bool, bool]:
    """The head of a response to a request of this version, with the empty line at its end.

    Args:
        length: of the body; None if that is not known.
        closes: whether the connection is closed after it in any case.

    Returns it, whether the connection has to be closed, and whether the body is to be sent in chunks.
    """
    fields, options, is_dated = headers._prepared or _prepare(headers)
    closes = closes or "close" in options
    chunked = False
    if status in WITHOUT_CONTENT:  # RFC 9110, section 15.3.6; 204 and 304 have no length: section 8.6
        framing = b"Content-Length: 0\r\n" if status == HTTPStatus.RESET_CONTENT else b""
    elif length is not None:
        framing = b"Content-Length: %d\r\n" % length
    elif http_version == "1.0":
        closes, framing = True, b""
    else:
        chunked, framing = True, b"Transfer-Encoding: chunked\r\n"
    option = "close" if closes else "keep-alive" if http_version == "1.0" else ""
    if options:
        option = _joined(option, options)
    first, general = _around_fields(status, option, None if is_dated else floor(time.time()))
    return b"".join((first, fields, general, framing, b"\r\n")), closes, chunked


@lru_cache(maxsize=64)
def _around_fields(status: int, option: str, second: int | None) -> tuple[bytes, bytes]:
    """The status line, and the fields Date and Connection: what a head has in common with others of the same second."""
    date = "" if second is None else f"Date: {http_date(second)}\r\n"  # RFC 9110, section 6.6.1
    connection = f"Connection: {option}\r\n" if option else ""
    return status_line(status).encode("latin-1"), f"{date}{connection}".encode("latin-1")


def _prepare(headers: Headers) -> Prepared:
    given = headers.lines()
    options = tuple(elements_of(given.get("connection", ())))
    headers._prepared = prepared = (headers.without(_OURS).encode().encode("latin-1"), options, "date" in given)
    return prepared


def _joined(ours: str, given: Iterable[str]) -> str:
    """The options of the field Connection: ours, and those that were given and are not about the connection's end."""
    others = set(given) - {"close", "keep-alive", ""}
    return ", ".join(sorted(others | {ours} if ours else others))
