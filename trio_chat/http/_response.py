"""A response, and how it is put into bytes."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from operator import index

from ._headers import Headers, HeadersLike, connection_options
from ._status import phrase

_OURS = ("content-length", "transfer-encoding")
_WITHOUT_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED)
_MIN_STATUS, _MAX_STATUS = 200, 599


class Response:
    """An answer with its whole body. Immutable: to change one, make another.

    Args:
        status: 200 to 599.
        body: `bytes`, or a `str`, which is sent as UTF-8.
        headers: a mapping, or pairs if a name comes several times. Content-Length is ours, and refused; Date is added
            unless it is given; "Connection: close" closes the connection.
        content_type: the field Content-Type; by default text/plain for a `str`, and none for `bytes`.

    Raises TypeError or ValueError for anything else, and for header fields with CR, LF or NUL.
    """

    __slots__ = ("_body", "_headers", "_status")

    def __init__(
        self,
        status: int = 200,
        body: bytes | str = b"",
        headers: HeadersLike = (),
        content_type: str | None = None,
    ) -> None:
        status = index(status)  # TypeError for what is no integer
        if not _MIN_STATUS <= status <= _MAX_STATUS:
            raise ValueError(f"the status of a response is {_MIN_STATUS} to {_MAX_STATUS}; got {status!r}")
        if isinstance(body, str):
            body = body.encode()
            content_type = content_type or "text/plain; charset=utf-8"
        elif not isinstance(body, bytes):
            raise TypeError(f"the body of a response is bytes or str; got {body!r}")
        fields = Headers(headers)
        if any(name in fields for name in _OURS):
            raise ValueError("Content-Length and Transfer-Encoding follow from the body; they cannot be given")
        if content_type and "content-type" not in fields:
            fields = Headers.from_raw([*fields.raw, *Headers({"Content-Type": content_type}).raw])
        self._status = status
        self._body = body
        self._headers = fields

    @property
    def status(self) -> int:
        return self._status

    @property
    def body(self) -> bytes:
        return self._body

    @property
    def headers(self) -> Headers:
        return self._headers

    @property
    def closes(self) -> bool:
        """Whether it says "Connection: close"."""
        return "close" in connection_options(self.headers)

    def encode(self, *, with_body: bool = True, connection: str | None = None) -> bytes:
        """The response on the wire; `connection` is what to say in the field of that name besides what is said."""
        fields = list(self.headers.raw)
        if "date" not in self.headers:
            fields.append((b"Date", http_date(int(time.time()))))  # RFC 9110, section 6.6.1
        if connection and connection not in connection_options(self.headers):
            fields.append((b"Connection", connection.encode("ascii")))
        # RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5: these have no body, whatever was given. Section 8.6: two of them
        # have no length either.
        body = b"" if self.status in _WITHOUT_BODY else self.body
        if self.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            fields.append((b"Content-Length", b"%d" % len(body)))
        status_line = f"HTTP/1.1 {self.status} {phrase(self.status)}\r\n".encode("ascii")
        head = b"".join([status_line, *(b"%b: %b\r\n" % field for field in fields)])
        return b"%b\r\n%b" % (head, body if with_body else b"")

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"


@lru_cache(maxsize=1)
def http_date(timestamp: int) -> bytes:
    """A time in the form of RFC 9110, section 5.6.7."""
    return formatdate(timestamp, usegmt=True).encode("ascii")
