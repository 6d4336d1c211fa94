"""`OutQueue`: bytes and sources leave in the order in which they came, whatever is done in between."""

from __future__ import annotations

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_chat._outqueue import OutQueue
from trio_chat._producers import Source

pieces = st.binary(max_size=12)


def new_source() -> Source:
    return Source([b"never asked"], 1)


class AnyOperation(RuleBasedStateMachine):
    """`items` is what the queue should hold: bytes, each string as it was put in or what is left of it, and sources."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = OutQueue()
        self.items: list[bytes | Source] = []
        self.begun: Source | None = None

    @property
    def first(self) -> Source | None:
        return self.items[0] if self.items and isinstance(self.items[0], Source) else None

    def bytes_before_a_source(self) -> bytes:
        octets = b""
        for item in self.items:
            if isinstance(item, Source):
                break
            octets += item
        return octets

    def drop_from_the_front(self, count: int) -> None:
        while count:
            item = self.items.pop(0)
            assert isinstance(item, bytes)
            if len(item) > count:
                self.items.insert(0, item[count:])
            count -= min(count, len(item))

    @rule(data=pieces)
    def append(self, data: bytes) -> None:
        self.queue.append(data)
        self.items += [data] if data else []

    @rule()
    def append_source(self) -> None:
        source = new_source()
        self.queue.append_source(source)
        self.items.append(source)

    @precondition(lambda self: self.first is None)
    @rule(max_bytes=st.integers(1, 30), refused=st.integers(0, 30))
    def send(self, max_bytes: int, refused: int) -> None:
        """As much as one send takes; `refused` bytes of it come back."""
        expected = self.bytes_before_a_source()[:max_bytes]
        data = self.queue.take(max_bytes)
        assert bytes(data) == expected
        sent = max(0, len(data) - refused)
        self.queue.queued_bytes -= sent
        if sent < len(data):
            self.queue.put_first(memoryview(data)[sent:])
        self.drop_from_the_front(sent)

    @precondition(lambda self: self.first is not None)
    @rule(data=st.binary(min_size=1, max_size=12))
    def ask_the_first_source(self, data: bytes) -> None:
        assert self.first is not None
        assert self.queue.begin(self.first) is (self.begun is not self.first)
        assert self.queue.begin(self.first) is False
        self.begun = self.first
        self.queue.put_first(data)
        self.queue.queued_bytes += len(data)
        self.items.insert(0, data)

    @precondition(lambda self: self.first is not None)
    @rule()
    def finish_the_first_source(self) -> None:
        assert self.first is not None
        self.queue.begin(self.first)
        self.queue.finish()
        self.items.pop(0)
        self.begun = None

    @rule()
    def clear(self) -> None:
        assert self.queue.clear() == [item for item in self.items if isinstance(item, Source)]
        self.items, self.begun = [], None

    @invariant()
    def it_knows_what_it_holds(self) -> None:
        sources = [item for item in self.items if isinstance(item, Source)]
        assert self.queue.queued_bytes == sum(len(item) for item in self.items if isinstance(item, bytes))
        assert self.queue.waiting_sources == sum(source is not self.begun for source in sources)
        assert self.queue.first_source is self.first

    def teardown(self) -> None:
        """Everything comes out in the end."""
        while self.items:
            if self.first is not None:
                self.finish_the_first_source()
            else:
                self.send(30, 0)
            self.it_knows_what_it_holds()
        assert self.queue.take(30) == b""


TestAnyOperation = AnyOperation.TestCase
TestAnyOperation.settings = settings(deadline=None)


def test_what_fits_in_one_send_leaves_in_one() -> None:
    queue = OutQueue()
    for data in (b"a", b"bc", b"d"):
        queue.append(data)
    assert queue.take(4) == b"abcd"


def test_one_string_is_not_copied() -> None:
    queue = OutQueue()
    data = b"x" * 1000
    queue.append(data)
    assert queue.take(1000) is data


def test_long_strings_are_cut_without_copying() -> None:
    queue = OutQueue()
    data = bytes(range(256)) * 40
    queue.append(data)
    for start in range(0, len(data), 1000):
        piece = queue.take(1000)
        assert isinstance(piece, memoryview)
        assert piece.obj is data
        assert piece == data[start : start + 1000]
        queue.queued_bytes -= len(piece)
    assert queue.queued_bytes == 0


def test_a_send_ends_before_a_source() -> None:
    queue = OutQueue()
    queue.append(b"before")
    source = new_source()
    queue.append_source(source)
    queue.append(b"behind")
    assert queue.first_source is None
    assert queue.take(100) == b"before"
    assert queue.first_source is source
    assert queue.take(100) == b""
    queue.begin(source)
    queue.put_first(b"piece")
    assert queue.take(100) == b"piece"
    queue.finish()
    assert queue.take(100) == b"behind"
