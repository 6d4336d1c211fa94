"""Serving an application."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import partial
from typing import TypeAlias, Unpack

import trio

from .. import ServeOptions, SocketListener, SocketStream, serve_ssl_over_tcp, serve_tcp
from ._handler import App, HTTPRequestHandler

Listener: TypeAlias = SocketListener | trio.SSLListener[SocketStream]


async def serve(
    app: App,
    port: int,
    *,
    host: str | bytes | None = "127.0.0.1",
    ssl_context: ssl.SSLContext | None = None,
    reuse_port: bool = False,
    task_status: trio.TaskStatus[Sequence[Listener]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServeOptions],
) -> None:
    """Answer the HTTP requests that come to a TCP port with `await app(request)`.

    `host` is the address to listen on, None for all; port 0 is any free one; with `reuse_port`, other processes may
    share it (see `trio_chat.open_tcp_listeners`). With `ssl_context`, a server's, requests come over TLS. Runs until it
    is cancelled, or stopped gracefully by its `stop` event. See `ServeOptions`, and `HTTPRequestHandler` for the
    limits: to change them, or to serve on other listeners, serve a subclass, or
    `functools.partial(HTTPRequestHandler, app=app)`, with `trio_chat.serve_tcp`, `trio_chat.serve_listeners` and so on.
    """
    if not callable(app):
        raise TypeError(f"an application is an async function from a Request to a Response; got {app!r}")
    handler_factory = partial(HTTPRequestHandler, app=app)
    if ssl_context is None:
        await serve_tcp(handler_factory, port, host=host, reuse_port=reuse_port, task_status=task_status, **options)
    else:
        # HTTP says itself where a message ends: a client need not say so again in the words of TLS.
        await serve_ssl_over_tcp(
            handler_factory,
            port,
            ssl_context,
            host=host,
            https_compatible=True,
            reuse_port=reuse_port,
            task_status=task_status,
            **options,
        )
