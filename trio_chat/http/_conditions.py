"""Preconditions and the range of a request: RFC 9110, sections 13 and 14. Pure: fields in, verdicts out.

What is malformed never makes an answer smaller or a change possible: a date is ignored, a list of entity tags matches
nothing, a range asks for nothing. Only single ranges are served. Several would cost the server more than the client,
and the client has to take the whole in any case (section 14.2).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import NamedTuple

from ._dates import parse_date
from ._headers import Headers

# Section 8.8.3. A list may have empty elements (section 5.6.1.2); the comma of `"a,b"` is the tag's own.
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"'
_tag = re.compile(_TAG)
_tags = re.compile(rf"[ \t,]*+(?:{_TAG}[ \t]*+(?:,[ \t,]*+|\Z))*+")

# Section 14.1.2; the unit is case-insensitive (section 14.1), and a list with one range may have empty elements.
_range = re.compile(r"bytes=[ \t,]*+([0-9]*+)-([0-9]*+)[ \t,]*+", re.IGNORECASE)
_CONDITIONAL = {"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"}
_MAX_DIGITS = 20  # the first ones of a longer number are already beyond the end of every file


class Validators(NamedTuple):
    """What is compared: the current entity tag as it is sent, and the time of the last change, if there are."""

    etag: str | None
    modified: int | None

    @classmethod
    def of(cls, headers: Headers) -> Validators:
        """Those that the fields of a response give."""
        return cls(headers.get("etag"), parse_date(headers.get("last-modified", "")))


def is_conditional(headers: Headers) -> bool:
    """Whether a request has any of the fields that are looked at here."""
    return not _CONDITIONAL.isdisjoint(headers.lines())


def unmet(method: str, headers: Headers, current: Validators) -> HTTPStatus | None:
    """How a request is answered because of its preconditions: 304 or 412; None if it is to be carried out.

    For a resource that exists. The order is that of section 13.2.2.
    """
    is_read = method in ("GET", "HEAD")
    if "if-match" in headers:
        if not _is_listed(current.etag, headers["if-match"], strongly=True):
            return HTTPStatus.PRECONDITION_FAILED
    elif _is_later(current.modified, headers.get("if-unmodified-since")):
        return HTTPStatus.PRECONDITION_FAILED
    if "if-none-match" in headers:
        if _is_listed(current.etag, headers["if-none-match"], strongly=False):
            return HTTPStatus.NOT_MODIFIED if is_read else HTTPStatus.PRECONDITION_FAILED
    elif is_read and _is_later(current.modified, headers.get("if-modified-since")) is False:
        return HTTPStatus.NOT_MODIFIED
    return None


def wanted_range(method: str, headers: Headers, length: int, current: Validators) -> range | None:
    """The positions that a request asks for; None if it is to get all `length` bytes, with 200.

    An empty range cannot be satisfied: the answer is 416.
    """
    if method != "GET" or (match := _range.fullmatch(headers.get("range", ""))) is None:
        return None
    if "if-range" in headers and not _is_current(headers["if-range"], current):
        return None
    first, last = (int(digits.lstrip("0")[:_MAX_DIGITS] or "0") if digits else None for digits in match.groups())
    if first is None:
        if last is None or (last and not length):  # the last bytes of nothing are all: Content-Range cannot say that
            return None
        return range(max(length - last, 0), length)
    if last is None:
        return range(first, length)
    return range(first, min(last + 1, length)) if first <= last else None


def _is_listed(etag: str | None, field: str, *, strongly: bool) -> bool:
    """Whether `field`, "*" or a list of entity tags, has the current one. Section 8.8.3.2."""
    if field == "*":
        return True
    if etag is None or not _tags.fullmatch(field):
        return False
    if strongly:
        return not etag.startswith("W/") and etag in _tag.findall(field)
    return etag.removeprefix("W/") in (tag.removeprefix("W/") for tag in _tag.findall(field))


def _is_later(modified: int | None, field: str | None) -> bool | None:
    """Whether the last change came after the date in `field`; None if there is nothing to compare."""
    if modified is None or field is None or (date := parse_date(field)) is None:
        return None
    return modified > date


def _is_current(field: str, current: Validators) -> bool:
    """Whether If-Range has the current validator, so that a range fits what the client has. Section 13.1.5.

    A date is not strong enough: the file may have changed twice in that second (section 8.8.2.2).
    """
    return _tag.fullmatch(field) is not None and _is_listed(current.etag, field, strongly=True)
