"""asynchat's face: what channels rely on, and what is better than in the standard library on purpose."""

from __future__ import annotations

import array
from typing import Any

import pytest
import trio
from old_channels import LineChannel, over_lockstep, running
from trio.testing import wait_all_tasks_blocked

from trio_chat import FrameTooLong
from trio_chat.compat import asynchat


async def test_the_public_face() -> None:
    assert asynchat.find_prefix_at_end(b"qwerty\r", b"\r\n") == 1
    assert asynchat.find_prefix_at_end(b"qwertydkjf", b"\r\n") == 0
    assert asynchat.find_prefix_at_end("abc", "bcd") == 2
    assert asynchat.find_prefix_at_end(b"abc", b"") == 0
    producer = asynchat.simple_producer(b"0123456789", 4)
    assert [producer.more() for _ in range(4)] == [b"0123", b"4567", b"89", b""]
    assert asynchat.simple_producer(b"x" * 600).more() == b"x" * 512


async def test_a_channel_without_a_socket() -> None:
    channel = asynchat.async_chat()
    channel.set_terminator(5)
    channel.push(b"kept")
    channel.close_when_done()
    assert (channel.get_terminator(), channel.connected, list(channel.producer_fifo)) == (5, False, [b"kept", None])
    channel.close()
    for method in (channel.collect_incoming_data, channel.found_terminator):
        with pytest.raises(NotImplementedError, match="must be implemented in subclass"):
            method(*[b""] * (method == channel.collect_incoming_data))
    with pytest.raises(ValueError, match="must be positive"):
        channel.set_terminator(-1)


async def test_only_the_import_changes() -> None:
    def then(channel: Any, line: bytes) -> None:
        channel.push(line.upper() + b"\r\n")

    async with running(lambda sock: LineChannel(sock, then)) as (channel, client):
        await client.say(b"one\r\ntw", b"o\r", b"\nthree")
        assert client.heard() == b"ONE\r\nTWO\r\n"
        assert (channel.calls, channel.connected, channel.addr) == ([b"one", b"two"], True, "")
        await client.end()
        assert channel.calls == [b"one", b"two", "close"]
        assert not channel.connected


class Beginner(LineChannel):
    """Does everything in its constructor."""

    def __init__(self, sock: Any, then: Any) -> None:
        super().__init__(sock)
        then(self)


async def test_a_channel_pushes_in_its_constructor() -> None:
    async with running(lambda sock: Beginner(sock, lambda self: self.push(b"220 ready\r\n"))) as (_, client):
        assert client.heard() == b"220 ready\r\n"


async def test_a_channel_ends_in_its_constructor() -> None:
    def refuse(self: LineChannel) -> None:
        self.push(b"421 busy\r\n")
        self.close()
        self.push(b"too late")

    async with running(lambda sock: Beginner(sock, refuse)) as (channel, client):
        assert (client.heard(), client.ended) == (b"421 busy\r\n", True)
        assert channel.calls == []  # it has closed itself

    async with running(lambda sock: Beginner(sock, lambda self: self.close_when_done())) as (channel, client):
        assert (client.ended, channel.calls) == (True, ["close"])


async def test_input_is_handed_over_until_the_close() -> None:
    def then(channel: Any, line: bytes) -> None:
        if line == b"quit":
            channel.push(b"bye\r\n")
            channel.close_when_done()

    async with running(lambda sock: LineChannel(sock, then)) as (channel, client):
        await client.say(b"quit\r\nand\r\nmore\r\n")
        assert client.heard() == b"bye\r\n"
        assert channel.calls == [b"quit", b"and", b"more", "close"]


# ---------------------------------------------------------------------- nothing is lost


async def test_what_is_queued_goes_out_before_the_end_of_the_input_is_told() -> None:
    def then(channel: Any, line: bytes) -> None:
        for _ in range(20):
            channel.push(b"x" * 50_000)
        channel.push_with_producer(asynchat.simple_producer(b"y" * 500_000, 1000))

    async with running(lambda sock: LineChannel(sock, then)) as (channel, client):
        await client.stream.send_all(b"all of it\r\n")
        await client.end()
        received = client.heard()
        assert (received.count(b"x"), received.count(b"y")) == (1_000_000, 500_000)
        assert channel.calls == [b"all of it", "close"]


@pytest.mark.parametrize("terminator", [b"\r\n", bytearray(b"\r\n")])
async def test_half_a_terminator_at_the_end_of_the_input(terminator: bytes | bytearray) -> None:
    async with running(LineChannel) as (channel, client):
        channel.set_terminator(terminator)
        await client.say(b"rest\r")
        assert channel.incoming == [b"rest"]
        await client.end()
        assert channel.incoming == [b"rest", b"\r"]


class Falsy:
    def __init__(self, pieces: list[Any]) -> None:
        self.pieces = pieces

    def __bool__(self) -> bool:
        return False

    def more(self) -> Any:
        return self.pieces.pop(0) if self.pieces else b""


async def test_what_is_pushed_is_sent_as_it_was() -> None:
    def then(channel: Any, line: bytes) -> None:
        wide = array.array("I", [1, 2, 3])
        channel.push(memoryview(wide))
        mutable = bytearray(b"before")
        channel.push(mutable)
        mutable[:] = b"after!"
        channel.push_with_producer(Falsy([b"a", bytearray(b"b"), memoryview(b"c")]))
        channel.push_with_producer(Falsy([]))
        channel.push(b"end")

    async with running(lambda sock: LineChannel(sock, then)) as (_, client):
        await client.say(b"\r\n")
        assert client.heard() == bytes(array.array("I", [1, 2, 3])) + b"beforeabcend"


async def test_a_text_that_a_producer_gives_is_whole_in_any_encoding() -> None:
    def then(channel: Any, line: bytes) -> None:
        channel.use_encoding, channel.encoding, channel.ac_out_buffer_size = 1, "utf-8", 3
        channel.push_with_producer(asynchat.simple_producer("grüße ☃"))

    async with running(lambda sock: LineChannel(sock, then)) as (_, client):
        await client.say(b"\r\n")
        assert client.heard() == "grüße ☃".encode()


# ---------------------------------------------------------------------- nothing is without bounds


@pytest.mark.parametrize("split", range(1, 11))
@pytest.mark.parametrize("length", [9, 10, 11])
async def test_a_frame_is_not_stored_without_end(length: int, split: int, capsys: pytest.CaptureFixture[str]) -> None:
    class Limited(LineChannel):
        max_frame_bytes = 10

    text = b"x" * length + b"\r\n"
    async with running(Limited) as (channel, client):
        await client.say(text[:split])
        if not client.ended:
            await client.say(text[split:])
        if length > 10:
            assert (b"".join(channel.incoming), channel.calls) == (b"x" * 10, ["close"])
            assert FrameTooLong.__name__ in capsys.readouterr().out
        else:
            assert channel.calls == [b"x" * length]
            await client.say(text)
            assert channel.calls == [b"x" * length] * 2


async def test_counts_and_collect_all_have_no_limit() -> None:
    class Limited(LineChannel):
        max_frame_bytes = 2

    for terminator in (10, None, 0, b""):
        async with running(Limited) as (channel, client):
            channel.set_terminator(terminator)
            await client.say(b"0123456789")
            assert b"".join([*channel.incoming, *channel.calls]) == b"0123456789"


async def test_nothing_is_received_while_too_much_is_queued() -> None:
    def then(channel: Any, line: bytes) -> None:
        channel.push(b"x" * 300_000)

    client, loop, channel = over_lockstep(lambda sock: LineChannel(sock, then))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"\r\n" * 2)
        await client.send_all(b"\r\n" * 2)
        with trio.move_on_after(1):
            await client.send_all(b"\r\n")
            await client.send_all(b"\r\n")
        await wait_all_tasks_blocked()
        lines = len(channel.calls)
        assert 2 <= lines < 6
        received = 0
        while received < 300_000 * lines:
            received += len(await client.receive_some())
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_a_producer_without_end_holds_nothing_back() -> None:
    class Endless:
        def more(self) -> bytes:
            return b"x" * 1000

    def then(channel: Any, line: bytes) -> None:
        if line == b"go":
            channel.push_with_producer(Endless())
        else:
            channel.close()

    client, loop, channel = over_lockstep(lambda sock: LineChannel(sock, then))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"go\r\n")
        for _ in range(1000):
            assert set(await client.receive_some()) == {ord("x")}
        await client.send_all(b"stop\r\n")
        while await client.receive_some():
            pass
        await client.aclose()
    assert channel.calls == [b"go", b"stop"]


# ---------------------------------------------------------------------- speed


class Counting(bytes):
    """Counts what is copied out of it."""

    copied = 0

    def __getitem__(self, index: Any) -> Any:
        piece = super().__getitem__(index)
        if isinstance(index, slice):
            Counting.copied += len(piece)
            return Counting(piece)
        return piece

    def __add__(self, other: Any) -> Any:
        return Counting(super().__add__(other))


class Unplugged(asynchat.async_chat):
    """Receives `text`."""

    def __init__(self, text: bytes, terminator: asynchat.Terminator) -> None:
        super().__init__()
        self.first_terminator = terminator
        self.set_terminator(terminator)
        self.ac_in_buffer = Counting()
        self.text = text
        self.frames = 0

    def recv(self, buffer_size: int) -> bytes:
        return self.text

    def collect_incoming_data(self, data: bytes) -> None:
        pass

    def found_terminator(self) -> None:
        self.frames += 1
        self.set_terminator(self.first_terminator)


@pytest.mark.parametrize(("text", "terminator"), [(b"x\n" * 10_000, b"\n"), (b"x" * 10_000, 1)])
def test_tiny_frames_take_time_in_proportion(text: bytes, terminator: asynchat.Terminator) -> None:
    """The standard library copies the rest of the chunk for each of them."""
    channel = Unplugged(text, terminator)
    Counting.copied = 0
    channel.handle_read()
    assert channel.frames == 10_000
    assert 10_000 <= Counting.copied <= len(text)
