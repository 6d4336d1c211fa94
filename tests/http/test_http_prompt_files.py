"""Files that are in memory: opened, sent and closed without a thread, and never an old one, or past its end."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import trio
from http_talk import AppOrFactory, factory_of, get, is_open, no_threads_left, say_once
from trio.testing import wait_all_tasks_blocked

from trio_chat import SocketStream
from trio_chat.http import AccessEntry, FileResponse, HTTPRequestHandler, Request, Response
from trio_chat.http._file_body import FileBody
from trio_chat.http._prompt_open import may_be_prompt, note_opened, open_nowait

LONG = os.urandom(3 * 2**20 + 1)
PIECE_BYTES = 61440  # of a file that is in memory
SHARED_MEMORY = Path("/dev/shm")


async def fetched(path: Path, *fields: str, method: str = "GET") -> tuple[int, bytes]:
    async def app(_request: Request) -> Response:
        return FileResponse(path)

    (answer,) = await say_once(get("/", *fields, method=method), app, methods=[method])
    return answer.status, answer.body


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "data.bin"
    path.write_bytes(b"content")
    yield path
    if path.exists():
        assert not is_open(path)


@pytest.fixture
async def prompt(path: Path) -> Path:
    """The path of a file that is known to be opened without waiting."""
    await fetched(path)
    if not may_be_prompt(str(path)):
        pytest.skip("this system, or its file system, cannot tell what is in memory")
    return path


# ---------------------------------------------------------------- without a thread


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("fields", [(), ("Range: bytes=1-2",), ("If-None-Match: *",), ("If-Match: x",)])
async def test_what_is_in_memory_needs_no_thread(prompt: Path, method: str, fields: tuple[str, ...]) -> None:
    expected = await fetched(prompt, *fields, method=method)
    with no_threads_left(), trio.fail_after(5):
        assert await fetched(prompt, *fields, method=method) == expected


async def test_what_is_cold_is_read_in_a_thread(prompt: Path) -> None:
    """The system may keep it all the same: either way it comes."""
    prompt.write_bytes(LONG)
    with prompt.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert await fetched(prompt) == (200, LONG)


async def test_the_body_of_a_deleted_file_is_closed_in_a_thread(prompt: Path) -> None:
    """To close it may mean to free its blocks."""

    async def app(request: Request) -> Response:
        response = await FileResponse(prompt).resolve(request)
        prompt.unlink()
        threads = trio.to_thread.current_default_thread_limiter()
        with no_threads_left():  # but for closing, which brings its own
            before = threads.borrowed_tokens
            await response.aclose()
            assert threads.borrowed_tokens == before
        return Response(200, str(len(os.listdir("/dev/fd"))))

    before = len(os.listdir("/dev/fd"))
    (answer,) = await say_once(get(), app)
    assert answer.text == str(before)


async def test_cancelled_before_a_file_is_opened_at_once(prompt: Path) -> None:
    async def app(request: Request) -> Response:
        with trio.CancelScope() as scope:
            scope.cancel()
            await FileResponse(prompt).resolve(request)
        return Response(200, f"{scope.cancelled_caught} {is_open(prompt)}")

    (answer,) = await say_once(get(), app)
    assert answer.text == "True False"


# ---------------------------------------------------------------- nothing is remembered of a file


async def test_what_has_changed_is_served_as_it_is(prompt: Path) -> None:
    prompt.write_bytes(b"changed")
    assert await fetched(prompt) == (200, b"changed")
    other = prompt.with_name("other")
    other.write_bytes(b"replaced")
    other.replace(prompt)
    assert await fetched(prompt) == (200, b"replaced")
    prompt.unlink()
    assert await fetched(prompt) == (404, b"Not Found\n")
    prompt.symlink_to(other)
    assert await fetched(prompt) == (404, b"Not Found\n")
    other.write_bytes(b"linked")
    assert await fetched(prompt) == (200, b"linked")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
async def test_what_is_no_file_any_more(prompt: Path, make: Callable[[Path], None]) -> None:
    prompt.unlink()
    make(prompt)
    before = sorted(os.listdir("/dev/fd"))
    with trio.fail_after(5):
        assert await fetched(prompt) == (404, b"Not Found\n")
    assert sorted(os.listdir("/dev/fd")) == before


async def test_a_file_that_may_not_be_read_any_more(prompt: Path) -> None:
    prompt.chmod(0)
    if os.access(prompt, os.R_OK):
        pytest.skip("this user may read everything")
    assert (await fetched(prompt))[0] == 403


# ---------------------------------------------------------------- what has to be waited for


def test_a_file_system_that_does_not_tell_is_not_prompt() -> None:
    if not SHARED_MEMORY.is_dir():
        pytest.skip("there is no tmpfs here")
    path = SHARED_MEMORY / f"trio_chat-{os.getpid()}"
    path.write_bytes(b"x")
    try:
        with path.open("rb") as file:
            if note_opened(str(path), file.fileno()):
                pytest.skip("this one tells")
            assert not may_be_prompt(str(path))
    finally:
        path.unlink()


async def test_a_path_is_not_prompt_any_more_when_it_leads_elsewhere(prompt: Path) -> None:
    reader, writer = os.pipe()  # which does not tell
    try:
        assert not note_opened(str(prompt), reader)
        assert not may_be_prompt(str(prompt))
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("elsewhere", ["/proc/self/exe", "/no/such/file"])
async def test_what_the_system_has_to_look_up_is_not_opened_at_once(prompt: Path, elsewhere: str) -> None:
    """The way through /proc is made anew each time."""
    with pytest.raises(BlockingIOError):
        open_nowait(elsewhere, os.O_RDONLY)


async def test_only_so_many_paths_are_remembered(prompt: Path) -> None:
    with prompt.open("rb") as file:
        for number in range(5000):
            assert note_opened(f"{number}", file.fileno())
    assert [may_be_prompt(path) for path in (str(prompt), "0", "4999")] == [False, False, True]


# ---------------------------------------------------------------- past the queue


@asynccontextmanager
async def connected(
    what: AppOrFactory, client_bytes: int | None = None, kind: type[SocketStream] = SocketStream
) -> AsyncIterator[SocketStream]:
    """A client of a server, over TCP. When it is done it closes, and the server has to end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sock = socket.socket()
        if client_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, client_bytes)
        sock.connect(listening.getsockname())
        client, server = SocketStream(sock), kind(listening.accept()[0])
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(factory_of(what)(server).run)
            async with client:
                yield client


async def announced(client: trio.abc.ReceiveStream) -> int:
    """Content-Length of the next answer, of which the head is received."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await client.receive_some(1)
    return int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])


async def at_most(client: trio.abc.ReceiveStream, left: int) -> bytes:
    """So many bytes, or up to the end of the connection."""
    received = bytearray()
    while left and (part := await client.receive_some(min(left, 65536))):
        received += part
        left -= len(part)
    return bytes(received)


async def body_of(client: trio.abc.ReceiveStream) -> bytes:
    return await at_most(client, await announced(client))


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, len(LONG)])
async def test_a_file_over_tcp_is_whole_and_in_order(path: Path, size: int) -> None:
    path.write_bytes(LONG[:size])

    async def app(request: Request) -> Response:
        return FileResponse(path)

    async with connected(app) as client:
        for fields, part in [((), slice(0, size)), (("Range: bytes=100000-2500000",), slice(100_000, 2_500_001))]:
            await client.send_all(get("/", *fields) * 2)
            for _ in range(2):
                if size > 100_000 or not fields:
                    assert await body_of(client) == LONG[:size][part]


class Noting(SocketStream):
    """Notes what is sent without waiting: bytes that were copied, or where in a file they begin."""

    story: ClassVar[list[bytes | int]] = []

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await super().send_all(data)

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        self.story.append(bytes(data))
        return super().send_nowait(data)

    def send_file_nowait(self, file: int, start: int, count: int) -> int:
        self.story.append(start)
        return super().send_file_nowait(file, start, count)


async def test_nothing_of_a_long_file_is_copied_as_long_as_the_client_has_room(prompt: Path) -> None:
    """But it is sent behind the head, which goes by itself."""
    prompt.write_bytes(LONG)

    async def app(request: Request) -> Response:
        return FileResponse(prompt)

    async with connected(app, kind=Noting) as client:
        Noting.story.clear()
        await client.send_all(get("/", "Range: bytes=7-"))
        assert await body_of(client) == LONG[7:]
    head, start, *_ = Noting.story
    assert isinstance(head, bytes)
    assert head.endswith(b"\r\n\r\n")
    assert start == 7


async def test_a_long_file_over_a_stream_of_another_kind(prompt: Path) -> None:
    prompt.write_bytes(LONG)
    assert await fetched(prompt) == (200, LONG)
    assert await fetched(prompt, "Range: bytes=5-") == (206, LONG[5:])


async def test_the_pieces_of_a_long_file_begin_with_an_empty_one(prompt: Path) -> None:
    """With which the head is sent, if there is anything to be sent behind it without waiting."""
    prompt.write_bytes(LONG)

    async def app(request: Request) -> Response:
        body = (await FileResponse(prompt).resolve(request)).body
        assert isinstance(body, FileBody)
        async with aclosing(body):
            sizes = [len(piece) async for piece in body]
        return Response(200, str([sizes[0], sum(sizes), max(sizes)]))

    (answer,) = await say_once(get(), app)
    assert answer.text == str([0, len(LONG), PIECE_BYTES])


async def test_a_client_that_takes_its_time_gets_all_of_it(path: Path) -> None:
    path.write_bytes(LONG)

    async def app(request: Request) -> Response:
        return FileResponse(path)

    async with connected(app, 4096) as client:
        await client.send_all(get())
        length = await announced(client)
        await wait_all_tasks_blocked()
        assert is_open(path)
        assert await at_most(client, length) == LONG


async def test_what_is_sent_of_a_file_by_itself_is_counted_and_no_more_than_announced(prompt: Path) -> None:
    """By whoever makes a response of its own of the body."""
    prompt.write_bytes(LONG)
    length = PIECE_BYTES + 10
    entries: list[AccessEntry] = []

    class Handler(HTTPRequestHandler):
        async def handle_request(self, request: Request) -> Response:
            body = (await FileResponse(prompt).resolve(request)).body
            return Response(200, body, {"Content-Length": str(length)})

        def log_request(self, entry: AccessEntry) -> None:
            entries.append(entry)

    async with connected(Handler) as client:
        await client.send_all(get())
        assert await body_of(client) == LONG[:length]
        assert await client.receive_some() == b""
    assert [entry.sent_bytes for entry in entries] == [length]


async def test_a_file_that_becomes_shorter_while_it_is_sent_is_cut_off(path: Path) -> None:
    """By the end of the connection, and not by something else in the place of what is missing."""
    path.write_bytes(LONG)

    async def app(request: Request) -> Response:
        return FileResponse(path)

    async with connected(app, 4096) as client:
        await client.send_all(get() * 2)
        length = await announced(client)
        await wait_all_tasks_blocked()
        os.truncate(path, len(LONG) - 5)
        assert length == len(LONG)
        assert await at_most(client, length) == LONG[:-5]
        assert not is_open(path)


async def test_a_client_that_breaks_off_in_the_middle_of_a_file(path: Path) -> None:
    path.write_bytes(LONG)

    async def app(request: Request) -> Response:
        return FileResponse(path)

    async with connected(app, 4096) as client:
        await client.send_all(get())
        await announced(client)
        await wait_all_tasks_blocked()
        assert is_open(path)
    assert not is_open(path)
