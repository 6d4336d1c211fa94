"""Whose task sends: mostly none but the conversation's own."""

from __future__ import annotations

import pytest
import support
import trio
import trio.testing
from sockets import connect, fill, listening, noting_pair, talk_over_sockets, unix_pair
from support import CountingStream, ask, receive_exactly

from trio_chat import SocketListener, SocketStream, serve_listeners

MANY = bytes(range(256)) * 4096  # 1 MiB, more than the kernel takes


def all_tasks() -> set[trio.lowlevel.Task]:
    """All but those of the system, such as the alarm for timeouts, of which there is one in all."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found = [task for nursery in root.child_nurseries for task in nursery.child_tasks]
    count = len(found)
    for task in found:  # which grows meanwhile
        found += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return set(found[count:])


class Echo(support.Echo):
    """Echoes; knows the tasks there were when it was made."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.tasks_before = all_tasks()

    @property
    def tasks(self) -> int:
        """How many there are besides that of `run`, which the nursery of the test has started meanwhile."""
        return len(all_tasks() - self.tasks_before) - 1


class AsyncEcho(Echo):
    async def found_terminator(self) -> None:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        super().found_terminator()


class LongAnswer(Echo):
    def found_terminator(self) -> None:
        super().found_terminator()
        self.push(MANY)


async def test_tasks_are_counted() -> None:
    """What the tests here rely on."""
    async with talk_over_sockets(Echo) as (chat, _, _):
        assert chat.tasks == 0
        chat.nursery.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        assert chat.tasks == 1


# ---------------------------------------------------------------------- whether there is a task


@pytest.mark.parametrize("factory", [Echo, AsyncEcho])
async def test_answers_that_the_kernel_takes_need_no_task(factory: type[Echo]) -> None:
    async with talk_over_sockets(factory) as (chat, client, _):
        for count in (1, 16, 100):
            await client.send_all(b"line\n" * count)
            await trio.testing.wait_all_tasks_blocked()
            assert chat.tasks == 0
            assert await receive_exactly(client, 5 * count) == b"line\n" * count


async def test_a_server_has_one_task_for_a_connection(nursery: trio.Nursery) -> None:
    sock = listening()
    await nursery.start(serve_listeners, Echo, [SocketListener(sock)])
    async with connect(sock) as first:
        await ask(first, b"hello")
        await trio.testing.wait_all_tasks_blocked()
        before = len(all_tasks())
        others = [connect(sock) for _ in range(5)]
        for client in others:
            await ask(client, b"hello")
        assert len(all_tasks()) == before + 5
        for client in others:
            await client.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert len(all_tasks()) == before
    nursery.cancel_scope.cancel()


async def test_when_the_kernel_is_full_a_task_sends_the_rest_in_order() -> None:
    async with talk_over_sockets(LongAnswer) as (chat, client, sock):
        await client.send_all(b"one\n")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.tasks == 1
        chat.push(b"two\n")
        answer = b"one\n" + MANY + b"two\n"
        assert await receive_exactly(client, len(answer)) == answer
        await trio.testing.wait_all_tasks_blocked()
        assert chat.queued_bytes == 0
        assert b"".join(sock.sends) == answer


async def test_what_another_task_pushes_a_task_sends() -> None:
    async with talk_over_sockets(Echo) as (chat, client, _):
        chat.push(b"by the way")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.tasks == 1
        assert await client.receive_some() == b"by the way"


async def test_what_was_pushed_before_it_runs_is_sent_first() -> None:
    class Greeting(Echo):
        def __init__(self, stream: trio.abc.Stream) -> None:
            super().__init__(stream)
            self.push(b"welcome; ")

        def handle_connect(self) -> None:
            self.push(b"how do you do\n")

    async with talk_over_sockets(Greeting) as (_, client, _):
        assert await receive_exactly(client, 23) == b"welcome; how do you do\n"


async def test_a_producer_has_a_task() -> None:
    class Producing(Echo):
        def found_terminator(self) -> None:
            super().found_terminator()
            self.push_with_producer([b"a", b"b"])
            self.push(b"c")

    async with talk_over_sockets(Producing) as (chat, client, sock):
        await client.send_all(b"line\n")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.tasks == 1
        assert sock.sends == [b"line\n", b"a", b"b", b"c"]


async def test_there_is_never_more_than_one_task() -> None:
    async with talk_over_sockets(LongAnswer) as (chat, client, _):
        for _ in range(3):
            await client.send_all(b"one\n")
            chat.push(b"x")
            chat.push_with_producer([b"y"])
            await trio.testing.wait_all_tasks_blocked()
            assert chat.tasks == 1
            await receive_exactly(client, 4 + len(MANY) + 2)
            await trio.testing.wait_all_tasks_blocked()
            assert chat.tasks <= 1
            assert chat.queued_bytes == 0


async def test_a_stream_that_cannot_send_at_once_has_a_task() -> None:
    stream, client = await unix_pair()
    counting = CountingStream(stream)
    chat = Echo(counting)
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(chat.run)
        await ask(client, b"hello")
        assert chat.tasks == 1
        await client.send_all(b"line\n" * 16)
        await receive_exactly(client, 80)
        assert counting.sends == [b"hello\n", b"line\n" * 16]
        await client.send_eof()


async def test_the_task_ends_with_the_conversation_and_not_with_the_server(nursery: trio.Nursery) -> None:
    sock = listening()
    await nursery.start(serve_listeners, LongAnswer, [SocketListener(sock)])
    await trio.testing.wait_all_tasks_blocked()
    before = len(all_tasks())
    client = connect(sock)
    await client.send_all(b"line\n")
    await trio.testing.wait_all_tasks_blocked()
    assert len(all_tasks()) == before + 2
    await client.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert len(all_tasks()) == before
    nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- limits


async def test_above_the_high_water_mark_nothing_more_is_handled_though_sends_are_tried_at_once() -> None:
    class Bounded(Echo):
        high_water_bytes = 10_000

    async with talk_over_sockets(Bounded) as (chat, client, sock):
        filled = fill(SocketStream(sock))
        await client.send_all((b"x" * 999 + b"\n") * 100)
        await trio.testing.wait_all_tasks_blocked()
        assert chat.queued_bytes == 11_000
        assert len(chat.frames) == 11
        assert len(await receive_exactly(client, filled + 100_000)) == filled + 100_000
        assert len(chat.frames) == 100


async def test_a_peer_that_reads_nothing_has_so_much_time(autojump_clock: trio.testing.MockClock) -> None:
    class Impatient(LongAnswer):
        write_timeout = 7

    sock, client = noting_pair()
    chat = Impatient(SocketStream(sock))
    async with client:
        await client.send_all(b"line\n")
        await chat.run()
        assert trio.current_time() == 7
        assert chat.calls[-2:] == [("timeout", "write"), ("close", None)]


async def test_a_peer_that_is_gone_when_it_is_answered_is_no_error() -> None:
    stream, client = await unix_pair()
    chat = Echo(stream)
    await client.send_all(b"one\ntwo\n")
    await client.aclose()
    await chat.run()
    assert chat.frames == [b"one", b"two"]
    assert chat.names[-1] == "close"


async def test_who_sends_on_the_stream_besides_is_found_out() -> None:
    sock, client = noting_pair()
    stream = SocketStream(sock)
    chat = Echo(stream)

    async def send() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"a word of my own")

    async with client, trio.open_nursery() as nursery:
        filled = fill(stream)
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(b"line\n")
        with pytest.raises(trio.BusyResourceError):
            await chat.run()
    assert b"".join(sock.sends) == b"f" * filled
