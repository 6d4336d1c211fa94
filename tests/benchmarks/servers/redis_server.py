"""Redis, which keeps nothing on disk. In tests/: `python -m benchmarks.servers.redis_server PORT`"""

from __future__ import annotations

import os
import sys

from .contents import HOST

if __name__ == "__main__":
    command = ["redis-server", "--port", sys.argv[1], "--bind", HOST, "--save", "", "--appendonly", "no"]
    os.execvp(command[0], command)
