"""The pytest plugin: transcripts as tests, and two fixtures. It is loaded where trio_chat is installed.

- A file `*.transcript` with a header `handler: …` is a test: see `trio_chat.testing.parse_transcript`. The header names
  a handler factory, `module:name`, or `file.py:name` with a file beside the transcript. It is played on a `MockClock`
  that stands still: time goes by where the transcript says so. A file that has neither that header nor
  what is nearly one is somebody else's, and left alone, unless it is named on the command line.
- `chat(handler_factory, …)` is `trio_chat.testing.open_chat`; if a test or its fixtures fail, it shows the dialogues.
- `tcp_server(handler_factory, …)` is an async context manager, too: serves on a free port of 127.0.0.1, which it
  gives, and stops gracefully at the end of the block, which fails with what the handlers' tasks have logged as errors.

The fixtures are plain functions: it does not matter who runs the async test, pytest-trio or anyio's plugin on Trio.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from .. import HandlerFactory, serve_tcp
from ._idleness import with_time_going_by
from ._logged import noting_logged_errors
from ._open_chat import open_chat
from ._peer import THE_DIALOGUE, Mismatch, Peer
from ._play import play
from ._tasks import background_tasks
from ._tracebacks import told
from ._transcript import Transcript, TranscriptError, parse_playable

_HEADER = re.compile(rb"^(?:\xef\xbb\xbf)?[ \t]*([A-Za-z]+)[ \t]*[:=][ \t]*(.*)", re.MULTILINE)  # or nearly one
_FACTORY = re.compile(rb"\S+:\w+\s*")
_TURN = re.compile(rb"^\s*[CS]:(\s|$)", re.MULTILINE)
_peers: pytest.StashKey[list[Peer]] = pytest.StashKey()


# ---------------------------------------------------------------------- transcripts


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".transcript":
        is_asked_for = parent.session.isinitpath(file_path)  # by its name, on the command line
        if is_asked_for or _names_a_handler(file_path.read_bytes()):
            return TranscriptFile.from_parent(parent, path=file_path)
    return None  # other programs have files of that name, too


def _names_a_handler(text: bytes) -> bool:
    """Whether there is a header `handler` before the dialogue, or somewhere what can only be meant for one.

    A test that is not collected because of a typing error would pass for ever. But somebody in a dialogue of others may
    be named "handler", or nearly so: what they say is seldom the name of a handler.
    """
    turn = _TURN.search(text)
    for header in _HEADER.finditer(text):
        name, value = header[1].decode(), header[2]
        if _FACTORY.fullmatch(value) and get_close_matches(name.lower(), ["handler"], cutoff=0.8):
            return True
        if name == "handler" and turn is not None and header.start() < turn.start():
            return True
    return False


class TranscriptFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        try:
            transcript = parse_playable(self._text())
        except TranscriptError as exc:
            raise self.CollectError(f"{self.path}: {exc}") from None
        if "handler" not in transcript.headers:
            raise self.CollectError(f"{self.path}: the header handler, which names a handler factory, is missing")
        yield TranscriptItem.from_parent(self, name=self.path.stem, transcript=transcript)

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as exc:
            line = exc.object.count(b"\n", 0, exc.start) + 1
            raise TranscriptError(f"line {line}: this is not UTF-8: {exc.object[exc.start : exc.end]!r}") from None


class TranscriptItem(pytest.Item):
    obj = None  # pytest-trio asks every test for its function

    def __init__(self, *, transcript: Transcript, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._transcript = transcript

    def runtest(self) -> None:
        factory = _named(self._transcript.headers["handler"], self.path.parent)
        peers = self.stash.setdefault(_peers, [])
        trio.run(partial(play, factory, self._transcript, show=peers.append), clock=MockClock())

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if self.config.getoption("fulltrace", False):
            return super().repr_failure(excinfo, style)
        return told(excinfo.value)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


def _named(name: str, folder: Path) -> HandlerFactory:
    """The handler factory that a transcript names."""
    where, _, attribute = name.rpartition(":")
    if not where:
        raise ValueError(f"the header handler is module:name, or file.py:name; got {name!r}")
    module = _module_of((folder / where).resolve()) if where.endswith(".py") else importlib.import_module(where)
    if not hasattr(module, attribute):
        raise AttributeError(f"{where}, which the header handler names, has no attribute {attribute!r}")
    factory: HandlerFactory = getattr(module, attribute)
    if not callable(factory):
        raise TypeError(f"the header handler names something that makes no handlers: {factory!r}")
    return factory


@cache
def _module_of(path: Path) -> Any:
    """The module in a file, which is imported once, as those of tests are."""
    spec = importlib.util.spec_from_file_location(f"_transcript_{path.stem}_{abs(hash(path))}", path)
    if spec is None or spec.loader is None or not path.exists():
        raise FileNotFoundError(f"the header handler names a file that is not there: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their module up
    sys.path.insert(0, str(path.parent))  # as for a program that is run
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


# ---------------------------------------------------------------------- fixtures


@pytest.fixture
def chat(request: pytest.FixtureRequest) -> Callable[..., AbstractAsyncContextManager[Peer]]:
    """`trio_chat.testing.open_chat`, whose dialogue is shown if the test fails, or a fixture that uses it."""
    peers = request.node.stash.setdefault(_peers, [])

    @asynccontextmanager
    async def open_noted_chat(handler_factory: HandlerFactory, **options: Any) -> AsyncGenerator[Peer, None]:
        async with open_chat(handler_factory, **options) as peer:
            peers.append(peer)
            yield peer

    return open_noted_chat


@pytest.fixture
def tcp_server() -> Callable[..., AbstractAsyncContextManager[int]]:
    """Serves a handler on a free port of 127.0.0.1, and gives the port. Takes the other options of `serve_tcp`."""

    @asynccontextmanager
    async def serving(handler_factory: HandlerFactory, **options: Any) -> AsyncGenerator[int, None]:
        stop, stopped = trio.Event(), trio.Event()

        async def serve(task_status: trio.TaskStatus[Any]) -> None:
            await serve_tcp(handler_factory, 0, host="127.0.0.1", stop=stop, task_status=task_status, **options)
            stopped.set()

        errors: list[Exception] = []
        with noting_logged_errors(errors.append):
            async with background_tasks() as nursery:
                (listener,) = await nursery.start(serve)
                yield listener.socket.getsockname()[1]
                stop.set()
                await with_time_going_by(stopped.wait)
        if errors:
            raise errors[0] if len(errors) == 1 else ExceptionGroup("several things failed", errors)

    return serving


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    peers: list[Peer] = item.stash.get(_peers, [])
    if report.failed and not _is_told(item, call):
        for number, peer in enumerate(peers, 1):
            report.sections.append((f"dialogue {number}", str(peer.dialogue)))
        peers.clear()  # what fails in the teardown, too, does not show them again
    if report.when == "teardown":
        peers.clear()
    return report


def _is_told(item: pytest.Item, call: pytest.CallInfo[None]) -> bool:
    """Whether what has failed shows all there is of a dialogue."""
    failure = call.excinfo.value if call.excinfo else None
    return isinstance(item, TranscriptItem) and isinstance(failure, Mismatch) and THE_DIALOGUE in str(failure)
