"""trio_chat.

Its access log is a logger's, which is asked at every request whether it is on: at Python's default level it is not.

With --trio-sockets it serves on Trio's own listeners and streams, instead of its own transport.

In tests/: `python -m benchmarks.servers.trio_chat_server PORT [--reuse-port | --trio-sockets]`
"""

from __future__ import annotations

import sys
from functools import partial

import trio

from trio_chat import serve_listeners
from trio_chat.http import FileResponse, HTTPError, HTTPRequestHandler, Request, Response, serve

from .contents import HELLO, HOST, TEN_K, file

FILE = file()


async def app(request: Request) -> Response:
    match request.method, request.path:
        case "GET", "/":
            return Response(200, HELLO, content_type="text/plain")
        case "GET", "/10k":
            return Response(200, TEN_K, content_type="text/plain")
        case "GET", "/file":
            return FileResponse(FILE)
        case "POST", "/upload":
            received = 0
            async for piece in request.stream():
                received += len(piece)
            return Response(200, str(received))
        case _:
            raise HTTPError(404)


async def main() -> None:
    port = int(sys.argv[1])
    if "--trio-sockets" in sys.argv:
        await serve_listeners(partial(HTTPRequestHandler, app=app), await trio.open_tcp_listeners(port, host=HOST))
    else:
        await serve(app, port, reuse_port="--reuse-port" in sys.argv)


if __name__ == "__main__":
    trio.run(main)
