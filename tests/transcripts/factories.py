"""Who answers in the transcripts: the handlers of the examples, with what they need, and a small HTTP application."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio
from trio.testing import memory_stream_pair

from trio_chat.http import HTTPError, HTTPRequestHandler, JSONResponse, Request, Response

EXAMPLES = Path(__file__).parents[2] / "examples"


def _example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Echo: Any = _example("echo_server").Echo
Member: Any = _example("chat_room").Member
kv_server: Any = _example("kv_server")
SMTPServer: Any = _example("smtp_server").SMTPServer
Session: Any = _example("ftp_server").Session
SiteHandler: Any = _example("http_server").SiteHandler
Room: Any = _example("websocket_chat").Room


class Polly(Member):  # type: ignore[misc]
    """A parrot in the chat room: it says what it hears."""

    def hear(self, text: str) -> None:
        name, colon, said = text.partition(": ")
        if colon and name != "* in the room":
            self.say(f"Polly: {said}")


def room_with_polly(stream: trio.abc.Stream) -> Any:
    room: dict[str, Any] = {}
    _, nowhere = memory_stream_pair()
    Polly(nowhere, room).enter("Polly")
    return Member(stream, room)


def key_value_store(stream: trio.abc.Stream) -> Any:
    return kv_server.Client(stream, kv_server.Store(), 1000)


class MailServer(SMTPServer):  # type: ignore[misc]
    """Has a Maildir for each connection, in which no draft may be left."""

    max_mail_bytes = 1000
    max_recipients = 3

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.folder = TemporaryDirectory()
        for name in ("tmp", "new", "cur"):
            os.mkdir(os.path.join(self.folder.name, name))
        super().__init__(stream, Path(self.folder.name))

    def handle_close(self) -> None:
        drafts = os.listdir(os.path.join(self.folder.name, "tmp"))
        self.folder.cleanup()
        assert drafts == []


class FileServer(Session):  # type: ignore[misc]
    """Serves a directory with a text, in which Ann may write."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.folder = TemporaryDirectory()
        root = os.path.realpath(self.folder.name)
        text = os.path.join(root, "limerick")
        Path(text).write_text("There was a young lady of Ryde\n")
        os.utime(text, (0, 86400))
        os.symlink("/", os.path.join(root, "up and away"))
        super().__init__(stream, root, b"ann\nsecret")

    async def handle_close(self) -> None:
        await super().handle_close()
        self.folder.cleanup()


async def poem() -> AsyncIterator[bytes]:
    yield b"Who can say\n"
    yield b"how long it is?\n"


async def application(request: Request) -> Response:
    match request.method, request.path:
        case "GET" | "HEAD", "/":
            return Response(200, "Hello!\n")
        case "GET", "/poem":
            return Response(200, poem())
        case "POST", "/sum":
            return JSONResponse({"sum": sum(await request.json())})
        case "GET", "/broken":
            raise LookupError("somebody has lost it")
        case "POST", "/closed":
            raise HTTPError(403)
        case _:
            raise HTTPError(404)


web = partial(HTTPRequestHandler, app=application)


def site(stream: trio.abc.Stream) -> Any:
    return SiteHandler(stream, {}, logging.getLogger("site"))


def websocket_room(stream: trio.abc.Stream) -> Any:
    return HTTPRequestHandler(stream, Room().respond)
