"""The exceptions of the package."""

from __future__ import annotations


class FrameTooLong(Exception):
    """More than `max_frame_bytes` bytes came before the terminator.

    The first `max_frame_bytes` bytes of the frame have been handed over by then, however the input was split.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        super().__init__(f"no terminator within max_frame_bytes={max_frame_bytes} bytes")
        self.max_frame_bytes = max_frame_bytes

    def __reduce__(self) -> tuple[type[FrameTooLong], tuple[int]]:
        return FrameTooLong, (self.max_frame_bytes,)


class PlaintextBeforeTLS(Exception):
    """More had come in plaintext when `start_tls` was called, behind what made the handler call it.

    To handle it after the handshake would be to take an attacker's commands for those of the peer that has been
    authenticated since (CVE-2011-0411).
    """
