"""How the time of TerminatorBuffer grows when the input doubles: 2.0 is linear, 4.0 would be quadratic."""

from __future__ import annotations

from collections.abc import Callable

from measure import medians

from trio_chat import Terminator, TerminatorBuffer

KIB = 1024


def scan(terminator: Terminator, data: bytes, chunk_bytes: int) -> None:
    buffer = TerminatorBuffer(terminator)
    for start in range(0, len(data), chunk_bytes):
        buffer.feed(data[start : start + chunk_bytes])
        for pieces, _ in buffer:
            for _ in pieces:
                pass


def alternate(line: Terminator, data: bytes) -> None:
    """Change the terminator after every frame: a line, then a count."""
    buffer = TerminatorBuffer(line)
    buffer.feed(data)
    for pieces, ended in buffer:
        for _ in pieces:
            if ended:
                buffer.terminator = 3 if buffer.terminator is not None else line


NEAR_MISS = b"a" * (64 * KIB - 1) + b"b"

CASES: dict[str, tuple[Callable[[int], object], int]] = {
    "newlines in one chunk": (lambda size: scan(b"\n", b"\n" * size, size), 1024 * KIB),
    "newlines in 64 KiB chunks": (lambda size: scan(b"\n", b"\n" * size, 64 * KIB), 1024 * KIB),
    "one frame in 1-byte chunks": (lambda size: scan(b"\r\n", b"x" * size, 1), 256 * KIB),
    "64 KiB terminator almost matched, 64 KiB chunks": (lambda size: scan(NEAR_MISS, b"a" * size, 64 * KIB), 512 * KIB),
    "64 KiB terminator almost matched, 1-byte chunks": (lambda size: scan(NEAR_MISS, b"a" * size, 1), 256 * KIB),
    "two terminators, short lines": (
        lambda size: scan((b"\r\n", b"\n"), b"abc\n" * (size // 4), size),
        512 * KIB,
    ),
    "a line and a count in turn": (lambda size: alternate(b"\n", b"3\nabc" * (size // 5)), 512 * KIB),
    "the same, an alternative that never comes": (
        lambda size: alternate((b"\n", b"\r\n\0"), b"3\nabc" * (size // 5)),
        128 * KIB,
    ),
}


def main() -> None:
    print(f"{'case':<50} {'KiB':>6} {'ms':>8} {'twice that':>11} {'growth':>7}")
    for name, (run, size) in CASES.items():
        result = medians({"once": lambda: run(size), "twice": lambda: run(2 * size)})  # noqa: B023
        once, twice = result["once"][0], result["twice"][0]
        print(f"{name:<50} {size // KIB:>6} {once * 1e3:>8.1f} {twice * 1e3:>11.1f} {twice / once:>7.2f}")


if __name__ == "__main__":
    main()
