"""Splitting a 64 KiB chunk into lines, with two callbacks each, beside what Python itself could do at best.

The floor is `for line in chunk.split(...)` with the two calls and nothing else: no limit, no change of terminator, no
line across chunks. 1.0 is as fast as the floor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from measure import medians

from trio_chat import TerminatorBuffer

TERMINATOR = b"\r\n"
CHUNK_BYTES = 65536
REPEAT = 20


class Handler:
    def collect_incoming_data(self, data: bytes) -> None:
        pass

    def found_terminator(self) -> None:
        pass


def floor(chunk: bytes) -> None:
    handler = Handler()
    collect, found = handler.collect_incoming_data, handler.found_terminator
    for _ in range(REPEAT):
        for line in chunk.split(TERMINATOR):
            collect(line)
            found()


def find_and_slice(chunk: bytes) -> None:
    handler = Handler()
    collect, found = handler.collect_incoming_data, handler.found_terminator
    for _ in range(REPEAT):
        start = 0
        while (end := chunk.find(TERMINATOR, start)) >= 0:
            collect(chunk[start:end])
            found()
            start = end + len(TERMINATOR)


def terminator_buffer(chunk: bytes) -> None:
    handler = Handler()
    collect, found = handler.collect_incoming_data, handler.found_terminator
    buffer = TerminatorBuffer(TERMINATOR, max_frame_bytes=65536)
    for _ in range(REPEAT):
        buffer.feed(chunk)
        for pieces, ended in buffer:
            for data in pieces:
                if data:
                    collect(data)
                if ended:
                    found()


def main() -> None:
    contestants: list[Callable[[bytes], None]] = [floor, find_and_slice, terminator_buffer]
    print(f"{'line bytes':>10}  {'contestant':<18} {'ns/line':>9} {'of floor':>9} {'spread':>7}")
    for line_bytes in (6, 62, 4094):
        line = b"x" * (line_bytes - len(TERMINATOR)) + TERMINATOR
        chunk = line * (CHUNK_BYTES // line_bytes)
        lines = REPEAT * (CHUNK_BYTES // line_bytes)
        result = medians({run.__name__: partial(run, chunk) for run in contestants})
        base = result["floor"][0]
        for name, (median, spread) in result.items():
            print(f"{line_bytes:>10}  {name:<18} {median / lines * 1e9:>9.0f} {base / median:>9.2f} {spread:>7.0%}")


if __name__ == "__main__":
    main()
