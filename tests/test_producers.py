"""Producers of every kind, in order with what is pushed."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from support import RecordingChat, converse, receive_all, receive_exactly, talk

from trio_chat import AsyncChat, Producer


class SimpleProducer:
    """asynchat's own."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.size = size

    def more(self) -> bytes:
        piece, self.data = self.data[: self.size], self.data[self.size :]
        return piece


class Falsy(SimpleProducer):
    def __len__(self) -> int:
        return 0


class AsyncReader:
    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)

    async def read(self, size: int, /) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.file.read(size)


def generator(data: bytes) -> Generator[bytes]:
    yield b""
    for i in range(0, len(data), 1000):
        yield data[i : i + 1000]
        yield b""


async def async_generator(data: bytes) -> AsyncGenerator[bytes]:
    for piece in generator(data):
        await trio.lowlevel.checkpoint()
        yield piece


DATA = bytes(range(256)) * 800

PRODUCERS: dict[str, Callable[[], Producer]] = {
    "more()": lambda: SimpleProducer(DATA, 512),
    "falsy": lambda: Falsy(DATA, 512),
    "BytesIO": lambda: io.BytesIO(DATA),
    "async reader": lambda: AsyncReader(DATA),
    "list": lambda: [DATA[:5], b"", DATA[5:]],
    "bytearrays": lambda: [bytearray(DATA)],  # type: ignore[list-item]
    "generator": lambda: generator(DATA),
    "async generator": lambda: async_generator(DATA),
}


@pytest.mark.parametrize("make", PRODUCERS.values(), ids=PRODUCERS)
async def test_a_producer_is_sent_between_what_is_pushed(make: Callable[[], Producer]) -> None:
    class Producing(RecordingChat):
        def handle_connect(self) -> None:
            self.push(b"<")
            self.push_with_producer(make())
            self.push(b"|")
            self.push_with_producer(make())
            self.push(b">")
            self.close_when_done()

    _, output = await converse(Producing, [])
    assert output == b"<" + DATA + b"|" + DATA + b">"


async def test_a_file_is_read_piece_by_piece_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    file = path.open("rb")
    chat = RecordingChat(trio.testing.memory_stream_pair()[0])

    def make(stream: trio.abc.Stream) -> RecordingChat:
        nonlocal chat
        chat = RecordingChat(stream)
        chat.push_with_producer(file)
        chat.close_when_done()
        return chat

    _, output = await converse(make, [])
    assert output == DATA
    assert file.closed


async def test_a_producer_is_asked_only_when_what_came_before_is_sent() -> None:
    asked: list[int] = []

    def pieces() -> Iterator[bytes]:
        for i in range(5):
            asked.append(i)
            yield b"%d" % i * 100

    client, server = trio.testing.lockstep_stream_pair()
    chat = RecordingChat(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        chat.push(b"first")
        chat.push_with_producer(pieces())
        await trio.testing.wait_all_tasks_blocked()
        assert asked == []
        await receive_exactly(client, 5)
        await trio.testing.wait_all_tasks_blocked()
        assert asked == [0]
        await receive_exactly(client, 100)
        await trio.testing.wait_all_tasks_blocked()
        assert asked == [0, 1]
        nursery.cancel_scope.cancel()


async def test_a_single_producer_does_not_pause_reading_but_two_do() -> None:
    class Producing(RecordingChat):
        def found_terminator(self) -> None:
            super().found_terminator()
            self.push_with_producer([b"x"])

    client, server = trio.testing.lockstep_stream_pair()
    chat = Producing(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await client.send_all(b"1\n2\n3\n4\n")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.frames == [b"1", b"2"]
        assert await receive_exactly(client, 4) == b"xxxx"
        nursery.cancel_scope.cancel()


async def test_unfinished_producers_are_closed_with_the_connection() -> None:
    ended: list[str] = []

    def sync() -> Generator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            ended.append("generator")

    async def asynchronous() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            ended.append("async generator")

    never_asked = io.BytesIO(b"x")
    async with talk(RecordingChat) as (chat, client):
        running = asynchronous()
        chat.push_with_producer(running)
        chat.push_with_producer(sync())
        chat.push_with_producer(never_asked)
        await receive_exactly(client, 100)
        chat.close()
    assert ended == ["async generator"]  # the other was never begun: closing it runs nothing
    assert never_asked.closed


async def test_a_producer_discarded_while_it_is_asked_gives_nothing_more() -> None:
    go_on = trio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await go_on.wait()
        yield b"too late"

    async with talk(RecordingChat) as (chat, client):
        chat.push_with_producer(slow())
        await trio.testing.wait_all_tasks_blocked()
        chat.discard_buffers()
        chat.push(b"on time")
        go_on.set()
        assert await receive_exactly(client, 7) == b"on time"
        chat.close_when_done()
        assert await receive_all(client) == b""


@pytest.mark.parametrize(
    ("producer", "said"),
    [
        (b"data", r"to send data, use push\(\)"),
        ("text", r"to send data, use push\(\)"),
        (5, "got 5"),
        (None, "got None"),
        (io.StringIO("text"), "open it with mode 'rb'"),
    ],
)
async def test_what_is_no_producer_is_refused_at_the_call(producer: object, said: str) -> None:
    chat = RecordingChat(trio.testing.memory_stream_pair()[0])
    with pytest.raises(TypeError, match=said):
        chat.push_with_producer(producer)  # type: ignore[arg-type]


class Broken(Exception):
    pass


def breaking() -> Iterator[bytes]:
    yield b"half"
    raise Broken


@pytest.mark.parametrize("handled", [False, True])
async def test_a_producer_that_raises_ends_the_connection(handled: bool) -> None:
    class Handling(RecordingChat):
        def handle_connect(self) -> None:
            self.push(b"<")
            self.push_with_producer(breaking())
            self.push(b"never sent")

        def handle_error(self, exc: Exception) -> None:
            self.calls.append(("error", type(exc)))
            if not handled:
                raise exc

    chats: list[AsyncChat] = []

    def make(stream: trio.abc.Stream) -> Handling:
        chats.append(chat := Handling(stream))
        return chat

    received = b""
    try:
        async with talk(make) as (_, client):
            received = await receive_all(client)
    except Broken:
        assert not handled
    else:
        assert handled
    assert received == b"<half"
    (chat,) = chats
    assert isinstance(chat, Handling)
    assert chat.calls == [("error", Broken), ("close", None)]


@pytest.mark.parametrize("piece", ["text", 5])
async def test_a_producer_that_gives_no_bytes_is_named(piece: object) -> None:
    chat = RecordingChat(trio.testing.memory_stream_pair()[0])
    chat.push_with_producer([piece])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="a producer takes bytes; got"):
        await chat.run()


async def test_an_open_ended_producer_stops_neither_input_nor_drain() -> None:
    class Subscribed(RecordingChat):
        def handle_connect(self) -> None:
            self.send_event, events = trio.open_memory_channel[bytes](10)
            self.push_with_producer(events)

        async def found_terminator(self) -> None:
            super().found_terminator()
            self.send_event.send_nowait(b"event ")
            await trio.testing.wait_all_tasks_blocked()
            await self.drain()

    async with talk(Subscribed) as (chat, client):
        for _ in range(3):
            await client.send_all(b"x\n")
            assert await receive_exactly(client, 6) == b"event "
        assert len(chat.frames) == 3
        chat.close()


class Unclosable:
    """Reads like a file. (It is no `io.BytesIO`, which its finalizer would try to close once more.)"""

    closed_count = 0

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read

    def close(self) -> None:
        Unclosable.closed_count += 1
        raise Broken


async def test_a_producer_that_fails_to_close_keeps_nothing_else_from_it() -> None:
    Unclosable.closed_count = 0
    chat = RecordingChat(trio.testing.memory_stream_pair()[0])
    chat.push(b"x")
    closable = io.BytesIO(b"2")
    for producer in (Unclosable(b"1"), closable, Unclosable(b"3")):
        chat.push_with_producer(producer)
    chat.close()
    with pytest.raises(ExceptionGroup) as raised:
        await chat.run()
    assert raised.group_contains(Broken)
    assert Unclosable.closed_count == 2
    assert closable.closed
    assert chat.names[-1] == "close"


async def test_a_finished_producer_that_fails_to_close_is_an_error_of_the_handler() -> None:
    errors: list[Exception] = []

    class Handling(RecordingChat):
        def handle_error(self, exc: Exception) -> None:
            errors.append(exc)

    async with talk(Handling) as (chat, client):
        chat.push_with_producer(Unclosable(b"data"))
        assert await receive_all(client) == b"data"
    assert [type(exc) for exc in errors] == [Broken]


async def test_a_discarded_producer_that_raises_disturbs_nothing() -> None:
    go_on = trio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await go_on.wait()
        raise Broken
        yield b""

    async with talk(RecordingChat) as (chat, client):
        chat.push_with_producer(slow())
        await trio.testing.wait_all_tasks_blocked()
        chat.discard_buffers()
        chat.push(b"fine")
        go_on.set()
        assert await receive_exactly(client, 4) == b"fine"


async def test_producers_pushed_after_the_output_is_lost_are_closed() -> None:
    files: list[io.BytesIO] = []

    class Producing(RecordingChat):
        def found_terminator(self) -> None:
            files.append(io.BytesIO(b"data"))
            self.push_with_producer(files[-1])

    client, server = trio.testing.memory_stream_pair()
    await client.receive_stream.aclose()  # the peer sends, but does not read
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Producing(server).run)
        for _ in range(5):
            await client.send_all(b"x\n")
            await trio.testing.wait_all_tasks_blocked()
        assert len(files) == 5
        assert all(file.closed for file in files)
        await client.send_stream.aclose()


async def test_an_open_ended_producer_does_not_hide_an_error(autojump_clock: trio.testing.MockClock) -> None:
    class Failing(RecordingChat):
        write_timeout = 5

        def handle_connect(self) -> None:
            self.send_event, events = trio.open_memory_channel[bytes](0)
            self.push(b"before")
            self.push_with_producer(events)
            raise Broken

    client, server = trio.testing.memory_stream_pair()
    with pytest.raises(Broken):
        await Failing(server).run()
    assert await receive_all(client) == b"before"
    assert trio.current_time() == 5


async def test_discard_frees_the_output_from_a_silent_producer() -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"start "
        await trio.sleep_forever()

    async with talk(RecordingChat) as (chat, client):
        chat.push_with_producer(silent())
        assert await receive_exactly(client, 6) == b"start "
        await trio.testing.wait_all_tasks_blocked()
        chat.discard_buffers()
        chat.push(b"answer")
        chat.close_when_done()
        assert await receive_all(client) == b"answer"


async def test_a_finished_producer_is_closed_in_peace(autojump_clock: trio.testing.MockClock) -> None:
    class Cursor:
        committed = False

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"row"

        async def aclose(self) -> None:
            await trio.sleep(1)
            self.committed = True

    cursor = Cursor()
    async with talk(RecordingChat) as (chat, client):
        chat.push_with_producer(cursor)
        chat.close_when_done()
        assert await receive_all(client) == b"row"
    assert cursor.committed


async def test_producers_are_closed_once_each_whatever_comes_meanwhile(autojump_clock: trio.testing.MockClock) -> None:
    closed: list[int] = []

    class Slow:
        def __init__(self, number: int) -> None:
            self.number = number

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"%d" % self.number

        async def aclose(self) -> None:
            await trio.sleep(1)
            closed.append(self.number)

    async with talk(RecordingChat) as (chat, client):
        chat.push_with_producer(Slow(1))
        assert await receive_exactly(client, 1) == b"1"
        await trio.testing.wait_all_tasks_blocked()  # the first is being closed
        for number in (2, 3):
            chat.push_with_producer(Slow(number))
        chat.discard_buffers()
        chat.push(b"end")
        chat.close_when_done()
        assert await receive_all(client) == b"end"
    assert closed == [1, 2, 3]
