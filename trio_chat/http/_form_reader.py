"""Reading a form, by either of its media types, from a body that comes in pieces; no file is ever whole in memory.

multipart/form-data is parsed by the package `multipart`, which does no I/O. It is fed blocks of one size, whatever the
pieces were, for two reasons. Some of its verdicts depend on where the input is cut (whether there is a line that is too
long, ends in LF or stands before the first boundary), and so they depend on the form alone. And a file on disk costs
one visit to a thread for each block, not for each piece.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from tempfile import TemporaryFile
from urllib.parse import parse_qsl

import trio
from multipart import (  # type: ignore[import-untyped]  # python-multipart before 0.0.13 hides it: uninstall that
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from ._errors import HTTPError
from ._forms import Form, FormFile, close_files
from ._headers import Headers

_BLOCK_BYTES = 64 * 1024
_CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}
_boundary = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, section 5.1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class FormLimits:
    """How large a form may be; beyond that, the answer is 413. In memory it has at most `max_text_bytes`, and
    `spool_bytes` for each file.

    The header of each part is limited by the package `multipart`: to 8 lines of 4 KiB.

    Attributes:
        max_fields: text fields and files together.
        max_files: file fields, with or without a file.
        max_text_bytes: names and values of all text fields; the whole body if it is urlencoded.
        max_file_bytes: contents of all files.
        spool_bytes: contents of a file that are kept in memory; a larger one is kept on disk.
    """

    max_fields: int = 1000
    max_files: int = 100
    max_text_bytes: int = 1024 * 1024
    max_file_bytes: int = 64 * 1024 * 1024
    spool_bytes: int = 64 * 1024


async def read_form(content_type: str, body: AsyncIterable[bytes], limits: FormLimits) -> Form:
    """The form that `body` is. Whoever calls closes it.

    Text is UTF-8; what is not becomes U+FFFD. A file field in which no file was chosen, sent as one without name and
    content, is left out. A field without a name has the name "".

    Args:
        content_type: application/x-www-form-urlencoded or multipart/form-data, with its parameters.
        body: is read to its end, unless something is raised.

    Raises:
        HTTPError: 415 for another type, another charset than UTF-8 and ASCII, or no (valid) boundary; 413 for more than
            the limits; 400 for a multipart body that is malformed or has no end.
        OSError: if a file cannot be written.

    And what `body` raises. In each case, and if it is cancelled, no file stays open.
    """
    media_type, parameters = parse_options_header(content_type)
    if media_type == "application/x-www-form-urlencoded":
        _check_charset(parameters.get("charset"))
        return await _read_urlencoded(body, limits)
    if media_type == "multipart/form-data" and _boundary.fullmatch(parameters.get("boundary", "")):
        return await _read_multipart(parameters["boundary"], body, limits)
    raise HTTPError(415, "a form is sent as application/x-www-form-urlencoded, or multipart/form-data with a boundary")


def _check_charset(charset: str | None) -> None:
    if charset is not None and charset.lower() not in _CHARSETS:
        raise HTTPError(415, "the text of a form is taken in UTF-8")


async def _read_urlencoded(body: AsyncIterable[bytes], limits: FormLimits) -> Form:
    content = bytearray()
    async for piece in body:
        content += piece
        if len(content) > limits.max_text_bytes:
            raise _too_much_text(limits)
    text = content.decode("utf-8", "replace")
    parse = partial(parse_qsl, text, keep_blank_values=True, max_num_fields=limits.max_fields)
    try:
        # 1 MiB of percent-encoding takes a tenth of a second.
        return Form(parse() if len(text) < _BLOCK_BYTES else await trio.to_thread.run_sync(parse))
    except ValueError:
        raise HTTPError(413, f"the form has more than {limits.max_fields} fields") from None


def _too_much_text(limits: FormLimits) -> HTTPError:
    return HTTPError(413, f"the text of the form is longer than {limits.max_text_bytes} bytes")


async def _read_multipart(boundary: str, body: AsyncIterable[bytes], limits: FormLimits) -> Form:
    reader = _MultipartReader(boundary, limits)
    pending = bytearray()
    try:
        async for piece in body:
            pending += piece
            while len(pending) >= _BLOCK_BYTES:
                await reader.feed(bytes(pending[:_BLOCK_BYTES]))
                del pending[:_BLOCK_BYTES]
        if pending:
            await reader.feed(bytes(pending))
        await reader.feed(b"")
    except BaseException:
        await close_files(reader.files)
        raise
    return Form(reader.fields, reader.files)


class _MultipartReader:
    """Makes fields and files of the blocks that it is fed."""

    def __init__(self, boundary: str, limits: FormLimits) -> None:
        self.fields: list[tuple[str, str]] = []
        self.files: list[FormFile] = []
        self._limits = limits
        # ISO-8859-1 stands for the bytes as they are, which is how `Headers` takes them.
        self._parser = PushMultipartParser(boundary, max_segment_count=limits.max_fields, header_charset="iso-8859-1")
        self._file: FormFile | None = None  # the part that is coming, if it is a file
        self._name = ""
        self._text = bytearray()  # of the part that is coming, if it is text
        self._text_bytes = self._file_bytes = self._file_fields = 0

    async def feed(self, block: bytes) -> None:
        """Take the next block, of any size; an empty one says that there are no more."""
        await trio.lowlevel.checkpoint()  # neither the body nor the parts may ever wait for anything
        try:
            for event in self._parser.parse(block):
                if event is None:
                    await self._end_part()
                elif isinstance(event, MultipartSegment):
                    self._begin_part(event)
                elif self._file:
                    await self._take_content(self._file, event)
                else:
                    self._take_text(event)
        except ParserLimitReached as exc:
            raise HTTPError(413, f"the form is too large: {exc}") from None
        except MultipartError as exc:
            raise HTTPError(400, f"this is not multipart/form-data: {exc}") from None

    def _begin_part(self, segment: MultipartSegment) -> None:
        try:
            headers = Headers(segment.headerlist)
        except ValueError:
            raise HTTPError(400, "malformed header field in a part of the form") from None
        name = segment.name or ""
        self._name = _as_utf8(name)
        if segment.filename is None:
            _check_charset(segment.charset)
            self._count_text(len(name))
            return
        self._file_fields += 1
        if self._file_fields > self._limits.max_files:
            raise HTTPError(413, f"the form has more than {self._limits.max_files} files")
        self._file = FormFile(self._name, _as_utf8(segment.filename), headers)
        self.files.append(self._file)

    def _take_text(self, data: bytes) -> None:
        self._count_text(len(data))
        self._text += data

    def _count_text(self, length: int) -> None:
        self._text_bytes += length
        if self._text_bytes > self._limits.max_text_bytes:
            raise _too_much_text(self._limits)

    async def _take_content(self, file: FormFile, data: bytes) -> None:
        self._file_bytes += len(data)
        if self._file_bytes > self._limits.max_file_bytes:
            raise HTTPError(413, f"the files of the form are longer than {self._limits.max_file_bytes} bytes")
        file.size += len(data)
        if isinstance(file.file, BytesIO):
            if file.size <= self._limits.spool_bytes:
                file.file.write(data)
                return
            # In two visits, so that the file on disk is known, and will be closed, before it is written to.
            data = file.file.getvalue() + data
            file.file = await trio.to_thread.run_sync(TemporaryFile)
        await trio.to_thread.run_sync(file.file.write, data)

    async def _end_part(self) -> None:
        file, self._file = self._file, None
        if file is None:
            self.fields.append((self._name, self._text.decode("utf-8", "replace")))
            self._text.clear()
        elif not file.filename and not file.size:
            self.files.pop()
        elif isinstance(file.file, BytesIO):
            file.file.seek(0)
        else:
            await trio.to_thread.run_sync(file.file.seek, 0)  # writes what is in its buffer


def _as_utf8(text: str) -> str:
    return text.encode("iso-8859-1").decode("utf-8", "replace")
