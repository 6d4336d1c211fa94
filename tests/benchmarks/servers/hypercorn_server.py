"""Hypercorn on Trio: what its option --worker-class trio runs, in one process.

Its access log is off unless it is given a place to go. By default it closes a connection after 1,000 requests.

In tests/: `python -m benchmarks.servers.hypercorn_server PORT`
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, cast

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from .asgi_app import app
from .contents import HOST, KEEP_ALIVE_SECONDS


def config(port: int) -> Config:
    config = Config()
    config.bind = [f"{HOST}:{port}"]
    config.accesslog = None
    config.loglevel = "WARNING"
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = sys.maxsize
    return config


if __name__ == "__main__":
    trio.run(partial(serve, cast(Any, app), config(int(sys.argv[1]))))
