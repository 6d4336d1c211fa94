"""The exceptions of HTTP: answers that are not the application's."""

from __future__ import annotations

from operator import index

from ._headers import Headers, HeadersLike
from ._status import phrase

_MIN_STATUS, _MAX_STATUS = 400, 599


class HTTPError(Exception):
    """A request that is answered with `status`, `headers` and, as plain text, `detail`.

    Applications may raise it; what reads the body of a request does, if that is not what it should be.
    """

    def __init__(self, status: int, detail: str = "", headers: HeadersLike = ()) -> None:
        self.status: int = index(status)
        if not _MIN_STATUS <= self.status <= _MAX_STATUS:
            raise ValueError(f"an error has a status of {_MIN_STATUS} to {_MAX_STATUS}; got {status}")
        self.detail: str = detail or phrase(status)
        self.headers: Headers = Headers(headers).without_framing()
        super().__init__(f"{self.status} {phrase(status)}: {self.detail}")


class ClientDisconnected(HTTPError):
    """The client has ended its side, or has gone, in the middle of a request: reading its body raises this.

    One that has only ended its side still gets the answer, 400 if the application lets the exception pass.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)
