"""Tools for those who test protocol handlers. They need no pytest, and the rest of the package does not need them."""

from ._cancellation import cancel_at_every_checkpoint as cancel_at_every_checkpoint
from ._streams import (
    BreakingStream as BreakingStream,
    ClosingStream as ClosingStream,
    RandomFault as RandomFault,
    RandomlyFaultyStream as RandomlyFaultyStream,
    ShortPiecesStream as ShortPiecesStream,
    StallingStream as StallingStream,
)
from ._wrapped import WrappedStream as WrappedStream
