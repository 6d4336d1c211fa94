"""The handler's contract: which callbacks a connection invokes, when, and which limits it reads.

The callbacks of one connection never run at the same time: the next begins when the one before has returned, or awaits
`receive_more`, within which it is called. Each may be `def` or `async def`. While one awaits anything else, nothing is
received, which is the backpressure towards the peer; what has been pushed is sent meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from typing import ClassVar, Literal, TypeAlias, get_args

from ._terminators import Terminator

#: What a callback gives back: an `async def` an awaitable, a `def` nothing.
Reply: TypeAlias = Awaitable[None] | None

#: Which timeout has passed.
TimeoutKind: TypeAlias = Literal["idle", "message", "write"]

#: What to do with a frame that is longer than `max_frame_bytes`.
OversizePolicy: TypeAlias = Literal["close", "answer", "skip"]


class Handler:
    """The callbacks, with what they do if they are not overridden, and the limits.

    Limits are class attributes; an instance may have its own. Times are in seconds of Trio's clock, `math.inf` for
    none.

    Attributes:
        terminator: the one at the beginning of the conversation.
        uses_nursery: whether `AsyncChat.nursery` is there. A connection without one is smaller by 2 KB.
        max_frame_bytes: how many bytes may come before a terminator of bytes; None: any number. Read when `run()`
            begins. A count is not limited: a handler that is told one by its peer checks it before it sets it. Nor is
            what comes while the terminator is None: a handler that collects it counts it.
        on_oversize: what happens to a longer one. "close": end the conversation; what was queued before still goes out.
            "answer": call `handle_oversize`, then the same. "skip": call `handle_oversize`, drop the frame's rest with
            its terminator, and go on with the next frame.
        ac_in_buffer_size: how many bytes one receive asks for, four times as many if the one before has brought so
            many.
        ac_out_buffer_size: how many bytes one send takes at the most.
        high_water_bytes: above so many queued bytes nothing more is received or handled, until no more than
            `low_water_bytes` are left. Also how far `wait_eof` reads ahead.
        low_water_bytes: see there.
        idle_timeout: how long to wait for any input while nothing is left to be sent.
        message_timeout: how long a frame may take from its first byte to its terminator; in the middle of a message of
            several frames (see `between_messages`), from the end of the frame before.
        write_timeout: how long the peer may let one send of `ac_out_buffer_size` bytes wait.
        linger_timeout: after the last output, how long to wait for the peer to send something more, which is dropped,
            or to close its side; ten times as long in all. It is waited for because closing a socket with unread input
            resets the connection, and the reset can overtake the last answer.
    """

    terminator: ClassVar[Terminator] = None
    uses_nursery: ClassVar[bool] = True
    max_frame_bytes: int | None = 65536
    on_oversize: OversizePolicy = "close"
    ac_in_buffer_size: int = 65536
    ac_out_buffer_size: int = 65536
    high_water_bytes: int = 65536
    low_water_bytes: int = 16384
    idle_timeout: float = math.inf
    message_timeout: float = math.inf
    write_timeout: float = 60.0
    linger_timeout: float = 2.0

    def handle_connect(self) -> Reply:
        """The conversation begins. The first callback; nothing is received before it has returned, or asks for it."""

    def collect_incoming_data(self, data: bytes) -> Reply:
        """`data`, never empty, has come before the terminator. A frame may come in several calls.

        Bytes that may belong to a terminator are held back until that is decided, or the input ends.
        """
        raise NotImplementedError(f"{type(self).__name__} must override collect_incoming_data()")

    def found_terminator(self) -> Reply:
        """The terminator has come, or the count is reached: what was collected since the last time is one frame."""
        raise NotImplementedError(f"{type(self).__name__} must override found_terminator()")

    def handle_oversize(self) -> Reply:
        """A frame is longer than `max_frame_bytes`, of which the first `max_frame_bytes` bytes have been collected.

        The place to push the protocol's answer and to forget what was collected. Called if `on_oversize` is "answer" or
        "skip", once for each such frame. It cannot go on with the conversation by `receive_more`.
        """

    def handle_eof(self) -> Reply:
        """The peer has ended its side of the conversation; everything it sent has been handed over.

        Output is still possible. By default, close when what is queued has been sent; a handler that overrides this
        closes when it has finished.
        """
        raise NotImplementedError

    def handle_timeout(self, kind: TimeoutKind) -> Reply:
        """The timeout `kind` has passed: "idle", "message" (or the patience of `receive_more`), or "write".

        By default, close when what is queued has been sent. A handler that leaves the conversation open is called again
        after the same time. After "write" there is nothing to be decided: output is lost, and the connection closes.
        """
        raise NotImplementedError

    def handle_error(self, exc: Exception) -> Reply:
        """`exc` was raised by a callback or by a producer. By default it is raised again, and leaves `run()`.

        A handler that returns has handled it: the conversation goes on with the next callback, unless it was closed.
        After a producer's exception it closes in any case, for the output is not what it should be.
        If it is raised, what was queued before is sent, and the connection closed, before it leaves `run()`.
        `trio.Cancelled` never comes here, nor does any other exception that is not an `Exception`.
        """
        raise exc

    def handle_close(self) -> Reply:
        """The connection is closed. The last callback, called once whatever happened, even if `run()` was cancelled.

        In that case an `async def` is cancelled at its first checkpoint.
        """

    def between_messages(self) -> bool:
        """Whether the peer owes us nothing when it has ended a frame. Override it if a message is several frames.

        Asked only while waiting for input with no frame begun: if True, a graceful stop may close the connection; if
        False, it waits, and the message timeout runs.
        """
        return True


def check_limits(handler: Handler) -> None:
    """Raise TypeError or ValueError, saying which limit is wrong; `max_frame_bytes` is checked by the buffer."""
    for name in ("idle_timeout", "message_timeout", "write_timeout", "linger_timeout"):
        check_seconds(name, getattr(handler, name))
    if handler.on_oversize not in get_args(OversizePolicy):
        raise ValueError(f'on_oversize is "close", "answer" or "skip"; got {handler.on_oversize!r}')


def check_seconds(name: str, seconds: float) -> None:
    """Raise TypeError or ValueError, if that is no time to wait."""
    if not isinstance(seconds, int | float):
        raise TypeError(f"{name} is a number of seconds, math.inf for no limit; got {seconds!r}")
    if not seconds >= 0:
        raise ValueError(f"{name} must be at least 0; got {seconds}")
