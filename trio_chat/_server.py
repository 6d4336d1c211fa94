"""Serving: listeners that accept, connections that live and end for themselves, and a stop with a deadline.

    accepting    every listener has a task that accepts a connection whenever there is room (see `_admission.py`)
    stopping     nobody accepts; connections close as soon as no message is in progress
    cancelled    `shutdown_grace` seconds later whatever is left is cancelled, which closes its stream without waiting
                 for anything: no peer can hold the server up

A connection's exception is logged and ends that connection alone.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias, TypedDict, TypeVar

import trio

from ._admission import Admission, TooMany
from ._chat import AsyncChat, check_is_made
from ._endings import FAILURES
from ._handler import check_seconds
from ._streams import close_now, peer_address

logger = logging.getLogger("trio_chat.server")

#: Takes the stream of a new connection and gives its handler; a subclass of `AsyncChat` is one. The stream is a
#: `trio.abc.Stream`; typed as Any, so that a handler may ask for what its server gives, say a `SocketStream`.
HandlerFactory: TypeAlias = Callable[[Any], AsyncChat]

ListenerT = TypeVar("ListenerT", bound=trio.abc.Listener[trio.abc.Stream])

_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_RETRY_SECONDS = 0.1
_ACCEPTS_AT_ONCE = 16  # besides the first; then those that are connected have their turn


class ServeOptions(TypedDict, total=False):
    """The options that all `serve_…` functions take.

    Attributes:
        max_connections: how many there may be at once, 10,000 by default; further clients wait in the backlog. None:
            any number.
        max_connections_per_peer: how many of them from one address; further ones are closed as soon as they are
            accepted. None, the default: any number. Behind a proxy all connections come from the proxy's address.
        stop: set this event to stop gracefully.
        shutdown_grace: how many seconds connections have to finish when stopping; 10 by default. Then they are
            cancelled, whatever their peers do. (What Trio cannot cancel, such as a thread that reads a producer's file,
            is waited for.)
        handshake_timeout: how many seconds a client has for the TLS handshake; 10 by default.
    """

    max_connections: int | None
    max_connections_per_peer: int | None
    stop: trio.Event
    shutdown_grace: float
    handshake_timeout: float


class Server:
    def __init__(
        self,
        handler_factory: HandlerFactory,
        *,
        max_connections: int | None = 10_000,
        max_connections_per_peer: int | None = None,
        stop: trio.Event | None = None,
        shutdown_grace: float = 10.0,
        handshake_timeout: float = 10.0,
    ) -> None:
        if not callable(handler_factory):
            raise TypeError(
                f"a handler factory is a callable that takes the stream and gives an AsyncChat; got {handler_factory!r}"
            )
        if not (stop is None or isinstance(stop, trio.Event)):
            raise TypeError(f"stop is a trio.Event; got {stop!r}")
        check_seconds("shutdown_grace", shutdown_grace)
        check_seconds("handshake_timeout", handshake_timeout)
        self._handler_factory = handler_factory
        self._admission = Admission(max_connections, max_connections_per_peer)
        self._stop = stop
        self._shutdown_grace = shutdown_grace
        self._handshake_timeout = handshake_timeout
        self._chats: set[AsyncChat] = set()
        self._handshakes: set[trio.CancelScope] = set()
        self._stopping = False

    async def serve(self, listeners: Sequence[ListenerT], task_status: trio.TaskStatus[Sequence[ListenerT]]) -> None:
        try:
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as accepting:
                    if self._stop is not None:
                        accepting.start_soon(self._cancel_when_stopped, self._stop, accepting.cancel_scope)
                    async with trio.open_nursery() as acceptors:
                        for listener in listeners:
                            acceptors.start_soon(self._accept_from, listener, connections)
                        task_status.started(listeners)
                    accepting.cancel_scope.cancel()  # all listeners were closed
                for listener in listeners:
                    await listener.aclose()
                self._stop_chats()
                connections.cancel_scope.deadline = trio.current_time() + self._shutdown_grace
            if connections.cancel_scope.cancelled_caught:
                logger.warning("cut off the connections that had not finished after %g seconds", self._shutdown_grace)
        finally:
            for listener in listeners:
                await close_now(listener)

    @staticmethod
    async def _cancel_when_stopped(stop: trio.Event, scope: trio.CancelScope) -> None:
        await stop.wait()
        scope.cancel()

    def _stop_chats(self) -> None:
        self._stopping = True
        for handshake in self._handshakes:
            handshake.cancel()
        for chat in self._chats:
            try:
                chat.close_when_idle()
            except Exception as exc:  # of a handler's own
                _log_failure(chat, chat.stream, exc)
                chat._connection.close_when_idle()

    async def _accept_from(self, listener: trio.abc.Listener[trio.abc.Stream], connections: trio.Nursery) -> None:
        """Accept until the listener is closed, which anyone may do to stop the server."""
        exhausted = False
        while True:
            try:
                connections.start_soon(self._serve_one, await self._admission.accept(listener), connections)
                for _ in range(_ACCEPTS_AT_ONCE):
                    if (stream := self._admission.accept_nowait(listener)) is None:
                        break
                    connections.start_soon(self._serve_one, stream, connections)
            except trio.ClosedResourceError:
                return
            except OSError as exc:
                if exc.errno not in _OUT_OF_RESOURCES:
                    raise
                if not exhausted:
                    exhausted = True
                    logger.error("cannot accept connections for the moment: %s", exc)
                await trio.sleep(_RETRY_SECONDS)  # clients wait in the backlog
            else:
                if exhausted:
                    exhausted = False
                    logger.info("accepting connections again")

    async def _serve_one(self, stream: trio.abc.Stream, connections: trio.Nursery) -> None:
        """All of one connection. In one coroutine, because every level costs memory for each idle connection."""
        chat: AsyncChat | None = None
        host: Hashable = None
        try:
            host = self._admission.enter(stream)
            if isinstance(stream, trio.SSLStream) and not await self._shake_hands(stream):
                return
            chat = self._handler_for(stream, connections)
            await chat.run()
        except TooMany as refused:
            logger.warning("refused a connection from %s: it has too many already", refused)
        except Exception as exc:
            _log_failure(chat, stream, exc)
        except BaseExceptionGroup as group:  # of a connection that was cancelled while it failed
            failed, rest = group.split(FAILURES)
            if failed is not None:
                _log_failure(chat, stream, failed)
            if rest is not None:
                raise rest from None
        finally:
            if chat is not None:
                self._chats.discard(chat)
            self._admission.leave(host)
            await close_now(stream)

    def _handler_for(self, stream: trio.abc.Stream, connections: trio.Nursery) -> AsyncChat:
        chat = self._handler_factory(stream)
        if not isinstance(chat, AsyncChat):
            raise TypeError(f"the handler factory {self._handler_factory!r} returned {chat!r}, not an AsyncChat")
        check_is_made(chat)
        if type(chat).run is AsyncChat.run:  # else who knows what it does before, or around it
            chat._connection.helpers = connections
        self._chats.add(chat)
        if self._stopping:
            chat.close_when_idle()
        return chat

    async def _shake_hands(self, stream: trio.SSLStream[trio.abc.Stream]) -> bool:
        peer = peer_address(stream)
        with trio.move_on_after(self._handshake_timeout) as handshake:
            self._handshakes.add(handshake)
            try:
                await stream.do_handshake()
            except trio.BrokenResourceError as exc:
                logger.info("TLS handshake with %s failed: %s", peer, exc.__cause__ or exc)
                return False
            finally:
                self._handshakes.discard(handshake)
            return True
        if not self._stopping:
            logger.info("TLS handshake with %s timed out", peer)
        return False


def _log_failure(chat: AsyncChat | None, stream: trio.abc.Stream, failure: BaseException) -> None:
    peer = chat.peer if chat is not None else peer_address(stream)
    logger.error("the handler of the connection from %s failed", peer, exc_info=failure)
