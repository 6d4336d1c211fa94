"""asynchat's face: what channels rely on, and what is better than in the standard library on purpose."""

from __future__ import annotations

import array
import re
from typing import Any

import pytest
import trio
from old_channels import LineChannel, running
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat import FrameTooLong
from trio_chat.compat import asynchat
from trio_chat.compat._dispatcher import socket_map


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


async def test_half_a_terminator_at_the_end_of_the_input() -> None:
    async with running(LineChannel) as (channel, client):
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

    client, server = trio.testing.lockstep_stream_pair()
    made: list[LineChannel] = []
    loop = asynchat.handler_factory(lambda sock, addr: made.append(LineChannel(sock, then)))(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"\r\n" * 2)
        await client.send_all(b"\r\n" * 2)
        with trio.move_on_after(1):
            await client.send_all(b"\r\n")
            await client.send_all(b"\r\n")
        await wait_all_tasks_blocked()
        lines = len(made[0].calls)
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

    client, server = trio.testing.lockstep_stream_pair()
    made: list[LineChannel] = []
    loop = asynchat.handler_factory(lambda sock, addr: made.append(LineChannel(sock, then)))(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await client.send_all(b"go\r\n")
        for _ in range(1000):
            assert set(await client.receive_some()) == {ord("x")}
        await client.send_all(b"stop\r\n")
        while await client.receive_some():
            pass
        await client.aclose()
    assert made[0].calls == [b"go", b"stop"]


# ---------------------------------------------------------------------- errors


async def test_an_exception_is_logged_and_closes_the_channel(capsys: pytest.CaptureFixture[str]) -> None:
    def then(channel: Any, line: bytes) -> None:
        raise LookupError("no such line")

    async with running(lambda sock: LineChannel(sock, then)) as (channel, client):
        await client.say(b"one\r\ntwo\r\n")
        assert channel.calls == [b"one", "close"]
    logged = capsys.readouterr().out
    assert re.match(
        r"error: uncaptured python exception, closing channel <old_channels\.LineChannel connected ''", logged
    )
    assert "(<class 'LookupError'>:no such line [" in logged
    assert logged.rstrip().endswith("])")


async def test_handle_error_may_go_on() -> None:
    class Stubborn(LineChannel):
        def handle_error(self) -> None:
            self.calls.append("error")

    def then(channel: Any, line: bytes) -> None:
        if line == b"bad":
            raise ValueError

    async with running(lambda sock: Stubborn(sock, then)) as (channel, client):
        await client.say(b"bad\r\nbehind it\r\n")
        assert channel.calls == [b"bad", "error"]  # the rest comes with the next input, as it did
        await client.say(b"next\r\n")
        assert channel.calls == [b"bad", "error", b"behind it", b"next"]


async def test_what_handle_error_raises_leaves_run() -> None:
    class Broken(LineChannel):
        def handle_error(self) -> None:
            raise LookupError("from handle_error")

    def then(channel: Any, line: bytes) -> None:
        raise ZeroDivisionError

    async def converse() -> None:
        async with running(lambda sock: Broken(sock, then)) as (channel, client):
            await client.say(b"\r\n")
            assert channel.calls == [b"", "close"]
            assert client.ended

    with pytest.raises(LookupError, match="from handle_error"):
        await converse()


async def test_a_producer_that_fails_for_ever_disturbs_nobody_else() -> None:
    class Failing:
        def more(self) -> bytes:
            raise ValueError

    class Stubborn(LineChannel):
        def handle_error(self) -> None:
            self.calls.append("error")

    async with running(lambda sock: Stubborn(sock, lambda channel, line: channel.push_with_producer(Failing()))) as (
        channel,
        client,
    ):
        await client.stream.send_all(b"\r\n")
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        assert channel.calls[:2] == [b"", "error"]
        channel.close()


async def test_a_connection_without_a_channel() -> None:
    client, server = trio.testing.memory_stream_pair()
    with pytest.raises(TypeError, match="neither made a channel"):
        asynchat.handler_factory(lambda sock, addr: None)(server)
    loop = asynchat.handler_factory(lambda sock, addr: sock.close())(server)
    await loop.run()
    assert await client.receive_some() == b""


async def test_what_a_channel_does_not_do_by_itself() -> None:
    channel = asynchat.async_chat()
    for name in ("create_socket", "connect", "bind", "listen", "accept"):
        with pytest.raises(NotImplementedError, match=rf"does not {name}\(\).*handler_factory"):
            getattr(channel, name)()
    with pytest.raises(TypeError, match="takes the socket that handler_factory"):
        asynchat.async_chat(object())  # type: ignore[arg-type]
    channel.set_reuse_addr()


# ---------------------------------------------------------------------- the dispatcher's habits


async def test_logging(capsys: pytest.CaptureFixture[str]) -> None:
    channel = asynchat.async_chat()
    channel.log("a hit")
    channel.log_info("started")
    channel.log_info("failed", "error")
    channel.log_info("not shown", "warning")
    channel.handle_expt()
    channel.handle_connect()
    channel.handle_accept()
    captured = capsys.readouterr()
    assert (captured.err, captured.out) == ("log: a hit\n", "info: started\nerror: failed\n")


async def test_the_map_of_channels() -> None:
    channels: dict[int | None, Any] = {}

    class Mapped(asynchat.async_chat):
        def __init__(self, sock: Any) -> None:
            asynchat.async_chat.__init__(self, sock=sock, map=channels)

    async with running(Mapped) as (channel, client), running(LineChannel) as (other, _):
        assert channels == {channel._fileno: channel}
        assert list(socket_map.values()) == [other]
        assert channel._fileno != other._fileno
        await client.end()
        assert channels == {}
    assert socket_map == {}


async def test_the_socket_of_a_memory_stream() -> None:
    async with running(LineChannel) as (channel, client):
        sock = channel.socket
        assert (sock.getpeername(), sock.getsockname(), channel.getpeername()) == ("", "", "")
        assert sock.fileno() < -1
        assert (sock.getsockopt(1, 4), sock.getsockopt(1, 4, 3)) == (0, bytes(3))
        sock.setsockopt(1, 4, 1)
        sock.setblocking(False)
        with pytest.raises(ValueError, match="cannot be made to block"):
            sock.setblocking(True)
        with pytest.raises(BlockingIOError):
            sock.recv(100)
        with pytest.raises(TypeError):
            sock.send("text")
        with pytest.raises(AttributeError, match="'LineChannel' object has no attribute '_missing'"):
            channel._missing  # noqa: B018
        with pytest.raises(AttributeError):
            channel.missing  # noqa: B018
        assert sock.send(b"by hand") == 7
        await wait_all_tasks_blocked()
        assert client.heard() == b"by hand"
        channel.close()
        channel.close()
        assert (sock.fileno(), repr(sock)) == (-1, "<ChannelSocket closed>")
        for method in (sock.getpeername, sock.getsockname, lambda: sock.send(b""), lambda: sock.recv(1)):
            with pytest.raises(OSError, match="Bad file descriptor"):
                method()


async def test_shutdown_ends_our_side_behind_what_was_sent() -> None:
    def then(channel: Any, line: bytes) -> None:
        if line == b"end":
            channel.push(b"the last\r\n")
            channel.socket.shutdown(1)
            assert channel.send(b"too late") == 0  # which closes it, as a broken pipe does

    async with running(lambda sock: LineChannel(sock, then)) as (channel, client):
        await client.say(b"end\r\n")
        assert (client.heard(), client.ended) == (b"the last\r\n", True)
        assert channel.calls == [b"end", "close"]


async def test_shutdown_of_both_sides_is_the_end_of_the_input() -> None:
    async with running(lambda sock: LineChannel(sock, lambda channel, line: channel.socket.shutdown(2))) as (
        channel,
        client,
    ):
        await client.say(b"one\r\n")
        assert channel.calls == [b"one", "close"]


async def test_another_channel_takes_the_socket_over() -> None:
    class Second(LineChannel):
        pass

    second: list[Second] = []

    def then(channel: Any, line: bytes) -> None:
        if line == b"switch":
            channel.del_channel()
            second.append(Second(channel.socket, lambda self, line: self.push(b"2: " + line + b"\r\n")))

    async with running(lambda sock: LineChannel(sock, then)) as (channel, client):
        await client.say(b"one\r\nswitch\r\n", b"two\r\n")
        assert (channel.calls, second[0].calls) == ([b"one", b"switch"], [b"two"])
        assert client.heard() == b"2: two\r\n"


async def test_a_channel_that_is_not_readable_gets_nothing(mock_clock: MockClock) -> None:
    class Gated(LineChannel):
        gate = True

        def readable(self) -> Any:
            return self.gate

    async with running(Gated) as (channel, client), running(LineChannel) as (_, other):
        channel.gate = False
        await client.say(b"one\r\n")
        assert channel.calls == []
        channel.gate = True
        await other.say(b"anything that happens\r\n")  # is another turn of the loop
        assert channel.calls == [b"one"]
        channel.gate = False
        await client.say(b"two\r\n")
        channel.gate = True
        mock_clock.jump(29)
        await wait_all_tasks_blocked()
        assert channel.calls == [b"one"]
        mock_clock.jump(1)
        await wait_all_tasks_blocked()
        assert channel.calls == [b"one", b"two"]


async def test_a_channel_that_reads_by_itself() -> None:
    class Raw(asynchat.async_chat):
        def __init__(self, sock: Any) -> None:
            asynchat.async_chat.__init__(self, sock)
            self.calls: list[bytes] = []

        def handle_read(self) -> None:
            self.calls.append(self.recv(4))

        def handle_close(self) -> None:
            self.close()

    async with running(Raw) as (channel, client):
        await client.say(b"0123456789")
        assert channel.calls == [b"0123", b"4567", b"89"]
        await client.end()
        assert channel.calls[3:] == [b""]
        assert not channel.connected


async def test_others_push_too() -> None:
    async with running(LineChannel) as (channel, client):
        channel.push(b"now\r\n")
        channel.push_with_producer(asynchat.simple_producer(b"later\r\n", 2))
        await wait_all_tasks_blocked()
        assert client.heard() == b"now\r\nlater\r\n"
        await trio.to_thread.run_sync(lambda: trio.from_thread.run_sync(channel.push, b"from a thread\r\n"))
        await wait_all_tasks_blocked()
        assert client.heard() == b"from a thread\r\n"
        channel.close_when_done()
        await wait_all_tasks_blocked()
        assert (client.ended, channel.calls) == (True, ["close"])


async def test_the_peer_breaks_off() -> None:
    async with running(LineChannel) as (channel, client):
        client.stream.send_stream.close()
        await wait_all_tasks_blocked()
        assert channel.calls == ["close"]
        assert not channel.connected


async def test_a_graceful_stop() -> None:
    """Closes what is idle, and waits for a frame that has begun."""
    async with running(LineChannel) as (channel, client):
        await client.say(b"one\r\ntw")
        channel.socket._wire.close_when_idle()
        await wait_all_tasks_blocked()
        assert channel.calls == [b"one"]
        await client.say(b"o\r\n")
        assert channel.calls == [b"one", b"two", "close"]
    async with running(LineChannel) as (channel, client):
        channel.set_terminator(None)
        await client.say(b"all of it")
        channel.socket._wire.close_when_idle()
        await wait_all_tasks_blocked()
        assert (channel.incoming, channel.calls) == ([b"all of it"], ["close"])


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
