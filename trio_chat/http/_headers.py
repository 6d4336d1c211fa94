"""Header fields: case-insensitive, several values, nothing lost. RFC 9110, section 5."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

#: What a response's header fields can be given as.
HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

#: What a response sends of its fields: their lines, the options of Connection, and whether Date is among them.
Prepared: TypeAlias = tuple[bytes, tuple[str, ...], bool]

# Grammars are of text: bytes are read and written as ISO-8859-1, so that none is lost.
TCHARS = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"  # a token: RFC 9110, section 5.6.2
FIELD_TEXT = r"[\t\x20-\x7e\x80-\xff]*+"  # section 5.5, with the blanks around the value

_FRAMING = {"content-length", "transfer-encoding"}

_name = re.compile(TCHARS)
_value = re.compile(FIELD_TEXT)


class Headers(Mapping[str, str]):
    """The fields of a message: `raw` in order and as they were sent, the mapping by lower-case name. Immutable.

    A field that came on several lines reads as one, joined with a comma, which is what it means (RFC 9110, section
    5.3; Set-Cookie is the exception); `get_all` gives the lines.
    """

    __slots__ = ("_lines", "_pairs", "_prepared")

    def __init__(self, fields: HeadersLike = ()) -> None:
        """Raises TypeError or ValueError for a name that is no token, or a value with CR, LF, NUL or such."""
        self._lines: Mapping[str, Sequence[str]] | None = None  # made when somebody asks
        self._prepared: Prepared | None = None  # made, and kept, by who sends them
        self._pairs: list[tuple[str, str]]
        if isinstance(fields, Headers):
            self._lines, self._prepared, self._pairs = fields._lines, fields._prepared, fields._pairs
            return
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        self._pairs = [(_checked(name, _name, "name"), _checked(value, _value, "value")) for name, value in pairs]

    @classmethod
    def from_valid(cls, pairs: list[tuple[str, str]]) -> Headers:
        """Headers of fields that are known to be valid."""
        headers = cls.__new__(cls)
        headers._lines = headers._prepared = None
        headers._pairs = pairs
        return headers

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """The fields in order and as they were sent; a new list, which can be changed without effect."""
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._pairs]

    def with_defaults(self, defaults: HeadersLike) -> Headers:
        """These, and those of `defaults` whose names are not among them."""
        lines = self.lines()
        missing = [pair for pair in Headers(defaults)._pairs if pair[0].lower() not in lines]
        return Headers.from_valid([*self._pairs, *missing]) if missing else self

    def without(self, names: Collection[str]) -> Headers:
        """These, but for those with one of the lower-case `names`."""
        if self.lines().keys().isdisjoint(names):
            return self
        return Headers.from_valid([pair for pair in self._pairs if pair[0].lower() not in names])

    def without_framing(self) -> Headers:
        """These. Raises ValueError if they say where the message ends, which follows from its body."""
        if not _FRAMING.isdisjoint(self.lines()):
            raise ValueError("Content-Length and Transfer-Encoding follow from the body; they cannot be given")
        return self

    def pairs(self) -> list[tuple[str, str]]:
        """The fields in order, as text."""
        return self._pairs.copy()

    def encode(self) -> str:
        """The field lines, each with its CRLF."""
        return "".join([f"{name}: {value}\r\n" for name, value in self._pairs])

    def lines(self) -> Mapping[str, Sequence[str]]:
        """The values of all lines of each name, which is in lower case."""
        if self._lines is None:
            lines: dict[str, tuple[str, ...]] = {}
            for name, value in self._pairs:
                key = name.lower()
                lines[key] = (*lines.get(key, ()), value)
            self._lines = MappingProxyType(lines)
        return self._lines

    def __getitem__(self, name: str) -> str:
        if (lines := self.lines().get(name.lower())) is None:
            raise KeyError(name)
        return ", ".join(lines)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self.lines()

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines())

    def __len__(self) -> int:
        return len(self.lines())

    def get_all(self, name: str) -> list[str]:
        """The values of all lines of `name`, in order; an empty list if there is none."""
        return list(self.lines().get(name.lower(), ()))

    def __repr__(self) -> str:
        return f"Headers({self._pairs!r})"


def elements_of(lines: Iterable[str]) -> list[str]:
    """The elements of a field that is a list of names, in lower case, empty ones included. RFC 9110, section 5.6.1."""
    return [element.strip(" \t").lower() for line in lines for element in line.split(",")]


def _checked(text: object, grammar: re.Pattern[str], what: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"a header field's {what} is a str; got {text!r}")
    if not grammar.fullmatch(text):
        if not text.isascii() and max(text) > "\xff":
            raise ValueError(f"a header field's {what} is limited to ISO-8859-1; got {text!r}")
        raise ValueError(f"not a header field's {what}: {text!r}")
    return text.strip(" \t")
