"""Granian, as an ASGI server: one worker, one thread of its runtime, uvloop.

Its core is in Rust, and parses and writes outside of Python. log_access=False (its default) keeps the access log off.
It runs as a process that starts another one. By default it takes 1,024 connections. pipeline_flush is its switch for
pipelining.

In tests/: `python -m benchmarks.servers.granian_server PORT`
"""

from __future__ import annotations

import sys

from granian.constants import Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from .contents import HOST

if __name__ == "__main__":
    Server(
        f"{__package__}.asgi_app:app",
        address=HOST,
        port=int(sys.argv[1]),
        interface=Interfaces.ASGI,
        workers=1,
        runtime_threads=1,
        loop=Loops.uvloop,
        websockets=False,
        backpressure=10_000,
        http1_settings=HTTP1Settings(pipeline_flush=True),
        log_access=False,
        log_level=LogLevels.warning,
    ).serve()
