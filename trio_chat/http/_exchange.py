"""One request and its answer: the application is asked, the rest of the body dropped, the response sent and logged."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from types import CoroutineType
from typing import Protocol

import trio

from .. import Address
from ._access_log import AccessEntry, log_with
from ._errors import HTTPError
from ._failures import http_error_of, is_failure
from ._reader import BodyReader
from ._request import Request
from ._response import Response, response_to
from ._sending import Chat, Outgoing, push_whole

logger = logging.getLogger("trio_chat.http")


class Conversation(Chat, Protocol):
    """What an exchange asks of the connection, and its limits."""

    max_unread_bytes: int
    unread_timeout: float

    @property
    def peer(self) -> Address | None: ...
    @property
    def closing(self) -> bool: ...
    @property
    def closing_when_idle(self) -> bool: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def close_when_done(self) -> None: ...
    def handle_request(self, request: Request) -> Awaitable[Response | None] | Response | None: ...


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


class Exchange:
    _began = math.nan
    _status: int | None = None  # of the response, once it has begun
    _sent_bytes = 0  # of its body

    def __init__(
        self,
        chat: Conversation,
        request: Request,
        reader: BodyReader,
        keeps_alive: bool,
        log_request: Callable[[AccessEntry], None] | None,
    ) -> None:
        """`keeps_alive`: whether the connection shall go on after this, as far as the request is concerned.

        `log_request`: None if nobody wants to know what becomes of it.
        """
        self._chat = chat
        self._request = request
        self._reader = reader
        self._keeps_alive = keeps_alive
        self._log_request = log_request
        if log_request is not None:
            self._began = trio.current_time()

    async def run(self) -> None:
        try:
            try:
                response = self._chat.handle_request(self._request)
                if not isinstance(response, Response):
                    if type(response) is CoroutineType or inspect.isawaitable(response):
                        response = await response
                    if not isinstance(response, Response):
                        response = self._without_response(response)
            except BaseException as exc:
                if not is_failure(exc):
                    raise
                response = self._answer_to(exc)
            content = response._content()
            if content is None or not self._reader.complete:
                await self._send(response)
            elif (rest := self._push(response, content)) is not None:
                await rest
        finally:
            if self._status is None:
                self._note_answered()
            try:
                if self._request.has_form:
                    await self._close_form()
            finally:
                if self._log_request is not None:
                    log_with(self._log_request, self._entry())

    def _without_response(self, given: object) -> Response:
        if self._chat.closing:
            return Response(500, _nothing())  # which nobody gets, and is not even pushed
        raise TypeError(f"an application gives a Response; got {given!r}")

    def _note_answered(self) -> None:
        """It is too late for another answer, or for 100 Continue.

        The reader may be that of all requests without a body, which knows nothing of this one.
        """
        self._request.answered = self._reader.is_answered = True

    def _answer_to(self, failure: BaseException) -> Response:
        request = self._request
        if (error := http_error_of(failure)) and not request.taken_over:
            return response_to(error)
        logger.error("no answer to %s %s from %s", request.method, request.target, request.client, exc_info=failure)
        return response_to(HTTPError(500))

    async def _send(self, response: Response) -> None:
        is_made = response._content() is not None
        if not is_made:
            response, is_made = await self._resolved(response)
        if is_made and not self._reader.complete:  # one that streams may be made of the body
            try:
                await self._drop_rest()
            except HTTPError as refusal:
                response = response_to(refusal)
        if (content := response._content()) is not None:
            if (rest := self._push(response, content)) is not None:
                await rest
        elif self._chat.closing:
            await response.aclose()
        else:
            await self._stream(response)

    async def _resolved(self, response: Response) -> tuple[Response, bool]:
        """What is sent to this request, or the answer to its failure; and whether its body is bytes."""
        try:
            try:
                resolved = await response.resolve(self._request)
                return resolved, isinstance(resolved.body, bytes)
            except BaseException:
                await response.aclose()
                raise
        except BaseException as exc:
            if not is_failure(exc):
                raise
            return self._answer_to(exc), True

    def _push(self, response: Response, content: bytes) -> Awaitable[None] | None:
        """Push a response that is there as a whole. Returns what is left to be done, to be awaited."""
        chat, request, size = self._chat, self._request, 0
        closes = not (self._keeps_alive and self._reader.complete) or chat.closing_when_idle
        if request.method == "HEAD":
            content = b""
        try:
            size, closes = push_whole(chat, response, content, request.http_version, closes)
        except Exception as exc:
            if chat.closing and isinstance(exc, trio.ClosedResourceError):
                return None  # the application wanted no answer, has switched protocols, or the client is gone
            logger.exception("the answer to %s was cut off", request)
            closes = True
        self._note_answered()
        self._status, self._sent_bytes = response._status, size
        # What is queued in front of a small one is waited for by the conversation, before the next request.
        if size > chat.high_water_bytes and chat.queued_bytes > chat.high_water_bytes:
            return self._drain(closes)
        if closes:
            chat.close_when_done()
        return None

    async def _drain(self, closes: bool) -> None:
        try:
            await self._chat.drain()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._chat.close()
        else:
            self._end(closes)

    async def _stream(self, response: Response) -> None:
        outgoing = Outgoing(self._chat, response, self._request, self._begin_stream)
        try:
            await outgoing.send()
        except BaseException as exc:
            if outgoing.begun or not is_failure(exc):
                raise
            await self._send(self._answer_to(exc))
        else:
            if outgoing.gone:
                self._chat.close()
            else:
                if not outgoing.closes and not self._reader.complete:
                    with suppress(HTTPError):
                        await self._drop_rest()
                self._end(outgoing.closes)
        finally:
            if outgoing.begun:
                self._status, self._sent_bytes = response.status, outgoing.sent_bytes
                if outgoing.cut_off:
                    self._chat.abort()

    def _begin_stream(self, body_is_made: bool) -> bool:
        """The head of the response is sent. Returns whether the connection can go on, as far as is known by then.

        `body_is_made`, while it is sent, perhaps of the request's body; else that was given up before.
        """
        self._note_answered()
        reader = self._reader
        if not reader.complete and not (body_is_made and reader.is_wanted and reader.failure is None):
            return False
        return self._keeps_alive and not self._chat.closing_when_idle

    def _end(self, closes: bool) -> None:
        """The response is sent: close if the connection cannot go on."""
        if (closes or not self._reader.complete) and not self._chat.closing:
            self._chat.close_when_done()

    async def _drop_rest(self) -> None:
        """Receive what the application has left of the body, unless it is too much or does not come at once.

        Raises HTTPError if it is malformed or ends too early: the request was none.
        """
        reader = self._reader
        rest = (reader.body.length or 0) - reader.body.received
        if reader.complete or reader.told or not reader.is_wanted or rest > self._chat.max_unread_bytes:
            return
        dropped = 0
        reader.deadline = trio.current_time() + self._chat.unread_timeout
        try:
            while piece := await reader.next_piece():
                dropped += len(piece)
                if dropped > self._chat.max_unread_bytes:
                    reader.fail(HTTPError(413))
                    return
        except HTTPError as failure:
            if failure.status != HTTPStatus.REQUEST_TIMEOUT:
                raise

    async def _close_form(self) -> None:
        try:
            await self._request.aclose()
        except Exception:
            logger.exception("the files of %s could not be closed", self._request)

    def _entry(self) -> AccessEntry:
        request = self._request
        status = HTTPStatus.SWITCHING_PROTOCOLS if request.upgraded else self._status
        seconds = trio.current_time() - self._began
        return AccessEntry(self._chat.peer, request.request_line, request, status, self._sent_bytes, seconds)
