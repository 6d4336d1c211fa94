"""asyncore's `dispatcher`, as far as channels rely on it. It is polled by a `ChannelLoop`, and by nobody else.

Names, defaults and what is called when are the standard library's (asyncore's documentation, and the behaviour of
Python 3.11); what opens, binds or polls sockets says what to do instead.
"""

from __future__ import annotations

import errno
import sys
from typing import Any, NoReturn

from ._socket import ChannelSocket

_DISCONNECTED = frozenset(
    {errno.ECONNRESET, errno.ENOTCONN, errno.ESHUTDOWN, errno.ECONNABORTED, errno.EPIPE, errno.EBADF}
)

_SOCKET_METHODS = frozenset({"fileno", "getpeername", "getsockname", "getsockopt", "sendall", "setsockopt", "shutdown"})

#: The channels that were made without a map of their own.
socket_map: dict[int | None, Any] = {}


class dispatcher:  # noqa: N801
    debug: bool = False
    connected: bool = False
    accepting: bool = False
    connecting: bool = False
    closing: bool = False
    addr: Any = None
    ignore_log_types: frozenset[str] = frozenset({"warning"})

    # What the loop wants to know of an `async_chat`. Programs have names of their own: ours must not be among them.
    producer_fifo: Any = ()
    _trio_chat_queued: int = 0  # bytes, in the channel's own queue
    _trio_chat_mid_frame: Any = False  # whether a frame has begun

    def _trio_chat_hand_over_rest(self) -> None:
        """The input has ended: hand over what was held back."""

    def __init__(self, sock: ChannelSocket | None = None, map: dict[int | None, Any] | None = None) -> None:  # noqa: A002
        self._map = socket_map if map is None else map
        self._fileno: int | None = None
        self.socket: Any = None
        if sock is not None:
            self.set_socket(sock, map)
            self.connected = True
            self.addr = sock.getpeername()

    def __repr__(self) -> str:
        words = [f"{type(self).__module__}.{type(self).__qualname__}"]
        if self.connected:
            words.append("connected")
        if isinstance(self.addr, tuple) and len(self.addr) == 2:
            words.append("{}:{}".format(*self.addr))
        elif self.addr is not None:
            words.append(repr(self.addr))
        return f"<{' '.join(words)} at {id(self):#x}>"

    def __getattr__(self, name: str) -> Any:
        """A method of the socket: `self.getpeername()`, which dispatchers had in Python 2."""
        if name not in _SOCKET_METHODS or (sock := self.__dict__.get("socket")) is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(sock, name)

    # ------------------------------------------------------------------ the map of channels

    def add_channel(self, map: dict[int | None, Any] | None = None) -> None:  # noqa: A002
        channels = self._map if map is None else map
        if self._fileno is not None:
            channels[self._fileno] = self

    def del_channel(self, map: dict[int | None, Any] | None = None) -> None:  # noqa: A002
        channels = self._map if map is None else map
        if channels.get(self._fileno) is self:  # else the descriptor is another connection's by now
            del channels[self._fileno]
        self._fileno = None

    def set_socket(self, sock: ChannelSocket, map: dict[int | None, Any] | None = None) -> None:  # noqa: A002
        if not isinstance(sock, ChannelSocket):
            raise TypeError(
                f"a channel takes the socket that handler_factory() gives; got {sock!r}: serve it by "
                "serve_tcp(asynchat.handler_factory(handle_accepted), port)"
            )
        self.socket = sock
        self._fileno = sock.fileno()
        self.add_channel(map)
        sock.channel = self

    # ------------------------------------------------------------------ whether it is to be polled

    def readable(self) -> Any:
        return True

    def writable(self) -> Any:
        return True

    # ------------------------------------------------------------------ the socket's methods

    def send(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self.socket.send(data)  # type: ignore[no-any-return]
        except BlockingIOError:
            return 0
        except OSError as exc:
            if exc.errno not in _DISCONNECTED:
                raise
            self.handle_close()
            return 0

    def recv(self, buffer_size: int) -> bytes:
        try:
            data: bytes = self.socket.recv(buffer_size)
        except OSError as exc:
            if exc.errno not in _DISCONNECTED:
                raise
            data = b""
        if not data:
            self.handle_close()
        return data

    def close(self) -> None:
        self.connected = False
        self.accepting = False
        self.connecting = False
        self.del_channel()
        if self.socket is not None:
            self.socket.close()

    def set_reuse_addr(self) -> None:
        """Do nothing: what listens is `serve_tcp`, which does it."""

    def create_socket(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse("create_socket")

    def bind(self, *args: Any) -> NoReturn:
        self._refuse("bind")

    def listen(self, *args: Any) -> NoReturn:
        self._refuse("listen")

    def accept(self) -> NoReturn:
        self._refuse("accept")

    def connect(self, *args: Any) -> NoReturn:
        self._refuse("connect")

    def _refuse(self, name: str) -> NoReturn:
        raise NotImplementedError(
            f"a channel does not {name}() by itself. For a server: "
            "serve_tcp(asynchat.handler_factory(handle_accepted), port). For a client: "
            "asynchat.handler_factory(handle_accepted)(await trio.open_tcp_stream(host, port)).run()"
        )

    # ------------------------------------------------------------------ events

    def handle_read_event(self) -> None:
        self.handle_read()

    def handle_write_event(self) -> None:
        self.handle_write()

    def handle_read(self) -> None:
        self.log_info("unhandled read event", "warning")

    def handle_write(self) -> None:
        self.log_info("unhandled write event", "warning")

    def handle_connect(self) -> None:
        self.log_info("unhandled connect event", "warning")

    def handle_expt(self) -> None:
        self.log_info("unhandled incoming priority event", "warning")

    def handle_accept(self) -> None:
        self.log_info("unhandled accept event", "warning")

    def handle_accepted(self, sock: ChannelSocket, addr: Any) -> None:
        sock.close()
        self.log_info("unhandled accepted event", "warning")

    def handle_close(self) -> None:
        self.log_info("unhandled close event", "warning")
        self.close()

    def handle_error(self) -> None:
        """Called in the `except` block of what a callback raised: logs it, and calls `handle_close`."""
        _, kind, value, trace = compact_traceback()
        try:
            name = repr(self)
        except Exception:
            name = f"<__repr__(self) failed for object at {id(self):0x}>"
        self.log_info(f"uncaptured python exception, closing channel {name} ({kind}:{value} {trace})", "error")
        self.handle_close()

    # ------------------------------------------------------------------ logging

    def log(self, message: object) -> None:
        sys.stderr.write(f"log: {message}\n")

    def log_info(self, message: object, type: str = "info") -> None:  # noqa: A002
        if type not in self.ignore_log_types:
            sys.stdout.write(f"{type}: {message}\n")


def compact_traceback() -> tuple[tuple[str, str, str], Any, Any, str]:
    """asyncore's: where the exception that is being handled was raised, its type and value, and its way in one line."""
    kind, value, traceback = sys.exc_info()
    steps: list[tuple[str, str, str]] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        steps.append((code.co_filename, code.co_name, str(traceback.tb_lineno)))
        traceback = traceback.tb_next
    if not steps:
        raise AssertionError("there is no exception that is being handled")
    return steps[-1], kind, value, " ".join(f"[{'|'.join(step)}]" for step in steps)
