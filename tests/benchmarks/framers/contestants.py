"""Who frames, by name, imported when its turn has come: whoever is not installed is reported, and the others go on."""

from __future__ import annotations

import importlib
from typing import cast
from unittest.mock import patch

from .job import Framer, Handler, Job

_WHERE = {
    "floor": ("floor_framer", "frame"),
    "find_and_slice": ("floor_framer", "frame_by_find"),
    "TerminatorBuffer": ("buffer_framer", "frame"),
    "trio_chat": ("chat_framer", "frame"),
    "pyasynchat": ("asynchat_framer", "frame"),
    "LineReceiver": ("twisted_framer", "frame"),
    "LineOnlyReceiver": ("twisted_framer", "frame_only_lines"),
    "asyncio": ("asyncio_framer", "frame"),
    "anyio": ("anyio_framer", "frame"),
    "tricycle": ("tricycle_framer", "frame"),
    "h11": ("h11_framer", "frame"),
}

#: The bound and the way of splitting by hand are no framers: they know nothing of chunks.
BOUNDS = ["floor", "find_and_slice"]
FRAMERS = [name for name in _WHERE if name not in BOUNDS]


class WrongFrames(Exception):
    pass


def framer(name: str) -> Framer:
    module, attribute = _WHERE[name]
    return cast(Framer, getattr(importlib.import_module(f".{module}", __package__), attribute))


def check(frame: Framer, job: Job) -> None:
    """Count the frames that the callbacks see. Raises WrongFrames."""
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1

    with patch.object(Handler, "found_terminator", count), patch.object(Handler, "lineReceived", count):
        frame(job)
    expected = b"".join(job.chunks).count(job.terminator)
    if seen != expected:
        raise WrongFrames(f"{seen} frames instead of {expected}")
