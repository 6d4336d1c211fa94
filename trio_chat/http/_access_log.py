"""The access log: a line for each request that was answered, in the common log format, with the time it took."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import NamedTuple

from .. import Address
from ._dates import MONTHS
from ._request import Request

access_logger = logging.getLogger("trio_chat.http.access")

_unprintable = re.compile(r"[^ !#-\[\]-~]")


class AccessEntry(NamedTuple):
    """What became of one request.

    Attributes:
        client: its address; None if there is none.
        request_line: as sent; of what is no request, the beginning.
        request: None if what came was none.
        status: of the answer; None if there was none.
        sent_bytes: of its body; the last `high_water_bytes` of them may still be queued.
        seconds: from the end of the request's head to that moment.
    """

    client: Address | None
    request_line: str
    request: Request | None
    status: int | None
    sent_bytes: int
    seconds: float

    def common_log_format(self) -> str:
        """The entry as a line in the common log format, with the seconds behind it.

        What could be mistaken for another field or line is escaped as `\\xHH`.
        """
        client = self.client[0] if isinstance(self.client, tuple) else None
        now = time.localtime()
        date = f"{now.tm_mday:02}/{MONTHS[now.tm_mon - 1]}/{time.strftime('%Y:%H:%M:%S %z', now)}"
        line = _unprintable.sub(lambda match: f"\\x{ord(match[0]):02x}", self.request_line)
        return f'{client or "-"} - - [{date}] "{line}" {self.status or "-"} {self.sent_bytes or "-"} {self.seconds:.6f}'


def log_with(log_request: Callable[[AccessEntry], None], entry: AccessEntry) -> None:
    """Call a handler's `log_request`: that it fails is no fault of the client's, and ends nothing."""
    try:
        log_request(entry)
    except Exception:
        logging.getLogger("trio_chat.http").exception("the access log failed")
