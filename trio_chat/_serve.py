"""The functions that serve, named after Trio's.

Each runs until it is cancelled, or until its `stop` event is set or its listeners are closed, which stops it
gracefully: nothing more is accepted, idle connections are closed at once, busy ones when they have finished, and after
`shutdown_grace` seconds whatever is left. `await nursery.start(serve_…, …)` gives the listeners, once they listen.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from typing import Unpack

import trio

from ._listening import open_tcp_listeners
from ._server import HandlerFactory, ListenerT, ServeOptions, Server
from ._tls import check_context
from ._transport import SocketListener, SocketStream
from ._unix import unix_listener


async def serve_listeners(
    handler_factory: HandlerFactory,
    listeners: Sequence[ListenerT],
    *,
    task_status: trio.TaskStatus[Sequence[ListenerT]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServeOptions],
) -> None:
    """Serve on `listeners`, any `trio.abc.Listener`s of streams; they are closed at the end. See `ServeOptions`."""
    await Server(handler_factory, **options).serve(listeners, task_status)


async def serve_tcp(
    handler_factory: HandlerFactory,
    port: int,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    reuse_port: bool = False,
    task_status: trio.TaskStatus[Sequence[SocketListener]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServeOptions],
) -> None:
    """Serve on a TCP port; see `open_tcp_listeners`, and `ServeOptions`."""
    server = Server(handler_factory, **options)
    listeners = await open_tcp_listeners(port, host=host, backlog=backlog, reuse_port=reuse_port)
    await server.serve(listeners, task_status)


async def serve_ssl_over_tcp(
    handler_factory: HandlerFactory,
    port: int,
    ssl_context: ssl.SSLContext,
    *,
    host: str | bytes | None = None,
    https_compatible: bool = False,
    backlog: int | None = None,
    reuse_port: bool = False,
    task_status: trio.TaskStatus[Sequence[trio.SSLListener[SocketStream]]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServeOptions],
) -> None:
    """Serve TLS on a TCP port. Handlers are made after the handshake. See `serve_tcp` and `trio.SSLStream`."""
    check_context("serve_ssl_over_tcp()", ssl_context, server_side=True)
    server = Server(handler_factory, **options)
    listeners = [
        trio.SSLListener(listener, ssl_context, https_compatible=https_compatible)
        for listener in await open_tcp_listeners(port, host=host, backlog=backlog, reuse_port=reuse_port)
    ]
    await server.serve(listeners, task_status)


async def serve_unix(
    handler_factory: HandlerFactory,
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    mode: int | None = None,
    backlog: int | None = None,
    task_status: trio.TaskStatus[Sequence[SocketListener]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServeOptions],
) -> None:
    """Serve on the Unix socket `path`, with the file permissions `mode`.

    The file of a server that is dead is replaced, and ours is removed at the end. While that is done its directory is
    locked (flock), if it can be, so that several processes may start at once. See `ServeOptions`.

    Raises:
        OSError: EADDRINUSE if somebody listens there, or if the file is no socket.
    """
    server = Server(handler_factory, **options)
    async with unix_listener(path, mode, backlog) as listener:
        await server.serve([listener], task_status)
