"""Many frames come in one batch, and whatever happens in its middle loses and doubles nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from buffer_model import TOO_LONG, Event, drive, fed, handed_until_too_long, model, pulled

from trio_chat import Batch, TerminatorBuffer
from trio_chat._buffer import _BATCH_FRAMES
from trio_chat._terminators import Terminator

FRAMES = [b"%d" % number for number in range(40)] + [b""] * 3 + [b"last"]
DATA = b"".join(frame + b"\n" for frame in FRAMES)


def steady() -> tuple[TerminatorBuffer, list[bytes]]:
    """A buffer whose next batch has many frames, and the frame that made it so."""
    buffer = fed(b"\n", DATA)
    return buffer, list(next(iter(buffer)).pieces)


def test_many_frames_come_in_one_batch() -> None:
    buffer, first = steady()
    batch = buffer.next_batch()
    assert isinstance(batch, Batch)
    assert (first + list(batch.pieces), batch.ended, buffer.next_batch()) == (FRAMES, True, None)


@pytest.mark.parametrize("at", range(len(FRAMES)))
def test_a_terminator_changed_at_any_frame_of_a_batch_applies_to_the_next_byte(at: int) -> None:
    behind = DATA[sum(len(frame) + 1 for frame in FRAMES[: at + 1]) :]
    changes: list[Terminator] = [None, 3, 0, b"\n1", (b"\n", b"5"), b"\n"]
    for change in changes:
        script = [b"\n"] * (at + 1) + [change]
        assert drive([DATA], script) == model(DATA, script)
        events, _ = drive([DATA], [*script[:-1], None])
        assert [frame for frame, _ in events] == FRAMES[: at + 1] + [behind] * bool(behind)


def interrupt_nothing(buffer: TerminatorBuffer) -> None:
    """The loop is left by `break` alone."""


def interrupt_by_new_terminator(buffer: TerminatorBuffer) -> None:
    buffer.terminator = (b"\n",)
    buffer.terminator = b"\n"


def interrupt_by_feeding(buffer: TerminatorBuffer) -> None:
    buffer.feed(b"\n")


@pytest.mark.parametrize("at", range(1, len(FRAMES)))
@pytest.mark.parametrize("leave", [False, True], ids=["loop on", "break"])
@pytest.mark.parametrize(
    "interrupt", [interrupt_nothing, interrupt_by_new_terminator, TerminatorBuffer.stop, len, interrupt_by_feeding]
)
def test_a_batch_interrupted_at_any_frame_loses_and_doubles_nothing(
    interrupt: Callable[[TerminatorBuffer], object], leave: bool, at: int
) -> None:
    buffer, frames = steady()
    for piece in next(iter(buffer)).pieces:
        frames.append(piece)
        if len(frames) == at + 1:
            interrupt(buffer)
            if leave:
                break
    if interrupt is not interrupt_nothing:
        assert frames == FRAMES[: at + 1]  # the loop has ended there, with or without the break
    frames += [piece for piece, _ in pulled(buffer)]
    assert frames == FRAMES + [b""] * (interrupt is interrupt_by_feeding)


@pytest.mark.parametrize("at", range(1, 39))
def test_a_limit_set_at_any_frame_of_a_batch_applies_to_the_next_frame(at: int) -> None:
    buffer, frames = steady()
    for piece in next(iter(buffer)).pieces:
        frames.append(piece)
        if len(frames) == at + 1:
            buffer.max_frame_bytes = 0
    assert frames == FRAMES[: at + 1]
    assert handed_until_too_long(buffer) == []
    buffer.max_frame_bytes = None
    assert frames + [piece for piece, _ in pulled(buffer)] == FRAMES


@pytest.mark.parametrize("at", range(1, len(FRAMES)))
@pytest.mark.parametrize("limit", [0, 1, 2, 4, None])
def test_a_limit_changed_at_any_frame_of_a_batch_loses_and_doubles_nothing(limit: int | None, at: int) -> None:
    buffer, frames = steady()
    buffer.max_frame_bytes = 4
    for piece in next(iter(buffer)).pieces:
        frames.append(piece)
        if len(frames) == at + 1:
            buffer.max_frame_bytes = limit
            break
    behind = DATA[sum(len(frame) + 1 for frame in FRAMES[: at + 1]) :]
    assert frames == FRAMES[: at + 1]
    assert len(buffer) == len(behind)
    events, rest = model(behind, [b"\n"], limit=limit)
    if events and events[-1][1] == TOO_LONG:
        handed = handed_until_too_long(buffer)
        piece, _ = events.pop()
        expected = [(frame, True) for frame, _ in events] + [(piece, False)] * bool(piece)
    else:
        handed, expected = pulled(buffer), [(frame, True) for frame, _ in events]
    assert (handed, buffer.take()) == (expected, rest)


def test_a_limit_changed_at_every_frame_loses_and_doubles_nothing() -> None:
    for terminator in (b"\n", (b"\n", b"\r\n")):
        buffer, frames = fed(terminator, DATA), []
        for pieces, _ in buffer:
            for piece in pieces:
                frames.append(piece)
                buffer.max_frame_bytes = 4 + len(frames) % 3
        assert frames == FRAMES


def test_a_batch_of_which_nothing_was_taken_comes_again() -> None:
    for terminator in (b"\n", (b"\n", b"\r"), 2, 0, None):
        buffer = fed(terminator, b"one\ntwo\n")
        first, second = (buffer.next_batch() for _ in range(2))
        assert first is not None
        assert second is not None
        assert list(first.pieces) == []
        assert buffer.terminator in (terminator, None)
        buffer.stop()
        assert buffer.terminator == terminator
        assert buffer.take() == b"one\ntwo\n"


def test_the_same_terminator_set_again_does_not_end_the_batch() -> None:
    buffer, frames = steady()
    for piece in next(iter(buffer)).pieces:
        frames.append(piece)
        buffer.terminator = bytes(bytearray(b"\n"))
    assert frames == FRAMES


@pytest.mark.parametrize("at", [1, 2, 20, len(FRAMES) - 1])
@pytest.mark.parametrize("skip", [False, True])
def test_a_frame_too_long_in_the_middle_of_a_batch(at: int, skip: bool) -> None:
    frames = [*FRAMES[:at], b"too long", *FRAMES[at:]]
    data = b"".join(frame + b"\n" for frame in frames)
    events, rest = drive([data], [b"\n"], limit=4, skip=skip)
    expected: list[Event] = [(frame, b"\n") for frame in FRAMES]
    expected[at:] = [(b"too ", TOO_LONG), *(expected[at:] if skip else [])]
    assert events == expected
    assert rest == (b"" if skip else data[data.index(b"long") :])


@pytest.mark.parametrize("frames", [[b""], [b"x"], [b"x" * 21], [b"x" * 5000] * 40 + [b""] * 20000 + [b"y" * 99] * 500])
def test_a_batch_begins_with_one_frame_and_never_has_more_than_allowed(frames: list[bytes]) -> None:
    frames = frames * (10000 // len(frames) or 1)
    buffer = fed(b"\n", b"".join(frame + b"\n" for frame in frames))
    batches = [list(pieces) for pieces, _ in buffer]
    assert [frame for batch in batches for frame in batch] == frames
    assert _BATCH_FRAMES == 512
    sizes = [len(batch) for batch in batches]
    assert sizes[0] == 1
    assert 256 < max(sizes) <= 512
