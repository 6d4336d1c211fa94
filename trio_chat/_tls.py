"""STARTTLS: a conversation goes on over TLS, on the connection that it has.

From the call on, what comes and goes is kept apart from what was before:

    input    who wants to receive waits at a *gate*: nothing but the handshake reads from the connection, so that
             whatever arrives is taken for TLS, and breaks the handshake if it is not
    output   a *fence* is queued: what is before it is sent in plaintext; there the writer's task stops, and what is
             pushed later waits for the handshake behind it

When the handshake has succeeded the conversation is given the new stream, and both are opened, in one go. If anything
has failed the conversation is closed first: it never goes on in plaintext after the handshake has begun.
`tests/test_start_tls_….py` have other tasks push, discard, receive and close at every turn of it.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeAlias

import trio

from ._buffer import TerminatorBuffer
from ._callbacks import Callbacks
from ._endings import Lost
from ._errors import PlaintextBeforeTLS
from ._handler import check_seconds
from ._intake import Intake
from ._producers import Source
from ._replay import replaying
from ._streams import Address, has_tls, peer_address
from ._writer import Writer

logger = logging.getLogger("trio_chat.tls")

_HANDSHAKE = b"\x16"  # with which the first record of a client begins (RFC 8446, 5.1), and no command of any protocol


TLSStream: TypeAlias = trio.SSLStream[trio.abc.Stream]

#: Makes a stream with TLS of one without.
Wrap: TypeAlias = Callable[[trio.abc.Stream], TLSStream]


class Conversation(Protocol):
    buffer: TerminatorBuffer
    callbacks: Callbacks
    closed: bool
    intake: Intake
    stream: trio.abc.Stream
    writer: Writer

    def close(self) -> None: ...
    def flush(self) -> None: ...
    def check_not_lost(self) -> None: ...


class Gate(trio.abc.ReceiveStream):
    """Who receives from it waits until it is opened, and then receives from the stream behind it."""

    def __init__(self) -> None:
        self._behind: trio.abc.ReceiveStream | None = None
        self._opened = trio.Event()

    def open(self, stream: trio.abc.ReceiveStream) -> None:
        self._behind = stream
        self._opened.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        while self._behind is None:
            await self._opened.wait()
        return await self._behind.receive_some(max_bytes)

    async def aclose(self) -> None:
        """Nothing is to be closed: the conversation closes its stream."""
        await trio.lowlevel.checkpoint()


class Fence:
    """A producer that gives nothing and keeps the writer's task until it is opened, even if it is discarded.

    `give_up` is called when there is no output to be kept any more.
    """

    def __init__(self, writer: Writer, give_up: Callable[[], None]) -> None:
        self._writer = writer
        self._give_up = give_up
        self._opened = False
        self.reached = False  # everything before it is sent, or discarded

    def open(self) -> None:
        self._opened = True
        self._writer.tell_progress()

    def __aiter__(self) -> Fence:
        return self

    async def __anext__(self) -> bytes:
        await self._hold()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await self._hold()

    async def _hold(self) -> None:
        self.reached = True
        self._writer.tell_progress()
        while not self._opened:
            if self._writer.lost:
                self._give_up()
            await self._writer.progress()


def check_context(caller: str, context: ssl.SSLContext, *, server_side: bool) -> None:
    """Raise TypeError or ValueError, before a peer is there that would have to do without an answer."""
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"{caller} takes an ssl.SSLContext; got {context!r}")
    side, purpose, unfit = "client", "SERVER_AUTH", ssl.PROTOCOL_TLS_SERVER
    if server_side:
        side, purpose, unfit = "server", "CLIENT_AUTH", ssl.PROTOCOL_TLS_CLIENT
    if context.protocol == unfit:
        raise ValueError(
            f"{caller} needs a {side}'s context, as ssl.create_default_context(ssl.Purpose.{purpose}) gives"
        )


def wrapping(context: ssl.SSLContext, server_side: bool, server_hostname: str | None) -> Wrap:
    check_context("start_tls()", context, server_side=server_side)
    if context.check_hostname and not server_side and not server_hostname:
        raise ValueError("start_tls() needs a server_hostname: without it any certificate would do")
    return partial(trio.SSLStream, ssl_context=context, server_side=server_side, server_hostname=server_hostname)


async def start_tls(conversation: Conversation, wrap: Wrap, patience: float) -> None:
    """Change the stream of the conversation, for a callback that is running, and in which nobody else receives."""
    check_seconds("handshake_timeout", patience)
    intake, writer, stream = conversation.intake, conversation.writer, conversation.stream
    if has_tls(stream):
        raise RuntimeError("start_tls(): the conversation is held over TLS already")
    tls = wrap(stream)  # so that what is wrong with the arguments is told before anything has happened
    peer = peer_address(stream)
    handshake = trio.CancelScope()
    _check_plaintext(conversation, tls)
    gate, fence = Gate(), Fence(writer, handshake.cancel)
    writer.stop_at(Source(fence, 1))
    try:
        conversation.flush()
        await intake.change_stream(gate)
        _check_plaintext(conversation, tls)  # a lookout may have received while it was sent home
        if hello := conversation.buffer.take():
            tls = wrap(replaying(stream, hello))
        while not (fence.reached or writer.lost):
            await writer.progress()
        conversation.check_not_lost()
        handshake.deadline = trio.current_time() + patience
        with handshake:
            await _shake_hands(conversation, tls, peer)
        conversation.check_not_lost()
        if handshake.cancelled_caught:
            raise _failure(conversation, peer, f"it took more than {patience:g} seconds")
        stream = tls
    except PlaintextBeforeTLS:
        raise  # in plaintext, so that the handler can answer
    except BaseException:
        conversation.close()
        raise
    finally:
        conversation.stream = intake.stream = stream
        writer.change_stream(stream)
        gate.open(stream)
        fence.open()


def _check_plaintext(conversation: Conversation, tls: TLSStream) -> None:
    """Nothing may be left of what came in plaintext.

    Except for a client's handshake, which it may begin as soon as it has our answer: it is no plaintext, if a lookout
    has received it or not.
    """
    buffer = conversation.buffer
    if conversation.callbacks.owes_end:
        raise RuntimeError("start_tls() is for the end of a frame, and not for collect_incoming_data()")
    if count := len(buffer):
        no_handshake_can_follow = not tls.server_side or buffer.mid_frame or conversation.intake.eof
        if no_handshake_can_follow or not _begins_handshake(buffer):
            raise PlaintextBeforeTLS(f"{count} bytes came in plaintext that were not handed over before start_tls()")
    elif buffer.mid_frame:
        raise RuntimeError("start_tls() is for the end of a frame, and one has begun")


def _begins_handshake(buffer: TerminatorBuffer) -> bool:
    received = buffer.take()
    buffer.feed(received)
    return received.startswith(_HANDSHAKE)


async def _shake_hands(conversation: Conversation, tls: TLSStream, peer: Address | None) -> None:
    try:
        await tls.do_handshake()
    except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
        conversation.check_not_lost()  # else we have closed it ourselves
        raise _failure(conversation, peer, str(exc.__cause__ or exc)) from exc


def _failure(conversation: Conversation, peer: Address | None, reason: str) -> Lost:
    """Note that the peer is gone, for us."""
    logger.info("TLS handshake with %s failed: %s", peer, reason)
    conversation.writer.lose(peer_gone=True)
    return Lost(conversation, f"the TLS handshake failed: {reason}")
