"""The interpreter around a buffer: threads may share a terminator, `python -bb` may run it, no old chunk is kept."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from buffer_model import CRLF2, Result, drive, fed, pulled

from trio_chat import TerminatorBuffer
from trio_chat._terminators import Terminator, needles_for

# ------------------------------------------------------------------ threads

SELF_SIMILAR = b"ab" * 150 + b"c"


@pytest.fixture
def eager_switches() -> Iterator[None]:
    previous = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(previous)


def in_threads(inputs: list[list[bytes]]) -> list[Result | None]:
    results: list[Result | None] = [None] * len(inputs)
    ready = threading.Barrier(len(inputs))

    def run(number: int) -> None:
        ready.wait(timeout=5)
        results[number] = drive(inputs[number], [SELF_SIMILAR])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.usefixtures("eager_switches")
def test_threads_that_share_a_terminator_do_not_disturb_each_other() -> None:
    """What they share grows on demand, so each round begins without it, and each thread asks first for another part."""
    ends = [b"ab" * 149 + b"x", *[b"ab" * pairs + b"c" for pairs in (150, 151, 500, 149)]]
    texts = [b"".join([b"ab" * pairs + b"a", *ends]) for pairs in (2, 500, 20, 149)]
    inputs = [[text[at : at + size] for at in range(0, len(text), size)] for text in texts for size in (7, 8)]
    expected = [drive(chunks, [SELF_SIMILAR]) for chunks in inputs]
    assert len(expected[0][0]) == 4

    for _ in range(20):
        needles_for.cache_clear()
        needles_for(SELF_SIMILAR)  # or each thread might make its own
        assert in_threads(inputs) == expected


# ------------------------------------------------------------------ python -bb

UNDER_BB = """
from trio_chat import TerminatorBuffer

terminators = b"ab", 2, (b"ab", b"abc"), 0, None
for first in terminators:
    for second in terminators:
        buffer = TerminatorBuffer(first, max_frame_bytes=9)
        for terminator in (first, second, second):
            buffer.terminator = terminator
            buffer.feed(b"xyzab")
            for pieces, _ in buffer:
                list(pieces), buffer.mid_frame, buffer.frame_bytes, buffer.matched, len(buffer)
        buffer.skip_frame()
        buffer.feed_eof()
        for pieces, _ in buffer:
            list(pieces)
        buffer.take()
"""


def test_bytes_are_never_compared_with_anything_else() -> None:
    command = [sys.executable, "-bb", "-c", UNDER_BB]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


# ------------------------------------------------------------------ references


def pulled_and_taken(buffer: TerminatorBuffer) -> None:
    """As a conversation that is upgraded: some pieces come, then another protocol gets the rest."""
    batch = buffer.next_batch()
    assert batch is None or list(batch.pieces)
    buffer.take()


@pytest.mark.parametrize("consume", [pulled, TerminatorBuffer.take, pulled_and_taken])
@pytest.mark.parametrize("terminator", [b"\n", CRLF2, b"ne", (b"\n", b"\r"), (CRLF2, b"ne"), 4, 99, None])
def test_an_idle_buffer_keeps_no_reference_to_its_last_chunk(
    terminator: Terminator, consume: Callable[[TerminatorBuffer], object]
) -> None:
    for skip in (False, True):
        for first in (b"", b"\r", b"ne\nn"):
            chunk = b"".join([b"one\ntwo\n" * 100, b"three\r\n"])
            buffer = fed(terminator, first)
            pulled(buffer)
            if skip:
                buffer.skip_frame()
            before = sys.getrefcount(chunk)
            buffer.feed(chunk)
            consume(buffer)
            assert sys.getrefcount(chunk) == before
