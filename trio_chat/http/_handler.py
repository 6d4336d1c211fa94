"""HTTP as a conversation: the head up to its empty line, the body by its length, the answer, and again."""

from __future__ import annotations

import inspect
import logging
import string
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeAlias

import trio

from .. import AsyncChat, OversizePolicy, Reply, Terminator, TimeoutKind
from ._errors import HTTPError
from ._framing import body_length, check_routing, expects_continue, keeps_alive
from ._head import Head, parse_head
from ._request import Request
from ._response import Response

logger = logging.getLogger("trio_chat.http")

#: An application: takes a request, gives the response.
App: TypeAlias = Callable[[Request], Awaitable[Response]]

_END_OF_HEAD = b"\r\n\r\n"
_FIRST_BYTES = frozenset(b"\r\n!#$%&'*+-.^_`|~" + string.digits.encode() + string.ascii_letters.encode())


class HTTPRequestHandler(AsyncChat):
    """Answers the HTTP/1.1 and HTTP/1.0 requests of one connection with an application, or by `handle_request`.

    Requests are answered in order, one at a time; the next is not read before. What is malformed, too large or not
    implemented is answered here and the connection closed, because nobody can know where the next request begins.
    """

    terminator: ClassVar[Terminator] = _END_OF_HEAD
    #: The longest head, beyond which the answer is 431, or 414 if it has not got past its first line.
    max_frame_bytes: int | None = 32768
    on_oversize: OversizePolicy = "answer"
    #: The longest target, beyond which the answer is 414.
    max_target_bytes: int = 8192
    #: The longest body, beyond which the answer is 413.
    max_body_bytes: int = 1024 * 1024
    #: How many empty lines a client may send before a request (RFC 9112, section 2.2).
    max_empty_lines: int = 8

    idle_timeout: float = 60.0
    message_timeout: float = 30.0
    write_timeout: float = 30.0

    def __init__(self, stream: trio.abc.Stream, app: App | None = None) -> None:
        super().__init__(stream)
        self._app = app
        self._head: Head | None = None  # of the request whose body is being received
        self._empty_lines = 0

    def handle_request(self, request: Request) -> Awaitable[Response] | Response:
        """Answer a request. Override it, with `def` or `async def`, if there is no application.

        An exception is logged and answered with 500, `HTTPError` with what it says.
        """
        if self._app is None:
            raise NotImplementedError(f"{type(self).__name__} needs an app, or must override handle_request()")
        return self._app(request)

    # ------------------------------------------------------------------ input

    def collect_incoming_data(self, data: bytes) -> None:
        if self._head is None and (error := self._hopeless(data)):
            self._refuse(HTTPError(400, error), self._get_data() + data)
        else:
            self.incoming.append(data)

    def _hopeless(self, data: bytes) -> str:
        """Why the head of which `data` has come will never be one, if its end would not come by itself."""
        if self.incoming:
            data = b"".join(self.incoming[-2:])[-2:] + data  # a piece may be a single byte
        elif data[0] not in _FIRST_BYTES:
            return "this is no HTTP request"  # but, say, the first message of TLS
        # The empty line of someone who types into nc: a head in which it stands would be waited for in vain.
        return "lines end with CR LF (as with nc -C)" if b"\n\n" in data or b"\n\r\n" in data else ""

    def found_terminator(self) -> Reply:
        data = self._get_data()
        try:
            if self._head is not None:
                return self._answer(self._head, data)
            return self._found_head(data)
        except HTTPError as refusal:
            self._refuse(refusal, data)
            return None

    def _found_head(self, data: bytes) -> Reply:
        head_data = self._without_empty_lines(data)
        if not head_data:
            return None
        head = parse_head(head_data, max_target_bytes=self.max_target_bytes)
        check_routing(head)
        length = body_length(head, max_body_bytes=self.max_body_bytes)
        wants_continue = expects_continue(head)
        if not length:
            return self._answer(head, b"")
        if wants_continue:
            self.push(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._head = head
        self.set_terminator(length)
        return None

    def _without_empty_lines(self, data: bytes) -> bytes:
        """The head without an empty line before it; nothing if two empty lines were taken for the end of one."""
        head = data.removeprefix(b"\r\n")
        self._empty_lines += len(head) < len(data) if data else 2
        if self._empty_lines > self.max_empty_lines:
            raise HTTPError(400, "too many empty lines")
        if head:
            self._empty_lines = 0
        return head

    # ------------------------------------------------------------------ output

    async def _answer(self, head: Head, body: bytes) -> None:
        self._head = None
        self.set_terminator(_END_OF_HEAD)
        request = Request(head, body, client=self.peer, scheme=self._scheme())
        response = await self._respond(request)
        if self.closing:
            return  # the application wanted no answer
        closes = not keeps_alive(head) or self.closing_when_idle or response.closes
        connection = "close" if closes else "keep-alive" if head.minor_version == 0 else None
        self.push(response.encode(with_body=request.method != "HEAD", connection=connection))
        if closes:
            self.close_when_done()

    async def _respond(self, request: Request) -> Response:
        try:
            response = self.handle_request(request)
            if inspect.isawaitable(response):
                response = await response
            if not isinstance(response, Response):
                raise TypeError(f"an application gives a Response; got {response!r}")
        except HTTPError as refusal:
            return _response_to(refusal)
        except Exception:
            logger.exception("no answer to %s %s from %s", request.method, request.target, request.client)
            return _response_to(HTTPError(500))
        return response

    def _refuse(self, refusal: HTTPError, received: bytes) -> None:
        """Answer what cannot be handled, of which `received` has come, and close."""
        is_head = self._head.method == "HEAD" if self._head else received.removeprefix(b"\r\n").startswith(b"HEAD ")
        self.push(_response_to(refusal).encode(with_body=not is_head, connection="close"))
        self.close_when_done()

    def _scheme(self) -> str:
        return "https" if isinstance(self.stream, trio.SSLStream) else "http"

    # ------------------------------------------------------------------ the rest of the contract

    def handle_oversize(self) -> None:
        received = self._get_data()
        line_is_whole = b"\r\n" in received.removeprefix(b"\r\n")
        self._refuse(HTTPError(431 if line_is_whole else 414), received)

    def handle_timeout(self, kind: TimeoutKind) -> None:
        if kind != "write" and self._mid_request():
            self._refuse(HTTPError(408, "the request took too long"), self._get_data())
        else:
            self.close_when_done()

    def handle_eof(self) -> None:
        if self._mid_request():
            self._refuse(HTTPError(400, "the request is not complete"), self._get_data())
        else:
            self.close_when_done()

    def between_messages(self) -> bool:
        return self._head is None

    def _mid_request(self) -> bool:
        return self._head is not None or any(data.strip(b"\r\n") for data in self.incoming)


def _response_to(refusal: HTTPError) -> Response:
    body = f"{refusal.detail}\n".encode("utf-8", "replace")  # the detail may quote what no encoding knows
    return Response(refusal.status, body, refusal.headers, content_type="text/plain; charset=utf-8")
