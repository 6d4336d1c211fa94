"""The files of a form: in memory or on disk, written in threads, closed whatever happens."""

import gc
import io
import resource
import sys
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, nullcontext
from tempfile import TemporaryFile
from types import FrameType
from typing import TypeAlias

import pytest
import trio
from form_bodies import BLOCK, END, MULTIPART, form_of, outcome_of, text, upload
from http_talk import post, read_to_end
from trio.testing import assert_no_checkpoints, memory_stream_pair

from trio_chat.http import Form, FormFile, FormLimits, HTTPError, HTTPRequestHandler, Request, Response
from trio_chat.http._form_reader import read_form


@pytest.mark.parametrize(("length", "on_disk"), [(0, False), (19, False), (20, False), (21, True)])
async def test_a_file_of_more_than_spool_bytes_is_on_disk(length: int, on_disk: bool) -> None:
    content = bytes(range(100, 100 + length))
    form = await form_of(MULTIPART, [upload("f", "x", content) + END], spool_bytes=20)
    file = form.files["f"]
    assert isinstance(file.file, io.BytesIO) is not on_disk
    assert (file.file.tell(), file.size) == (0, length)
    assert [await file.read(5), await file.read(0), await file.read(), await file.read()] == [
        content[:5],
        b"",
        content[5:],
        b"",
    ]
    await form.aclose()


async def test_a_large_file_is_never_in_memory() -> None:
    """As large as the default limit allows."""
    piece = bytes(BLOCK)
    limit = 64 * 2**20
    pieces = [upload("f", "x")[:-2], *[piece] * (limit // BLOCK), b"\r\n" + END]
    tracemalloc.start()
    try:
        form = await form_of(MULTIPART, pieces)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    file = form.files["f"]
    assert (file.size, await file.read(3)) == (limit, bytes(3))
    await form.aclose()
    assert peak < 2**20
    pieces.insert(1, b"x")
    assert await outcome_of(MULTIPART, pieces) == (413, "the files of the form are longer than 67108864 bytes")


@contextmanager
def visits_to_disk() -> Iterator[list[str]]:
    """The calls to open a file and of the methods of open ones that are made in this thread."""
    visits: list[str] = []

    def record(frame: FrameType, event: str, function: object) -> None:
        of_file = isinstance(getattr(function, "__self__", None), io.BufferedRandom)
        if event == "c_call" and (of_file or function is io.open):
            visits.append(getattr(function, "__name__", ""))

    sys.setprofile(record)
    try:
        yield visits
    finally:
        sys.setprofile(None)


async def test_disk_is_visited_in_other_threads_only() -> None:
    with visits_to_disk() as visits:
        form = await form_of(MULTIPART, [upload("f", "x", bytes(3 * BLOCK)) + END])
        content = await form.files["f"].read()
        await form.aclose()
    assert (len(content), form.files["f"].file.closed, visits) == (3 * BLOCK, True, [])
    with visits_to_disk() as visits:  # they would have been seen
        TemporaryFile().close()
    assert visits == ["open", "close"]


#: A file that is on disk, one in memory, and the beginning of a third, which is on disk.
BEGINNING = upload("f", "1", bytes(3 * BLOCK)) + upload("g", "2", b"x") + upload("h", "3", bytes(4 * BLOCK))[:-2]

Ending: TypeAlias = Callable[[trio.CancelScope], AsyncGenerator[bytes, None]]


async def too_long(scope: trio.CancelScope) -> AsyncGenerator[bytes, None]:
    yield bytes(3 * BLOCK)


async def malformed(scope: trio.CancelScope) -> AsyncGenerator[bytes, None]:
    yield b"\r\n--XX!"


async def truncated(scope: trio.CancelScope) -> AsyncGenerator[bytes, None]:
    yield b"\r\n--XX\r\n"


async def broken(scope: trio.CancelScope) -> AsyncGenerator[bytes, None]:
    yield b""
    raise ConnectionError


async def cancelled_while_it_is_received(scope: trio.CancelScope) -> AsyncGenerator[bytes, None]:
    yield b""
    scope.cancel()
    await trio.sleep_forever()


async def cancelled_while_it_is_parsed(scope: trio.CancelScope) -> AsyncGenerator[bytes, None]:
    scope.cancel()
    yield bytes(BLOCK)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond a block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def disk_full(scope: trio.CancelScope) -> AsyncGenerator[bytes, None]:
    with full_disk():
        yield bytes(BLOCK)


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        (too_long, HTTPError),
        (malformed, HTTPError),
        (truncated, HTTPError),
        (broken, ConnectionError),
        (disk_full, OSError),
        (cancelled_while_it_is_received, None),
        (cancelled_while_it_is_parsed, None),
    ],
)
async def test_no_file_stays_open(ending: Ending, error: type[Exception] | None) -> None:
    files: list[FormFile] = []

    async def body(scope: trio.CancelScope) -> AsyncGenerator[bytes, None]:
        yield BEGINNING
        files.extend(thing for thing in gc.get_objects() if isinstance(thing, FormFile) and not thing.file.closed)
        async with aclosing(ending(scope)) as pieces:
            async for piece in pieces:
                yield piece

    with trio.CancelScope() as scope, pytest.raises(error) if error else nullcontext():
        async with aclosing(body(scope)) as pieces:
            await read_form(MULTIPART, pieces, FormLimits(max_file_bytes=9 * BLOCK))
    assert scope.cancelled_caught == (error is None)
    on_disk = {file.name: isinstance(file.file, io.BufferedRandom) for file in files}
    assert on_disk == {"f": True, "g": False, "h": True}
    assert [file.file.closed for file in files] == [True] * 3


async def test_a_form_that_is_all_there_does_not_keep_others_from_running() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await form_of(MULTIPART, [text("a", "1") + END])
    assert scope.cancelled_caught


async def form_with_files() -> Form:
    """The file g is in memory."""
    large = bytes(2 * BLOCK)
    return await form_of(MULTIPART, [upload("f", "1", large) + upload("g", "2", b"x") + upload("h", "3", large) + END])


def are_closed(form: Form) -> list[bool]:
    return [file.file.closed for _, file in form.files.pairs()]


async def test_closing_a_form_is_not_skipped_by_a_cancellation() -> None:
    form = await form_with_files()
    with trio.CancelScope() as scope:
        scope.cancel()
        await form.aclose()
    assert are_closed(form) == [True] * 3
    await form.aclose()
    with pytest.raises(ValueError, match="closed"):
        await form.files["f"].read()


async def test_one_file_can_be_closed() -> None:
    form = await form_with_files()
    for name in ("f", "g"):
        await form.files[name].aclose()
        assert form.files[name].file.closed
        await form.files[name].aclose()
    assert are_closed(form) == [True, True, False]
    await form.aclose()


async def test_closing_does_not_wait_for_the_threads_of_the_application() -> None:
    form = await form_with_files()
    limiter = trio.to_thread.current_default_thread_limiter()
    borrowers = [object() for _ in range(int(limiter.available_tokens))]
    for borrower in borrowers:
        limiter.acquire_on_behalf_of_nowait(borrower)
    closed = trio.Event()

    async def close() -> None:
        await form.aclose()
        closed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        with trio.move_on_after(5) as waiting:
            await closed.wait()
        for borrower in borrowers:
            limiter.release_on_behalf_of(borrower)
    assert not waiting.cancelled_caught
    assert are_closed(form) == [True] * 3


async def test_the_others_are_closed_if_one_cannot_be() -> None:
    form = await form_with_files()
    view = form.files["g"].file.getbuffer()  # type: ignore[attr-defined]
    with pytest.raises(BufferError):
        await form.aclose()
    assert are_closed(form) == [True, False, True]
    view.release()
    with assert_no_checkpoints():  # nothing that is left is on disk
        await form.aclose()
    assert are_closed(form) == [True] * 3


# ---------------------------------------------------------------- the files of a request


@pytest.mark.parametrize("outcome", ["answered", "streamed", "failed", "cancelled"])
async def test_the_handler_closes_the_files_when_the_request_is_answered(outcome: str) -> None:
    received = trio.Event()
    seen: list[FormFile] = []
    open_while_streaming: list[bool] = []

    async def app(request: Request) -> Response:
        form = await request.form()
        assert await request.form() is form
        seen.extend(form.files.get_all("f"))
        received.set()

        async def content() -> AsyncGenerator[bytes, None]:
            open_while_streaming.append(not seen[0].file.closed)
            yield await seen[0].read()

        match outcome:
            case "streamed":
                return Response(200, content())
            case "failed":
                raise HTTPError(403)
            case "cancelled":
                await trio.sleep_forever()
        return Response(200, await seen[0].read())

    body = upload("f", "small", b"x") + upload("f", "large", bytes(100_000)) + END
    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HTTPRequestHandler(server, app).run)
        await client.send_all(post(body, f"Content-Type: {MULTIPART}", "Connection: close"))
        await received.wait()
        if outcome == "cancelled":
            nursery.cancel_scope.cancel()
        else:
            await read_to_end(client)
            await client.aclose()
    assert [type(file.file) is io.BytesIO for file in seen] == [True, False]
    assert [file.file.closed for file in seen] == [True, True]
    assert open_while_streaming == [True] * (outcome == "streamed")
