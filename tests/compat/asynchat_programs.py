"""Random programs for asynchat, run by the standard library's and by ours: what is called and sent must be the same.

A program is a channel class: which terminators it begins with, what it does at its n-th callback, what its producers
give, what others do to it from outside, and in which chunks the input comes. The standard library's runs over a real
socket pair under `asyncore.poll`, ours over memory streams, each until nothing more happens before the next chunk
comes. Python 3.12 and newer get the former from PyPI (pyasynchat, pyasyncore).

    PYTHONPATH=tests/compat python -m asynchat_programs 100000
"""

from __future__ import annotations

import random
import select
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from itertools import accumulate
from typing import Any

import trio
import trio.testing

from trio_chat.compat import asynchat as ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import asynchat as stdlib
    import asyncore

Action = tuple[Any, ...]
Event = tuple[Any, ...]

_MAX_POLLS = 20_000


@dataclass
class Program:
    terminator: Any
    chunks: list[bytes]
    at_start: list[Action] = field(default_factory=list)  # in the constructor
    at_callback: dict[int, list[Action]] = field(default_factory=dict)
    between: dict[int, list[Action]] = field(default_factory=dict)  # from outside, before the n-th chunk
    in_size: int = 65536
    out_size: int = 65536
    use_encoding: bool = False
    on_error: str = "default"
    ends: bool = True  # by the end of the input


@dataclass
class Outcome:
    events: list[Event]
    wire: bytes
    state: tuple[Any, ...]


class Producer:
    """Gives its pieces one by one. A piece may be an action, which is done to the channel before the next is given."""

    def __init__(self, channel: Any, name: str, pieces: list[Any]) -> None:
        self.channel = channel
        self.name = name
        self.pieces = list(pieces)

    def more(self) -> Any:
        self.channel.events.append(("more", self.name, len(self.pieces)))
        while self.pieces:
            piece = self.pieces.pop(0)
            if not isinstance(piece, tuple):
                return piece
            self.channel.do([piece])
        return b""


class Recorder:
    """What both channel classes have in common: `program` says what they do."""

    program: Program
    events: list[Event]
    module: Any

    def __init__(self, sock: Any, program: Program, channels: dict[int | None, Any]) -> None:
        self.program = program
        self.events = []
        self.callbacks = 0
        self.producers = 0
        self.use_encoding = program.use_encoding
        self.ac_in_buffer_size = program.in_size
        self.ac_out_buffer_size = program.out_size
        super().__init__(sock, channels)  # type: ignore[call-arg]
        self.do([("set_terminator", program.terminator)])
        attempt(self, program.at_start)

    def do(self, actions: list[Action]) -> None:
        channel: Any = self
        for name, *arguments in actions:
            if name == "producer":
                self.producers += 1
                channel.push_with_producer(Producer(self, f"p{self.producers}", *arguments))
            elif name == "simple_producer":
                channel.push_with_producer(self.module.simple_producer(*arguments))
            elif name == "raise":
                raise arguments[0]
            else:
                getattr(self, name)(*arguments)

    def called(self, *event: Any) -> None:
        channel: Any = self
        self.events.append((*event, channel.get_terminator(), channel.connected))
        self.callbacks += 1
        self.do(self.program.at_callback.get(self.callbacks, []))

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)  # type: ignore[attr-defined]
        self.called("collect", bytes(data))

    def found_terminator(self) -> None:
        self.called("found", len(self.incoming))  # type: ignore[attr-defined]

    def handle_close(self) -> None:
        self.events.append(("close", self.connected))  # type: ignore[attr-defined]
        super().handle_close()  # type: ignore[misc]

    def handle_error(self) -> None:
        exc = sys.exc_info()[1]
        self.events.append(("error", type(exc).__name__))
        if self.program.on_error == "default":
            super().handle_error()  # type: ignore[misc]
        elif self.program.on_error == "close":
            self.close()  # type: ignore[attr-defined]

    def state(self) -> tuple[Any, ...]:
        channel: Any = self
        queued = [as_sent(item) for item in channel.producer_fifo]
        return channel.ac_in_buffer, channel.get_terminator(), list(channel.incoming), queued, channel.connected


def as_sent(item: Any) -> object:
    """What is queued, whatever it is kept as; a producer's type."""
    if isinstance(item, str):
        return item.encode("latin-1")
    return bytes(item) if isinstance(item, bytes | bytearray | memoryview) else type(item).__name__


class StdlibChannel(Recorder, stdlib.async_chat):
    module = stdlib


class OurChannel(Recorder, ours.async_chat):
    module = ours


def attempt(channel: Any, actions: list[Action]) -> None:
    """Do something to a channel from outside; what goes wrong is told to who does it."""
    try:
        channel.do(actions)
    except Exception as exc:
        channel.events.append(("outside", type(exc).__name__))


# ---------------------------------------------------------------------- the standard library's


def run_stdlib(program: Program) -> Outcome | None:
    """None: it has not come to rest."""
    peer, sock = socket.socketpair()
    channels: dict[Any, Any] = {}
    wire = bytearray()
    with peer, sock, redirect_stdout(StringIO()):
        peer.setblocking(False)
        channel = StdlibChannel(sock, program, channels)
        polls = 0

        def come_to_rest() -> bool:
            nonlocal polls
            while channels and (channel.writable() or select.select([sock], [], [], 0)[0]):
                asyncore.poll(0, channels)
                wire.extend(_received(peer))
                polls += 1
                if polls > _MAX_POLLS:
                    return False
            return True

        for number, chunk in enumerate(program.chunks):
            if not come_to_rest():
                return None
            attempt(channel, program.between.get(number, []))
            if not come_to_rest():
                return None
            if channels:
                peer.send(chunk)
        if not come_to_rest():
            return None
        if program.ends and channels:
            _hand_over_rest(channel)
            peer.shutdown(socket.SHUT_WR)
            if not come_to_rest():
                return None
        wire.extend(_received(peer))
        return Outcome(channel.events, bytes(wire), channel.state())


def _received(peer: socket.socket) -> Iterator[int]:
    try:
        while data := peer.recv(65536):
            yield from data
    except OSError:
        pass


def _hand_over_rest(channel: Any) -> None:
    """The exception: the standard library loses half a terminator at the end of the input."""
    terminator, rest = channel.get_terminator(), channel.ac_in_buffer
    if rest and isinstance(terminator, bytes) and terminator.startswith(rest):
        channel.ac_in_buffer = b""
        try:
            channel.collect_incoming_data(rest)
        except Exception:
            channel.handle_error()


# ---------------------------------------------------------------------- ours


async def run_ours(program: Program) -> Outcome:
    client, server = trio.testing.memory_stream_pair()
    channels: dict[int | None, Any] = {}
    made: list[OurChannel] = []
    wire = bytearray()
    rest = trio.testing.wait_all_tasks_blocked
    loop = ours.handler_factory(lambda sock, addr: made.append(OurChannel(sock, program, channels)))(server)
    (channel,) = made

    async def receive() -> None:
        async for data in client:
            wire.extend(data)

    with redirect_stdout(StringIO()):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.run)
            nursery.start_soon(receive)
            for number, chunk in enumerate(program.chunks):
                await rest()
                attempt(channel, program.between.get(number, []))
                await rest()
                if channels:
                    await client.send_all(chunk)
            await rest()
            if program.ends and channels:
                await client.send_stream.aclose()
                await rest()
            outcome = Outcome(channel.events, bytes(wire), channel.state())
            channel.events = []
            await client.send_stream.aclose()
            await rest()
            channel.close()
    return outcome


# ---------------------------------------------------------------------- programs

_ALPHABET = b"ab.\r\n"


def random_program(seed: int) -> Program:
    rng = random.Random(seed)
    use_encoding = rng.random() < 0.1
    text = random_bytes(rng, rng.choice((3, 10, 30, 60)))
    program = Program(
        terminator=random_terminator(rng, use_encoding),
        chunks=cut(text, sorted(rng.randrange(len(text) + 1) for _ in range(rng.choice((0, 1, 3, len(text)))))),
        in_size=rng.choice((65536, 65536, 1, 3, 7)),
        out_size=rng.choice((65536, 65536, 1, 2, 5)),
        use_encoding=use_encoding,
        on_error=rng.choice(("default", "close", "go on")),
        ends=rng.random() < 0.7,
    )
    if rng.random() < 0.3:
        program.at_start = random_actions(rng, use_encoding)
    for _ in range(rng.choice((0, 1, 2, 4, 8))):
        program.at_callback[rng.randrange(1, 20)] = random_actions(rng, use_encoding)
    if rng.random() < 0.3:
        program.between[rng.randrange(len(program.chunks))] = random_actions(rng, use_encoding)
    return program


def random_bytes(rng: random.Random, longest: int) -> bytes:
    return bytes(rng.choices(_ALPHABET, k=rng.randint(1, longest)))


def cut(text: bytes, cuts: list[int]) -> list[bytes]:
    ends = [*cuts, len(text)]
    return [piece for start, end in zip([0, *ends], ends, strict=False) if (piece := text[start:end])]


def random_terminator(rng: random.Random, use_encoding: bool) -> Any:
    kind = rng.random()
    if kind < 0.2:
        return rng.choice((0, None, b""))
    if kind < 0.4:
        return rng.randint(1, 9)
    terminator = rng.choice((b"\n", b"\r\n", b"\r\n.\r\n", b"aa", b"aab", b"abab", random_bytes(rng, 4)))
    return terminator.decode("latin-1") if use_encoding and rng.random() < 0.5 else terminator


def random_actions(rng: random.Random, use_encoding: bool) -> list[Action]:
    return [random_action(rng, use_encoding) for _ in range(rng.choice((1, 1, 2, 3)))]


def random_action(rng: random.Random, use_encoding: bool) -> Action:
    def piece() -> Any:
        kind = rng.random()
        data = random_bytes(rng, 12)
        if kind < 0.1:
            return random_action(rng, use_encoding)
        if kind < 0.2 and use_encoding:
            return data.decode("latin-1")
        return bytearray(data) if kind < 0.3 else data

    actions: list[tuple[int, Callable[[], Action]]] = [
        (8, lambda: ("set_terminator", random_terminator(rng, use_encoding))),
        (6, lambda: ("push", rng.choice((bytes, bytearray, memoryview))(random_bytes(rng, 12)))),
        (1, lambda: ("push", b"")),
        (1, lambda: ("push", "no bytes")),
        (3, lambda: ("producer", [piece() for _ in range(rng.randrange(5))])),
        (2, lambda: ("simple_producer", random_bytes(rng, 20), rng.randint(1, 6))),
        (1, lambda: ("set_terminator", -1)),
        (2, lambda: ("close_when_done",)),
        (1, lambda: ("close",)),
        (1, lambda: ("discard_buffers",)),
        (1, lambda: ("del_channel",)),
        (1, lambda: ("raise", ValueError("as it happens"))),
    ]
    chosen = rng.randrange(sum(weight for weight, _ in actions))
    totals = accumulate(weight for weight, _ in actions)
    return next(make for total, (_, make) in zip(totals, actions, strict=True) if chosen < total)()


# ---------------------------------------------------------------------- comparing


async def difference(program: Program) -> str | None:
    """What is not the same in both; "" if there is no telling, because the standard library's goes on for ever."""
    if (expected := run_stdlib(program)) is None:
        return ""
    actual = await run_ours(program)
    for name in ("events", "wire", "state"):
        if getattr(expected, name) != getattr(actual, name):
            lines = [f"{name} of {program}", f"  {getattr(expected, name)!r}", f"  {getattr(actual, name)!r}"]
            return "\n".join(lines)
    return None


async def differences(seeds: range) -> tuple[list[str], int]:
    """What is different in random programs, and how many of them did not come to rest."""
    found: list[str] = []
    restless = 0
    for seed in seeds:
        told = await difference(random_program(seed))
        if told:
            found.append(f"seed {seed}: {told}")
        restless += told == ""
    return found, restless


def main(first: int, count: int) -> int:
    found, restless = trio.run(differences, range(first, first + count), clock=trio.testing.MockClock())
    print(*found[:20], sep="\n")
    print(f"{count} programs from seed {first}: {len(found)} with a difference, {restless} that do not come to rest")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[2]) if len(sys.argv) > 2 else 0, int(sys.argv[1])))
