"""The application for ASGI servers: plain ASGI; the file by Starlette, which reads it in threads.

To a server that can send a file itself (the extension http.response.pathsend) Starlette gives its path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from starlette.responses import FileResponse

from .contents import HELLO, TEN_K, file

Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]

FILE = file()


async def app(scope: Any, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    match scope["method"], scope["path"]:
        case "GET", "/":
            await answer(send, 200, HELLO)
        case "GET", "/10k":
            await answer(send, 200, TEN_K)
        case "GET", "/file":
            await FileResponse(FILE)(scope, receive, send)
        case "POST", "/upload":
            await answer(send, 200, b"%d" % await length_of(receive))
        case _:
            await answer(send, 404, b"")


async def length_of(receive: Receive) -> int:
    length = 0
    more = True
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    return length


async def answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
