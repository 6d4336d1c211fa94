"""The one exception of HTTP: an answer that is not the application's."""

from __future__ import annotations

from http import HTTPStatus


class HTTPError(Exception):
    """A request that is answered with `status` and, as plain text, `detail`.

    Applications may raise it; `Request.json` and `Request.form` do, with 400, if the body is not what they were told.
    """

    def __init__(self, status: int, detail: str = "") -> None:
        self.status: HTTPStatus = HTTPStatus(status)
        if self.status < HTTPStatus.BAD_REQUEST:
            raise ValueError(f"an error has a status of 400 to 599; got {status}")
        self.detail: str = detail or self.status.phrase
        super().__init__(f"{self.status.value} {self.status.phrase}: {self.detail}")
