"""Preconditions and ranges: RFC 9110, sections 13 and 14."""

import itertools
import time
from email.utils import formatdate
from http import HTTPStatus

import pytest

from trio_chat.http import Headers
from trio_chat.http._conditions import Validators, unmet, wanted_range
from trio_chat.http._dates import parse_date

MODIFIED = 784111777
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"
CURRENT = Validators('"now"', MODIFIED)
WEAK = Validators('W/"now"', MODIFIED)
NEITHER = Validators(None, None)
HUGE = "9" * 30_000  # more digits than int() takes


def verdict(*fields: tuple[str, str], method: str = "GET", current: Validators = CURRENT) -> int | None:
    return unmet(method, Headers(fields), current)


def part(
    value: str, *fields: tuple[str, str], length: int = 1000, method: str = "GET", current: Validators = CURRENT
) -> range | None:
    return wanted_range(method, Headers([("Range", value), *fields]), length, current)


# ---------------------------------------------------------------- dates


@pytest.mark.parametrize("text", [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_the_three_forms_of_a_date(text: str) -> None:
    """Section 5.6.7 has these examples of one time."""
    assert parse_date(text) == MODIFIED


def test_the_form_that_is_sent_is_understood() -> None:
    for timestamp in range(0, 2**33, 2**33 // 1000):
        assert parse_date(formatdate(timestamp, usegmt=True)) == timestamp
        assert parse_date(time.asctime(time.gmtime(timestamp))) == timestamp


def test_other_dates() -> None:
    assert parse_date("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert parse_date("Wed, 31 Dec 1969 23:59:59 GMT") == -1
    assert parse_date("Thu Feb 29 23:59:60 1996") == parse_date("Fri, 01 Mar 1996 00:00:00 GMT")  # a leap second


@pytest.mark.parametrize("ahead", [-49, -1, 0, 1, 49, 50])
def test_two_digits_of_a_year_mean_the_last_that_is_not_50_years_ahead(ahead: int) -> None:
    year = time.gmtime().tm_year + ahead
    expected = parse_date(f"Mon, 15 Jun {year} 00:00:00 GMT")
    assert expected is not None
    assert parse_date(f"Monday, 15-Jun-{year % 100:02} 00:00:00 GMT") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "784111777",
        "now",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 GMT; length=5",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Son, 06 Nov 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT",
        "06 Nov 1994",
    ],
)
def test_what_is_no_date_is_ignored(text: str) -> None:
    assert parse_date(text) is None
    assert verdict(("If-Modified-Since", text)) is None
    assert verdict(("If-Unmodified-Since", text)) is None


# ---------------------------------------------------------------- entity tags


@pytest.mark.parametrize(
    "field",
    [
        '"now"',
        '"then", "now"',
        '"now","then"',
        ', "then" ,\t,,"now" ,',
        '"a,b", "now"',
        '"", "now"',
        'W/"then", "now"',
        '"\xe9", "!#~", "now"',
    ],
)
def test_a_list_with_the_current_tag(field: str) -> None:
    assert verdict(("If-Match", field)) is None
    assert verdict(("If-None-Match", field)) == 304


@pytest.mark.parametrize(
    "field",
    [
        "",
        ",",
        '"then"',
        '"NOW"',
        '"then, now"',
        '"a,"now","b"',
        '"then" "now"',
        '"then""now"',
        '"now" x',
        'x "now"',
        "now",
        "'now'",
        'w/"now"',
        '"now',
        'now"',
        '"now"; "then"',
        '"now", *',
        '*, "now"',
        "*, *",
        '"then", now, "now"',
        '"the\tn", "now"',
    ],
)
def test_a_list_without_the_current_tag_or_no_list(field: str) -> None:
    assert verdict(("If-Match", field)) == 412
    assert verdict(("If-None-Match", field)) is None


def test_a_list_on_several_lines() -> None:
    assert verdict(("If-None-Match", '"a"'), ("If-None-Match", '"now"')) == 304
    assert verdict(("If-Match", '"a"'), ("If-Match", '"now"')) is None


def test_a_tag_with_a_comma() -> None:
    current = Validators('"a,b"', None)
    assert verdict(("If-None-Match", '"a,b"'), current=current) == 304
    assert verdict(("If-None-Match", '"a", "b"'), current=current) is None


@pytest.mark.parametrize(
    ("one", "other", "strongly", "weakly"),
    [
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
    ],
)
def test_strong_and_weak_comparison(one: str, other: str, strongly: bool, weakly: bool) -> None:
    """The table of section 8.8.3.2."""
    for current, sent in ((one, other), (other, one)):
        validators = Validators(current, None)
        assert (verdict(("If-Match", sent), current=validators) is None) == strongly
        assert (verdict(("If-None-Match", sent), current=validators) == 304) == weakly
        assert (part("bytes=0-", ("If-Range", sent), current=validators) is not None) == strongly


@pytest.mark.parametrize("current", [CURRENT, WEAK, NEITHER])
def test_the_asterisk_matches_whatever_there_is(current: Validators) -> None:
    assert verdict(("If-Match", "*"), current=current) is None
    assert verdict(("If-None-Match", "*"), current=current) == 304


def test_without_a_current_tag_none_matches() -> None:
    assert verdict(("If-Match", '"now"'), current=NEITHER) == 412
    assert verdict(("If-None-Match", '"now"'), current=NEITHER) is None


@pytest.mark.parametrize(
    "field",
    ['"' * 30_001, '"a",' * 10_000 + "x", " ," * 15_000 + "x", 'W/"' * 10_000, '"a" ' * 8000, "," * 30_000 + '"'],
)
def test_long_lists_take_no_time(field: str) -> None:
    began = time.process_time()
    assert verdict(("If-None-Match", field)) is None
    assert time.process_time() - began < 0.5


# ---------------------------------------------------------------- dates as preconditions


@pytest.mark.parametrize(
    ("date", "if_modified_since", "if_unmodified_since"), [(BEFORE, None, 412), (DATE, 304, None), (AFTER, 304, None)]
)
def test_dates_as_preconditions(date: str, if_modified_since: int | None, if_unmodified_since: int | None) -> None:
    for method in ("GET", "HEAD"):
        assert verdict(("If-Modified-Since", date), method=method) == if_modified_since
        assert verdict(("If-Unmodified-Since", date), method=method) == if_unmodified_since


@pytest.mark.parametrize("date", [BEFORE, DATE, AFTER])
def test_dates_are_ignored_if_there_is_none_to_compare(date: str) -> None:
    assert verdict(("If-Modified-Since", date), current=NEITHER) is None
    assert verdict(("If-Unmodified-Since", date), current=NEITHER) is None


def test_a_date_on_two_lines_is_ignored() -> None:
    assert verdict(("If-Modified-Since", DATE), ("If-Modified-Since", DATE)) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "get"])
def test_other_methods(method: str) -> None:
    assert verdict(("If-Modified-Since", AFTER), method=method) is None
    assert verdict(("If-None-Match", '"now"'), method=method) == 412
    assert verdict(("If-None-Match", '"then"'), method=method) is None
    assert verdict(("If-Match", '"now"'), method=method) is None
    assert verdict(("If-Match", '"then"'), method=method) == 412
    assert verdict(("If-Unmodified-Since", BEFORE), method=method) == 412


# ---------------------------------------------------------------- precedence


def by_the_steps(method: str, fields: dict[str, str]) -> int | None:
    """Section 13.2.2, step by step, for the few values that the test below has."""
    is_read = method in ("GET", "HEAD")
    step = 3
    if "If-Match" in fields:  # 1
        if fields["If-Match"] != '"now"':
            return 412
    elif "If-Unmodified-Since" in fields and fields["If-Unmodified-Since"] == BEFORE:  # 2
        return 412
    if "If-None-Match" in fields:  # 3
        if fields["If-None-Match"] == '"now"':
            return 304 if is_read else 412
        step = 5
    if step == 3 and is_read and fields.get("If-Modified-Since") in (DATE, AFTER):  # 4
        return 304
    return None


def test_precedence() -> None:
    tags = (None, '"now"', '"then"')
    dates = (None, BEFORE, DATE, AFTER)
    names = ("If-Match", "If-Unmodified-Since", "If-None-Match", "If-Modified-Since")
    seen = set()
    for method, *values in itertools.product(("GET", "HEAD", "PUT"), tags, dates, tags, dates):
        fields = {name: value for name, value in zip(names, values, strict=True) if value}
        expected = by_the_steps(method, fields)
        assert verdict(*fields.items(), method=method) == expected, (method, fields)
        seen.add(expected)
    assert seen == {None, 304, 412}


def test_the_verdict_is_a_status() -> None:
    assert unmet("GET", Headers({"If-Match": '"then"'}), CURRENT) is HTTPStatus.PRECONDITION_FAILED
    assert unmet("GET", Headers({"If-None-Match": "*"}), CURRENT) is HTTPStatus.NOT_MODIFIED
    assert unmet("GET", Headers(), CURRENT) is None


# ---------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("value", "positions"),
    [
        ("bytes=0-499", range(500)),
        ("bytes=500-999", range(500, 1000)),
        ("bytes=500-", range(500, 1000)),
        ("bytes=-500", range(500, 1000)),
        ("bytes=0-0", range(1)),
        ("bytes=-1", range(999, 1000)),
        ("bytes=0-", range(1000)),
        ("bytes=999-", range(999, 1000)),
        ("bytes=999-999", range(999, 1000)),
        ("bytes=0-999", range(1000)),
        ("bytes=0-1000", range(1000)),
        ("bytes=1-1000", range(1, 1000)),
        ("bytes=-999", range(1, 1000)),
        ("bytes=-1000", range(1000)),
        ("bytes=-1001", range(1000)),
        ("BYTES=0-1", range(2)),
        ("bYtEs=00000000000000000000000000-000000000000000000000000001", range(2)),
        ("bytes=,0-1", range(2)),
        ("bytes=0-1 , ,", range(2)),
        (f"bytes=0-{HUGE}", range(1000)),
        (f"bytes=-{HUGE}", range(1000)),
        (f"bytes={'0' * 30_000}1-2", range(1, 3)),
    ],
)
def test_one_range(value: str, positions: range) -> None:
    assert part(value) == positions


@pytest.mark.parametrize(
    "value",
    [
        "bytes=1000-",
        "bytes=1000-1000",
        "bytes=1000-2000",
        "bytes=-0",
        "bytes=-000",
        f"bytes={HUGE}-",
        f"bytes={HUGE}-{HUGE}",
    ],
)
def test_unsatisfiable(value: str) -> None:
    assert part(value) is not None
    assert not part(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=--1",
        "bytes=1",
        "bytes=1-0",
        "bytes=999-998",
        "bytes=2000-1999",
        "bytes=a-b",
        "bytes=0x0-0x1",
        "bytes=+0-1",
        "bytes=0-+1",
        "bytes=0 - 1",
        "bytes =0-1",
        "bytes:0-1",
        "bytes=0-1;",
        "bytes=\xb2-\xb3",
        "bytes=0-1,2-3",
        "bytes=0-0,-1",
        "bytes=0-1, x",
        "bytes=0-1-2",
        "0-1",
        "byte=0-1",
        "items=0-1",
        "seconds=0-",
        "bytes=0-1\xa0",
    ],
)
def test_what_is_no_single_range_of_bytes_is_ignored(value: str) -> None:
    assert part(value) is None


def test_two_lines_are_two_ranges() -> None:
    assert part("bytes=0-1", ("Range", "bytes=2-3")) is None


def test_without_range() -> None:
    assert wanted_range("GET", Headers({"If-Range": '"now"'}), 1000, CURRENT) is None


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "get"])
@pytest.mark.parametrize("value", ["bytes=0-1", "bytes=1000-"])
def test_ranges_are_for_get(method: str, value: str) -> None:
    assert part(value, method=method) is None


def test_ranges_of_nothing() -> None:
    """What a suffix asks for is there, and is empty: no Content-Range says so, but 200 does."""
    assert part("bytes=-1", length=0) is None
    for value in ("bytes=0-", "bytes=0-0", "bytes=1-", "bytes=-0"):
        assert part(value, length=0) == range(0)


# ---------------------------------------------------------------- If-Range


def test_if_range_with_the_current_tag() -> None:
    assert part("bytes=0-1", ("If-Range", '"now"')) == range(2)
    assert part("bytes=1000-", ("If-Range", '"now"')) == range(0)


@pytest.mark.parametrize(
    "validator",
    [
        "",
        '"then"',
        'W/"now"',
        DATE,  # not a strong validator: section 8.8.2.2
        "Sunday, 06-Nov-94 08:49:37 GMT",
        BEFORE,
        AFTER,
        "*",
        "now",
        '"now',
        'now"',
        '"now", "then"',
        '"then", "now"',
        '"now",',
        ', "now"',
    ],
)
@pytest.mark.parametrize("value", ["bytes=0-1", "bytes=1000-"])
def test_if_range_with_anything_else_gives_all(validator: str, value: str) -> None:
    assert part(value, ("If-Range", validator)) is None


@pytest.mark.parametrize("validator", ['"now"', DATE, "", "None"])
def test_if_range_without_validators_gives_all(validator: str) -> None:
    assert part("bytes=0-1", ("If-Range", validator), current=NEITHER) is None


# ---------------------------------------------------------------- Validators


def test_validators_of_a_response() -> None:
    assert Validators.of(Headers({"ETag": '"now"', "Last-Modified": DATE})) == CURRENT
    assert Validators.of(Headers({"ETag": 'W/"now"', "Last-Modified": "yesterday"})) == Validators('W/"now"', None)
    assert Validators.of(Headers()) == NEITHER
