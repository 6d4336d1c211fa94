"""Reading the body of a request: the application asks, and only then the conversation goes on."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from typing import Protocol, cast

import trio

from .. import Terminator
from ._body import NO_BODY, Body
from ._errors import ClientDisconnected, HTTPError

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Chat(Protocol):
    """What reading asks of the connection, and its limits."""

    body_timeout: float
    min_body_rate: float

    @property
    def closing(self) -> bool: ...
    async def receive_more(self, patience: float, enough: Callable[[], bool], /) -> bool: ...
    def push(self, data: bytes, /) -> None: ...


class BodyReader:
    """The body of one request, between the conversation, which fills it, and the application, which empties it.

    Once it has failed it says the same to whoever reads.
    """

    failure: HTTPError | None = None
    told: bool = False  # to the application
    taken: bool = False  # some of it
    is_answered: bool = False  # the response has begun, within which 100 Continue has no place
    deadline: float = math.inf  # for all of it, besides what the client is allowed
    _waited = 0.0

    def __init__(self, chat: Chat, body: Body, *, expects_continue: bool) -> None:
        self._chat = chat
        self.body: Body = body
        self.complete: bool = body.complete  # all of it has come, and nothing is wrong with it
        self._expects_continue = expects_continue

    @property
    def is_wanted(self) -> bool:
        """Whether the client may be expected to send it: not, if it waits for a word of ours."""
        return not self._expects_continue

    # ------------------------------------------------------------------ for the conversation

    def collect(self, data: bytes) -> None:
        if self.failure is None:
            try:
                self.body.collect(data)
            except HTTPError as exc:
                self.fail(exc, keep=True)

    def found(self) -> Terminator:
        """The next terminator; None if the body is complete, or has failed."""
        if self.failure is None:
            try:
                terminator = self.body.found()
            except HTTPError as exc:
                self.fail(exc, keep=True)
            else:
                self.complete = self.body.complete
                return terminator
        return None

    def fail(self, failure: HTTPError, *, keep: bool = False) -> None:
        """This is what is wrong with the body. `keep`: what has come before is still given to whoever reads."""
        self.failure = failure
        self.complete = False
        if not keep:
            self.body.pieces.clear()

    # ------------------------------------------------------------------ for the application

    async def next_piece(self) -> bytes:
        """The next of the content, b"" at its end. Raises HTTPError."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self.body.pieces:
            if self.failure is not None:
                self.told = True
                raise self.failure
            if self.body.complete:
                return b""
            await self._receive()
        self.taken = True
        return self.body.take()

    def _is_enough(self) -> bool:
        """Whether the conversation has to stop: what follows the body is no business of the application's."""
        return self.body.complete or self.failure is not None

    async def _receive(self) -> None:
        """Wait for the client, which has `body_timeout` seconds, and one more for every `min_body_rate` bytes."""
        if self._expects_continue and not self._chat.closing:
            self._expects_continue = False
            if not self.is_answered:
                self._chat.push(_CONTINUE)
        rate = self._chat.min_body_rate
        allowed = self._chat.body_timeout + (self.body.received / rate if rate else math.inf)
        began = trio.current_time()
        try:
            if not await self._chat.receive_more(min(allowed - self._waited, self.deadline - began), self._is_enough):
                self.fail(ClientDisconnected("the request is not complete"))
        finally:
            self._waited += trio.current_time() - began


#: Of all requests without a body, whatever their connection: it has nothing to ask one for.
NOTHING_TO_READ = BodyReader(cast("Chat", None), NO_BODY, expects_continue=False)


class BodyStream(AsyncIterator[bytes], trio.abc.AsyncResource):
    """What is left of a body, piece by piece. It need not be closed: the rest of the body stays."""

    def __init__(self, body: BodyReader, content: bytes | None) -> None:
        """`content`: the body, if it has been read."""
        self._body = body
        self._content = content

    async def __anext__(self) -> bytes:
        if self._content is None:
            piece = await self._body.next_piece()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
            piece, self._content = self._content, b""
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Nothing, at a checkpoint."""
        await trio.lowlevel.checkpoint()
