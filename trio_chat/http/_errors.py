"""The exceptions of HTTP: answers that are not the application's."""

from __future__ import annotations

from http import HTTPStatus

from ._headers import Headers, HeadersLike
from ._status import phrase


class HTTPError(Exception):
    """A request that is answered with `status`, `headers` and, as plain text, `detail`.

    Applications may raise it; what reads the body of a request does, if that is not what it should be.
    """

    def __init__(self, status: int, detail: str = "", headers: HeadersLike = ()) -> None:
        self.status: HTTPStatus = HTTPStatus(status)
        if self.status < HTTPStatus.BAD_REQUEST:
            raise ValueError(f"an error has a status of 400 to 599; got {status}")
        self.detail: str = detail or phrase(status)
        self.headers: Headers = Headers(headers).without_framing()
        super().__init__(f"{self.status.value} {phrase(status)}: {self.detail}")


class ClientDisconnected(HTTPError):
    """The client has ended its side, or has gone, in the middle of a request: reading its body raises this.

    One that has only ended its side still gets the answer, 400 if the application lets the exception pass.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)
