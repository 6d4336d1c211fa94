"""A client that looks at answers, of which a load generator only counts the bytes."""

from __future__ import annotations

import re
import select
import socket
from typing import NamedTuple

from .server import HOST

_TIMEOUT_SECONDS = 20.0
_content_length = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_chunked = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class WrongAnswer(Exception):
    pass


class Answer(NamedTuple):
    status: int
    head: bytes
    body: bytes


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=_TIMEOUT_SECONDS)
        self._received = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> Answer:
        head = self._until(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if found := _content_length.search(head):
            return Answer(status, head, self._exactly(int(found[1])))
        if not _chunked.search(head):
            raise WrongAnswer(f"an answer of unknown length: {head!r}")
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._exactly(size)
            self._until(b"\r\n")
        self._until(b"\r\n")
        return Answer(status, head, body)

    def ended(self) -> bool:
        """Whether the server closes without another word; waits for that."""
        try:
            return not self._received and not self._socket.recv(1)
        except ConnectionResetError:
            return True

    def is_idle(self) -> bool:
        """Whether the connection is still there, and nothing has come."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0) and not self._received

    def close(self) -> None:
        self._socket.close()

    def _until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._receive()
        data, _, self._received = self._received.partition(end)
        return data

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._receive()
        data, self._received = self._received[:count], self._received[count:]
        return data

    def _receive(self) -> None:
        if not (data := self._socket.recv(1 << 20)):
            raise WrongAnswer("the server has closed the connection before it had answered")
        self._received += data
