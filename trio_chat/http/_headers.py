"""Header fields: case-insensitive, several values, nothing lost. RFC 9110, section 5."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

#: What a response's header fields can be given as.
HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"  # RFC 9110, section 5.6.2
FIELD_TEXT = rb"[\t\x20-\x7e\x80-\xff]*+"  # section 5.5, with the blanks around the value

_name = re.compile(TOKEN)
_value = re.compile(FIELD_TEXT)


class Headers(Mapping[str, str]):
    """The fields of a message: `raw` in order and as they were sent, the mapping by lower-case name. Immutable.

    A field that came on several lines reads as one, joined with a comma, which is what it means (RFC 9110, section
    5.3; Set-Cookie is the exception); `get_all` gives the lines. Bytes are read and written as ISO-8859-1, so that none
    is lost.
    """

    __slots__ = ("_lines", "_raw")

    def __init__(self, fields: HeadersLike = ()) -> None:
        """Raises TypeError or ValueError for a name that is no token, or a value with CR, LF, NUL or such."""
        if isinstance(fields, Headers):
            self._take(fields.raw)
            return
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        self._take([(_encoded(name, _name, "name"), _encoded(value, _value, "value")) for name, value in pairs])

    def _take(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._lines: dict[bytes, list[bytes]] = {}
        for name, value in raw:
            self._lines.setdefault(name.lower(), []).append(value)

    @classmethod
    def from_raw(cls, raw: list[tuple[bytes, bytes]]) -> Headers:
        """Headers of fields that are known to be valid."""
        headers = cls.__new__(cls)
        headers._take(raw)
        return headers

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """The fields in order and as they were sent; a new list, which can be changed without effect."""
        return self._raw.copy()

    def with_defaults(self, defaults: Mapping[str, str]) -> Headers:
        """These, and those of `defaults` whose names are not among them."""
        missing = Headers({name: value for name, value in defaults.items() if name not in self})
        return Headers.from_raw([*self._raw, *missing.raw])

    def without_framing(self) -> Headers:
        """These. Raises ValueError if they say where the message ends, which follows from its body."""
        if "content-length" in self or "transfer-encoding" in self:
            raise ValueError("Content-Length and Transfer-Encoding follow from the body; they cannot be given")
        return self

    def pairs(self) -> list[tuple[str, str]]:
        """The fields in order, as text."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._raw]

    def __getitem__(self, name: str) -> str:
        if not (lines := self.get_all(name)):
            raise KeyError(name)
        return ", ".join(lines)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))  # without the exception that Mapping would raise

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def get_all(self, name: str) -> list[str]:
        """The values of all lines of `name`, in order; an empty list if there is none."""
        try:
            key = name.lower().encode("latin-1")
        except UnicodeEncodeError:
            return []
        return [value.decode("latin-1") for value in self._lines.get(key, ())]

    def __repr__(self) -> str:
        return f"Headers({self.pairs()!r})"


def encode_head(first_line: str, raw: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of a message on the wire, with the empty line at its end."""
    fields = b"".join([b"%b: %b\r\n" % field for field in raw])
    return b"%b\r\n%b\r\n" % (first_line.encode("ascii"), fields)


def elements_of(headers: Headers, name: str) -> list[str]:
    """The elements of a field that is a list of names, in lower case, empty ones included. RFC 9110, section 5.6.1."""
    return [element.strip(" \t").lower() for line in headers.get_all(name) for element in line.split(",")]


def connection_options(headers: Headers) -> set[str]:
    """The options of the field Connection, in lower case. RFC 9110, section 7.6.1."""
    return set(elements_of(headers, "connection"))


def _encoded(text: object, grammar: re.Pattern[bytes], what: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"a header field's {what} is a str; got {text!r}")
    try:
        encoded = text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"a header field's {what} is limited to ISO-8859-1; got {text!r}") from None
    if not grammar.fullmatch(encoded):
        raise ValueError(f"not a header field's {what}: {text!r}")
    return encoded.strip(b" \t")
