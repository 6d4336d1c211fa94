"""The body of a request while it is received: terminators are its framing.

A body of known length is one count. A chunked one alternates (RFC 9112, section 7.1):

    size line      up to CRLF         the size in hexadecimal, extensions
    data           a count            that many bytes
    end of chunk   a count of 2       CRLF
    trailer line   up to CRLF         after a size of 0, until a line is empty

Each state knows what to do with data and with its terminator, and gives the next terminator. What is wrong with a body
is known for certain before it is said, so the verdict does not depend on how the bytes were split.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable

from .. import Terminator
from ._errors import HTTPError
from ._fields import fields_of, is_fields
from ._headers import TCHARS, Headers

_CRLF = b"\r\n"
_NO_TRAILERS = Headers()

# RFC 9110, section 5.6.4.
_QUOTED = r'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
# RFC 9112, section 7.1 and 7.1.1. Blanks are allowed nowhere but around the signs of an extension.
_size_line = re.compile(
    rf"(?=[0-9A-Fa-f])0*+([0-9A-Fa-f]*+)(?:[ \t]*+;[ \t]*+{TCHARS}(?:[ \t]*+=[ \t]*+(?:{TCHARS}|{_QUOTED}))?+)*+"
)
_bare = re.compile(rb"[\r\n]")
_TOO_MUCH_OVERHEAD = "too much of the body is chunk extensions"
_MAX_SIZE_DIGITS = 15  # more than anyone sends, and no integer of 64 bits overflows


class Body(ABC):
    """What has come of a body and was not taken yet, and what is still expected.

    Attributes:
        pieces: content that was received and not taken.
        received: how many bytes of content have come.
        complete: whether all of it has come.
        trailers: the fields behind a chunked body.
    """

    received: int = 0
    complete: bool = False
    trailers: Headers = _NO_TRAILERS

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def add(self, data: bytes) -> None:
        """`data`, of the content, has come."""
        self.received += len(data)
        self.pieces.append(data)

    def take(self) -> bytes:
        """Take the pieces, as one."""
        taken = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces.clear()
        return taken

    @property
    @abstractmethod
    def length(self) -> int | None:
        """How many bytes of content there will be, if that is known."""

    @abstractmethod
    def first_terminator(self) -> Terminator: ...

    @abstractmethod
    def collect(self, data: bytes) -> None:
        """`data` has come before the terminator. Raises HTTPError."""

    @abstractmethod
    def found(self) -> Terminator:
        """The terminator has come: the next one, or None if the body is complete. Raises HTTPError."""


class CountedBody(Body):
    """A body whose length is known."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = length
        self.complete = not length

    @property
    def length(self) -> int:
        return self._length

    def first_terminator(self) -> Terminator:
        return self._length

    def collect(self, data: bytes) -> None:
        self.add(data)

    def found(self) -> Terminator:
        self.complete = True
        return None


#: Of all requests without one: nothing ever comes, so it never changes.
NO_BODY = CountedBody(0)


class ChunkedBody(Body):
    """A body in chunks."""

    def __init__(self, *, max_bytes: float, max_line_bytes: int, max_overhead_bytes: int, max_fields: int) -> None:
        """`max_overhead_bytes`: of all size lines together, but for the digits that count; and of the trailers."""
        super().__init__()
        self._max_bytes = max_bytes
        self._max_line_bytes = max_line_bytes
        self._overhead_left = self._trailer_left = max_overhead_bytes
        self._line = b""
        self._trailers: list[tuple[str, str]] = []
        self._max_fields = max_fields
        self._collect: Callable[[bytes], None] = self._collect_size
        self._found: Callable[[], Terminator] = self._found_size

    @property
    def length(self) -> None:
        return None

    def first_terminator(self) -> Terminator:
        return _CRLF

    def collect(self, data: bytes) -> None:
        self._collect(data)

    def found(self) -> Terminator:
        return self._found()

    def _take_line(self) -> bytes:
        line, self._line = self._line, b""
        return line

    def _add_to_line(self, data: bytes, max_bytes: int, status: int, error: str) -> None:
        max_bytes = min(max_bytes, self._max_line_bytes)
        # At the end of the input half a CRLF is no mistake, but an end too early.
        bare = _bare.search(data, 0, len(data) - data.endswith(b"\r"))
        if self._line.endswith(b"\r") or (bare and len(self._line) + bare.start() < max_bytes):
            raise HTTPError(400, "a line within the body does not end in CRLF")
        self._line += data
        if len(self._line) > max_bytes:
            raise HTTPError(status, error)

    # ------------------------------------------------------------------ size lines

    def _collect_size(self, data: bytes) -> None:
        # RFC 9112, section 7.1.1: extensions have to be limited.
        self._add_to_line(data, self._overhead_left + _MAX_SIZE_DIGITS, 400, _TOO_MUCH_OVERHEAD)

    def _found_size(self) -> Terminator:
        line = self._take_line()
        match = _size_line.fullmatch(line.decode("latin-1"))
        if match is None:
            raise HTTPError(400, "invalid chunk size")
        digits = match[1]
        self._overhead_left -= len(line) - len(digits)
        if self._overhead_left < 0:
            raise HTTPError(400, _TOO_MUCH_OVERHEAD)
        if not digits:
            self._collect, self._found = self._collect_trailer, self._found_trailer
            return _CRLF
        if len(digits) > _MAX_SIZE_DIGITS or self.received + (size := int(digits, 16)) > self._max_bytes:
            raise HTTPError(413)
        self._collect, self._found = self.add, self._found_data
        return size

    # ------------------------------------------------------------------ data

    def _found_data(self) -> Terminator:
        self._collect, self._found = self._collect_end, self._found_end
        return len(_CRLF)

    def _collect_end(self, data: bytes) -> None:
        self._line += data
        if not _CRLF.startswith(self._line):
            raise HTTPError(400, "a chunk is longer than its size")

    def _found_end(self) -> Terminator:
        self._line = b""
        self._collect, self._found = self._collect_size, self._found_size
        return _CRLF

    # ------------------------------------------------------------------ trailers

    def _collect_trailer(self, data: bytes) -> None:
        self._add_to_line(data, self._trailer_left, 431, "too long trailers")

    def _found_trailer(self) -> Terminator:
        if data := self._take_line():
            line = f"\r\n{data.decode('latin-1')}"
            if not is_fields(line):
                raise HTTPError(400, "malformed trailer field")
            self._trailers += fields_of(line)
            if len(self._trailers) > self._max_fields:
                raise HTTPError(431, "too many trailers")
            self._trailer_left -= len(line)
            return _CRLF
        if self._trailers:
            self.trailers = Headers.from_valid(self._trailers)
        self.complete = True
        return None
