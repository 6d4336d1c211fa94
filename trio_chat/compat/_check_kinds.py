"""The kinds of hazards: what each code means, how bad it is, and what to do about it.

Codes are stable: a code that is no longer needed is not given to something else. The hundreds group them: 1 classes,
2 the loop, 3 sockets, 4 internals, 5 threads and waiting, 6 exceptions, 7 text and bytes, 8 what carries over to
`trio_chat.compat.asynchat` but not to a native `AsyncChat`, 9 files that cannot be checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

#: "error": will not work. "warning": works, but otherwise than before, or at a risk. "note": worth knowing.
Severity: TypeAlias = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of hazard."""

    code: str
    severity: Severity
    meaning: str
    advice: str


_ALL = [
    Kind(
        "TC101",
        "error",
        "overrides a method that nothing calls any more",
        "Producers may be objects with more(): push_with_producer. What handle_connect_event did belongs into "
        "handle_connect, and that of handle_expt_event into handle_close.",
    ),
    Kind(
        "TC102",
        "error",
        "makes or connects sockets itself",
        "A client: stream = await trio.open_tcp_stream(host, port), then await asynchat.handler_factory(make)(stream)."
        "run(), where make(sock, addr) makes the channel, and calls its handle_connect() if there is one. "
        "A server: serve_tcp(asynchat.handler_factory(handle_accepted), port).",
    ),
    Kind(
        "TC103",
        "error",
        "accepts connections itself",
        "Make handle_accepted(self, sock, addr) of handle_accept(self), without the call of accept(), and give it to "
        "serve_tcp(asynchat.handler_factory(…), port).",
    ),
    Kind(
        "TC104",
        "error",
        "a listening asyncore.dispatcher",
        "serve_tcp(asynchat.handler_factory(handle_accepted), port) takes its place: drop the base class, and what "
        "creates, binds and listens in __init__; handle_accepted(sock, addr) stays as it is. A readable() that "
        "was used as a timer becomes a task in the background: nursery.start_soon(…), with await trio.sleep(…) in it.",
    ),
    Kind(
        "TC105",
        "error",
        "a connection that derives from asyncore.dispatcher itself",
        "Derive from asynchat.async_chat: handle_read, handle_write, readable, recv and send do there what they did. "
        "For what dispatcher_with_send did, call push instead of send. A dispatcher's writable() is true by default, "
        "an async_chat's is false while nothing is queued: define writable() that returns True if it had none.",
    ),
    Kind(
        "TC106",
        "error",
        "asyncore's file_dispatcher or file_wrapper",
        "Read the pipe in a task of its own, by trio.lowlevel.FdStream; a file by trio.open_file.",
    ),
    Kind(
        "TC201",
        "error",
        "asyncore's loop",
        "trio.run(main) is the loop now: main awaits serve_tcp(…), or runs clients in a nursery. If the loop ran in a "
        "thread, trio.run can as well; it is better in the main one, with the rest in trio.to_thread.run_sync.",
    ),
    Kind(
        "TC202",
        "error",
        "asyncore's map of all channels",
        "Keep a set of your own: add the channel in __init__, discard it in handle_close.",
    ),
    Kind(
        "TC203",
        "error",
        "asyncore.close_all",
        "Cancel the nursery that serves, or set the event that serve_tcp was given as stop, for a graceful end.",
    ),
    Kind(
        "TC204",
        "error",
        "asyncore.ExitNow, which nothing catches any more",
        "Cancel the nursery that serves, or set the event that serve_tcp was given as stop.",
    ),
    Kind(
        "TC205",
        "error",
        "asyncore.compact_traceback",
        "traceback.format_exc(), or logging's exc_info=True, tell more.",
    ),
    Kind(
        "TC206",
        "error",
        "another name of asyncore, which is not there any more",
        "Take numbers from errno, and call the methods of asynchat.async_chat instead of those of asyncore.dispatcher.",
    ),
    Kind("TC207", "note", "imports asyncore", "Delete the import when nothing uses it any more."),
    Kind("TC208", "note", "imports the old asynchat", "from trio_chat.compat import asynchat"),
    Kind(
        "TC209",
        "error",
        "imports smtpd, which Python 3.12 has removed as well",
        "examples/smtp_server.py of trio_chat is an SMTP server to start from. Or copy smtpd's SMTPChannel into the "
        "program, and serve it like other channels: serve_tcp(asynchat.handler_factory(handle_accepted), port).",
    ),
    Kind(
        "TC301",
        "error",
        "calls what the socket of a channel does not have",
        "It has recv, send and sendall, without flags, close, shutdown, fileno, getpeername, getsockname, getsockopt, "
        "setsockopt, gettimeout, settimeout(0) and setblocking(False).",
    ),
    Kind(
        "TC302",
        "warning",
        "a select of its own beside the loop",
        "Let a task wait for each of them: trio.lowlevel.wait_readable(sock), or a stream's receive_some.",
    ),
    Kind(
        "TC303",
        "error",
        "TLS over the channel's own socket",
        "A server: serve_ssl_over_tcp(…). A client: await trio.open_ssl_over_tcp_stream(…). In the middle of a "
        "conversation (STARTTLS): await self.start_tls(ssl_context) in a callback of a native AsyncChat.",
    ),
    Kind(
        "TC401",
        "error",
        "an attribute that asynchat does not have any more",
        "What is pushed, bytes and producers, waits in producer_fifo, a deque; what was received, in ac_in_buffer.",
    ),
    Kind(
        "TC402",
        "error",
        "uses producer_fifo like Python 2's fifo: it is a deque",
        "first() is fifo[0], push(x) is append(x), pop() is popleft(), is_empty() is not fifo.",
    ),
    Kind("TC403", "error", "asynchat.fifo, which Python 3 does not have", "collections.deque"),
    Kind(
        "TC501",
        "warning",
        "waits in a callback, and with it everyone else",
        "Let it run elsewhere: in a task of a nursery, or by await trio.to_thread.run_sync(…), which an async callback "
        "of a native AsyncChat can do.",
    ),
    Kind(
        "TC502",
        "warning",
        "touches a channel from another thread",
        "Only push, push_with_producer, close_when_done and close may be called there. Anything else: "
        "trio.from_thread.run_sync(channel.set_terminator, number, trio_token=token), where token is what "
        "trio.lowlevel.current_trio_token() gave in the Trio thread.",
    ),
    Kind(
        "TC503",
        "warning",
        "forks",
        "Fork before trio.run begins, or start programs by trio.run_process; a child must not go on with a Trio run.",
    ),
    Kind(
        "TC504",
        "warning",
        "a signal handler touches channels",
        "Receive signals in a task: with trio.open_signal_receiver(…) as signals: async for number in signals: …",
    ),
    Kind(
        "TC505",
        "note",
        "reads a file in a callback",
        "Harmless as long as files are small and local. Else: push_with_producer(file), or trio.open_file.",
    ),
    Kind(
        "TC506",
        "warning",
        "a loop that sends until nothing is queued: nothing leaves before the callback returns",
        "Drop the loop: what is queued is sent when the callback returns.",
    ),
    Kind(
        "TC601",
        "warning",
        "a catch-all in what callbacks run: it swallows Ctrl-C, and trio.Cancelled once the callback is async",
        "except Exception:, or end the block with a bare raise.",
    ),
    Kind(
        "TC602",
        "note",
        "a catch-all elsewhere: it swallows Ctrl-C, and trio.Cancelled if it comes to stand around an await",
        "except Exception:, or end the block with a bare raise.",
    ),
    Kind(
        "TC603",
        "warning",
        "ends the program in a callback",
        "SystemExit leaves trio.run() in an exception group, and os._exit() loses what is queued. Cancel the nursery "
        "that serves, or set the stop event, and call sys.exit() behind trio.run().",
    ),
    Kind(
        "TC701",
        "error",
        "sends text: only bytes can be sent",
        'Encode it: "…".encode("ascii"), or a literal b"…".',
    ),
    Kind(
        "TC702",
        "error",
        "a terminator of text, though use_encoding is not set",
        'Use a literal b"…"; use_encoding = 1 in the class encodes terminators as latin-1.',
    ),
    Kind(
        "TC703",
        "error",
        "mixes text with received bytes: a TypeError",
        'Take b"…" for what is compared or joined, or decode the whole frame once, in found_terminator.',
    ),
    Kind(
        "TC704",
        "warning",
        "compares received bytes with text, which never are equal",
        'Compare with a literal b"…", or decode first.',
    ),
    Kind(
        "TC801",
        "note",
        "overrides handle_error",
        "It carries over. A native AsyncChat gets the exception as an argument: handle_error(self, exc).",
    ),
    Kind(
        "TC802",
        "note",
        "overrides what belonged to the loop",
        "It carries over. A native AsyncChat has no such methods: override collect_incoming_data or push to see what "
        "comes or goes, await in an async callback to hold back input, await drain() to wait for output.",
    ),
    Kind(
        "TC803",
        "note",
        "sends or receives directly",
        "It carries over. With a native AsyncChat, push is the only way to send.",
    ),
    Kind(
        "TC804",
        "note",
        "reaches into asynchat's state",
        "It carries over. A native AsyncChat has set_terminator, get_terminator, queued_bytes and discard_buffers.",
    ),
    Kind(
        "TC805",
        "note",
        "changes a buffer size while running",
        "It carries over, and holds from the next receive or send on.",
    ),
    Kind(
        "TC806",
        "note",
        "a map of channels",
        "It carries over: a channel is polled as long as it is in its map. A native AsyncChat belongs to a nursery.",
    ),
    Kind(
        "TC807",
        "note",
        "does from another thread what any thread may do to a channel",
        "It carries over, and is seen to a little later. Nothing of a native AsyncChat may be called there: "
        "trio.from_thread.run_sync(chat.push, data, trio_token=token), where token is what "
        "trio.lowlevel.current_trio_token() gave in the Trio thread.",
    ),
    Kind(
        "TC901",
        "error",
        "is not Python 3",
        "If it is Python 2, convert it first: 2to3 -w FILE (it comes with Python up to 3.12), or python-modernize.",
    ),
    Kind("TC902", "error", "cannot be read", "Name Python files, or directories with such."),
    Kind("TC903", "error", "is nested too deeply to be checked", "Check the rest of it by eye."),
]

#: By code.
KINDS: dict[str, Kind] = {kind.code: kind for kind in _ALL}
