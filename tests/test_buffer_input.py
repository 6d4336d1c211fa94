"""What may be fed to a buffer, and when: bytes of every kind, as they are at that moment, until the end of file."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import pytest
from buffer_model import fed, pulled

from trio_chat import TerminatorBuffer


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(b"-" + data)[1:]])
def test_every_kind_of_bytes_is_taken(kind: Callable[[bytes], bytes]) -> None:
    assert pulled(fed(b"\n", kind(b"one\ntw"), kind(b"o\n"))) == [(b"one", True), (b"tw", False), (b"o", True)]


@pytest.mark.parametrize("kind", [lambda data: data, memoryview])
def test_bytes_are_taken_as_they_are_when_fed(kind: Callable[[bytearray], bytes]) -> None:
    chunks = [bytearray(b"one\n"), bytearray(b"two\n")]
    buffer = fed(b"\n", *map(kind, chunks))
    for chunk in chunks:
        chunk[:] = b"????"
    assert pulled(buffer) == [(b"one", True), (b"two", True)]


def test_a_memoryview_of_wide_items_gives_its_raw_bytes() -> None:
    items = array.array("I", [0x61626364, 0x0A0A0A0A])
    buffer = TerminatorBuffer()
    buffer.feed(memoryview(items))
    buffer.feed(memoryview(b"abcdef")[::2])
    assert len(buffer) == items.itemsize * 2 + 3
    assert buffer.take() == items.tobytes() + b"ace"


@pytest.mark.parametrize("wrong", ["text", 3, None, [1], array.array("B", b"x")])
def test_what_is_not_bytes_is_refused(wrong: Any) -> None:
    buffer = TerminatorBuffer()
    with pytest.raises(TypeError, match="a buffer is fed with bytes; got "):
        buffer.feed(wrong)
    assert len(buffer) == 0


def test_nothing_can_be_fed_after_end_of_file() -> None:
    buffer = fed(b"\n", b"abc")
    buffer.feed_eof()
    for data in (b"d", b""):
        with pytest.raises(ValueError, match="no input can follow the end of file"):
            buffer.feed(data)
    buffer.feed_eof()
    assert buffer.take() == b"abc"
