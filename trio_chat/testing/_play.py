"""Playing a transcript: the peer says the client's lines, and expects the server's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from .. import HandlerFactory
from ._dialogue import in_short, in_words
from ._open_chat import open_chat
from ._peer import Mismatch, Peer
from ._transcript import Step, Transcript, parse_playable


async def run_transcript(
    handler_factory: HandlerFactory, text: str, *, newline: bytes = b"\r\n", patience: float = 5.0
) -> None:
    r"""Play a dialogue, as RFCs print it, with a handler.

        await run_transcript(EchoHandler, '''
            C: hello
            S: hello
            C: quit
            S: bye
            S: <eof>
        ''')

    `trio_chat.testing.parse_transcript` tells how one is written. At the end the peer ends its side, and nothing else
    may come: see `open_chat`, also for `patience`. `str(peer.dialogue)` of a conversation over memory streams is one.

    Raises:
        Mismatch: if the dialogue goes otherwise. The message points at the line.
        TranscriptError: if that is no transcript, or has headers besides `newline` and `handler`, which is for pytest.
        Exception: what the handler has raised.
    """
    await play(handler_factory, parse_playable(text, newline=newline), patience=patience)


async def play(
    handler_factory: HandlerFactory,
    transcript: Transcript,
    *,
    patience: float = 5.0,
    show: Callable[[Peer], object] = lambda peer: None,
) -> None:
    """As `run_transcript`, for one that has been parsed; `show` gets the peer, before it says anything."""
    async with open_chat(handler_factory, patience=patience) as peer:
        show(peer)
        for (speaker, _), steps in groupby(transcript.steps, lambda step: (step.speaker, step.kind in ("text", "raw"))):
            if speaker == "C":
                await _say(peer, list(steps), transcript)
            else:
                for step in steps:
                    await _hear(peer, step, transcript)


async def _say(peer: Peer, steps: list[Step], transcript: Transcript) -> None:
    """Say lines in one breath, or do one thing after the other."""
    try:
        if steps[0].kind in ("text", "raw"):
            await peer.send(b"".join(step.data for step in steps))
            return
        for step in steps:
            match step.kind:
                case "pause":
                    await peer.pause(step.seconds)
                case "eof":
                    await peer.send_eof()
                case "reset":
                    await peer.break_connection()
    except Mismatch as mismatch:
        raise _at(steps[0], transcript, mismatch) from mismatch.__cause__


async def _hear(peer: Peer, step: Step, transcript: Transcript) -> None:
    try:
        if step.pattern is not None:
            line = await peer.expect_until(transcript.newline)
            if not step.pattern.fullmatch(line):
                peer.fail(f"what has come is {in_short(line)}")
        elif step.kind == "eof":
            await peer.expect_eof()
        elif step.kind == "nothing":
            await peer.expect_nothing()
        elif step.kind == "error":
            error = await peer.expect_error(Exception)
            if step.data.decode() not in in_words(error):
                peer.fail(f"what has failed is {in_words(error)}", error)
        else:
            await peer.expect(step.data)
    except Mismatch as mismatch:
        raise _at(step, transcript, mismatch) from mismatch.__cause__


def _at(step: Step, transcript: Transcript, mismatch: Mismatch) -> Mismatch:
    return Mismatch(f"in line {step.line} of the transcript:\n{transcript.around(step.line)}\n{mismatch}")
