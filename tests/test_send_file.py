"""`send_file_nowait`, of streams and of conversations: what the kernel takes of a file, and never out of order."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from sockets import Streams, close_at_once, fill, over_each_kind, talk_over_sockets, unix_pair
from support import RecordingChat, receive_all, receive_exactly, talk

from trio_chat import AsyncChat, SocketStream

DATA = bytes(range(256)) * 4
Bytes = bytes | bytearray | memoryview

pytestmark = pytest.mark.skipif(not hasattr(os, "sendfile"), reason="there is no sendfile")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """The descriptor of a file with `DATA`."""
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with path.open("rb") as opened:
        yield opened.fileno()


# ---------------------------------------------------------------------- streams


@over_each_kind
async def test_a_part_of_a_file(make_pair: Callable[[], Awaitable[Streams]], file: int) -> None:
    stream, peer = await make_pair()
    async with peer:
        async with stream:
            assert stream.send_file_nowait(file, 2, 5) == 5
            assert stream.send_file_nowait(file, 1000, 500) == 24
            assert stream.send_file_nowait(file, 1024, 5) == 0
            assert os.lseek(file, 0, os.SEEK_CUR) == 0
        assert await receive_all(peer) == DATA[2:7] + DATA[1000:]


async def test_nothing_is_sent_if_the_kernel_is_full_or_the_stream_is_over(file: int) -> None:
    stream, peer = await unix_pair()
    fill(stream)
    assert stream.send_file_nowait(file, 0, 5) == 0
    close_at_once(peer)
    assert stream.send_file_nowait(file, 0, 5) == 0
    with pytest.raises(trio.BrokenResourceError):
        stream.send_nowait(b"x")
    close_at_once(stream)
    assert stream.send_file_nowait(file, 0, 5) == 0


async def test_nothing_is_sent_of_what_cannot_be_sent(file: int) -> None:
    stream, peer = await unix_pair()
    reader, writer = os.pipe()
    for descriptor in (reader, -1):
        assert stream.send_file_nowait(descriptor, 0, 5) == 0
    for each in (reader, writer):
        os.close(each)
    close_at_once(stream)
    assert await receive_all(peer) == b""
    close_at_once(peer)


async def test_not_while_a_task_is_sending(nursery: trio.Nursery, file: int) -> None:
    stream, peer = await unix_pair()
    fill(stream)
    nursery.start_soon(stream.send_all, b"x")
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError):
        stream.send_file_nowait(file, 0, 5)
    nursery.cancel_scope.cancel()
    close_at_once(stream)
    close_at_once(peer)


# ---------------------------------------------------------------------- conversations


class Giver(RecordingChat):
    """Answers "push" with that, and "file" with what of the file can be sent at that moment."""

    file = -1

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.taken: list[bool] = []  # whether it says that files are taken, each time

    async def found_terminator(self) -> None:
        for word in self._get_data().split():
            if word == b"file":
                self.taken.append(self.takes_files)
                self.calls.append(("sent", self.send_file_nowait(self.file, 2, 5)))
            elif word == b"drain":
                await self.drain()
            else:
                self.push(word)

    @property
    def sent(self) -> list[object]:
        return [argument for name, argument in self.calls if name == "sent"]


def giver_of(file: int, kind: Callable[[SocketStream], SocketStream]) -> Callable[[trio.abc.Stream], Giver]:
    def factory(stream: trio.abc.Stream) -> Giver:
        assert isinstance(stream, SocketStream)
        chat = Giver(kind(stream))
        chat.file = file
        return chat

    return factory


async def test_never_past_what_is_queued(file: int) -> None:
    async with talk_over_sockets(giver_of(file, lambda stream: stream)) as (chat, client, _):
        await client.send_all(b"file push file drain file file more\n")
        expected = DATA[2:7] + b"push" + DATA[2:7] * 2 + b"more"
        assert await receive_exactly(client, len(expected)) == expected
        assert chat.sent == [5, 0, 5, 5]
        assert chat.taken == [True, False, True, True]


async def test_never_past_what_the_peer_has_no_room_for(file: int) -> None:
    async with talk_over_sockets(giver_of(file, lambda stream: stream)) as (chat, client, _):
        assert isinstance(chat.stream, SocketStream)
        before = fill(chat.stream)
        await client.send_all(b"push\nfile\n")
        await trio.testing.wait_all_tasks_blocked()
        assert await receive_exactly(client, before + 4) == b"f" * before + b"push"
        await client.send_all(b"file\n")
        assert await receive_exactly(client, 5) == DATA[2:7]
        assert chat.sent == [0, 5]


class Remade(SocketStream):
    def __init__(self, stream: SocketStream) -> None:
        super().__init__(stream.socket)


class Loud(Remade):
    async def send_all(self, data: Bytes) -> None:
        await super().send_all(bytes(data).upper())


class LoudAtOnce(Remade):
    def send_nowait(self, data: Bytes) -> int:
        return super().send_nowait(bytes(data).upper())


class LoudAlways(Loud, LoudAtOnce):
    def send_file_nowait(self, file: int, start: int, count: int) -> int:
        return self.send_nowait(b"the file")


@pytest.mark.parametrize(("kind", "sent"), [(Remade, [5]), (Loud, [0]), (LoudAtOnce, [0]), (LoudAlways, [8])])
async def test_a_stream_that_sends_in_its_own_way_is_not_passed_by(
    file: int, kind: Callable[[SocketStream], SocketStream], sent: list[int]
) -> None:
    async with talk_over_sockets(giver_of(file, kind)) as (chat, client, _):
        await client.send_all(b"file\n")
        await trio.testing.wait_all_tasks_blocked()
        assert chat.sent == sent


async def test_other_streams_do_without(file: int) -> None:
    async with talk(Giver) as (chat, client):
        chat.file = file
        await client.send_all(b"file push\n")
        assert await receive_exactly(client, 4) == b"push"
        assert (chat.sent, chat.taken) == ([0], [False])


async def test_not_after_the_end(file: int) -> None:
    for end in (AsyncChat.close, AsyncChat.close_when_done):
        async with talk(Giver) as (chat, _):
            end(chat)
            with pytest.raises(trio.ClosedResourceError, match=r"^send_file_nowait\(\) after close"):
                chat.send_file_nowait(file, 0, 5)


async def test_a_peer_that_is_gone_gets_nothing(file: int) -> None:
    async with talk_over_sockets(giver_of(file, lambda stream: stream)) as (chat, client, _):
        client.send_nowait(b"file push drain file\n")
        close_at_once(client)
        await trio.testing.wait_all_tasks_blocked()
        assert chat.sent == [0]
