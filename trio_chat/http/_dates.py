"""HTTP-date: RFC 9110, section 5.6.7."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from functools import lru_cache

# The form that is sent today, and the two that were sent once and must be understood.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")  # in any locale
_MONTH = rf"(?P<month>{'|'.join(MONTHS)})"
_TIME = r"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
_dates = (
    re.compile(rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(
        rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT"
    ),
    re.compile(rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) {_MONTH} (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
)


@lru_cache(maxsize=64)  # that of this second, and of files that are often asked for
def http_date(timestamp: int) -> str:
    """The seconds since 1970 as an HTTP-date."""
    at = time.gmtime(timestamp)  # email.utils, which could do it, takes 5 ms to be imported
    date = f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {MONTHS[at.tm_mon - 1]} {at.tm_year:04}"
    return f"{date} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"


@lru_cache(maxsize=64)  # mostly those that files have been changed at; no longer than a head, which is limited
def parse_date(text: str) -> int | None:
    """The seconds since 1970 that an HTTP-date stands for; None if it is none."""
    match = next(filter(None, (pattern.fullmatch(text) for pattern in _dates)), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:  # the last such year that is not more than 50 years ahead
        year += (time.gmtime().tm_year + 50 - year) // 100 * 100
    month = MONTHS.index(match["month"]) + 1
    try:
        minute = datetime(year, month, int(match["day"]), int(match["hour"]), int(match["minute"]), tzinfo=UTC)
    except ValueError:  # the 31st of February
        return None
    return int(minute.timestamp()) + int(match["second"])  # which datetime does not take if it is 60
