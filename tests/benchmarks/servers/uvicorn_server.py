"""uvicorn, with a parser and an event loop of its choice.

access_log=False turns the access log off; it adds no Server field, and looks at no fields of proxies.

In tests/: `python -m benchmarks.servers.uvicorn_server PORT [h11|httptools asyncio|uvloop]`
"""

from __future__ import annotations

import sys

import uvicorn

from .asgi_app import app
from .contents import HOST, KEEP_ALIVE_SECONDS

if __name__ == "__main__":
    port, parser, loop = sys.argv[1:] if len(sys.argv) > 2 else (sys.argv[1], "httptools", "uvloop")
    uvicorn.run(
        app,
        host=HOST,
        port=int(port),
        http=parser,
        loop=loop,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
