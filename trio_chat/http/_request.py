"""A request as the application sees it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, unquote

from .. import Address
from ._errors import HTTPError
from ._framing import authority_of, origin_form
from ._head import Head
from ._headers import Headers
from ._multi import Form

_FORM_TYPE = "application/x-www-form-urlencoded"
_MAX_FORM_FIELDS = 1000


class Request:
    """One request. Its body has been received when the application gets it.

    Attributes:
        method: as sent, usually upper case.
        target: as sent.
        path: of the target, decoded (percent-encoding, then UTF-8; what is no UTF-8 becomes U+FFFD); "*" for "*". It
            may have any character, a NUL or a slash that was "%2F" included: check it before you open a file.
        query: of the target, behind the question mark, as sent.
        http_version: "1.1" or "1.0".
        headers: see `Headers`.
        host: the host, and port if there is one, that the client asked for: of a target in absolute form, or the field
            Host; empty if an HTTP/1.0 client did not say.
        client: the address of the client, as `socket.getpeername()` gives it; None if the stream has no socket.
        scheme: "http", or "https" over TLS.
    """

    __slots__ = ("_body", "client", "headers", "host", "http_version", "method", "path", "query", "scheme", "target")

    def __init__(self, head: Head, body: bytes, *, client: Address | None = None, scheme: str = "http") -> None:
        self.method: str = head.method
        self.target: str = head.target
        self.http_version: str = f"1.{min(head.minor_version, 1)}"
        self.headers: Headers = head.headers
        self.host: str = authority_of(head)
        self.client: Address | None = client
        self.scheme: str = scheme
        self._body = body
        path, _, query = origin_form(head.target).partition("?")
        self.path: str = unquote(path)
        self.query: str = query

    async def read(self) -> bytes:
        """The whole body."""
        return self._body

    async def stream(self) -> AsyncIterator[bytes]:
        """The body, piece by piece, without empty pieces."""
        if self._body:
            yield self._body

    async def json(self) -> Any:
        """What the body is in JSON. Raises HTTPError with 400 if it is none."""
        try:
            return json.loads(await self.read())
        except (ValueError, RecursionError):
            raise HTTPError(400, "the body is not JSON") from None

    async def form(self) -> Form:
        """The fields of a form sent as application/x-www-form-urlencoded, in UTF-8.

        Raises HTTPError: 415 if the body is of another type, 400 if it has more than 1,000 fields.
        """
        content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != _FORM_TYPE:
            raise HTTPError(415, f"this form is taken as {_FORM_TYPE}")
        body = (await self.read()).decode("utf-8", "replace")
        try:
            return Form(parse_qsl(body, keep_blank_values=True, max_num_fields=_MAX_FORM_FIELDS))
        except ValueError:
            raise HTTPError(400, "the form has too many fields") from None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target}>"
