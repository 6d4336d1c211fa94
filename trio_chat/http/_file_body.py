"""The body that a file is: piece by piece, or past all queues.

To look whether some of a file is in memory means to read it with RWF_NOWAIT, which Linux has. If it is, the event loop
may touch it: a visit to a thread would cost more than to copy it. Where the system would have to wait for a disk, or
does not say, that is a visit.

What is read goes to the client as a piece, like that of any body. But most of a large file need not be copied so often:
what is in memory the kernel can send by itself (`send_at_once`), if nothing is queued before it and the stream has no
business with the bytes, as TLS has. It takes what the client has room for, at most; then the next piece waits for that,
in the queue, with its limits and timeouts.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import AsyncIterator
from typing import Protocol

import trio

from ._threads import close_in_thread

_PIECE_BYTES = 61440  # with a head before it, it is no more than the connection sends at once
_VISIT_BYTES = 262144  # of a visit, which costs more than a piece
_LONG_BYTES = 262144  # less is not worth a send of its own for the head
_AT_ONCE_BYTES = 1024 * 1024  # looked at, and sent past the queue; then other tasks have their turn


class FileSender(Protocol):
    """`AsyncChat.send_file_nowait`."""

    def __call__(self, file: int, start: int, count: int, /) -> int: ...


class FileBody(AsyncIterator[bytes]):
    """This part of a file; less if it has become shorter. Owns the file.

    Attributes:
        piece_bytes: how long its pieces are, but for the last, and those that have to be waited for.
    """

    def __init__(self, file: io.FileIO, part: range, *, is_prompt: bool) -> None:
        """`is_prompt`: its file system says when it would have to wait."""
        self._file = file
        self._at, self._end = part.start, part.stop
        self._is_prompt = is_prompt
        self.piece_bytes: int = _PIECE_BYTES if is_prompt else _VISIT_BYTES
        self._head_goes_alone = len(part) >= _LONG_BYTES
        self._room = _AT_ONCE_BYTES  # that the client has, as a guess: twice what it has taken the last time

    async def __anext__(self) -> bytes:
        left = self._end - self._at
        if left <= 0:
            raise StopAsyncIteration
        await trio.lowlevel.checkpoint_if_cancelled()  # to send the piece is the schedule point
        if self._head_goes_alone and self._in_memory(1):
            self._head_goes_alone = False
            return b""  # which sends the head: behind that even the first of it need not be copied
        if count := self._in_memory(min(left, _PIECE_BYTES)):
            piece = bytes(_scratch.bytes[:count])
        else:
            piece = await trio.to_thread.run_sync(os.pread, self._file.fileno(), min(left, _VISIT_BYTES), self._at)
        if not piece:
            raise StopAsyncIteration
        self._at += len(piece)
        return piece

    def send_at_once(self, send_file: FileSender, most: int) -> int:
        """Send what is in memory and the client has room for; the pieces go on behind it. Returns how much it was."""
        size = min(self._end - self._at, most, self._room, _AT_ONCE_BYTES)
        ready = self._in_memory(size) if size > 0 else 0
        sent = send_file(self._file.fileno(), self._at, ready) if ready else 0
        self._at += sent
        self._room = max(2 * sent, _PIECE_BYTES)  # so that not much is looked at in vain
        return sent

    def _in_memory(self, size: int) -> int:
        """How much of the next `size` bytes is in memory; 0 if that is not known.

        Up to `_PIECE_BYTES` are in the scratch then. Of more, each part takes the place of the one before, which makes
        it a look: memory that is in the processor's cache is written to, and no more of it.
        """
        if not self._is_prompt:
            return 0
        whole, rest = divmod(size, _PIECE_BYTES)
        try:
            return os.preadv(
                self._file.fileno(), [_scratch.bytes] * whole + [_scratch.bytes[:rest]], self._at, os.RWF_NOWAIT
            )
        except OSError:  # EAGAIN; or what the thread will find, too
            return 0

    async def aclose(self) -> None:
        """Close the file, even if the task is cancelled. There are no pieces after that."""
        self._end = 0
        if self._file.closed:
            return
        if self._is_prompt and os.fstat(self._file.fileno()).st_nlink:
            self._file.close()
        else:
            await close_in_thread(self._file.close)  # of a deleted file that can mean to free its blocks


class _Scratch(threading.local):
    """What is read goes here first: one place for all bodies, of which each thread has its own."""

    def __init__(self) -> None:
        self.bytes = memoryview(bytearray(_PIECE_BYTES))


_scratch = _Scratch()
