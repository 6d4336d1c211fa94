"""aiohttp's web server, on asyncio.

access_log=None turns the access log off.

In tests/: `python -m benchmarks.servers.aiohttp_server PORT`
"""

from __future__ import annotations

import sys

from aiohttp import web

from .contents import HELLO, HOST, KEEP_ALIVE_SECONDS, TEN_K, file

FILE = file()


async def hello(request: web.Request) -> web.Response:
    return web.Response(body=HELLO, content_type="text/plain")


async def ten_k(request: web.Request) -> web.Response:
    return web.Response(body=TEN_K, content_type="text/plain")


async def send_file(request: web.Request) -> web.FileResponse:
    return web.FileResponse(FILE)


async def upload(request: web.Request) -> web.Response:
    received = 0
    async for piece in request.content.iter_any():
        received += len(piece)
    return web.Response(text=str(received))


if __name__ == "__main__":
    application = web.Application()
    application.add_routes(
        [web.get("/", hello), web.get("/10k", ten_k), web.get("/file", send_file), web.post("/upload", upload)]
    )
    web.run_app(
        application,
        host=HOST,
        port=int(sys.argv[1]),
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        print=None,
    )
