"""Tornado.

A log_function that does nothing turns the access log off. By default it hashes every body for an ETag, which is turned
off here; that of the file is hashed once.

In tests/: `python -m benchmarks.servers.tornado_server PORT`
"""

from __future__ import annotations

import asyncio
import sys

from tornado.web import Application, RequestHandler, StaticFileHandler, stream_request_body

from .contents import HELLO, HOST, TEN_K, file

FILE = file()


class Handler(RequestHandler):
    def compute_etag(self) -> None:
        return None


class Hello(Handler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/plain")
        self.write(HELLO)


class TenK(Handler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/plain")
        self.write(TEN_K)


@stream_request_body
class Upload(Handler):
    def initialize(self) -> None:
        self.received = 0

    def data_received(self, chunk: bytes) -> None:
        self.received += len(chunk)

    def post(self) -> None:
        self.write(str(self.received))


async def main(port: int) -> None:
    application = Application(
        [
            ("/", Hello),
            ("/10k", TenK),
            ("/(file)", OneFileHandler, {"path": str(FILE.parent)}),
            ("/upload", Upload),
        ],
        log_function=lambda handler: None,
    )
    application.listen(port, HOST)
    await asyncio.Event().wait()


class OneFileHandler(StaticFileHandler):
    """/file, whatever the file is called."""

    def parse_url_path(self, url_path: str) -> str:
        return str(FILE.name)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
