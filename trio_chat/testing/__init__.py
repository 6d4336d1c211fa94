"""Tools for those who test protocol handlers. They need no pytest, and the rest of the package does not need them.

- `open_chat`: a handler in conversation with a scripted peer; `run_transcript`: the same, written as RFCs print it.
- `assert_same_under_every_split`, `check_handler`: what every handler has to keep.
- Streams with faults, and `cancel_at_every_checkpoint`.
- `RecordingChat`: a handler that notes its callbacks.
- `trio_chat.testing.strategies`: for Hypothesis. `trio_chat.testing.pytest_plugin`: for pytest.
"""

from ._cancellation import cancel_at_every_checkpoint as cancel_at_every_checkpoint
from ._check_handler import BrokenPromise as BrokenPromise, check_handler as check_handler
from ._dialogue import Dialogue as Dialogue, Event as Event, Speaker as Speaker, Turn as Turn
from ._open_chat import StreamPair as StreamPair, open_chat as open_chat
from ._peer import Mismatch as Mismatch, Peer as Peer
from ._play import run_transcript as run_transcript
from ._random_faults import RandomFault as RandomFault, RandomlyFaultyStream as RandomlyFaultyStream
from ._recording import Call as Call, RecordingChat as RecordingChat, record_calls as record_calls
from ._splits import assert_same_under_every_split as assert_same_under_every_split
from ._streams import (
    BreakingStream as BreakingStream,
    ClosingStream as ClosingStream,
    ShortPiecesStream as ShortPiecesStream,
    StallingStream as StallingStream,
)
from ._transcript import (
    Step as Step,
    Transcript as Transcript,
    TranscriptError as TranscriptError,
    parse_transcript as parse_transcript,
)
from ._wrapped import WrappedStream as WrappedStream
