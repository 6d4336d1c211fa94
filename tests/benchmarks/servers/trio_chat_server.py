"""trio_chat.

Its access log is a logger's, which is asked at every request whether it is on: at Python's default level it is not.

In tests/: `python -m benchmarks.servers.trio_chat_server PORT [--reuse-port]`
"""

from __future__ import annotations

import sys

import trio

from trio_chat.http import FileResponse, HTTPError, Request, Response, serve

from .contents import HELLO, TEN_K, file

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
    if "--reuse-port" in sys.argv:
        await serve(app, int(sys.argv[1]), reuse_port=True)
    else:
        await serve(app, int(sys.argv[1]))


if __name__ == "__main__":
    trio.run(main)
