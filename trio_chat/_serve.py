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

from ._server import HandlerFactory, ListenerT, ServeOptions, Server
from ._unix import unix_listener

_MAX_PORT = 65535


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
    task_status: trio.TaskStatus[Sequence[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServeOptions],
) -> None:
    """Serve on a TCP port; 0 for any free one. `host`: the address to listen on; None for all. See `ServeOptions`."""
    server = Server(handler_factory, **options)
    listeners = await trio.open_tcp_listeners(_checked(port), host=host, backlog=backlog)
    await server.serve(listeners, task_status)


async def serve_ssl_over_tcp(
    handler_factory: HandlerFactory,
    port: int,
    ssl_context: ssl.SSLContext,
    *,
    host: str | bytes | None = None,
    https_compatible: bool = False,
    backlog: int | None = None,
    task_status: trio.TaskStatus[Sequence[trio.SSLListener[trio.SocketStream]]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServeOptions],
) -> None:
    """Serve TLS on a TCP port. Handlers are made after the handshake. See `serve_tcp` and `trio.SSLStream`."""
    server = Server(handler_factory, **options)
    listeners = await trio.open_ssl_over_tcp_listeners(
        _checked(port), ssl_context, host=host, https_compatible=https_compatible, backlog=backlog
    )
    await server.serve(listeners, task_status)


def _checked(port: int) -> int:
    """The system would take 99999 for 34463."""
    if not 0 <= port <= _MAX_PORT:
        raise ValueError(f"a port is a number from 0 to {_MAX_PORT}; got {port}")
    return port


async def serve_unix(
    handler_factory: HandlerFactory,
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    mode: int | None = None,
    backlog: int | None = None,
    task_status: trio.TaskStatus[Sequence[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    **options: Unpack[ServeOptions],
) -> None:
    """Serve on the Unix socket `path`, with the file permissions `mode`.

    The file of a server that is dead is replaced, and ours is removed at the end. See `ServeOptions`.

    Raises:
        OSError: EADDRINUSE if somebody listens there, or if the file is no socket.
    """
    server = Server(handler_factory, **options)
    async with unix_listener(path, mode, backlog) as listener:
        await server.serve([listener], task_status)
