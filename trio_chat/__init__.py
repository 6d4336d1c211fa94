"""asynchat for Trio: network protocols as a conversation of terminators."""

from ._buffer import Batch as Batch, TerminatorBuffer as TerminatorBuffer
from ._chat import AsyncChat as AsyncChat
from ._errors import FrameTooLong as FrameTooLong, PlaintextBeforeTLS as PlaintextBeforeTLS
from ._handler import OversizePolicy as OversizePolicy, Reply as Reply, TimeoutKind as TimeoutKind
from ._listening import inherited_listeners as inherited_listeners, open_tcp_listeners as open_tcp_listeners
from ._producers import BinaryFile as BinaryFile, MoreProducer as MoreProducer, Producer as Producer
from ._serve import (
    serve_listeners as serve_listeners,
    serve_ssl_over_tcp as serve_ssl_over_tcp,
    serve_tcp as serve_tcp,
    serve_unix as serve_unix,
)
from ._server import HandlerFactory as HandlerFactory, ServeOptions as ServeOptions
from ._streams import Address as Address
from ._terminators import Terminator as Terminator
from ._transport import SocketListener as SocketListener, SocketStream as SocketStream
