"""Putting a response on the wire. RFC 9112, sections 4, 6 and 7.1."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

import trio

from ._dates import http_date
from ._failures import http_error_of, is_failure
from ._headers import Headers, Prepared, elements_of
from ._request import Request
from ._response import WITHOUT_CONTENT, Response
from ._status import status_line

logger = logging.getLogger("trio_chat.http")

_OURS = ("content-length", "connection")  # what was given is put together with what is to be said
_COPIED_BYTES = 16384  # so much is copied behind its head sooner than queued by itself


class Chat(Protocol):
    """What sending asks of the connection."""

    high_water_bytes: int

    @property
    def queued_bytes(self) -> int: ...
    def push(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...


class Outgoing:
    """One response to one request, None if that could not be understood.

    The head is sent with the first piece of the body: until then nothing has been said, and what goes wrong can be
    answered in another way.

    Attributes:
        response: what is sent.
        begun: whether the head was sent.
        sent_bytes: how much of the body was sent.
        closes: whether the connection has to be closed after it.
        gone: whether the client is gone.
        cut_off: whether it is not whole, and only a reset tells the client so, for an end would be the end of its body.
    """

    begun: bool = False
    sent_bytes: int = 0
    closes: bool = False
    gone: bool = False
    cut_off: bool = False
    _chunked = False

    def __init__(
        self, chat: Chat, response: Response, request: Request | None, begin: Callable[[], bool], with_body: bool
    ) -> None:
        """`begin` is called when the head is sent, once; it says whether the connection can go on after this."""
        self._chat = chat
        self.response = response
        self._request = request
        self._begin = begin
        self._with_body = with_body

    def push(self) -> None:
        """Push the head, and the body if that is bytes."""
        self.begun = True
        status, fields, body, length = self.response.parts()
        data = self._head(status, fields, length)
        if isinstance(body, bytes) and self._with_body and status not in WITHOUT_CONTENT:
            self.sent_bytes = len(body)
            if self.sent_bytes <= _COPIED_BYTES:
                data += body
            else:
                self._chat.push(data)
                data = body
        self._chat.push(data)

    def push_at_once(self) -> bool:
        """Push it all, if that is all there is to be done; False if it takes `send`."""
        if not self.response.is_whole:
            return False
        try:
            self.push()
        except BaseException as exc:
            if not self._break_off(exc):
                raise
            return True
        return self._chat.queued_bytes <= self._chat.high_water_bytes

    async def send(self) -> None:
        """Push it all, at the pace of the client. The response is closed, whatever happens.

        Raises what the body raises before the head was sent; after it, that is logged.
        """
        response = self.response
        try:
            if self._with_body and response.has_content and not isinstance(response.body, bytes):
                await response.write_to(self._send_piece)
                self._end()
            else:
                if not self.begun:
                    self.push()
                if self._chat.queued_bytes > self._chat.high_water_bytes:
                    with self._noticing_that_the_client_is_gone():
                        await self._chat.drain()
        except BaseException as exc:
            if not self._break_off(exc):
                raise
        finally:
            if not response.is_whole:
                await self._close()

    def _break_off(self, exc: BaseException) -> bool:
        """Cut the response off, because of `exc`. Returns whether that is all there is to be done about it."""
        if not self.begun:
            return False
        self.closes = True
        self.cut_off = self.response.length is None and not self._chunked
        if not is_failure(exc):
            return False
        if error := http_error_of(exc):  # it is too late for that; the client is to blame, or knows by now
            logger.info("the answer to %s was cut off: %s", self._request, error)
        elif not self.gone:
            logger.error("the answer to %s was cut off", self._request, exc_info=exc)
        return True

    async def _close(self) -> None:
        try:
            await self.response.aclose()
        except BaseException as exc:
            if not is_failure(exc):
                raise
            logger.exception("the body of the answer to %s could not be closed", self._request)

    async def _send_piece(self, piece: bytes) -> None:
        """Send a piece of the body, behind the head if it is the first; of an empty one nothing but that."""
        if type(piece) is not bytes:
            if not isinstance(piece, bytes | bytearray | memoryview):
                raise TypeError(f"the body of a response consists of bytes; got {piece!r:.60}")
            piece = bytes(piece)
        size = len(piece)
        length = self.response.length
        if length is not None and self.sent_bytes + size > length:
            raise ValueError(f"the body is longer than its Content-Length, which is {length}")
        with self._noticing_that_the_client_is_gone():
            if not self.begun:
                self.push()
            if size:  # as a chunk, an empty piece would be the last one
                self._chat.push(b"%x\r\n%b\r\n" % (size, piece) if self._chunked else piece)
                self.sent_bytes += size
            await self._chat.drain()

    def _end(self) -> None:
        length = self.response.length
        if length is not None and self.sent_bytes < length:
            raise ValueError(f"the body has {self.sent_bytes} bytes, its Content-Length is {length}")
        with self._noticing_that_the_client_is_gone():
            if not self.begun:
                self.push()
            if self._chunked:
                self._chat.push(b"0\r\n\r\n")

    @contextmanager
    def _noticing_that_the_client_is_gone(self) -> Iterator[None]:
        try:
            yield
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.gone = True
            raise

    def _head(self, status: int, headers: Headers, length: int | None) -> bytes:
        fields, options, is_dated = headers.prepared or _prepare(headers)
        is_http_1_0 = self._request is not None and self._request.http_version == "1.0"
        begin = self._begin
        del self._begin  # whose method it is keeps us
        self.closes = not begin() or "close" in options
        if status in WITHOUT_CONTENT:  # RFC 9110, section 15.3.6; 204 and 304 have no length: section 8.6
            framing = b"Content-Length: 0\r\n" if status == HTTPStatus.RESET_CONTENT else b""
        elif length is not None:
            framing = b"Content-Length: %d\r\n" % length
        elif is_http_1_0:
            self.closes, framing = True, b""
        else:
            self._chunked, framing = True, b"Transfer-Encoding: chunked\r\n"
        option = "close" if self.closes else "keep-alive" if is_http_1_0 else ""
        if options:
            option = _joined(option, options)
        return b"%b%b\r\n" % (_start_of_head(status, fields, option, None if is_dated else int(time.time())), framing)


@lru_cache(maxsize=64)
def _start_of_head(status: int, fields: str, option: str, second: int | None) -> bytes:
    """What a head has in common with the others of the same second."""
    date = "" if second is None else f"Date: {http_date(second)}\r\n"  # RFC 9110, section 6.6.1
    connection = f"Connection: {option}\r\n" if option else ""
    return f"{status_line(status)}{fields}{date}{connection}".encode("latin-1")


def _prepare(fields: Headers) -> Prepared:
    given = fields.lines()
    options = tuple(elements_of(given.get("connection", ())))
    fields.prepared = prepared = (fields.without(_OURS).encode(), options, "date" in given)
    return prepared


def _joined(ours: str, given: Iterable[str]) -> str:
    """The options of the field Connection: ours, and those that were given and are not about the connection's end."""
    others = set(given) - {"close", "keep-alive", ""}
    return ", ".join(sorted(others | {ours} if ours else others))
