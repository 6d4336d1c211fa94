"""Serving an application."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Unpack

import trio

from .. import ServeOptions, serve_tcp
from ._handler import App, HTTPRequestHandler


async def serve(
    app: App,
    port: int,
    *,
    host: str | bytes | None = "127.0.0.1",
    task_status: trio.TaskStatus[Sequence[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServeOptions],
) -> None:
    """Answer the HTTP requests that come to a TCP port with `await app(request)`.

    `host` is the address to listen on, None for all; port 0 is any free one. Runs until it is cancelled, or stopped
    gracefully by its `stop` event. See `ServeOptions`, and `HTTPRequestHandler` for the limits: to change them, serve a
    subclass with `trio_chat.serve_tcp`.
    """
    if not callable(app):
        raise TypeError(f"an application is an async function from a Request to a Response; got {app!r}")
    handler_factory = partial(HTTPRequestHandler, app=app)
    await serve_tcp(handler_factory, port, host=host, task_status=task_status, **options)
