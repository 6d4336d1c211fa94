"""One request and its answer: the application is asked, the rest of the body dropped, the response sent and logged."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Protocol

import trio

from .. import Address
from ._access_log import AccessEntry, log_with
from ._errors import HTTPError
from ._failures import http_error_of, is_failure
from ._reader import BodyReader
from ._request import Request
from ._response import Response, response_to
from ._sending import Outgoing

logger = logging.getLogger("trio_chat.http")


class Conversation(Protocol):
    """What an exchange asks of the connection, and its limits."""

    max_unread_bytes: int
    unread_timeout: float
    high_water_bytes: int

    @property
    def peer(self) -> Address | None: ...
    @property
    def closing(self) -> bool: ...
    @property
    def queued_bytes(self) -> int: ...
    def push(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def close_when_done(self) -> None: ...
    def handle_request(self, request: Request) -> Awaitable[Response | None] | Response | None: ...
    def log_request(self, entry: AccessEntry) -> None: ...


class Exchange:
    _outgoing: Outgoing | None = None

    def __init__(
        self,
        chat: Conversation,
        request: Request,
        reader: BodyReader,
        *,
        may_go_on: Callable[[], bool],
        log_request: Callable[[AccessEntry], None] | None,
    ) -> None:
        """`may_go_on`: whether the connection can after this request, as far as that does not depend on the answer.

        `log_request`: None if nobody wants to know what becomes of it.
        """
        self._chat = chat
        self._request = request
        self._reader = reader
        self._may_go_on = may_go_on
        self._log_request = log_request
        self._began = trio.current_time() if log_request is not None else math.nan

    async def run(self) -> None:
        try:
            await self._send(await self._ask_application())
        finally:
            self._request.note_answered()
            if self._outgoing is not None and self._outgoing.cut_off:
                self._chat.abort()
            try:
                if self._request.has_form:
                    await self._request.aclose()
            except Exception:
                logger.exception("the files of %s could not be closed", self._request)
            finally:
                if self._log_request is not None:
                    log_with(self._log_request, self._entry())

    async def _ask_application(self) -> Response:
        try:
            response = self._chat.handle_request(self._request)
            if not isinstance(response, Response) and inspect.isawaitable(response):
                response = await response
            if isinstance(response, Response):
                resolves = type(response).resolve is not Response.resolve
                return await self._resolved(response) if resolves else response
            if self._chat.closing:
                return Response(500)  # which nobody gets
            raise TypeError(f"an application gives a Response; got {response!r}")
        except BaseException as exc:
            if not is_failure(exc):
                raise
            return self._answer_to(exc)

    async def _resolved(self, response: Response) -> Response:
        try:
            return await response.resolve(self._request)
        except BaseException:
            await response.aclose()
            raise

    def _answer_to(self, failure: BaseException) -> Response:
        request = self._request
        if (error := http_error_of(failure)) and not request.taken_over:
            return response_to(error)
        logger.error("no answer to %s %s from %s", request.method, request.target, request.client, exc_info=failure)
        return response_to(HTTPError(500))

    async def _send(self, response: Response) -> None:
        if not self._reader.complete and isinstance(response.body, bytes):  # one that streams may be made of the body
            try:
                await self._drop_rest()
            except HTTPError as refusal:
                response = response_to(refusal)
        if self._chat.closing:  # the application wanted no answer, has switched protocols, or the client is gone
            await response.aclose()
            return
        with_body = self._request.method != "HEAD"
        outgoing = Outgoing(self._chat, response, self._request, may_go_on=self._can_go_on, with_body=with_body)
        self._outgoing = outgoing
        try:
            if not outgoing.push_at_once():
                await outgoing.send()
        except BaseException as exc:  # before its head was sent
            if not is_failure(exc):
                raise
            await self._send(self._answer_to(exc))
        else:
            if outgoing.gone:
                self._chat.close()
            elif outgoing.closes or not self._reader.complete:
                await self._end(outgoing)

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

    def _can_go_on(self) -> bool:
        """Whether the connection can, as far as is known when the head of the response is sent."""
        reader = self._reader
        if not reader.complete:
            streams = self._outgoing is not None and not isinstance(self._outgoing.response.body, bytes)
            if not streams or not reader.is_wanted or reader.failure is not None:
                return False
        return self._may_go_on()

    async def _end(self, outgoing: Outgoing) -> None:
        """Drop what is left of the body behind a response that streams; close if the connection cannot go on."""
        if not outgoing.closes:
            with suppress(HTTPError):
                await self._drop_rest()
        if not self._chat.closing and (outgoing.closes or not self._reader.complete):
            self._chat.close_when_done()

    def _entry(self) -> AccessEntry:
        request, outgoing = self._request, self._outgoing
        status, sent_bytes = (outgoing.status, outgoing.sent_bytes) if outgoing and outgoing.begun else (None, 0)
        if request.upgraded:
            status = HTTPStatus.SWITCHING_PROTOCOLS
        seconds = trio.current_time() - self._began
        return AccessEntry(self._chat.peer, request.request_line, request, status, sent_bytes, seconds)
