"""What a run depended on: the machine, the versions, the date, the command."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTIONS = (
    "trio-chat", "trio", "multipart", "aiohttp", "anyio", "granian", "h11", "httptools", "Hypercorn", "pyasynchat",
    "starlette", "tornado", "tricycle", "Twisted", "uvicorn", "uvloop", "waitress",
)  # fmt: skip


def about(arguments: Sequence[str]) -> dict[str, Any]:
    return {
        "command": " ".join(["nox -s bench", *(["--", *arguments] if arguments else [])]),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "wrk": _first_line("wrk", "-v").split(" Copyright")[0],
        "redis": _first_line("redis-server", "--version").split(" sha=")[0],
        "versions": {name: version for name in DISTRIBUTIONS if (version := _version(name))},
    }


def _commit() -> str:
    """What was measured. That the results of it change is no change of it."""
    changed = _first_line("git", "diff", "--name-only", "HEAD", "--", ":/", ":!results")
    return _first_line("git", "rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


def _version(distribution: str) -> str | None:
    if distribution == "pyasynchat" and "asynchat" in sys.stdlib_module_names:
        return "standard library"  # which is what is imported there, whatever else is installed
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _first_line(*command: str) -> str:
    """What a command prints; wrk says its version with a failure."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except OSError:
        return ""
    return (result.stdout.splitlines() or [""])[0]
