"""Opening a file at once where nothing has to be waited for: Linux can be asked for that.

A visit to a thread costs as much as to send several hundred KiB. Linux opens a file with RESOLVE_CACHED (openat2(2),
since 5.12) only if it has the whole way to it in memory; else that is an error, and a matter for a thread. But behind
that way is the file system, and one over a network, or of another process, may take its time to open. So it is only
tried for paths that have led to one that is *prompt*: it says when it would have to wait for a disk (RWF_NOWAIT), which
such ones cannot.

Of a path nothing is remembered but that. The file is opened anew each time, so that none is served that was replaced.
Should another file system be mounted over it, one open may be waited for; the next is a visit again.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable

_MAX_PATHS = 4096
_MAX_PATH_LENGTH = 256
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)
_RESOLVE_CACHED = 0x20
_SYS_OPENAT2 = 437
_MACHINES = {"x86_64", "aarch64"}  # where that is its number, for certain
_AT_FDCWD = -100

_prompt_paths: dict[str, None] = {}  # a set; each change is one step, for several threads may have a Trio run


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def note_opened(path: str, fd: int) -> bool:
    """Returns whether the file system that the path has led to is prompt, and remembers it."""
    is_prompt = _is_prompt(fd)
    if not is_prompt:
        _prompt_paths.pop(path, None)
    elif len(path) <= _MAX_PATH_LENGTH:
        if len(_prompt_paths) >= _MAX_PATHS:
            _prompt_paths.clear()
        _prompt_paths[path] = None
    return is_prompt


def may_be_prompt(path: str) -> bool:
    """Whether `open_nowait` is worth to be tried, and cannot mean to wait."""
    return path in _prompt_paths and _openat2 is not None


def open_nowait(path: str, flags: int) -> int:
    """As `os.open`, for what `may_be_prompt`. Raises BlockingIOError if it cannot be opened at once, or at all."""
    if _openat2 is None or (fd := _openat2(os.fsencode(path), flags)) < 0:
        raise BlockingIOError(errno.EAGAIN, "this file cannot be opened at once", path)
    return fd


def _is_prompt(fd: int) -> bool:
    if _NOWAIT is None:
        return False
    try:
        os.preadv(fd, [bytearray(1)], 0, _NOWAIT)
    except OSError as exc:
        return exc.errno == errno.EAGAIN
    return True


def _find_openat2() -> Callable[[bytes, int], int] | None:
    """openat2(path, flags) with RESOLVE_CACHED; None if the system has none, as far as that shows without trying."""
    if sys.platform != "linux" or os.uname().machine not in _MACHINES:
        return None
    try:
        syscall = ctypes.CDLL(None).syscall
    except (OSError, AttributeError):  # an interpreter without a C library that can be asked
        return None

    def openat2(path: bytes, flags: int) -> int:
        how = _OpenHow(flags, 0, _RESOLVE_CACHED)
        size = ctypes.c_size_t(ctypes.sizeof(how))
        fd: int = syscall(ctypes.c_long(_SYS_OPENAT2), ctypes.c_long(_AT_FDCWD), path, ctypes.byref(how), size)
        return fd

    return openat2


_openat2 = _find_openat2()
