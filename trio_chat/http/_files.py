"""A file as a response: whole, in part, or not at all because the client has it.

All that may block is done in threads, but for the system's tables of media types, which are read once: one visit opens
the file, looks at what it has opened and decides. It is spared where the system can do that without waiting
(`_prompt_open.py`). What becomes of the open file is in `_file_body.py`. No visit is abandoned when the task is
cancelled, so that no open file is lost.
"""

from __future__ import annotations

import errno
import io
import mimetypes
import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import lru_cache, partial
from hashlib import blake2b
from http import HTTPStatus
from urllib.parse import quote

import trio

from ._conditions import Validators, is_conditional, unmet, wanted_range
from ._dates import http_date
from ._errors import HTTPError
from ._file_body import FileBody
from ._headers import Headers, HeadersLike
from ._prompt_open import may_be_prompt, note_opened, open_nowait
from ._request import Request
from ._response import Response

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
        encoding = None
        if headers != () or filename is not None:
            headers = fields = Headers(headers)
            if "content-range" in fields:
                raise ValueError("Content-Range follows from the request; it cannot be given")
            if filename is not None:
                headers = fields.with_defaults({"Content-Disposition": _attachment(filename)})
            encoding = fields.get("content-encoding")
        super().__init__(200, b"", headers, content_type or _type_of(self._path, encoding))

    async def resolve(self, request: Request) -> Response:
        """The response to this request. A body that is not `bytes` holds the open file: close it (`Response.aclose`).

        Raises:
            HTTPError: 404 or 403.
            OSError: if the server has no descriptors left, the disk fails, or such.
        """
        if may_be_prompt(self._path):
            await trio.lowlevel.checkpoint_if_cancelled()
            with suppress(BlockingIOError):
                return self._resolve(request, open_nowait)
        return await trio.to_thread.run_sync(self._resolve, request, os.open)

    def _resolve(self, request: Request, open_file: Callable[[str, int], int]) -> Response:
        with ExitStack() as stack:
            file = stack.enter_context(_open(self._path, open_file))
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise HTTPError(404)
            is_prompt = note_opened(self._path, file.fileno())
            response = self._answer(request, found, partial(FileBody, file, is_prompt=is_prompt))
            if not isinstance(response.body, bytes):
                stack.pop_all()  # the file is the body's now
            return response

    def _answer(self, request: Request, found: os.stat_result, body_of: Callable[[range], FileBody]) -> Response:
        length, part = found.st_size, None
        is_read = request.method in ("GET", "HEAD")
        added = _metadata(found) if is_read else []
        if is_read and is_conditional(request.headers):
            fields = self.headers.with_defaults(Headers.from_valid(added))
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
            added = [*added, ("Content-Range", f"bytes {part[0]}-{part[-1]}/{length}")]
        added = [*added, ("Content-Length", str(len(part)))]
        return Response(status, body_of(part), self.headers.with_defaults(Headers.from_valid(added)))

    def __repr__(self) -> str:
        return f"<FileResponse {self._path!r}>"


def _open(path: str, open_file: Callable[[str, int], int]) -> io.FileIO:
    """Raises HTTPError if there is no such file, or if it may not be read."""

    def opener(path: str, flags: int) -> int:
        return open_file(path, flags | os.O_NONBLOCK | os.O_NOCTTY)  # no FIFO is waited for, no terminal made ours

    try:
        return io.FileIO(path, opener=opener)
    except PermissionError as error:
        raise HTTPError(403) from error
    except OSError as error:
        if error.errno in _NO_FILE:
            raise HTTPError(404) from error
        raise
    except ValueError as error:  # a NUL, or a character that the file system's encoding does not have
        raise HTTPError(404) from error


def _metadata(found: os.stat_result) -> list[tuple[str, str]]:
    # RFC 9110, section 8.8.2.1: Last-Modified is never later than Date. Nor before 1970, where not all can count.
    modified = max(0, min(found.st_mtime_ns // 10**9, int(time.time())))
    version = f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
    return [("ETag", _etag_of(version)), ("Last-Modified", http_date(modified)), ("Accept-Ranges", "bytes")]


@lru_cache(maxsize=256)
def _etag_of(version: str) -> str:
    return f'"{blake2b(version.encode(), digest_size=12).hexdigest()}"'  # a hash: the version is nobody's business


def _type_of(path: str, content_encoding: str | None) -> str:
    guess, encoding = mimetypes.guess_type(f"/{os.path.basename(path)}")  # without the slash, "data:a" would be a URL
    if encoding and content_encoding != encoding:
        guess = _COMPRESSED_TYPES.get(encoding)
    if guess is None:
        return "application/octet-stream"
    return f"{guess}; charset=utf-8" if guess.startswith("text/") else guess


def _attachment(filename: str) -> str:
    """The field Content-Disposition: RFC 6266, whose appendix D advises against escapes and "%" in the plain name."""
    name = _controls.sub("_", filename)
    extended = quote(name, _ATTR_CHARS, errors="replace")
    return f"attachment; filename=\"{_not_plain.sub('_', name)}\"; filename*=UTF-8''{extended}"
