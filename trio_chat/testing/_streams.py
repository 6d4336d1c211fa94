"""Streams with faults: what networks and peers do, and tests over perfect streams never see.

Each takes the stream in which it puts one kind of fault, and can be put around another one: a stream that breaks within
a short piece is `ShortPiecesStream(BreakingStream(stream, send_after=5), send_bytes=2)`. Where no fault is set, they
do what that stream does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from ._arguments import check_number
from ._wrapped import WrappedStream

T = TypeVar("T")


class _Faulty(WrappedStream):
    """A stream that shows in its repr which faults were set."""

    def __init__(self, transport_stream: trio.abc.Stream, at_least: int, **faults: int | None) -> None:
        super().__init__(transport_stream)
        for name, number in faults.items():
            if number is not None:
                check_number(name, number, at_least)
        self._faults = ", ".join(f"{name}={number}" for name, number in faults.items() if number is not None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._faults}>" if self._faults else f"<{type(self).__name__}>"


class _Quota:
    """How many bytes may still pass; None: any number."""

    def __init__(self, left: int | None) -> None:
        self.left = left

    def of(self, wanted: int | None) -> int | None:
        return wanted if self.left is None else self.left if wanted is None else min(wanted, self.left)

    def spend(self, count: int) -> None:
        if self.left is not None:
            self.left = max(0, self.left - count)

    @property
    def spent(self) -> bool:
        return self.left == 0


class StallingStream(_Faulty):
    """Stalls: like a peer that neither reads nor writes any more, and does not go away.

    Who comes to the stall waits until `resume` is called, or until the stream is closed, which raises
    `trio.ClosedResourceError`. `send_eof` does not stall: it does not with a socket whose buffer is full, either.

    Args:
        receive_after: how many bytes can be received until it stalls; 0: none. By default, it does not.
        send_after: how many bytes are sent until it stalls, in the middle of a `send_all` if need be.

    If cancelled in the stall, a `send_all` has sent what comes before it; a `receive_some` loses nothing.
    """

    def __init__(
        self, transport_stream: trio.abc.Stream, *, receive_after: int | None = None, send_after: int | None = None
    ) -> None:
        super().__init__(transport_stream, 0, receive_after=receive_after, send_after=send_after)
        self._to_receive = _Quota(receive_after)
        self._to_send = _Quota(send_after)
        self._go_on = trio.Event()

    def stall(self, *, receive: bool = True, send: bool = True) -> None:
        """Stall from the next call on; one that has begun is let through, as far as it was to come."""
        self._to_receive.left = 0 if receive else self._to_receive.left
        self._to_send.left = 0 if send else self._to_send.left

    def resume(self) -> None:
        """Let everything through from now on."""
        self._to_receive.left = self._to_send.left = None
        self._wake()

    async def aclose(self) -> None:
        self.closed = True
        self._wake()
        await super().aclose()

    def _wake(self) -> None:
        self._go_on.set()
        self._go_on = trio.Event()

    async def _while_stalled(self, quota: _Quota) -> None:
        while quota.spent:
            if self.closed:
                await trio.lowlevel.checkpoint()
                raise trio.ClosedResourceError(f"{self!r} was closed")
            await self._go_on.wait()

    async def _send_all(self, data: bytes | bytearray | memoryview) -> None:
        rest = bytes(memoryview(data))
        while True:
            if not (rest and self._to_send.spent):
                piece, rest = rest[: self._to_send.of(len(rest))], rest[self._to_send.of(len(rest)) :]
                self._to_send.spend(len(piece))
                await self.transport_stream.send_all(piece)
            if not rest:
                return
            await self._while_stalled(self._to_send)

    async def _wait_send_all_might_not_block(self) -> None:
        await self._while_stalled(self._to_send)
        await self.transport_stream.wait_send_all_might_not_block()

    async def _receive_some(self, max_bytes: int | None) -> bytes | bytearray:
        await self._while_stalled(self._to_receive)
        data = await self.transport_stream.receive_some(self._to_receive.of(max_bytes))
        self._to_receive.spend(len(data))
        return data


class _Side:
    """One side of a stream that breaks."""

    def __init__(self, quota: int | None) -> None:
        self.quota = _Quota(quota)
        self.broken = False
        self.call: trio.CancelScope | None = None  # the one in progress

    def break_off(self) -> None:
        self.broken = True
        if self.call is not None:
            self.call.cancel()


class BreakingStream(_Faulty):
    """Breaks, as a connection does that its peer, or something on the way, resets.

    From then on every call raises `trio.BrokenResourceError`, those in progress, too; after `aclose`,
    `trio.ClosedResourceError`.

    Args:
        receive_after: how many bytes can be received until it breaks; 0: none. By default, it does not.
        send_after: how many bytes are sent until it breaks, in the middle of a `send_all` if need be.
        one_way: break only the side that has come so far, and leave the other one as it is: what a peer sent before
            it reset the connection can often still be received.

    A call that breaks, or that is cancelled, has passed on what it could until then.
    """

    def __init__(
        self,
        transport_stream: trio.abc.Stream,
        *,
        receive_after: int | None = None,
        send_after: int | None = None,
        one_way: bool = False,
    ) -> None:
        super().__init__(transport_stream, 0, receive_after=receive_after, send_after=send_after)
        self._receiving = _Side(receive_after)
        self._sending = _Side(send_after)
        self._one_way = one_way

    def break_now(self) -> None:
        """Break both sides. Who is in a call fails at once, unless the call has done all that it was to do."""
        self._receiving.break_off()
        self._sending.break_off()

    async def _until_broken(self, side: _Side, call: Callable[[], Awaitable[T]]) -> T:
        if not side.broken:
            with trio.CancelScope() as scope:
                side.call = scope
                try:
                    return await call()
                finally:
                    side.call = None
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise trio.ClosedResourceError(f"{self!r} was closed")
        raise trio.BrokenResourceError(f"{self!r} has broken: connection reset by peer")

    def _break_at(self, side: _Side) -> None:
        if self._one_way:
            side.break_off()
        else:
            self.break_now()

    async def _send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._until_broken(self._sending, lambda: self._send_until_broken(bytes(memoryview(data))))

    async def _send_until_broken(self, data: bytes) -> None:
        quota = self._sending.quota
        piece = data[: quota.of(len(data))]
        if piece or not data:
            quota.spend(len(piece))
            await self.transport_stream.send_all(piece)
        if len(piece) < len(data):
            self._break_at(self._sending)
            await trio.lowlevel.checkpoint()

    async def _wait_send_all_might_not_block(self) -> None:
        await self._until_broken(self._sending, self.transport_stream.wait_send_all_might_not_block)

    async def _send_eof(self) -> None:
        await self._until_broken(self._sending, super()._send_eof)

    async def _receive_some(self, max_bytes: int | None) -> bytes | bytearray:
        quota = self._receiving.quota
        if quota.spent:
            self._break_at(self._receiving)
        data = await self._until_broken(
            self._receiving, lambda: self.transport_stream.receive_some(quota.of(max_bytes))
        )
        quota.spend(len(data))
        return data


class ShortPiecesStream(_Faulty):
    """Sends, and receives, in short pieces, as a network may cut any message.

    Args:
        receive_bytes: how many bytes one `receive_some` gives at the most, whatever it was asked for.
        send_bytes: a `send_all` is passed on in pieces of so many bytes. Each of them is a checkpoint: a cancellation
            leaves a part sent, as with sockets, and unlike with memory streams.
    """

    def __init__(
        self, transport_stream: trio.abc.Stream, *, receive_bytes: int | None = None, send_bytes: int | None = None
    ) -> None:
        super().__init__(transport_stream, 1, receive_bytes=receive_bytes, send_bytes=send_bytes)
        self._receive_bytes = _Quota(receive_bytes)
        self._send_bytes = send_bytes

    async def _send_all(self, data: bytes | bytearray | memoryview) -> None:
        rest = bytes(memoryview(data))
        size = self._send_bytes or len(rest) or 1
        for start in range(0, len(rest) or 1, size):
            await self.transport_stream.send_all(rest[start : start + size])

    async def _receive_some(self, max_bytes: int | None) -> bytes | bytearray:
        return await self.transport_stream.receive_some(self._receive_bytes.of(max_bytes))


class ClosingStream(_Faulty):
    """Is closed by somebody at a call, which then raises `trio.ClosedResourceError`, as all that follow.

    So it goes when another task of the same program closes a stream.

    Args:
        at_receive: at which `receive_some`, counted from 1. By default, at none.
        at_send: at which `send_all`, counted from 1; nothing of that one is sent.

    If cancelled at that call, it has been closed.
    """

    def __init__(
        self, transport_stream: trio.abc.Stream, *, at_receive: int | None = None, at_send: int | None = None
    ) -> None:
        super().__init__(transport_stream, 1, at_receive=at_receive, at_send=at_send)
        self._at_receive = at_receive
        self._at_send = at_send
        self._receives = self._sends = 0

    async def _send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._sends += 1
        if self._sends == self._at_send:
            await self._be_closed()
        await self.transport_stream.send_all(data)

    async def _receive_some(self, max_bytes: int | None) -> bytes | bytearray:
        self._receives += 1
        if self._receives == self._at_receive:
            await self._be_closed()
        return await self.transport_stream.receive_some(max_bytes)

    async def _be_closed(self) -> None:
        await trio.aclose_forcefully(self)
        raise trio.ClosedResourceError(f"{self!r} was closed")
