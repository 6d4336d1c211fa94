"""Serving: isolation, limits, exhaustion, graceful stop."""

from __future__ import annotations

import errno
import logging
import math
from functools import partial

import pytest
import trio
import trio.testing
from support import MemoryListener, RecordingChat, ask, receive_all

from trio_chat import AsyncChat, ServeOptions, serve_listeners, serve_tcp


class Boom(Exception):
    pass


class Line(AsyncChat):
    """Answers a line; fails, hangs or quits on demand."""

    terminator = b"\n"

    async def found_terminator(self) -> None:
        line = self._get_data()
        if line == b"fail":
            raise Boom
        if line == b"hang":
            await trio.sleep_forever()
        if line == b"slow":
            await trio.sleep(5)
        self.push(line + b"\n")


async def connect(listener: trio.SocketListener) -> trio.SocketStream:
    host, port = listener.socket.getsockname()[:2]
    return await trio.open_tcp_stream(host, port)


def records(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    return [(record.name, record.levelno) for record in caplog.records]


async def test_tcp_on_a_free_port(nursery: trio.Nursery) -> None:
    (listener,) = await nursery.start(partial(serve_tcp, Line, 0, host="127.0.0.1"))
    async with await connect(listener) as client:
        await ask(client, b"hello")
    nursery.cancel_scope.cancel()


async def test_one_connections_exception_ends_that_connection_alone(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    (listener,) = await nursery.start(partial(serve_tcp, Line, 0, host="127.0.0.1"))
    async with await connect(listener) as good, await connect(listener) as bad:
        await ask(good, b"before")
        peer = bad.socket.getsockname()
        await bad.send_all(b"fail\n")
        assert await bad.receive_some() == b""
        await ask(good, b"after")
        async with await connect(listener) as another:
            await ask(another, b"new")
    (record,) = caplog.records
    assert record.name == "trio_chat.server"
    assert record.levelno == logging.ERROR
    assert str(peer) in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is Boom
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("result", [None, RecordingChat])
async def test_a_factory_that_gives_no_handler_is_logged(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture, result: object
) -> None:
    listener = MemoryListener()
    factory = lambda stream: result  # noqa: E731
    await nursery.start(serve_listeners, factory, [listener])
    assert await receive_all(await listener.connect()) == b""
    assert "not an AsyncChat" in str(caplog.records[0].exc_info)
    nursery.cancel_scope.cancel()


async def test_a_factory_that_raises_is_logged(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    def factory(stream: trio.abc.Stream) -> AsyncChat:
        raise Boom

    listener = MemoryListener()
    await nursery.start(serve_listeners, factory, [listener])
    for _ in range(2):
        assert await receive_all(await listener.connect()) == b""
    assert records(caplog) == [("trio_chat.server", logging.ERROR)] * 2
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("factory", "options", "error"),
    [
        (None, {}, TypeError("takes the stream and gives an AsyncChat; got None")),
        (Line, {"max_connections": 0}, ValueError("max_connections must be at least 1, or None for no limit; got 0")),
        (Line, {"max_connections": "3"}, TypeError("max_connections is a whole number, or None for no limit; got '3'")),
        (Line, {"max_connections": True}, TypeError("max_connections is a whole number, or None for no limit")),
        (Line, {"max_connections": math.inf}, TypeError("max_connections is a whole number, or None for no limit")),
        (Line, {"max_connections_per_peer": 0}, ValueError("max_connections_per_peer must be at least 1")),
        (Line, {"stop": True}, TypeError("stop is a trio.Event; got True")),
        (Line, {"shutdown_grace": None}, TypeError("shutdown_grace is a number of seconds, math.inf for no limit")),
        (Line, {"shutdown_grace": -1}, ValueError("shutdown_grace must be at least 0; got -1")),
        (Line, {"handshake_timeout": "soon"}, TypeError("handshake_timeout is a number of seconds")),
        (Line, {"handshake_timeout": math.nan}, ValueError("handshake_timeout must be at least 0; got nan")),
        (Line, {"unknown": 1}, TypeError("unknown")),
    ],
)
async def test_wrong_options_are_refused(factory: type[AsyncChat], options: ServeOptions, error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        await serve_tcp(factory, 0, **options)


async def test_a_handler_that_was_not_made_is_told_of(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    class Forgetful(AsyncChat):
        def __init__(self, stream: trio.abc.Stream) -> None:
            pass

    message = r"Forgetful.__init__\(\) must call super\(\).__init__\(stream\)"
    (listener,) = await nursery.start(partial(serve_tcp, Forgetful, 0, host="127.0.0.1"))
    async with await connect(listener) as client:
        assert await receive_all(client) == b""
    (record,) = caplog.records
    assert record.exc_info is not None
    with pytest.raises(RuntimeError, match=message):
        raise record.exc_info[1]  # type: ignore[misc]
    with pytest.raises(RuntimeError, match=message):
        await Forgetful(client).run()
    nursery.cancel_scope.cancel()


async def test_a_peer_that_goes_away_midway_is_not_worth_a_log_record(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    (listener,) = await nursery.start(partial(serve_tcp, Line, 0, host="127.0.0.1"))
    for sent in [b"", b"half a li", b"line\n", b"slow\nline\n"]:
        client = await connect(listener)
        await client.send_all(sent)
        client.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing resets
        await client.aclose()
    async with await connect(listener) as client:
        await ask(client, b"still here")
    assert caplog.records == []
    nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- limits


async def test_when_the_total_is_reached_nobody_accepts(nursery: trio.Nursery) -> None:
    listener = MemoryListener()
    await nursery.start(partial(serve_listeners, Line, [listener], max_connections=2))
    first, second, third = [await listener.connect() for _ in range(3)]
    await trio.testing.wait_all_tasks_blocked()
    assert listener.backlog == 1
    await ask(second, b"served")
    await first.aclose()
    await ask(third, b"served now")
    assert listener.backlog == 0
    nursery.cancel_scope.cancel()


async def test_the_total_holds_for_all_listeners_together(nursery: trio.Nursery) -> None:
    listeners = [MemoryListener(), MemoryListener()]
    await nursery.start(partial(serve_listeners, Line, listeners, max_connections=1))
    clients = [await listener.connect() for listener in listeners]
    served = 0

    async def be_served(client: trio.abc.Stream) -> None:
        nonlocal served
        await ask(client, b"hello")
        served += 1

    async with trio.open_nursery() as asking:
        for client in clients:
            asking.start_soon(be_served, client)
        await trio.testing.wait_all_tasks_blocked()
        assert served == 1
        for client in clients:
            await client.send_eof()
    assert served == 2
    nursery.cancel_scope.cancel()


async def test_a_stop_while_a_connection_waits_for_a_place_loses_no_stream(nursery: trio.Nursery) -> None:
    listeners = [MemoryListener(), MemoryListener()]
    clients = [await listener.connect() for listener in listeners]
    async with trio.open_nursery() as serving:
        await serving.start(partial(serve_listeners, Line, listeners, max_connections=1))
        await trio.testing.wait_all_tasks_blocked()
        serving.cancel_scope.cancel()
    for client in clients:
        assert await receive_all(client) == b""
    nursery.cancel_scope.cancel()


async def test_connections_of_one_peer_are_limited(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    (listener,) = await nursery.start(partial(serve_tcp, Line, 0, host="127.0.0.1", max_connections_per_peer=2))
    first, second = await connect(listener), await connect(listener)
    await ask(first, b"1")
    await ask(second, b"2")
    async with await connect(listener) as third:
        assert await third.receive_some() == b""
    await ask(first, b"1 again")
    await first.send_eof()
    assert await receive_all(first) == b""
    await first.aclose()
    await second.aclose()
    async with await connect(listener) as fourth:
        await ask(fourth, b"4")
    assert [record.getMessage() for record in caplog.records] == [
        "refused a connection from 127.0.0.1: it has too many already"
    ]
    nursery.cancel_scope.cancel()


async def test_running_out_of_file_descriptors_pauses_accepting_and_loses_nobody(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    listener = MemoryListener([OSError(errno.EMFILE, "Too many open files") for _ in range(50)])
    client = await listener.connect()
    await nursery.start(serve_listeners, Line, [listener])
    await ask(client, b"patience")
    assert 4.9 < trio.current_time() < 5.1
    assert [record.getMessage() for record in caplog.records] == [
        "cannot accept connections for the moment: [Errno 24] Too many open files",
        "accepting connections again",
    ]
    nursery.cancel_scope.cancel()


async def test_other_faults_of_a_listener_end_serving() -> None:
    listener = MemoryListener([OSError(errno.EINVAL, "Invalid argument")])
    with pytest.raises(ExceptionGroup) as raised:
        await serve_listeners(Line, [listener])
    assert raised.group_contains(OSError, match="Invalid argument")


# ---------------------------------------------------------------------- stopping


async def test_a_graceful_stop_closes_the_idle_at_once_and_lets_the_busy_finish(
    autojump_clock: trio.testing.MockClock,
) -> None:
    listener, stop = MemoryListener(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_listeners, Line, [listener], stop=stop))
        idle, busy, halfway = [await listener.connect() for _ in range(3)]
        await ask(idle, b"hello")
        await busy.send_all(b"slow\n")
        await halfway.send_all(b"half a ")
        await trio.testing.wait_all_tasks_blocked()
        stop.set()
        assert await receive_all(idle) == b""
        assert trio.current_time() == 0
        with pytest.raises(trio.BrokenResourceError):
            await listener.connect()
        await trio.sleep(1)
        await halfway.send_all(b"line\n")
        assert await receive_all(halfway) == b"half a line\n"
        assert trio.current_time() == 1
        assert await receive_all(busy) == b"slow\n"
        assert trio.current_time() == 5
        for client in (idle, busy, halfway):
            await client.aclose()
    assert trio.current_time() == 5


async def test_a_handler_that_fails_when_it_is_told_to_stop_ends_alone(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Polite(Line):
        def close_when_idle(self) -> None:
            self.push(b"goodbye\n")  # which cannot be pushed any more while the connection lingers
            super().close_when_idle()

        async def found_terminator(self) -> None:
            is_last = self.incoming == [b"last"]
            await super().found_terminator()
            if is_last:
                self.close_when_done()

    listener, stop = MemoryListener(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_listeners, Polite, [listener], stop=stop))
        clients = [await listener.connect() for _ in range(4)]
        for client in clients[::2]:
            await client.send_all(b"slow\n")
        for client in clients[1::2]:
            await client.send_all(b"last\n")
        await trio.testing.wait_all_tasks_blocked()
        stop.set()
        assert [await receive_all(client) for client in clients] == [b"goodbye\nslow\n", b"last\n"] * 2
    failures = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [isinstance(failure, trio.ClosedResourceError) for failure in failures] == [True, True]


async def test_a_handler_that_fails_to_stop_is_stopped(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Line):
        def close_when_idle(self) -> None:
            raise Boom

    listener, stop = MemoryListener(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_listeners, Failing, [listener], stop=stop))
        client = await listener.connect()
        await client.send_all(b"slow\n")
        await trio.testing.wait_all_tasks_blocked()
        stop.set()
        assert await receive_all(client) == b"slow\n"
        await client.aclose()
    assert trio.current_time() == 5
    assert records(caplog) == [("trio_chat.server", logging.ERROR)]


async def test_the_deadline_holds_against_a_handler_that_hangs(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    listener, stop = MemoryListener(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_listeners, Line, [listener], stop=stop, shutdown_grace=3))
        client = await listener.connect()
        await client.send_all(b"hang\n")
        await trio.testing.wait_all_tasks_blocked()
        stop.set()
    assert trio.current_time() == 3
    assert [record.getMessage() for record in caplog.records] == [
        "cut off the connections that had not finished after 3 seconds"
    ]
    assert await receive_all(client) == b""


async def test_the_deadline_holds_against_a_peer_that_never_reads() -> None:
    class Flood(AsyncChat):
        write_timeout = 3600

        async def handle_connect(self) -> None:
            while True:
                self.push(bytes(1_000_000))
                await self.drain()

    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(
            partial(serve_tcp, Flood, 0, host="127.0.0.1", stop=stop, shutdown_grace=0.05)
        )
        client = await connect(listener)
        await client.receive_some(1)
        stop.set()
    await client.aclose()


async def test_closing_the_listeners_stops_gracefully(autojump_clock: trio.testing.MockClock) -> None:
    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_listeners, Line, [listener])
        client = await listener.connect()
        await client.send_all(b"slow\n")
        await trio.testing.wait_all_tasks_blocked()
        await listener.aclose()
        assert await receive_all(client) == b"slow\n"
        await client.aclose()
    assert trio.current_time() == 5


async def test_a_cancelled_server_closes_everything() -> None:
    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_listeners, Line, [listener])
        client = await listener.connect()
        await ask(client, b"hello")
        nursery.cancel_scope.cancel()
    assert await receive_all(client) == b""
    with pytest.raises(trio.BrokenResourceError):
        await listener.connect()


async def test_a_handler_that_fails_while_it_is_cut_off_is_logged_and_nothing_more(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(AsyncChat):
        def handle_connect(self) -> None:
            self.nursery.start_soon(self.work)

        async def work(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise Boom

    class StubbornCallback(Line):
        async def found_terminator(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise Boom

    for factory in (Stubborn, StubbornCallback):
        caplog.clear()
        listener, stop = MemoryListener(), trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_listeners, factory, [listener], stop=stop, shutdown_grace=3))
            client = await listener.connect()
            await client.send_all(b"line\n half a line")
            await trio.testing.wait_all_tasks_blocked()
            stop.set()
        assert "the handler of the connection from None failed" in [record.getMessage() for record in caplog.records]
        assert await receive_all(client) == b""


async def test_closing_the_listeners_stops_even_if_there_is_a_stop_event() -> None:
    listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_listeners, Line, [listener], stop=trio.Event()))
        client = await listener.connect()
        await ask(client, b"hello")
        await listener.aclose()
        assert await receive_all(client) == b""
        await client.aclose()


@pytest.mark.parametrize("port", [-1, 65536, 99999])
async def test_a_wrong_port_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="a port is a number from 0 to 65535"):
        await serve_tcp(Line, port)


async def test_the_peer_is_known_to_the_last(nursery: trio.Nursery) -> None:
    peers = []

    class Noting(Line):
        def handle_close(self) -> None:
            peers.append(self.peer)

    (listener,) = await nursery.start(partial(serve_tcp, Noting, 0, host="127.0.0.1"))
    async with await connect(listener) as client:
        address = client.socket.getsockname()
        await ask(client, b"hello")
        await client.send_eof()
        await receive_all(client)
        await client.aclose()
    while not peers:
        await trio.lowlevel.checkpoint()
    assert peers == [address]
    nursery.cancel_scope.cancel()
