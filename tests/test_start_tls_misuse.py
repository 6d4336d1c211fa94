"""`start_tls` where it does not belong."""

from __future__ import annotations

import ssl

import pytest
import trio
import trio.testing
from bounded import run, say, talk
from starttls import (
    READY,
    Securing,
    ask_for_tls,
    echoed,
    memory_pair,
    shake_hands,
)
from support import receive_all, receive_exactly

pytestmark = pytest.mark.usefixtures("securing")


class Refused(Securing):
    """Records that `start_tls` was refused."""

    error: type[Exception] = RuntimeError
    match = "start_tls"

    async def secure(self) -> None:
        with pytest.raises(self.error, match=self.match):
            await self.start_tls(self.context)
        self.calls.append(("refused", None))

    @property
    def refused(self) -> int:
        return self.names.count("refused")


async def test_outside_of_callbacks(autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext) -> None:
    class Background(Refused):
        match = r"start_tls\(\) is for a callback that is running"

        def handle_connect(self) -> None:
            self.nursery.start_soon(self.secure)

    _, server = memory_pair()
    chat = Background(server)
    await chat.secure()
    async with talk(Background) as (chat, client):
        await echoed(client, b"hello")
        await chat.secure()
        await echoed(client, b"hello")
        assert chat.refused == 2


@pytest.mark.parametrize("data", [b"STARTTLS\r\n", b"START", b"START\r"])
async def test_in_the_middle_of_a_frame(autojump_clock: trio.testing.MockClock, data: bytes) -> None:
    class Collecting(Refused):
        error = Exception
        match = r"start_tls\(\) is for the end of a frame|1 bytes came in plaintext"

        async def collect_incoming_data(self, data: bytes) -> None:  # type: ignore[override]
            super().collect_incoming_data(data)
            await self.secure()

        async def found_terminator(self) -> None:
            self.incoming.clear()

    class TimedOut(Collecting):
        message_timeout = 3

        async def handle_timeout(self, kind: str) -> None:  # type: ignore[override]
            await self.secure()
            self.close_when_done()

        collect_incoming_data = Securing.collect_incoming_data  # type: ignore[assignment]

    for kind in (Collecting, TimedOut):
        async with talk(kind) as (chat, client):
            await say(client, data)
            if kind is TimedOut:
                if data.endswith(b"\n"):
                    continue
                assert await receive_all(client) == b""
            assert chat.refused == 1


async def test_when_a_frame_is_too_long(autojump_clock: trio.testing.MockClock) -> None:
    class Oversized(Refused):
        max_frame_bytes = 5
        on_oversize = "answer"
        match = r"and not for handle_oversize\(\)"

        async def handle_oversize(self) -> None:  # type: ignore[override]
            await self.secure()

    async with talk(Oversized) as (chat, client):
        await client.send_all(b"123456")
        assert await receive_all(client) == b""
    assert chat.refused == 1


@pytest.mark.parametrize("method", ["close", "close_when_done", "detach"])
async def test_after_the_end(autojump_clock: trio.testing.MockClock, method: str) -> None:
    class Closing(Refused):
        error = trio.ClosedResourceError
        match = r"start_tls\(\) after close"

        async def secure(self) -> None:
            if (waiting := getattr(self, method)()) is not None:
                await waiting
            await super().secure()

        async def handle_close(self) -> None:  # type: ignore[override]
            await super().secure()

    async with talk(Closing) as (chat, client):
        await client.send_all(b"STARTTLS\r\n")
        await receive_all(client)
    assert chat.refused == 2


async def test_twice(autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext) -> None:
    class Twice(Refused):
        match = "over TLS already"

        async def secure(self) -> None:
            if isinstance(self.stream, trio.SSLStream):
                await super().secure()
            else:
                await self.start_tls(self.context)
                await super().secure()

    async with talk(Twice) as (chat, client):
        tls = await ask_for_tls(client, client_context)
        await tls.send_all(b"STARTTLS\r\n")
        assert await receive_exactly(tls, len(READY)) == READY
        await echoed(tls, b"hello")
    assert chat.refused == 2


async def test_where_there_is_tls_from_the_beginning(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    class Within(Refused):
        match = "over TLS already"

    class Detaching(Refused):
        async def secure(self) -> None:
            await Within(await self.detach(b"STARTTLS\r\n")).run()

    for kind, answers in ((Within, 1), (Detaching, 2)):
        memory, server = memory_pair()
        chat = kind(trio.SSLStream(server, Securing.context, server_side=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, chat)
            tls = await shake_hands(memory, client_context)
            await tls.send_all(b"STARTTLS\r\n")
            assert await receive_exactly(tls, answers * len(READY)) == answers * READY
            await echoed(tls, b"hello")
            await tls.aclose()


async def test_one_task_at_a_time(autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext) -> None:
    class Crowded(Refused):
        error = trio.BusyResourceError
        match = "another task is in"

        async def secure(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.start_tls, self.context)
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                await super().secure()
                with pytest.raises(trio.BusyResourceError, match="another task is in"):
                    await self.receive_more()

    class Receiving(Refused):
        error = trio.BusyResourceError
        match = "another task is in"

        async def found_terminator(self) -> None:
            if not self.refused:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.receive_more)
                    await trio.testing.wait_all_tasks_blocked()
                    await Refused.secure(self)
                    nursery.cancel_scope.cancel()
            await super().found_terminator()

        async def secure(self) -> None:
            await self.start_tls(self.context)

    for kind in (Crowded, Receiving):
        async with talk(kind) as (chat, client):
            await echoed(await ask_for_tls(client, client_context), b"hello")
        assert chat.refused == 1


async def test_wrong_arguments_leave_everything_as_it_was(
    autojump_clock: trio.testing.MockClock, client_context: ssl.SSLContext
) -> None:
    class Mistaken(Securing):
        def handle_connect(self) -> None:
            self.nursery.start_soon(self.wait_eof)

        async def secure(self) -> None:
            with pytest.raises(TypeError, match=r"start_tls\(\) takes an ssl.SSLContext; got None"):
                await self.start_tls(None)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match=r"handshake_timeout is a number of seconds.*; got '1'"):
                await self.start_tls(self.context, handshake_timeout="1")  # type: ignore[arg-type]
            for timeout in (-1, float("nan")):
                with pytest.raises(ValueError, match="handshake_timeout"):
                    await self.start_tls(self.context, handshake_timeout=timeout)
            with pytest.raises(ValueError, match=r"needs a server's context, .*CLIENT_AUTH"):
                await self.start_tls(client_context)
            with pytest.raises(ValueError, match=r"needs a client's context, .*SERVER_AUTH"):
                await self.start_tls(self.context, server_side=False)
            with pytest.raises(ValueError, match="server_hostname"):
                await self.start_tls(client_context, server_side=False)
            await super().secure()

    async with talk(Mistaken) as (chat, client):
        await echoed(await ask_for_tls(client, client_context), b"hello")
    assert chat.secured
