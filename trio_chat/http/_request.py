"""A request as the application sees it."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import unquote

import trio

from .. import Address
from ._errors import ClientDisconnected, HTTPError
from ._form_reader import FormLimits, read_form
from ._forms import Form
from ._framing import authority_of, origin_form
from ._head import Head
from ._headers import Headers, HeadersLike, elements_of
from ._reader import BodyReader, BodyStream
from ._status import status_line


class Connection(Protocol):
    """What a request asks of the connection that it came on."""

    max_read_bytes: int | None

    @property
    def stream(self) -> trio.abc.Stream: ...
    @property
    def peer(self) -> Address | None: ...
    @property
    def local(self) -> Address | None: ...
    async def wait_eof(self) -> None: ...
    async def detach(self, replay: bytes = b"", /) -> trio.abc.Stream: ...
    def push(self, data: bytes, /) -> None: ...


class Request:
    """One request. Its body is received when it is asked for.

    Attributes:
        method: as sent, usually upper case.
        target: as sent.
        path: of the target, decoded (percent-encoding, then UTF-8; what is no UTF-8 becomes U+FFFD); "*" for "*". It
            may have any character, a NUL or a slash that was "%2F" included: check it before you open a file.
        query: of the target, behind the question mark, as sent.
        http_version: "1.1" or "1.0".
        request_line: all three as sent.
        headers: see `Headers`.
        host: the host, and port if there is one, that the client asked for: of a target in absolute form, or the field
            Host; empty if an HTTP/1.0 client did not say.
        client: the address of the client, as `socket.getpeername()` gives it; None if the stream has no socket.
        server: the address at which it has reached us, likewise; also None if nobody asks before the connection is
            closed.
        scheme: "http", or "https" over TLS.
        taken_over: whether the application has taken the connection over, by `upgrade` or `take_over`.
        upgraded: whether it was by `upgrade`.
        answered: whether the response has begun.
        has_form: whether the form has been read: its files are closed when the request has been answered.
    """

    taken_over: bool = False
    upgraded: bool = False
    answered: bool = False
    has_form: bool = False
    _form: Form | None = None
    _headers: Headers | None = None  # in the place of the client's
    _content: bytes | None = None  # the whole body, once it has been read

    def __init__(self, head: Head, body: BodyReader, connection: Connection) -> None:
        request_line, method, target, fields = head
        origin = target if target[0] == "/" else origin_form(method, target)
        path, _, query = origin.partition("?")
        self.request_line: str = request_line
        self.method: str = method
        self.target: str = target
        self.path: str = unquote(path) if "%" in path else path
        self.query: str = query
        self.http_version: str = fields.http_version
        self._fields = fields
        self._body = body
        self._connection = connection

    # What is not asked for is not worked out.

    @property
    def headers(self) -> Headers:
        return self._fields.headers if self._headers is None else self._headers

    @headers.setter
    def headers(self, headers: Headers) -> None:
        self._headers = headers

    @property
    def host(self) -> str:
        return authority_of(self.target, self._fields.host)

    @property
    def client(self) -> Address | None:
        return self._connection.peer

    @property
    def server(self) -> Address | None:
        return self._connection.local

    @property
    def scheme(self) -> str:
        stream: object = self._connection.stream
        while stream is not None and not isinstance(stream, trio.SSLStream):
            stream = getattr(stream, "transport_stream", None)  # as of one that has been taken over
        return "http" if stream is None else "https"

    # ------------------------------------------------------------------ the body

    async def read(self, max_bytes: int | None = None) -> bytes:
        """The whole body; again the same if it has been read before.

        Args:
            max_bytes: how much is taken; by default the handler's `max_read_bytes`, 1 MiB.

        Raises:
            HTTPError: 413 if the body is longer, before it is received if its length is known; 408 if the client is too
                slow; 400 if it is malformed.
            ClientDisconnected: if the client ends its side, or is gone, before the body is complete.
            RuntimeError: if some of it has been taken already, by `stream`, `form`, or a `read` that was cancelled.
            trio.BusyResourceError: if another task is reading.

        An application can let these pass: they are answered. If cancelled, what has been received so far is lost.
        """
        if max_bytes is None:
            max_bytes = self._connection.max_read_bytes
        limit = math.inf if max_bytes is None else max_bytes
        if self._content is None:
            if (self._body.body.length or 0) > limit:
                raise HTTPError(413)
            if self._body.taken and self._body.failure is None:
                raise RuntimeError(
                    "some of the body has been taken already, by stream() or by a read() that was cancelled"
                )
            content = bytearray()
            while piece := await self._body.next_piece():
                content += piece
                if len(content) > limit:
                    self._body.fail(HTTPError(413))
            self._content = bytes(content)
        return self._content

    def stream(self) -> BodyStream:
        """The body, piece by piece as it comes, without empty pieces: nothing is received while none is asked for.

        A second time it goes on where the first has left off. Raises what `read` does, but sets no limit; a limit for
        all bodies is the handler's `max_body_bytes`. If cancelled, nothing is lost.
        """
        return BodyStream(self._body, self._content)

    def _check_body_is_untouched(self) -> None:
        if self._body.taken and self._body.failure is None:
            raise RuntimeError(
                "some of the body has been taken already, by stream(), form(), or a read() that was ended"
            )

    @property
    def trailers(self) -> Headers:
        """The fields that came behind a chunked body (RFC 9110, section 6.5); empty until that has been read."""
        return self._body.body.trailers

    async def json(self) -> Any:
        """What the body is in JSON. Raises HTTPError: 400 if it is none, and what `read` raises."""
        try:
            text = (await self.read()).decode("utf-8-sig")  # RFC 8259, section 8.1
            return json.loads(text, parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError):
            raise HTTPError(400, "the body is not JSON") from None

    async def form(self, limits: FormLimits | None = None) -> Form:
        """The fields and files of a submitted form; again the same if it has been read before.

        Taken as application/x-www-form-urlencoded or multipart/form-data. Files are kept on disk beyond a size; they
        are closed when the request has been answered.

        Raises:
            HTTPError: 400 if it is malformed, 413 if it exceeds `limits`, 415 if it is of another type, and what `read`
                raises.
        """
        if self._form is None:
            if self._content is None:
                self._check_body_is_untouched()
            content_type = self.headers.get("content-type", "")
            self._form = await read_form(content_type, self.stream(), limits or FormLimits())
            self.has_form = True
        return self._form

    async def aclose(self) -> None:
        """Close the files of the form. The handler does it when the request has been answered."""
        if self._form is not None:
            await self._form.aclose()

    # ------------------------------------------------------------------ the connection

    async def disconnected(self) -> None:
        """Wait until the client has ended its side of the connection, or is gone.

        For an application that would rather not go on then: await it in a nursery, and cancel what is in vain.
        Mind that a client may, though few do, end its side after the request and still wait for the answer. The end is
        not seen behind more than 64 KiB of further requests, nor behind a body that nobody reads. When the connection
        has been taken over, its stream tells of the end, and this waits for ever.
        """
        await self._connection.wait_eof()
        if self.taken_over:
            await trio.sleep_forever()

    async def upgrade(self, protocol: str, headers: HeadersLike = ()) -> trio.abc.Stream:
        """Switch to another protocol (RFC 9110, section 7.8), answering 101 with these header fields.

        The stream that it returns first gives what the client has sent behind the request. When the application has
        returned it is closed; what the application returns does not matter.

        Raises:
            HTTPError: 426 if the client has not asked for this protocol.
            RuntimeError: if the body of the request has not been read, or the connection has been taken over already.
            ClientDisconnected: if the client is gone.
        """
        options, protocols = (elements_of(self.headers.get_all(name)) for name in ("connection", "upgrade"))
        if "upgrade" not in options or protocol.lower() not in protocols or self.http_version == "1.0":
            upgrade = {"Upgrade": protocol, "Connection": "Upgrade"}
            raise HTTPError(426, f"this is for {protocol}", upgrade)  # RFC 9110, section 15.5.22
        given = Headers(headers).without_framing()
        if "upgrade" in given or "connection" in given:
            raise ValueError("Upgrade and Connection follow from the protocol; they cannot be given")
        fields = Headers([*given.pairs(), ("Upgrade", protocol), ("Connection", "Upgrade")])
        head = f"{status_line(HTTPStatus.SWITCHING_PROTOCOLS)}{fields.encode()}\r\n"
        stream = await self._detach(head.encode("latin-1"), b"")
        self.upgraded = True
        return stream

    async def take_over(self, *, with_head: bool = False) -> trio.abc.Stream:
        """Take the connection over without an answer: the application speaks for itself from now on.

        As `upgrade`, for protocols with an answer of their own. `with_head`: the stream first gives the head of this
        request again, for libraries that want to read it themselves; RuntimeError if it has a body, which is gone.
        """
        self._check_body_is_read()
        if with_head and self._body.body.length != 0:
            raise RuntimeError("the head announces a body, and cannot be given again without it")
        head = f"{self.request_line}{self._fields.text}\r\n\r\n" if with_head else ""
        return await self._detach(b"", head.encode("latin-1"))

    def _check_body_is_read(self) -> None:
        if not self._body.complete:
            raise RuntimeError("the body of the request stands before the other protocol: read it first")

    async def _detach(self, answer: bytes, replay: bytes) -> trio.abc.Stream:
        self._check_body_is_read()
        if self.taken_over or self.answered:
            raise RuntimeError("the request has been answered, or the connection taken over, already")
        self.taken_over = True
        try:
            self._connection.push(answer)
            return await self._connection.detach(replay)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.taken_over = False
            raise ClientDisconnected("the client is gone") from None

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target}>"


def _finite(literal: str) -> float:
    """A number as JSON has them, which has no NaN, and no infinity."""
    if not math.isfinite(number := float(literal)):
        raise ValueError(f"not in JSON: {literal}")
    return number
