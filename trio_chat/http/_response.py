"""Responses: what an application answers with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Awaitable, Callable
from functools import lru_cache, partial
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from ._errors import HTTPError
from ._headers import Headers, HeadersLike
from ._pieces import for_each

if TYPE_CHECKING:
    from ._request import Request

#: Sends a piece of a body, and returns when there is room for the next.
Send: TypeAlias = Callable[[bytes], Awaitable[None]]

_MIN_STATUS, _MAX_STATUS = 200, 599
# RFC 3986, section 2: what has a meaning in a URI, and what is percent-encoded already.
_URI_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"


class Response:
    """An answer. Immutable: to change one, make another.

    Args:
        status: 200 to 599.
        body: `bytes`; a `str`, which is sent as UTF-8; or an async iterable of `bytes`, which is sent as it comes, each
            piece when the client has taken those before: chunked to an HTTP/1.1 client, up to the end of the connection
            to an HTTP/1.0 one. It is closed (`aclose`) in the end, whatever happened, and such a response can be sent
            once. The head is sent with its first piece, which may be empty: an exception before that is answered as
            one of the application's, a later one cuts the response off.
        headers: a mapping, or pairs if a name comes several times. Content-Length can be given for an async iterable,
            which must keep to it; otherwise it is ours, and refused, as Transfer-Encoding is. Date is added unless it
            is given; "Connection: close" closes the connection.
        content_type: the field Content-Type, if it is not among `headers`; by default text/plain for a `str`, and none
            for anything else. With a `str`, a text type that names no charset gets "charset=utf-8".

    Raises TypeError or ValueError for anything else, and for header fields with CR, LF or NUL.
    """

    __slots__ = ("_body", "_headers", "_length", "_status")

    def __init__(
        self,
        status: int = 200,
        body: bytes | str | AsyncIterable[bytes] = b"",
        headers: HeadersLike = (),
        content_type: str | None = None,
    ) -> None:
        self._status = status = index(status)  # TypeError for what is no integer
        if not _MIN_STATUS <= status <= _MAX_STATUS:
            raise ValueError(f"the status of a response is {_MIN_STATUS} to {_MAX_STATUS}; got {status!r}")
        if isinstance(body, str):
            body = body.encode()
            fields = _with_text_type(content_type or "text/plain")
        else:
            fields = _with_type(content_type or "")
        if headers != ():
            fields = Headers(headers).with_defaults(fields)
            self._length = _length_of(body, fields)
        else:
            self._length = len(body) if isinstance(body, bytes) else _length_of(body, fields)
        self._body = body
        self._headers = fields

    @property
    def status(self) -> int:
        return self._status

    @property
    def body(self) -> bytes | AsyncIterable[bytes]:
        return self._body

    @property
    def headers(self) -> Headers:
        return self._headers

    @property
    def length(self) -> int | None:
        """How many bytes the body has; None if that is not known."""
        return self._length

    def _content(self) -> bytes | None:
        """The body, if it is bytes, and the response as a whole is what its constructor was given.

        Then `resolve`, `write_to` and `aclose` would do nothing more, and who sends it need not ask the properties.
        """
        cls: type = type(self)
        if not (cls is Response or _is_plain(cls)):
            return None
        body = self._body
        return body if isinstance(body, bytes) else None

    async def resolve(self, request: Request) -> Response:
        """The response that is sent to this request: itself, unless that depends on the request.

        Raises HTTPError for what is answered with an error instead.
        """
        return self

    async def write_to(self, send: Send) -> None:
        """Send the body, piece by piece."""
        if isinstance(self._body, bytes):
            await send(self._body)
            return
        await for_each(self._body, send)

    async def aclose(self) -> None:
        """Close the body, if there is something to be closed."""
        if (close := getattr(self._body, "aclose", None)) is not None:
            await close()

    def __repr__(self) -> str:
        size = "streamed" if self._length is None else f"{self._length} bytes"
        return f"<{type(self).__name__} {self.status}, {size}>"


class JSONResponse(Response):
    """An answer in JSON (RFC 8259). Raises TypeError or ValueError for what JSON cannot express, NaN included."""

    __slots__ = ()

    def __init__(self, data: Any, status: int = 200, headers: HeadersLike = ()) -> None:
        dump = partial(json.dumps, data, allow_nan=False, separators=(",", ":"))
        try:
            body = dump(ensure_ascii=False).encode()
        except UnicodeEncodeError:  # a lone surrogate, which JSON has only as an escape
            body = dump().encode()
        super().__init__(status, body, headers, content_type="application/json")


class RedirectResponse(Response):
    """Sends the client to another URI.

    Args:
        location: absolute or relative (RFC 9110, section 10.2.2); what cannot stand in a URI is percent-encoded.
        status: by default 303, after which the client makes a GET request; 307 and 308 let it repeat the same request.
    """

    __slots__ = ()

    def __init__(self, location: str, status: int = 303, headers: HeadersLike = ()) -> None:
        if status not in (301, 302, 303, 307, 308):
            raise ValueError(f"the status of a redirect is 301, 302, 303, 307 or 308; got {status!r}")
        fields = Headers(headers)
        if "location" in fields:
            raise ValueError("the location of a redirect is given once, as `location`")
        super().__init__(status, b"", fields.with_defaults({"Location": quote(location, safe=_URI_CHARACTERS)}))


def response_to(error: HTTPError) -> Response:
    """The answer that an error is."""
    body = f"{error.detail}\n".encode("utf-8", "replace")  # the detail may quote what no encoding knows
    return Response(error.status, body, error.headers, content_type="text/plain; charset=utf-8")


@lru_cache(maxsize=256)
def _is_plain(cls: type) -> bool:
    """Whether a subclass answers as `Response` does, but for what it gives to its constructor."""
    names = ("status", "headers", "body", "length", "resolve", "write_to", "aclose")
    return all(getattr(cls, name) is getattr(Response, name) for name in names)


@lru_cache
def _with_type(content_type: str) -> Headers:
    """The header fields of most responses; they are shared, being immutable."""
    return Headers({"Content-Type": content_type} if content_type else ())


@lru_cache
def _with_text_type(content_type: str) -> Headers:
    """The same for text."""
    if content_type.startswith("text/") and "charset" not in content_type.lower():
        content_type = f"{content_type}; charset=utf-8"  # a browser would guess, and wrong
    return _with_type(content_type)


def _length_of(body: object, fields: Headers) -> int | None:
    if isinstance(body, bytes):
        fields.without_framing()
        return len(body)
    if not isinstance(body, AsyncIterable):
        raise TypeError(f"the body of a response is bytes, str or an async iterable of bytes; got {body!r}")
    given = fields.get_all("content-length")
    if not given or "transfer-encoding" in fields:
        fields.without_framing()
        return None
    if len(given) > 1 or not (given[0].isascii() and given[0].isdigit()):
        raise ValueError(f"not a Content-Length: {', '.join(given)!r}")
    return int(given[0])
