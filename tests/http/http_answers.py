"""Answers as a client has to read them (RFC 9112, section 6), by code that the server has no part in.

`http_talk.answers` takes whole answers with a Content-Length; here are chunks, bodies that end with the connection, and
bodies that the end has cut off. What is not valid byte for byte fails an assertion.
"""

import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import h11
import pytest
import trio
from http_talk import AppOrFactory, factory_of
from trio.testing import lockstep_stream_pair

from trio_chat import serve_tcp
from trio_chat.http import App, Request, Response

Framing: TypeAlias = Literal["none", "length", "chunked", "end"]

_status_line = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t\x20-\x7e]*)")
_field_line = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)"
)
_size_line = re.compile(rb"(0|[1-9a-f][0-9a-f]*)\r\n")


class Answer(NamedTuple):
    status: int
    reason: str
    fields: list[tuple[str, str]]  # but Date, which is checked
    framing: Framing  # how the client knows where the body ends
    body: bytes
    complete: bool  # whether the body is whole, as far as the client can know
    chunks: list[bytes]

    @property
    def text(self) -> str:
        return self.body.decode()

    def all_of(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field.lower() == name]

    def field(self, name: str) -> str | None:
        """The field's value if it came once, None if it did not come."""
        values = self.all_of(name)
        assert len(values) < 2, f"{name} came more than once: {values}"
        return values[0] if values else None

    @property
    def connection(self) -> set[str]:
        """The options of Connection, all its lines together."""
        return {option.strip().lower() for value in self.all_of("connection") for option in value.split(",")}


def read_answers(raw: bytes, methods: Sequence[str] = ()) -> list[Answer]:
    """All that is in `raw`, which is what came up to the end of the connection; `methods`: of the requests, else GET.

    Only the last one can be incomplete. What comes behind a 101 is an answer no more, and must not be there.
    """
    found: list[Answer] = []
    waiting = list(methods)
    while raw:
        head, blank, raw = raw.partition(b"\r\n\r\n")
        assert blank, f"no end of the head: {head!r}"
        status, reason, fields = _read_head(head)
        method = "GET" if status < 200 or not waiting else waiting.pop(0)
        answer, raw = _read_body(status, reason, fields, method, raw)
        found.append(answer)
        assert status != 101 or not raw
    return found


def read_answer(raw: bytes, method: str = "GET") -> Answer:
    """The only one in `raw`."""
    (answer,) = read_answers(raw, [method])
    return answer


def _read_head(head: bytes) -> tuple[int, str, list[tuple[str, str]]]:
    first, *lines = head.split(b"\r\n")
    line = _status_line.fullmatch(first)
    assert line, f"not a status line: {first!r}"
    status = int(line[1])
    fields = []
    for text in lines:
        match = _field_line.fullmatch(text)
        assert match, f"not a field line: {text!r}"
        fields.append((match[1].decode("latin-1"), match[2].decode("latin-1")))
    dates = [value for name, value in fields if name.lower() == "date"]
    assert len(dates) == 1 or status < 200, f"Date came {len(dates)} times"
    return status, line[2].decode("ascii"), [field for field in fields if field[0].lower() != "date"]


def _read_body(
    status: int, reason: str, fields: list[tuple[str, str]], method: str, raw: bytes
) -> tuple[Answer, bytes]:
    """RFC 9112, section 6.3."""
    answer = Answer(status, reason, fields, "none", b"", complete=True, chunks=[])
    coding, length = answer.field("transfer-encoding"), answer.field("content-length")
    assert coding is None or length is None, "both Transfer-Encoding and Content-Length"
    if status < 200 or status == 204:
        assert coding is None, "RFC 9112, section 6.1"
        assert length is None, "RFC 9110, section 8.6"
        return answer, raw
    if status == 304 or method == "HEAD":
        return answer, raw
    if coding is not None:
        assert coding == "chunked"
        chunks, complete, raw = _read_chunks(raw)
        return answer._replace(framing="chunked", body=b"".join(chunks), complete=complete, chunks=chunks), raw
    if length is not None:
        assert re.fullmatch("0|[1-9][0-9]*", length), f"not a Content-Length: {length!r}"
        size = int(length)
        return answer._replace(framing="length", body=raw[:size], complete=len(raw) >= size), raw[size:]
    return answer._replace(framing="end", body=raw), b""


def _read_chunks(raw: bytes) -> tuple[list[bytes], bool, bytes]:
    """RFC 9112, section 7.1, without extensions and trailers: the chunks, whether they have an end, what is left."""
    chunks: list[bytes] = []
    while match := _size_line.match(raw):
        size, start = int(match[1], 16), match.end()
        data, end, rest = raw[start : start + size], raw[start + size : start + size + 2], raw[start + size + 2 :]
        if len(data) < size or len(end) < 2:
            assert b"\r\n".startswith(end)
            return [*chunks, data], False, b""
        assert end == b"\r\n", f"no CRLF behind a chunk: {end!r}"
        if not size:
            return chunks, True, rest
        chunks.append(data)
        raw = rest
    assert len(raw) < 20, f"not the size of a chunk: {raw[:40]!r}"
    assert re.fullmatch(rb"[0-9a-f]*\r?", raw), f"not the size of a chunk: {raw!r}"
    return chunks, False, b""


def h11_answers(raw: bytes, methods: Sequence[str]) -> list[tuple[int, list[tuple[str, str]], bytes]]:
    """The same by h11, which raises if one is incomplete: (status, fields but Date, body) of each."""
    client = h11.Connection(h11.CLIENT)
    client.receive_data(raw)
    client.receive_data(b"")
    found = []
    for method in methods:
        client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        client.send(h11.EndOfMessage())
        response = client.next_event()
        assert isinstance(response, h11.Response), f"{response!r}"
        body = b""
        while isinstance(event := client.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage), f"{event!r}"
        raw_fields = [(name.decode(), value.decode("latin-1")) for name, value in response.headers.raw_items()]
        found.append((response.status_code, [field for field in raw_fields if field[0].lower() != "date"], body))
        if client.our_state is h11.DONE and client.their_state is h11.DONE:
            client.start_next_cycle()
    assert client.trailing_data[0] == b""
    return found


# ---------------------------------------------------------------- applications and conversations


def giving(make: Callable[[], Response]) -> App:
    """An application that gives such a response to every request."""

    async def app(_request: Request) -> Response:
        return make()

    return app


async def pieces(*items: Any) -> AsyncGenerator[Any, None]:
    """Gives the items; waits for numbers, so many seconds, and for events; raises exceptions."""
    for item in items:
        if isinstance(item, Exception):
            raise item
        if isinstance(item, trio.Event):
            await item.wait()
        elif isinstance(item, int | float):
            await trio.sleep(item)
        else:
            yield item


@asynccontextmanager
async def not_reading(what: AppOrFactory) -> AsyncIterator[trio.abc.HalfCloseableStream]:
    """As `connected`, but whatever the server sends waits until the client has read all of it."""
    client, server = lockstep_stream_pair()
    with trio.fail_after(100_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(factory_of(what)(server).run)
            yield client
            await trio.aclose_forcefully(client)


@asynccontextmanager
async def serving(what: AppOrFactory, **options: Any) -> AsyncIterator[int]:
    """A server at a TCP port; if it is still there when all is done, it is cancelled."""
    async with trio.open_nursery() as nursery:
        serve = partial(serve_tcp, factory_of(what), 0, host="127.0.0.1", **options)
        (listener,) = await nursery.start(serve)
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def receive_rest(stream: trio.abc.ReceiveStream) -> tuple[bytes, Literal["end", "reset"]]:
    """What came, and how that ended."""
    received = b""
    try:
        while data := await stream.receive_some():
            received += data
    except trio.BrokenResourceError:
        return received, "reset"
    return received, "end"


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error or a warning, by whom."""
    return [f"{record.name}: {record.getMessage()}" for record in caplog.records if record.levelno > logging.INFO]


CUT_OFF = ["trio_chat.http: the answer to <Request GET /> was cut off"]
