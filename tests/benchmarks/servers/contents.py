"""What every server here serves, each in its framework's own way:

    GET /          13 bytes of text
    GET /10k       10,240 bytes
    GET /file      a file of 1,048,576 bytes, from disk
    POST /upload   takes the body piece by piece, and answers with the number of its bytes

Access logs are off and connections are kept, everywhere.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

HOST = "127.0.0.1"
HELLO = b"Hello, world!"
TEN_K = b"x" * 10_240
FILE_BYTES = 1_048_576
#: How long a connection may be idle, where the framework's own default is less: the benchmarks come back to them.
KEEP_ALIVE_SECONDS = 75


def file() -> Path:
    """The file, made if it is not there yet: servers that start at the same time may all make it."""
    path = Path(tempfile.gettempdir()) / f"trio_chat_benchmark_{os.getuid()}.bin"
    if not path.exists() or path.stat().st_size != FILE_BYTES:
        own = path.with_suffix(f".{os.getpid()}")
        own.write_bytes(bytes(FILE_BYTES))
        own.replace(path)
    return path
