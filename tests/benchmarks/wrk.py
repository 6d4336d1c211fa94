"""Load by wrk, and what it says about it.

What it prints as the latency of pipelined requests is of no use, and is to be left out: it takes the time of all that
are sent together, and for some servers prints zero for all percentiles, or for the high ones only.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .cores import pinned

MISSING = "wrk is not installed: it is in the package wrk of Debian and others"
_SCRIPTS = Path(__file__).parent / "lua"
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class LoadFailed(Exception):
    """Answers were wrong or missing: such a figure says nothing."""


class Load(NamedTuple):
    """What wrk is told: how many connections, which fields, which script of lua/ with which arguments."""

    connections: int = 64
    fields: Sequence[str] = ()
    script: str | None = None
    arguments: Sequence[str] = ()


class Report(NamedTuple):
    requests: int
    requests_per_second: float
    #: Latencies in seconds.
    p50: float
    p99: float


def run(url: str, load: Load, seconds: int, cores: set[int]) -> Report:
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    for line in load.fields:
        command += ["-H", line]
    if load.script is not None:
        command += ["-s", str(_SCRIPTS / load.script)]
    command += [url, *(["--", *load.arguments] if load.arguments else [])]
    try:
        with pinned(cores):
            result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LoadFailed(MISSING) from None
    if result.returncode:
        raise LoadFailed(f"wrk ended with {result.returncode}: {result.stderr.strip() or result.stdout.strip()}")
    return parse(result.stdout)


def parse(output: str) -> Report:
    """Read what wrk prints. Raises LoadFailed if any answer was an error, or did not come."""
    for complaint in (r"Non-2xx or 3xx responses: \d+", r"Socket errors: .*"):
        if found := re.search(complaint, output):
            raise LoadFailed(found[0])
    requests = re.search(r"(\d+) requests in ", output)
    rate = re.search(r"Requests/sec: +([\d.]+)", output)
    if requests is None or rate is None:
        raise LoadFailed(f"wrk says nothing of requests: {output!r}")
    if not int(requests[1]):
        raise LoadFailed("not one request was answered in time")
    return Report(int(requests[1]), float(rate[1]), _latency(output, 50), _latency(output, 99))


def _latency(output: str, percent: int) -> float:
    """In seconds."""
    found = re.search(rf"^ +{percent}% +([\d.]+)(us|ms|s|m|h)$", output, re.MULTILINE)
    if found is None:
        raise LoadFailed(f"wrk says nothing of the latency of {percent}% (is --latency on?): {output!r}")
    return float(found[1]) * _SECONDS[found[2]]
