"""HTTP as a conversation: the head up to its empty line, the body as long as it says, the answer, and again.

The application runs in the callback that has found the end of a head. The body is received when the application asks
for it, by going on with the conversation within that callback (`_reader.py`); what is left of it is dropped there, too.
So between two callbacks there is never a request in progress, and requests are answered in order.
"""

from __future__ import annotations

import logging
import math
import string
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeAlias

import trio

from .. import AsyncChat, OversizePolicy, Reply, Terminator, TimeoutKind
from ._access_log import AccessEntry, access_logger, log_with
from ._body import Body, ChunkedBody, CountedBody
from ._errors import HTTPError
from ._exchange import Exchange
from ._fields import FieldLines
from ._head import parse_head
from ._reader import NOTHING_TO_READ, BodyReader
from ._request import Request
from ._response import Response, response_to
from ._sending import push_whole

#: An application: takes a request, gives the response; None only if it has taken the connection over, or closed it.
App: TypeAlias = Callable[[Request], Awaitable[Response | None]]

_END_OF_HEAD = b"\r\n\r\n"
_CR, _LF = b"\r\n"
_FIRST_BYTES = frozenset(b"\r\n!#$%&'*+-.^_`|~" + string.digits.encode() + string.ascii_letters.encode())
_MAX_LINE_BYTES = 16384
_MAX_LOGGED_BYTES = 200  # of what is no request


class HTTPRequestHandler(AsyncChat):
    """Answers the HTTP/1.1 and HTTP/1.0 requests of one connection with an application, or by `handle_request`.

    Requests are answered in order, one at a time; the next is not handled before. What is malformed, too large or not
    implemented is answered here and the connection closed, because nobody can know where the next request begins.

    Besides the limits of every `AsyncChat`, of which `max_frame_bytes` is that of a head (beyond which the answer is
    431, or 414 if it has not got past its first line) and `message_timeout` how long one may take, it has its own.

    Attributes:
        max_target_bytes: the longest target, beyond which the answer is 414.
        max_fields: how many field lines a head may have, beyond which the answer is 431.
        max_empty_lines: how many empty lines a client may send before a request (RFC 9112, section 2.2).
        max_body_bytes: the longest body, beyond which the answer is 413; None for any length: an application that takes
            a body by `Request.stream` need not hold it.
        max_read_bytes: the longest body that `Request.read` takes, unless it is told otherwise; beyond that it raises
            413. None: any.
        max_unread_bytes: how much of a body that the application has left unread is received and dropped before the
            answer, so that the connection can go on; behind a longer rest it is closed.
        unread_timeout: how long that rest is waited for. Then the answer is sent, and the connection closed.
        max_chunk_overhead_bytes: how much of a chunked body may be extensions (RFC 9112, section 7.1.1) and leading
            zeros of sizes; and, besides, how much trailers.
        max_requests: how many a connection may bring, after which it is closed; None for any number.
        body_timeout: how long a body may take: so many seconds, and one more for every `min_body_rate` bytes that have
            come. Only the time in which the application waits for it counts.
        min_body_rate: in bytes per second; 0: any time, once something has come.
    """

    terminator: ClassVar[Terminator] = _END_OF_HEAD
    uses_nursery: ClassVar[bool] = False  # connections are many, and most of them are idle
    max_frame_bytes: int | None = 32768
    on_oversize: OversizePolicy = "answer"
    max_target_bytes: int = 8192
    max_fields: int = 100
    max_empty_lines: int = 8
    max_body_bytes: int | None = None
    max_read_bytes: int | None = 1024 * 1024
    max_unread_bytes: int = 65536
    unread_timeout: float = 2.0
    max_chunk_overhead_bytes: int = 16384
    max_requests: int | None = 100_000
    idle_timeout: float = 60.0
    message_timeout: float = 30.0
    body_timeout: float = 30.0
    min_body_rate: float = 500.0
    write_timeout: float = 30.0

    def __init__(self, stream: trio.abc.Stream, app: App | None = None) -> None:
        super().__init__(stream)
        self._app = app
        self._reader: BodyReader | None = None  # of the request whose body is being received
        self._requests = 0
        self._empty_lines = 0  # before the next request
        self._lines_before = 0  # which request that is

    def handle_request(self, request: Request) -> Awaitable[Response | None] | Response | None:
        """Answer a request. Override it, with `def` or `async def`, if there is no application.

        An exception is logged and answered with 500, `HTTPError` with what it says.
        """
        if self._app is None:
            raise NotImplementedError(f"{type(self).__name__} needs an app, or must override handle_request()")
        return self._app(request)

    def log_request(self, entry: AccessEntry) -> None:
        """Note what became of a request. By default, a line to the logger "trio_chat.http.access", with INFO."""
        if access_logger.isEnabledFor(logging.INFO):
            access_logger.info("%s", entry.common_log_format())

    # ------------------------------------------------------------------ input

    def collect_incoming_data(self, data: bytes) -> None:
        if self._reader is not None:
            self._reader.collect(data)
        elif error := self._hopeless(data):
            self._refuse(HTTPError(400, error), self._get_data() + data)
        else:
            self.incoming.append(data)

    def _hopeless(self, data: bytes) -> str:
        """Why the head of which `data` has come will never be one, if its end would not come by itself."""
        if self.incoming:
            if self.incoming[-1].endswith(b"\r"):
                data = b"\r" + data
        elif data[0] not in _FIRST_BYTES:
            return "this is no HTTP request"  # but, say, the first message of TLS
        rest = data.replace(b"\r\n", b"")
        if _LF not in rest and (_CR not in rest or _CR not in rest[: len(rest) - data.endswith(b"\r")]):
            return ""
        # As of someone who types into nc: the end of such a head would be waited for in vain.
        return "lines end with CR LF (as with nc -C)"

    def found_terminator(self) -> Reply:
        if self._reader is not None:
            self._go_on_with(self._reader)
            return None
        return self._found_head(self._get_data())

    def _found_head(self, data: bytes) -> Reply:
        try:
            if not self._requests:
                _check_limits(self)
            head = parse_head(data, self.max_target_bytes, self.max_fields)
            fields = head[-1]
            reader = NOTHING_TO_READ if fields.body_length == 0 else self._reader_of(fields)
        except HTTPError as refusal:
            if data[:2] in (b"\r\n", b""):
                return self._skip_empty_lines(data)
            self._refuse(refusal, data)
            return None
        self._requests += 1
        keeps_alive = fields.keeps_alive and (self.max_requests is None or self._requests < self.max_requests)
        log_request: Callable[[AccessEntry], None] | None = self.log_request
        if getattr(log_request, "__func__", None) is _log_request and not access_logger.isEnabledFor(logging.INFO):
            log_request = None  # nobody wants to know
        exchange = Exchange(self, Request(head, reader, self), reader, keeps_alive, log_request)
        return exchange.run() if reader.complete else self._run_with_body(exchange, reader)

    def _skip_empty_lines(self, data: bytes) -> Reply:
        """Go on with the head behind an empty line; without data, two such lines were taken for the end of a head."""
        if self._lines_before != self._requests:
            self._lines_before, self._empty_lines = self._requests, 0
        self._empty_lines += 1 if data else 2
        if self._empty_lines > self.max_empty_lines:
            self._refuse(HTTPError(400, "too many empty lines"), data)
        elif head := data.removeprefix(b"\r\n"):
            return self._found_head(head)
        return None

    def _reader_of(self, fields: FieldLines) -> BodyReader:
        max_bytes = math.inf if self.max_body_bytes is None else self.max_body_bytes
        length = fields.body_length
        body: Body
        if length is None:
            # A line ends before it is a frame that is too long.
            max_line_bytes = _MAX_LINE_BYTES if self.max_frame_bytes is None else self.max_frame_bytes - 1
            body = ChunkedBody(
                max_bytes=max_bytes,
                max_line_bytes=max_line_bytes,
                max_overhead_bytes=self.max_chunk_overhead_bytes,
                max_fields=self.max_fields,
            )
        elif length <= max_bytes:
            body = CountedBody(length)
        else:
            raise HTTPError(413)
        return BodyReader(self, body, expects_continue=fields.expects_continue)

    def _go_on_with(self, reader: BodyReader) -> None:
        """The terminator of a part of the body has come."""
        terminator = reader.found()
        if terminator is None:
            self._reader = None
            terminator = _END_OF_HEAD
        self.set_terminator(terminator)

    # ------------------------------------------------------------------ answering

    async def _run_with_body(self, exchange: Exchange, reader: BodyReader) -> None:
        self._reader = reader
        self.set_terminator(reader.body.first_terminator())
        try:
            await exchange.run()
        finally:
            self._reader = None

    def _refuse(self, refusal: HTTPError, received: bytes) -> None:
        """Answer what is no request, of which `received` has come, and close."""
        line = received.removeprefix(b"\r\n").partition(b"\r\n")[0]
        response = response_to(refusal)
        content = b"" if line.startswith(b"HEAD ") else response._content() or b""
        sent_bytes, _ = push_whole(self, response, content, "1.1", True)
        self.close_when_done()
        text = line[:_MAX_LOGGED_BYTES].decode("latin-1")
        log_with(self.log_request, AccessEntry(self.peer, text, None, response.status, sent_bytes, 0.0))

    # ------------------------------------------------------------------ the rest of the contract

    def handle_oversize(self) -> None:
        received = self._get_data()
        line_is_whole = b"\r\n" in received.removeprefix(b"\r\n")
        self._refuse(HTTPError(431 if line_is_whole else 414), received)

    def handle_timeout(self, kind: TimeoutKind) -> None:
        if kind == "write":
            return  # the client is gone
        if self._reader is not None:
            self._reader.fail(HTTPError(408, "the body took too long"))
        elif self._mid_request():
            self._refuse(HTTPError(408, "the request took too long"), self._get_data())
        else:
            self.close_when_done()

    def handle_eof(self) -> None:
        if self._mid_request():
            self._refuse(HTTPError(400, "the request is not complete"), self._get_data())
        else:
            self.close_when_done()

    def _mid_request(self) -> bool:
        return any(data.strip(b"\r\n") for data in self.incoming)


_log_request = HTTPRequestHandler.log_request  # which somebody may replace


def _check_limits(handler: HTTPRequestHandler) -> None:
    """Raise TypeError, saying which limit of ours is wrong; the core checks its own."""
    for name in ("body_timeout", "min_body_rate", "unread_timeout"):
        if not isinstance(limit := getattr(handler, name), int | float):
            raise TypeError(f"{name} is a number; got {limit!r}")
    for name in ("max_target_bytes", "max_fields", "max_empty_lines", "max_unread_bytes", "max_chunk_overhead_bytes"):
        if not isinstance(limit := getattr(handler, name), int):
            raise TypeError(f"{name} is an integer; got {limit!r}")
    for name in ("max_body_bytes", "max_read_bytes", "max_requests"):
        if not isinstance(limit := getattr(handler, name), int | None):
            raise TypeError(f"{name} is an integer, or None for no limit; got {limit!r}")
