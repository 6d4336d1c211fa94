"""What becomes of an exchange in which something fails late, is looked at late, or is kept."""

from __future__ import annotations

import gc
import logging
import weakref

import pytest
import trio
import trio.testing

from trio_chat.http import AccessEntry, HTTPRequestHandler, Request, Response

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def converse(handler: HTTPRequestHandler, client: trio.abc.Stream, data: bytes) -> bytes:
    """What the handler answers to `data`, until it has nothing more to say."""
    received = b""

    async def receive() -> None:
        nonlocal received
        while piece := await client.receive_some():
            received += piece

    async with trio.open_nursery() as nursery:
        nursery.start_soon(handler.run)
        nursery.start_soon(receive)
        await client.send_all(data)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return received


@pytest.mark.parametrize("failing", [1, 2])
async def test_a_push_that_fails_cuts_the_answer_off(failing: int, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(HTTPRequestHandler):
        pushes = 0

        def push(self, data: bytes | bytearray | memoryview) -> None:
            self.pushes += 1
            if self.pushes == failing:
                raise ValueError("no")
            super().push(data)

        def handle_request(self, request: Request) -> Response:
            return Response(200, bytes(20_000))

    client, server = trio.testing.memory_stream_pair()
    received = await converse(Failing(server), client, GET)
    assert received.count(b"HTTP/1.1 ") == failing - 1
    assert [record.getMessage() for record in caplog.records] == ["the answer to <Request GET /> was cut off"]


async def test_an_idle_connection_keeps_nothing_of_its_last_request() -> None:
    requests: list[weakref.ref[Request]] = []

    async def app(request: Request) -> Response:
        requests.append(weakref.ref(request))
        return Response(200, "fine")

    client, server = trio.testing.memory_stream_pair()
    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(HTTPRequestHandler(server, app).run)
            await client.send_all(GET * 3)
            await trio.testing.wait_all_tasks_blocked()
            assert [request() for request in requests] == [None] * 3
            nursery.cancel_scope.cancel()
    finally:
        gc.enable()


def test_the_header_fields_of_one_response_cannot_be_changed_for_others() -> None:
    lines = Response(200, "x").headers.lines()
    with pytest.raises(TypeError):
        lines["date"] = ("x",)  # type: ignore[index]
    with pytest.raises(AttributeError):
        lines["content-type"].append("x")  # type: ignore[attr-defined]


async def test_an_access_log_that_replaces_ours_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[AccessEntry] = []
    monkeypatch.setattr(HTTPRequestHandler, "log_request", lambda self, entry: entries.append(entry))
    monkeypatch.setattr(logging.getLogger("trio_chat.http.access"), "level", logging.WARNING)

    async def app(request: Request) -> Response:
        return Response(200, "fine")

    client, server = trio.testing.memory_stream_pair()
    await converse(HTTPRequestHandler(server, app), client, GET)
    assert [entry.status for entry in entries] == [200]
