"""The dispatcher's habits that channels rely on, and what becomes of their exceptions."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio
from old_channels import LineChannel, running
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_chat.compat import asynchat
from trio_chat.compat._dispatcher import socket_map

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
