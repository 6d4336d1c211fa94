"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable
from typing import Any, NamedTuple

import trio

from ._headers import Headers, HeadersLike
from ._pieces import for_each
from ._response import Response, Send

_line_end = re.compile(r"\r\n|\n|\r")
_PING = b":\n\n"  # a comment: it means nothing to the client, and finds out whether it is there


class ServerSentEvent(NamedTuple):
    """One event.

    Attributes:
        data: what it says; any text.
        event: its type, "message" if there is none.
        id: what the client says in the field Last-Event-ID when it comes back after the connection broke.
        retry: how many milliseconds the client shall wait before it comes back.
    """

    data: str
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def encode(self) -> bytes:
        """The event on the wire.

        Raises ValueError for a type or an id of several lines, an id with NUL, or a negative `retry`.
        """
        fields = [(name, value) for name, value in (("event", self.event), ("id", self.id)) if value is not None]
        if any(_line_end.search(value) for _, value in fields) or "\0" in (self.id or ""):
            raise ValueError(f"the type and the id of an event are one line, the id without NUL; got {self!r}")
        if self.retry is not None:
            if self.retry < 0:
                raise ValueError(f"retry is a number of milliseconds; got {self.retry}")
            fields.append(("retry", f"{self.retry:d}"))
        fields += [("data", line) for line in _line_end.split(self.data)]
        return "".join([*(f"{name}: {value}\n" for name, value in fields), "\n"]).encode()


class EventSourceResponse(Response):
    """A stream of server-sent events, for a browser's `EventSource`.

    Args:
        events: an async iterable of `ServerSentEvent`, or of `str` for events that are nothing but data. It is closed
            when it has ended or the client is gone.
        headers: as of `Response`. Cache-Control and, for proxies, X-Accel-Buffering are added unless they are given.
        ping_seconds: how long the stream may be silent before a comment is sent, so that proxies keep the connection,
            and that a client which is gone is noticed.
    """

    __slots__ = ("_events", "_ping_seconds")

    def __init__(
        self,
        events: AsyncIterable[ServerSentEvent | str],
        headers: HeadersLike = (),
        *,
        ping_seconds: float = 15.0,
    ) -> None:
        if isinstance(events, str | bytes) or not isinstance(events, AsyncIterable):
            raise TypeError(f"events come from an async iterable; got {events!r:.60}")
        if not ping_seconds > 0:
            raise ValueError(
                f"ping_seconds is a positive number of seconds, math.inf for no pings; got {ping_seconds!r}"
            )
        fields = Headers(headers).with_defaults({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        body: Any = events  # of events: write_to makes bytes of them
        super().__init__(200, body, fields, content_type="text/event-stream")
        self._events = events
        self._ping_seconds = ping_seconds

    async def write_to(self, send: Send) -> None:
        spoken = trio.current_time()

        async def ping() -> None:
            nonlocal spoken
            while True:
                await trio.sleep_until(spoken + self._ping_seconds)
                if trio.current_time() >= spoken + self._ping_seconds:
                    spoken = trio.current_time()
                    await send(_PING)

        async def send_event(event: ServerSentEvent | str) -> None:
            nonlocal spoken
            spoken = trio.current_time()
            await send((ServerSentEvent(event) if isinstance(event, str) else event).encode())

        await send(b"")  # the head: a browser waits for it, however long the first event takes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ping)
            await for_each(self._events, send_event)
            nursery.cancel_scope.cancel()
