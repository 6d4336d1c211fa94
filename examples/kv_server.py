"""A key-value server for Redis's clients: it speaks their protocol, RESP2, and keeps strings in memory.

Try it with redis-cli -p 6380, redis.Redis(port=6380, protocol=2), or by hand: nc localhost 6380
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence

import trio

from trio_chat import AsyncChat, open_tcp_listeners, serve_listeners

MANY = 1024 * 1024  # arguments, at the most
ARGUMENT_BYTES = 64  # what one takes in memory besides its own bytes, at the most
MAX_COMMAND_BYTES = 64 * 1024 * 1024  # of a command or transaction with its answers, besides one value of full length
SWEEP_KEYS, SWEEP_SECONDS = 1000, 0.1  # so many keys are looked at in one go, so often
UNITS = {b"EX": 1000, b"PX": 1}  # in milliseconds
SETTINGS = {b"save": b"", b"appendonly": b"no"}  # redis-benchmark wants to know

OK, NIL = b"+OK\r\n", b"$-1\r\n"
NOT_AN_INTEGER = b"ERR value is not an integer or out of range"
WRONG_NUMBER = b"ERR wrong number of arguments for '%b' command"
SYNTAX, NO_PROTOCOL = b"ERR syntax error", b"NOPROTO unsupported protocol version"
UNKNOWN = b"ERR unknown command '%b', with args beginning with: %b"

INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")
# A word that somebody types: plain, quoted, or plain with a quoted end. Vertical tabs and form feeds may be in it.
WORD = rb"""(?!\Z)([^ \t\r\n"']*+)(?:"((?:\\.|[^"\\])*+)"|'((?:\\'|[^'])*+)')?(?:\s+|\Z)"""
EACH_WORD, WORDS = re.compile(WORD, re.DOTALL), re.compile(rb"(?:%b)*+" % WORD, re.DOTALL)
ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
# The parts of a pattern: an escaped character, a choice, or another; and those of a choice, where "a-c" is a range.
GLOB = re.compile(rb"\\(.)|\[(\^?)((?:\\.|[^]]-.|[^]])*+)\]?|(.)", re.DOTALL)
CHOICE = re.compile(rb"\\(.)|(.)-(.)|(.)", re.DOTALL)
CONTROLS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


class ProtocolError(Exception):
    """What came is no command, and nobody knows where the next one begins."""


class Refused(Exception):
    """Why a command is not done, in Redis's words."""


def integer(text: bytes, otherwise: type[Exception] = Refused, why: bytes = NOT_AN_INTEGER) -> int:
    """A number of 64 bits as Redis writes it: no spaces, no plus, no zeros in front."""
    if not INTEGER.fullmatch(text) or not -(2**63) <= (value := int(text)) < 2**63:
        raise otherwise(why)
    return value


def words(line: bytes) -> list[bytes]:
    def unescaped(escape: re.Match[bytes]) -> bytes:
        return bytes.fromhex(escape[1].decode()) if escape[1] else CONTROLS.get(escape[2], escape[2])

    if not WORDS.fullmatch(line := line.lstrip()):
        raise ProtocolError(b"unbalanced quotes in request")
    parts = EACH_WORD.findall(line)
    return [plain + ESCAPE.sub(unescaped, quoted) + single.replace(rb"\'", b"'") for plain, quoted, single in parts]


def as_regex(part: re.Match[bytes]) -> bytes:
    escaped, negated, choice, other = part.groups()
    if choice is None:
        return {b"*": rb")(?>.*?", b"?": b"."}.get(other) or re.escape(escaped or other)
    ranges = [rb"\x%02x-\x%02x" % (min(each), max(each)) for each in map(b"".join, CHOICE.findall(choice))]
    return b"[%b%b]" % (negated, b"".join(ranges)) if ranges else b"." if negated else b"(?!)"


def error(text: bytes) -> bytes:
    return b"-%b\r\n" % text.replace(b"\r", b" ").replace(b"\n", b" ")


def number(value: int) -> bytes:
    return b":%d\r\n" % value


def bulk(value: bytes | None) -> bytes:
    return NIL if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def array(answers: Sequence[bytes]) -> bytes:
    return b"*%d\r\n%b" % (len(answers), b"".join(answers))


def now() -> int:
    return int(trio.current_time() * 1000)


def moment(command: bytes, amount: bytes, unit: bytes) -> int:
    """When that much time will have passed."""
    milliseconds = integer(amount) * UNITS[unit]
    if not -(2**63) <= milliseconds <= 2**62 or (command == b"set" and milliseconds <= 0):
        raise Refused(b"ERR invalid expire time in '%b' command" % command)
    return now() + milliseconds


class Store:
    """Values by key, and when those expire that do not stay."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.deadlines: dict[bytes, int] = {}

    def get(self, key: bytes) -> bytes | None:
        if key in self.deadlines and self.deadlines[key] <= now():
            del self.values[key], self.deadlines[key]
        return self.values.get(key)

    def set(self, key: bytes, value: bytes, deadline: int | None = None) -> bytes:
        self.values[key] = value
        self.deadlines.pop(key, None)
        if deadline is not None:
            self.deadlines[key] = deadline
        return OK

    def remove(self, key: bytes) -> bytes | None:
        self.get(key)  # it may have expired
        self.deadlines.pop(key, None)
        return self.values.pop(key, None)

    def clear(self, *how: bytes) -> bytes:
        if [*map(bytes.upper, how)] not in ([], [b"SYNC"], [b"ASYNC"]):
            raise Refused(SYNTAX)
        self.values.clear()
        self.deadlines.clear()
        return OK

    def expire(self, key: bytes, deadline: int) -> bool:
        if existed := self.get(key) is not None:
            self.deadlines[key] = deadline
            self.get(key)  # that moment may have passed
        return existed

    def keys(self, pattern: bytes) -> list[bytes]:
        """Those that a pattern matches. What follows a star is looked for once, and not again if the rest fails."""
        if len(pattern) > 1000:
            raise Refused(b"ERR the pattern is too long")
        matches = re.compile(rb"(?>%b\Z)" % GLOB.sub(as_regex, pattern), re.DOTALL).match
        return [key for key in list(self.values) if matches(key) and self.get(key) is not None]

    def time_left(self, key: bytes, unit: int) -> int:
        if self.get(key) is None:
            return -2
        return (self.deadlines[key] - now() + unit // 2) // unit if key in self.deadlines else -1

    async def sweep(self) -> None:
        """Drop what has expired and nobody asks for: a few in one go, because meanwhile all clients wait."""
        while True:
            keys = list(self.deadlines)
            for start in range(0, len(keys) or 1, SWEEP_KEYS):
                for key in keys[start : start + SWEEP_KEYS]:
                    self.get(key)
                await trio.sleep(SWEEP_SECONDS)


class Client(AsyncChat):
    r"""A client sends "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", or "GET a\r\n" if somebody types it.

    A line says how many arguments follow. Each is a line that says how many bytes follow, then these, and a line end.
    """

    terminator = b"\n"  # people type no "\r"
    max_frame_bytes = 64 * 1024
    on_oversize = "answer"
    uses_nursery = False

    def __init__(self, stream: trio.abc.Stream, store: Store, max_bulk_bytes: int) -> None:
        super().__init__(stream)
        self.store = store
        self.max_bulk_bytes = max_bulk_bytes
        self.frame = bytearray()  # and no list of pieces: if they are tiny, that takes many times as much
        self.arguments: list[bytes] = []
        self.missing, self.in_argument = 0, False  # how many are to come, and whether one has begun
        self.room = self.max_room = MAX_COMMAND_BYTES + max_bulk_bytes
        self.queue: list[tuple[Callable[..., bytes], list[bytes]]] | None = None  # since MULTI
        self.queue_failed = False

    def collect_incoming_data(self, data: bytes) -> None:
        self.frame += data

    def found_terminator(self) -> None:
        frame = bytes(self.frame)
        self.frame.clear()
        try:
            if self.in_argument:
                self.end_argument(frame)
            elif self.missing:
                self.begin_argument(frame)
            elif frame.startswith(b"*"):
                self.begin_command(frame)
            elif arguments := words(frame):
                self.take_room(sum(map(len, arguments)), len(arguments))
                self.execute(arguments)
        except ProtocolError as exc:
            self.finish(error(b"ERR Protocol error: %b" % exc.args[0]))

    def begin_command(self, line: bytes) -> None:
        self.missing = max(0, integer(line[1:-1], ProtocolError, b"invalid multibulk length"))
        if self.missing > MANY or not line.endswith(b"\r"):
            raise ProtocolError(b"invalid multibulk length")
        self.set_terminator(b"\r\n" if self.missing else b"\n")

    def begin_argument(self, line: bytes) -> None:
        if not line.startswith(b"$"):
            raise ProtocolError(b"expected '$', got '%b'" % (line[:1] or b" "))
        length = integer(line[1:], ProtocolError, b"invalid bulk length")
        if not 0 <= length <= self.max_bulk_bytes:  # a count that a peer names has no other limit
            raise ProtocolError(b"invalid bulk length")
        self.take_room(length)
        self.in_argument = True
        self.set_terminator(length + 2)

    def end_argument(self, argument: bytes) -> None:
        if not argument.endswith(b"\r\n"):
            raise ProtocolError(b"expected a line end after an argument")
        self.arguments.append(argument[:-2])
        self.in_argument = False
        self.missing -= 1
        self.set_terminator(b"\r\n" if self.missing else b"\n")
        if not self.missing:
            arguments, self.arguments = self.arguments, []
            self.execute(arguments)

    def take_room(self, length: int, arguments: int = 1) -> None:
        self.room -= length + arguments * ARGUMENT_BYTES
        if self.room < 0:
            raise ProtocolError(b"too big command, transaction or answer")

    def handle_oversize(self) -> None:
        line = b"mbulk count string" if self.frame.startswith(b"*") else b"inline request"
        self.finish(error(b"ERR Protocol error: too big %b" % (b"bulk count string" if self.missing else line)))

    def finish(self, answer: bytes) -> bytes:
        self.push(answer)
        self.close_when_done()
        return b""

    def execute(self, arguments: list[bytes]) -> None:
        name = arguments[0].upper()
        command = COMMANDS.get(name)
        if command is None or not command[0] <= len(arguments) <= command[1]:
            self.queue_failed = True
            shown = b"".join(b"'%b' " % argument[:128] for argument in arguments[1:5])
            answer = error(WRONG_NUMBER % name.lower() if command else UNKNOWN % (arguments[0][:128], shown))
        elif self.queue is not None and name not in AT_ONCE:
            self.queue.append((command[2], arguments[1:]))
            answer = b"+QUEUED\r\n"
        else:
            answer = self.call(command[2], arguments[1:])
        if self.queue is None:
            self.room = self.max_room
        if answer:
            self.push(answer)

    def call(self, function: Callable[..., bytes], arguments: list[bytes]) -> bytes:
        try:
            return function(self, *arguments)
        except Refused as refused:
            return error(*refused.args)

    def set(self, key: bytes, value: bytes, *options: bytes) -> bytes:
        if not options:
            return self.store.set(key, value)
        chosen: dict[bytes, bytes | None] = {}
        rest = map(bytes.upper, options)
        for option in rest:
            chosen[option] = next(rest, None) if option in UNITS else b""
        ttl = {*chosen} - {b"NX", b"XX", b"GET"}
        wrong = ttl - {b"KEEPTTL", *UNITS} or len(ttl) > 1 or {b"NX", b"XX"} <= {*chosen} or None in chosen.values()
        if wrong:
            raise Refused(SYNTAX)
        old = self.store.get(key)
        deadline = self.store.deadlines.get(key) if ttl else None
        for unit in ttl - {b"KEEPTTL"}:
            deadline = moment(b"set", chosen[unit] or b"", unit)
        unwanted = (b"XX" if old is None else b"NX") in chosen
        if not unwanted:
            self.store.set(key, value, deadline)
        return bulk(old) if b"GET" in chosen else NIL if unwanted else OK

    def set_many(self, *pairs: bytes) -> bytes:
        if len(pairs) % 2:
            raise Refused(WRONG_NUMBER % b"mset")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            self.store.set(key, value)
        return OK

    def many(self, values: Sequence[bytes | None]) -> bytes:
        self.take_room(sum(len(value) for value in values if value))
        return array([bulk(value) for value in values])

    def append(self, key: bytes, value: bytes) -> bytes:
        value = (self.store.get(key) or b"") + value
        if len(value) > self.max_bulk_bytes:
            raise Refused(b"ERR string exceeds maximum allowed size (proto-max-bulk-len)")
        self.store.values[key] = value
        return number(len(value))

    def add(self, key: bytes, amount: int) -> bytes:
        if amount == 2**63:  # DECRBY's, for INCRBY reads no such number
            raise Refused(b"ERR decrement would overflow")
        old = self.store.get(key)
        value = amount if old is None else integer(old) + amount
        if not -(2**63) <= value < 2**63:
            raise Refused(b"ERR increment or decrement would overflow")
        self.store.values[key] = b"%d" % value
        return number(value)

    def multi(self) -> bytes:
        if self.queue is not None:
            raise Refused(b"ERR MULTI calls can not be nested")
        self.queue, self.queue_failed = [], False
        return OK

    def discard(self, command: bytes = b"DISCARD") -> bytes:
        if self.queue is None:
            raise Refused(b"ERR %b without MULTI" % command)
        self.queue = None
        return OK

    def exec(self, *unwanted: bytes) -> bytes:
        queue = self.queue or []
        if unwanted:
            self.queue = None
            raise Refused(b"EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command")
        self.discard(b"EXEC")
        if self.queue_failed:
            raise Refused(b"EXECABORT Transaction discarded because of previous errors.")
        answers: list[bytes] = []
        for function, arguments in queue:
            answers.append(self.call(function, arguments))
            self.take_room(len(answers[-1]))
        return array(answers)


AT_ONCE = {b"MULTI", b"EXEC", b"DISCARD", b"QUIT"}  # the others wait for EXEC if MULTI came before
# How many arguments at least and at the most, with the command's name, and what it does; `c` is the client.
# fmt: off
COMMANDS: dict[bytes, tuple[int, int, Callable[..., bytes]]] = {
    b"PING": (1, 2, lambda c, message=None: b"+PONG\r\n" if message is None else bulk(message)),
    b"SELECT": (2, 2, lambda c, index: OK if integer(index) == 0 else error(b"ERR DB index is out of range")),
    b"HELLO": (1, MANY, lambda c, v=b"2", *_: c.many([b"proto", b"2"]) if v == b"2" else error(NO_PROTOCOL)),
    b"ECHO": (2, 2, lambda c, message: bulk(message)), b"COMMAND": (1, MANY, lambda c, *_: array([])),
    b"CLIENT": (2, MANY, lambda c, word, *_: OK if word.upper() in (b"SETNAME", b"SETINFO") else error(SYNTAX)),
    b"CONFIG": (3, 3, lambda c, get, name: c.many([name, SETTINGS[name]] if name in SETTINGS else [])),
    b"INFO": (1, MANY, lambda c, *_: bulk(b"redis_version:7.0.0\r\ndb0:keys=%d\r\n" % len(c.store.values))),
    b"DBSIZE": (1, 1, lambda c: number(len(c.store.values))), b"QUIT": (1, MANY, lambda c, *_: c.finish(OK)),
    b"FLUSHALL": (1, MANY, lambda c, *a: c.store.clear(*a)), b"FLUSHDB": (1, MANY, lambda c, *a: c.store.clear(*a)),
    b"GET": (2, 2, lambda c, key: bulk(c.store.get(key))), b"SET": (3, MANY, Client.set),
    b"SETNX": (3, 3, lambda c, key, value: number(c.set(key, value, b"NX") is OK)),
    b"GETSET": (3, 3, lambda c, key, value: c.set(key, value, b"GET")),
    b"GETDEL": (2, 2, lambda c, key: bulk(c.store.remove(key))),
    b"MSET": (3, MANY, Client.set_many), b"MGET": (2, MANY, lambda c, *keys: c.many([*map(c.store.get, keys)])),
    b"DEL": (2, MANY, lambda c, *keys: number(sum(c.store.remove(key) is not None for key in keys))),
    b"EXISTS": (2, MANY, lambda c, *keys: number(sum(c.store.get(key) is not None for key in keys))),
    b"TYPE": (2, 2, lambda c, key: b"+none\r\n" if c.store.get(key) is None else b"+string\r\n"),
    b"APPEND": (3, 3, Client.append), b"STRLEN": (2, 2, lambda c, key: number(len(c.store.get(key) or b""))),
    b"INCR": (2, 2, lambda c, key: c.add(key, 1)), b"INCRBY": (3, 3, lambda c, key, by: c.add(key, integer(by))),
    b"DECR": (2, 2, lambda c, key: c.add(key, -1)), b"DECRBY": (3, 3, lambda c, key, by: c.add(key, -integer(by))),
    b"EXPIRE": (3, 3, lambda c, key, time: number(c.store.expire(key, moment(b"expire", time, b"EX")))),
    b"PEXPIRE": (3, 3, lambda c, key, time: number(c.store.expire(key, moment(b"pexpire", time, b"PX")))),
    b"TTL": (2, 2, lambda c, key: number(c.store.time_left(key, 1000))),
    b"PTTL": (2, 2, lambda c, key: number(c.store.time_left(key, 1))),
    b"PERSIST": (2, 2, lambda c, key: number(c.store.get(key) is not None and c.store.deadlines.pop(key, 0) != 0)),
    b"KEYS": (2, 2, lambda c, like: c.many(c.store.keys(like))),
    b"MULTI": (1, 1, Client.multi), b"EXEC": (1, MANY, Client.exec), b"DISCARD": (1, 1, Client.discard),
}
# fmt: on


async def main(host: str, port: int, max_bulk_bytes: int) -> None:
    try:
        listeners = await open_tcp_listeners(port, host=host)
    except (OSError, ValueError) as exc:
        sys.exit(f"cannot listen on {host}, port {port}: {exc}")
    print(f"listening on {host}, port {listeners[0].socket.getsockname()[1]}", flush=True)
    store = Store()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.sweep)
        await serve_listeners(lambda stream: Client(stream, store, max_bulk_bytes), listeners)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6380)
    parser.add_argument("--max-bulk-bytes", type=int, default=8 * 1024 * 1024)
    options = parser.parse_args()
    if options.max_bulk_bytes < 0:
        parser.error(f"--max-bulk-bytes is a number of bytes; got {options.max_bulk_bytes}")
    try:
        trio.run(main, options.host, options.port, options.max_bulk_bytes)
    except* KeyboardInterrupt:
        print("stopped")
