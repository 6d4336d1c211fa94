r"""A request's head: RFC 9112's grammar, transcribed into regular expressions.

It is kept to the letter but for the target, which may have any visible ASCII character except "#": browsers send some
that RFC 3986 wants percent-encoded.

The alternative was llhttp, through `httptools`. It is lenient where we must not be: it takes `HTTP/2.0`, a missing or
second Host, and merges trailers into the header fields; and it knows a list of methods, and refuses all others. The
checks beside it would be as many as the expressions here, which are the RFC's own rules and need nothing compiled.

The request line is looked at anew for each request. The field lines are so only if they are not those of a request
before, byte for byte, as they are when a client says the same of itself every time (`_fields.py`).

No expression can backtrack: every repetition is possessive and is followed by something that it cannot contain.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from ._errors import HTTPError
from ._fields import FieldLines, field_lines
from ._framing import check_target
from ._headers import TCHARS

# Section 3: method SP request-target SP HTTP-version. A target has no blank, no control and no fragment.
_request_line = re.compile(rf"({TCHARS}) ([\x21\x22\x24-\x7e]++) HTTP/([0-9])\.([0-9])").fullmatch


#: The request line as sent, its method and its target, and the field lines.
Head: TypeAlias = tuple[str, str, str, FieldLines]


def parse_head(data: bytes, max_target_bytes: int, max_fields: int) -> Head:
    """The head that `data` is, without the empty line at its end.

    Raises:
        HTTPError: 400 if it is none, 414 for a target that is too long, 431 for more than `max_fields` field lines, 505
            for another major version; and what `check_target` and `field_lines` raise.
    """
    first, _, rest = data.partition(b"\r\n")
    line = first.decode("latin-1")
    if (match := _request_line(line)) is None:
        raise HTTPError(400, "malformed request line")
    method, target, major, minor = match.groups()
    if major != "1":
        raise HTTPError(505, "this server speaks HTTP/1.1")  # RFC 9110, section 15.6.6
    if len(target) > max_target_bytes:
        raise HTTPError(414)
    if target[0] != "/" or method == "CONNECT":
        check_target(method, target)
    fields = field_lines(rest, minor)
    if fields.count > max_fields:
        raise HTTPError(431, "too many header fields")
    return line, method, target, fields
