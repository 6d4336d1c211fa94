"""A file as a response: whole, in part, or not at all because the client has it.

All that may block is done in threads, but for the system's tables of media types, which are read once: one visit opens
the file, looks at what it has opened and decides, and one closes it. A piece that the system has in memory is read at
once, for a visit costs more than to copy it; where the system would have to wait for a disk, or does not say, that is
a visit, too. No visit is abandoned when the task is cancelled, so that no open file is lost.
"""

from __future__ import annotations

import errno
import io
import mimetypes
import os
import re
import stat
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from hashlib import blake2b
from http import HTTPStatus
from urllib.parse import quote

import trio

from ._conditions import Validators, unmet, wanted_range
from ._dates import http_date
from ._errors import HTTPError
from ._headers import Headers, HeadersLike
from ._request import Request
from ._response import Response
from ._threads import close_in_thread

_PIECE_BYTES = 256 * 1024
_NOWAIT: int | None = getattr(os, "RWF_NOWAIT", None)  # Linux has it
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}
# RFC 9110, section 15.4.5: a 304 describes the representation no further than its ETag and Content-Location do.
_NOT_IN_304 = {"content-type", "content-encoding", "content-language", "content-disposition", "last-modified"}
_COMPRESSED_TYPES = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "zstd": "application/zstd",
}
_controls = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_not_plain = re.compile(r'[^\x20-\x7e]|["\\%]')
_ATTR_CHARS = "!#$&+-.^_`|~"  # RFC 8187, section 3.2.1, besides letters and digits


class FileResponse(Response):
    """A file. It is opened anew for each request; the response can be given to any number of them.

    GET is answered with 200, one range of the file (206), 304, 412 or 416, as its preconditions and its Range want it
    (RFC 9110, sections 13 and 14); HEAD likewise, but for ranges. ETag and Last-Modified come from the file's number,
    size and time of change. To other methods the file is sent whole, and without these two: what the request asks for
    has been done by then, so its preconditions were for the application to check; and it alone knows whether an ETag
    in the answer to a PUT would be right (section 9.3.4).

    Args:
        path: of the file; symbolic links are followed. It is used as it is: if you build it from a request, make sure
            that it does not lead out of your directory.
        headers: as of any response, but for Content-Range, which is refused. An ETag, Last-Modified or such takes the
            place of ours. 412 and 416 do without them all, as errors do.
        content_type: by default guessed from the path with `mimetypes`; text is UTF-8. A compressed file is of the
            type of its compression, unless `headers` has the Content-Encoding: then it is of the type inside.
        filename: the name under which a client is to save the file, instead of showing it.

    The answer is 404 for what is no regular file, and 403 for a file that the server may not read.
    """

    __slots__ = ("_path",)

    def __init__(
        self,
        path: str | os.PathLike[str],
        headers: HeadersLike = (),
        content_type: str | None = None,
        *,
        filename: str | None = None,
    ) -> None:
        self._path = os.fsdecode(path)
        fields = Headers(headers)
        if "content-range" in fields:
            raise ValueError("Content-Range follows from the request; it cannot be given")
        if filename is not None:
            fields = fields.with_defaults({"Content-Disposition": _attachment(filename)})
        super().__init__(200, b"", fields, content_type or _type_of(self._path, fields))

    async def resolve(self, request: Request) -> Response:
        """The response to this request. A body that is not `bytes` holds the open file: close it (`Response.aclose`).

        Raises:
            HTTPError: 404 or 403.
            OSError: if the server has no descriptors left, the disk fails, or such.
        """
        return await trio.to_thread.run_sync(self._resolve, request)

    def _resolve(self, request: Request) -> Response:
        with ExitStack() as stack:
            file = stack.enter_context(_open(self._path))
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise HTTPError(404)
            response = self._answer(request, file, found)
            if not isinstance(response.body, bytes):
                stack.pop_all()  # the file is the body's now
            return response

    def _answer(self, request: Request, file: io.FileIO, found: os.stat_result) -> Response:
        length = found.st_size
        fields, part = self.headers, None
        if request.method in ("GET", "HEAD"):
            fields = fields.with_defaults(_metadata(found))
            current = Validators.of(fields)
            status = unmet(request.method, request.headers, current)
            if status == HTTPStatus.NOT_MODIFIED:
                return Response(status, headers=fields.without(_NOT_IN_304))
            if status is not None:
                return Response(status, "the file is not as the preconditions want it\n")
            part = wanted_range(request.method, request.headers, length, current)
        if part is None:
            status, part = HTTPStatus.OK, range(length)
        elif not part:  # RFC 9110, section 15.5.17
            return Response(416, f"the file has {length} bytes\n", {"Content-Range": f"bytes */{length}"})
        else:
            status = HTTPStatus.PARTIAL_CONTENT
            fields = fields.with_defaults({"Content-Range": f"bytes {part[0]}-{part[-1]}/{length}"})
        return Response(status, _Pieces(file, part), fields.with_defaults({"Content-Length": str(len(part))}))

    def __repr__(self) -> str:
        return f"<FileResponse {self._path!r}>"


class _Pieces(AsyncIterator[bytes]):
    """This part of a file; less if it has become shorter. Owns the file."""

    def __init__(self, file: io.FileIO, part: range) -> None:
        self._file = file
        self._at, self._end = part.start, part.stop
        self._buffer = bytearray()  # to read into, if that can be done without a thread
        self._needs_threads = _NOWAIT is None

    async def __anext__(self) -> bytes:
        size = min(self._end - self._at, _PIECE_BYTES)
        if size <= 0:
            raise StopAsyncIteration
        await trio.lowlevel.checkpoint_if_cancelled()  # to send the piece is the schedule point
        fd = self._file.fileno()
        piece = self._cached(fd, size) or await trio.to_thread.run_sync(os.pread, fd, size, self._at)
        if not piece:
            raise StopAsyncIteration
        self._at += len(piece)
        return piece

    def _cached(self, fd: int, size: int) -> bytes:
        """As much of the next `size` bytes as is in memory; none if nothing is, or the system cannot tell."""
        if _NOWAIT is None or self._needs_threads:
            return b""
        self._buffer = self._buffer or bytearray(size)
        try:
            count = os.preadv(fd, [memoryview(self._buffer)[:size]], self._at, _NOWAIT)
        except OSError as exc:
            self._needs_threads = exc.errno != errno.EAGAIN  # the file system cannot tell
            return b""
        return bytes(memoryview(self._buffer)[:count])

    async def aclose(self) -> None:
        """Close the file, even if the task is cancelled. There are no pieces after that."""
        self._end = 0
        if not self._file.closed:
            await close_in_thread(self._file.close)  # of a deleted file that can mean to free its blocks


def _open(path: str) -> io.FileIO:
    """Raises HTTPError if there is no such file, or if it may not be read."""
    try:
        return io.FileIO(path, opener=_opener)
    except PermissionError as error:
        raise HTTPError(403) from error
    except OSError as error:
        if error.errno in _NO_FILE:
            raise HTTPError(404) from error
        raise
    except ValueError as error:  # a NUL, or a character that the file system's encoding does not have
        raise HTTPError(404) from error


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)  # a FIFO is not waited for, a terminal not made ours


def _metadata(found: os.stat_result) -> dict[str, str]:
    # RFC 9110, section 8.8.2.1: Last-Modified is never later than Date. Nor before 1970, where not all can count.
    modified = max(0, min(found.st_mtime_ns // 10**9, int(time.time())))
    version = f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"  # which is nobody's business
    return {
        "ETag": f'"{blake2b(version.encode(), digest_size=12).hexdigest()}"',
        "Last-Modified": http_date(modified),
        "Accept-Ranges": "bytes",
    }


def _type_of(path: str, fields: Headers) -> str:
    guess, encoding = mimetypes.guess_type(f"/{os.path.basename(path)}")  # without the slash, "data:a" would be a URL
    if encoding and fields.get("content-encoding") != encoding:
        guess = _COMPRESSED_TYPES.get(encoding)
    if guess is None:
        return "application/octet-stream"
    return f"{guess}; charset=utf-8" if guess.startswith("text/") else guess


def _attachment(filename: str) -> str:
    """The field Content-Disposition: RFC 6266, whose appendix D advises against escapes and "%" in the plain name."""
    name = _controls.sub("_", filename)
    extended = quote(name, _ATTR_CHARS, errors="replace")
    return f"attachment; filename=\"{_not_plain.sub('_', name)}\"; filename*=UTF-8''{extended}"
