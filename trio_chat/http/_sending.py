"""Putting a response on the wire: as a whole, or piece by piece. RFC 9112, section 7.1."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import trio

from ._failures import http_error_of, is_failure
from ._file_body import FileBody
from ._request import Request
from ._response import Response
from ._response_head import WITHOUT_CONTENT, response_head

logger = logging.getLogger("trio_chat.http")

_COPIED_BYTES = 16384  # so much is copied behind its head sooner than queued by itself


class Chat(Protocol):
    """What sending asks of the connection."""

    high_water_bytes: int

    @property
    def queued_bytes(self) -> int: ...
    def push(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...
    @property
    def takes_files(self) -> bool: ...
    def send_file_nowait(self, file: int, start: int, count: int, /) -> int: ...


def push_whole(chat: Chat, response: Response, content: bytes, http_version: str, closes: bool) -> tuple[int, bool]:
    """Push a response that is there as a whole, with `content`, which is its body or, in answer to HEAD, nothing.

    Returns how many bytes of content are sent, and whether the connection has to be closed after it.
    """
    status = response._status
    if status in WITHOUT_CONTENT:
        content = b""
    size = len(content)
    head, closes, _ = response_head(status, response._headers, response._length, http_version, closes)
    if size <= _COPIED_BYTES:
        chat.push(head + content)
    else:
        chat.push(head)
        chat.push(content)
    return size, closes


class Outgoing:
    """One response to one request, unless it can be pushed as a whole.

    The head is sent with the first piece of the body: until then nothing has been said, and what goes wrong can be
    answered in another way.

    Attributes:
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

    def __init__(self, chat: Chat, response: Response, request: Request, begin: Callable[[bool], bool]) -> None:
        """`begin` is called when the head is sent, once, and told whether the body is made while it is sent.

        It says whether the connection can go on after this.
        """
        self._chat = chat
        self._response = response
        self._request = request
        self._begin = begin
        self._file: FileBody | None = None

    async def send(self) -> None:
        """Push it all, at the pace of the client. The response is closed, whatever happens.

        Raises what the body raises before the head was sent; after it, that is logged.
        """
        response = self._response
        try:
            # It is sent past `write_to` only if that is ours: another may make something else of it.
            if type(response).write_to is Response.write_to and isinstance(response.body, FileBody):
                self._file = response.body
            if self._request.method == "HEAD" or response.status in WITHOUT_CONTENT:
                self._push_head()
            else:
                await response.write_to(self._send_piece)
                self._end()
        except BaseException as exc:
            if not self._break_off(exc):
                raise
        finally:
            await self._close()

    def _push_head(self) -> None:
        response = self._response
        status, headers, body, length = response.status, response.headers, response.body, response.length
        self.begun = True
        closes, http_version = not self._begin(not isinstance(body, bytes)), self._request.http_version
        head, self.closes, self._chunked = response_head(status, headers, length, http_version, closes)
        self._chat.push(head)

    def _break_off(self, exc: BaseException) -> bool:
        """Cut the response off, because of `exc`. Returns whether that is all there is to be done about it."""
        if not self.begun:
            return False
        self.closes = True
        self.cut_off = self._response.length is None and not self._chunked
        if not is_failure(exc):
            return False
        if error := http_error_of(exc):  # it is too late for that; the client is to blame, or knows by now
            logger.info("the answer to %s was cut off: %s", self._request, error)
        elif not self.gone:
            logger.error("the answer to %s was cut off", self._request, exc_info=exc)
        return True

    async def _close(self) -> None:
        try:
            await self._response.aclose()
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
        length = self._response.length
        if length is not None and self.sent_bytes + size > length:
            raise ValueError(f"the body is longer than its Content-Length, which is {length}")
        with self._noticing_that_the_client_is_gone():
            if not self.begun:
                self._push_head()
            if size:  # as a chunk, an empty piece would be the last one
                self._chat.push(b"%x\r\n%b\r\n" % (size, piece) if self._chunked else piece)
                self.sent_bytes += size
            await self._chat.drain()
            if self._file is not None and length is not None and self._chat.takes_files:
                self.sent_bytes += self._file.send_at_once(self._chat.send_file_nowait, length - self.sent_bytes)

    def _end(self) -> None:
        length = self._response.length
        if length is not None and self.sent_bytes < length:
            raise ValueError(f"the body has {self.sent_bytes} bytes, its Content-Length is {length}")
        with self._noticing_that_the_client_is_gone():
            if not self.begun:
                self._push_head()
            if self._chunked:
                self._chat.push(b"0\r\n\r\n")

    @contextmanager
    def _noticing_that_the_client_is_gone(self) -> Iterator[None]:
        try:
            yield
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.gone = True
            raise
