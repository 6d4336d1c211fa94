r"""Mutated requests, heard by this server and by h11: what one makes of them and the other does not has a known reason.

Where both take a request they must take it alike, to the byte. Where their ways part, exactly one of `RULES` says why:
the one whose offence stands first in the bytes. A rule sees only these bytes; it must not apply to a request that both
take alike, and one that explains nothing is an error, too. h11 is the second opinion of someone who read the same RFC,
not the judge: where a rule says that it is wrong, or that both may be right, it names the section.

TRIO_CHAT_FUZZ_CASES=200000 tries more cases, TRIO_CHAT_FUZZ_SEED others.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address
from typing import Literal, NamedTuple, TypeAlias

import h11
import pytest
import trio
from http_talk import answers, read_to_end
from mutations import REQUESTS, mutated
from trio.testing import memory_stream_pair

from trio_chat.http import AccessEntry, ClientDisconnected, HTTPError, HTTPRequestHandler, Request, Response

CASES = int(os.environ.get("TRIO_CHAT_FUZZ_CASES", "6000"))
SEED = int(os.environ.get("TRIO_CHAT_FUZZ_SEED", "9112"))
AT_ONCE = 20  # connections: fewer rounds of Trio's loop for each
READ_SIZES = [1, *[7] * 4, *[50] * 5, *[65536] * 20]  # most of the time goes into the small ones

# ---------------------------------------------------------------- the two listeners

Fields: TypeAlias = list[tuple[bytes, bytes]]
#: What follows the requests that were heard: nothing that counts; what is refused, whatever may come behind it; or the
#: beginning of a request.
End: TypeAlias = Literal["end", "error", "incomplete"]


class Heard(NamedTuple):
    method: bytes
    target: bytes
    fields: Fields
    body: bytes
    trailers: Fields


class Verdict(NamedTuple):
    heard: list[Heard]
    end: End

    def on(self, index: int) -> Heard | End:
        """What was made of one request."""
        return self.heard[index] if index < len(self.heard) else self.end


class Listener(HTTPRequestHandler):
    """Answers with what it has heard."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(stream)
        self.heard: list[Heard] = []
        self.end: End = "end"
        self.methods: list[str] = []  # of all that was answered
        self.at_eof = False

    async def handle_request(self, request: Request) -> Response:
        fields = request.headers.raw
        try:
            body = b"".join([piece async for piece in request.stream()])
        except HTTPError as exc:
            self.end = "incomplete" if isinstance(exc, ClientDisconnected) else "error"
            raise
        method, target, trailers = request.method.encode(), request.target.encode(), request.trailers.raw
        self.heard.append(Heard(method, target, fields, body, trailers))
        return Response(200, repr(self.heard[-1]))

    def handle_eof(self) -> None:
        self.at_eof = True
        super().handle_eof()

    def log_request(self, entry: AccessEntry) -> None:
        method, blank, _ = entry.request_line.partition(" ")
        self.methods.append(method if blank else "")
        if entry.request is None:
            self.end = "incomplete" if self.at_eof else "error"


async def our_verdict(data: bytes, read_size: int) -> Verdict:
    client, server = memory_stream_pair()
    handler = Listener(server)
    handler.ac_in_buffer_size = read_size
    await client.send_all(data)
    await client.send_eof()
    await handler.run()
    finals = [answer for answer in answers(await read_to_end(client), handler.methods) if answer.status > 100]
    for answer, heard in zip(finals, handler.heard, strict=False):
        assert (answer.status, answer.text) == (200, "" if heard.method == b"HEAD" else repr(heard))
    refusals = finals[len(handler.heard) :]
    assert len(refusals) == (handler.end != "end")
    assert all(400 <= answer.status < 600 and answer.field("connection") == "close" for answer in refusals)
    return Verdict(handler.heard, handler.end)


def their_verdict(data: bytes) -> tuple[Verdict, list[int]]:
    """h11's verdict, and where the requests begin, and what follows them."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    connection.receive_data(data)
    heard: list[Heard] = []
    begins = [0]
    at_eof = False
    try:
        while not isinstance(event := connection.next_event(), h11.ConnectionClosed):
            if event is h11.NEED_DATA:
                connection.receive_data(b"")
                at_eof = True
            elif isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage)
                fields, trailers = (_plain(headers.raw_items()) for headers in (request.headers, event.headers))
                heard.append(Heard(bytes(request.method), bytes(request.target), fields, body, trailers))
                connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                begins.append(len(data) - len(connection.trailing_data[0]))
                if connection.our_state is h11.MUST_CLOSE:
                    break
                connection.start_next_cycle()
    except h11.RemoteProtocolError:
        return Verdict(heard, "incomplete" if at_eof else "error"), begins
    return Verdict(heard, "end"), begins


def _plain(fields: Fields) -> Fields:
    return [(bytes(name), bytes(value)) for name, value in fields]


# ---------------------------------------------------------------- the bytes, as rules see them

HEX = rb"[0-9A-Fa-f]"
TOKEN = rb"[!#-'*+.^_`|~0-9A-Za-z-]+"
CONTROL = rb"\x00-\x08\x0a-\x1f\x7f"
FIELD = rb"(?m)^(%b):[ \t]*([^%b]*?)[ \t]*\r?$(?!\n[ \t])" % (TOKEN, CONTROL)  # without controls, and not folded
QUOTED = rb'"(?:[^"\\%b]|\\[^%b])*"' % (CONTROL, CONTROL)
EXTENSIONS = rb"(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)+" % (TOKEN, TOKEN, QUOTED)
IP_LITERAL = rb"\[(?:([0-9A-Fa-f:.]+)|[vV]%b+\.[\w.~!$&'()*+,;=:-]+)\]" % HEX
HOST = rb"(?:%b|(?:[\w.~!$&'()*+,;=-]|%%%b{2})+)(?::[0-9]*)?" % (IP_LITERAL, HEX)

Place: TypeAlias = int | None


class Field(NamedTuple):
    at: int
    name: bytes
    value: bytes


class Section(NamedTuple):
    """Field lines, those of the head with the line before them, up to an empty line, if that has come."""

    at: int
    data: bytes
    is_whole: bool

    def search(self, pattern: bytes) -> Place:
        """Where it is found, or its group if it has one."""
        match = re.search(pattern, self.data)
        return self.at + match.start(match.re.groups) if match else None


def _fields_of(section: Section) -> list[Field]:
    matches = re.finditer(FIELD, section.data)
    return [Field(section.at + match.start(), match[1].lower(), match[2]) for match in matches]


class Message:
    """A request, and whatever comes behind it, read as leniently as one can."""

    def __init__(self, data: bytes, before: bytes = b"") -> None:
        self.data = data
        self.before = before  # the request before this one
        self.head = self._section_at(0)
        line = re.match(rb"(\S*) (\S*) HTTP/(\d)\.(\d)\r?\n", data)
        self.method, self.target, self.major, self.minor = line.groups() if line else (b"",) * 4
        self.version_at = line.start(3) if line else -1
        self.fields = _fields_of(self.head)
        self.size_lines: list[tuple[int, bytes]] = []  # with their places, without CRLF
        self.unfinished: Section | None = None  # the last size line
        self.trailers: Section | None = None
        if self.head.is_whole and any(field.value.lower() == b"chunked" for field in self.named(b"transfer-encoding")):
            self._walk(len(self.head.data))

    def _section_at(self, at: int) -> Section:
        end = re.compile(rb"(?m)^\r?\n").search(self.data, at)
        return Section(at, self.data[at : end.end() if end else None], end is not None)

    def _walk(self, at: int) -> None:
        """From chunk to chunk, as far as it goes."""
        while (end := self.data.find(b"\r\n", at)) >= 0:
            self.size_lines.append((at, self.data[at:end]))
            if not (digits := re.match(HEX + rb"+", self.data[at:end])):
                return
            if (size := int(digits[0], 16)) == 0:
                self.trailers = self._section_at(end + 2)
                return
            at = end + 2 + size + 2
            if self.data[at - 2 : at] != b"\r\n":
                return
        self.unfinished = Section(at, self.data[at:], is_whole=False)

    def named(self, name: bytes) -> list[Field]:
        return [field for field in self.fields if field.name == name]


# ---------------------------------------------------------------- why they differ


def is_host(text: bytes) -> bool:
    match = re.fullmatch(HOST, text)
    try:
        return match is not None and (match[1] is None or bool(IPv6Address(match[1].decode())))
    except ValueError:
        return False


def bad_host(message: Message) -> Place:
    return next((field.at for field in message.named(b"host") if field.value and not is_host(field.value)), None)


def bad_form(message: Message) -> Place:
    target = message.target.partition(b"#")[0]
    absolute = re.match(rb"(?i)https?://([^/?]+)", target)
    is_good = (
        target.startswith(b"/")
        or (message.target == b"*" and message.method == b"OPTIONS")
        or (absolute is not None and is_host(absolute[1]))
    )
    return len(message.method) + 1 if message.target and not is_good else None


def fragment(message: Message) -> Place:
    """Behind the rest of a target."""
    return message.data.index(b"#", len(message.method)) if re.match(rb"[^#]+#", message.target) else None


def other_major_version(message: Message) -> Place:
    return message.version_at if message.major not in (b"", b"1") else None


def later_without_host(message: Message) -> Place:
    is_later = message.major == b"1" and message.minor > b"1"
    return message.version_at if is_later and not message.named(b"host") else None


def equal_lengths(message: Message) -> Place:
    fields = message.named(b"content-length")
    values = [value.strip() for field in fields for value in field.value.split(b",")]
    is_one = len(values) > 1 and len(set(values)) == 1 and not message.named(b"transfer-encoding")
    return fields[0].at if is_one else None


def both_lengths(message: Message) -> Place:
    lengths, codings = message.named(b"content-length"), message.named(b"transfer-encoding")
    return max(lengths[0].at, codings[0].at) if lengths and codings and message.minor != b"0" else None


def coding_in_1_0(message: Message) -> Place:
    codings = message.named(b"transfer-encoding")
    return codings[0].at if codings and message.minor == b"0" else None


def unknown_expectation(message: Message) -> Place:
    fields = message.named(b"expect")
    elements = {element.strip(b" \t") for field in fields for element in field.value.lower().split(b",")}
    return None if message.minor == b"0" or elements <= {b"", b"100-continue"} else fields[0].at


def begins_like_none(message: Message) -> Place:
    return 0 if not message.head.is_whole and re.match(rb"(?!%b)[^\0-\x20]" % TOKEN, message.data) else None


def bare_in_head(message: Message) -> Place:
    return None if message.head.is_whole else message.head.search(rb"\r(?!\n|\Z)")


def bare_in_size_line(message: Message) -> Place:
    return message.unfinished.search(rb"\r(?!\Z)|\n") if message.unfinished else None


def bad_trailer(message: Message) -> Place:
    """One that h11 has not looked at yet."""
    if message.trailers is None or message.trailers.is_whole:
        return None
    return message.trailers.search(rb"(?m)^(?!(?<=\n)[ \t]|%b:[^%b]*\r?$).*\n|\r(?!\n|\Z)" % (TOKEN, CONTROL))


def framing_in_trailers(message: Message) -> Place:
    """What would not do in a head, or be changed."""
    trailers = _fields_of(message.trailers) if message.trailers else []
    lengths = [field for field in trailers if field.name == b"content-length"]
    codings = [field for field in trailers if field.name == b"transfer-encoding"]
    odd = [*lengths[1:], *(field for field in lengths if not re.fullmatch(rb"\d{1,20}", field.value))]
    odd += [*codings[1:], *(field for field in codings if field.value != b"chunked")]
    return min((field.at for field in odd), default=None)


def after_keep_alive(message: Message) -> Place:
    before = Message(message.before)
    options = b",".join(field.value.lower() for field in before.named(b"connection"))
    is_kept = before.minor == b"0" and b"keep-alive" in [option.strip() for option in options.split(b",")]
    return 0 if is_kept else None


class Rule(NamedTuple):
    """A reason why the two differ.

    Attributes:
        ours, theirs: what they may have made of the request: "heard", or one of `End`.
        why: sections are those of RFC 9112 if no other is named.
        offence: where it stands in the bytes.
        example: that and nothing else.
    """

    ours: str
    theirs: str
    why: str
    offence: Callable[[Message], Place]
    example: bytes


def rules(ours: str, theirs: str, *table: tuple[str, Callable[[Message], Place], bytes]) -> Iterator[Rule]:
    return (Rule(ours, theirs, *row) for row in table)


def in_fields(pattern: bytes) -> Callable[[Message], Place]:
    """In the head or the trailers."""

    def place(message: Message) -> Place:
        at = message.head.search(pattern)
        return message.trailers.search(pattern) if at is None and message.trailers else at

    return place


def at_the_beginning(pattern: bytes) -> Callable[[Message], Place]:
    return lambda message: 0 if re.match(pattern, message.data) else None


def size_line(pattern: bytes) -> Callable[[Message], Place]:
    return lambda message: next((at for at, line in message.size_lines if re.fullmatch(pattern, line)), None)


def field(name: bytes, pattern: bytes) -> Callable[[Message], Place]:
    """The first with such a value."""
    return lambda message: next((each.at for each in message.named(name) if re.fullmatch(pattern, each.value)), None)


def length(pattern: bytes) -> Callable[[Message], Place]:
    """The only one."""
    place = field(b"content-length", pattern)

    def place_if_alone(message: Message) -> Place:
        is_alone = len(message.named(b"content-length")) == 1 and not message.named(b"transfer-encoding")
        return place(message) if is_alone else None

    return place_if_alone


def get(*fields: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, *fields, b"", b""])


def sized(value: bytes) -> bytes:
    return get(b"Host: a", b"Content-Length: " + value) + b"hello"


def chunked(body: bytes) -> bytes:
    return get(b"Host: a", b"Transfer-Encoding: chunked") + body


RULES = [
    *rules(
        "error", "heard incomplete",
        ("h11 takes LF for CRLF; 2.2 leaves the choice",
         in_fields(rb"(?<!\r)\n"), chunked(b"0\r\nX: y\n\r\n")),
        ("h11 joins folded lines; 5.2 leaves the choice",
         in_fields(rb"\n([ \t])"), get(b"Host: a", b"X: y", b" z")),
        ("h11 takes controls in values; RFC 9110, 5.5 leaves the choice",
         in_fields(rb"(?m)^%b:.*?([\x01-\x08\x0e-\x1f\x7f])" % TOKEN), get(b"Host: a", b"X: \x7f")),
        ("h11 does not look into Host; 3.2 wants 400 for an invalid one",
         bad_host, get(b"Host: a/b")),
        ("h11 takes an empty Host; our choice, for no http URI is without a host",
         field(b"host", b""), get(b"Host:")),
        ("h11 does not ask for Host after HTTP/1.1; 3.2 does, by RFC 9110, 2.5",
         later_without_host, get(line=b"GET / HTTP/1.2")),
        ("h11 takes targets of any form; 3.2 has four",
         bad_form, get(b"Host: a", line=b"GET a HTTP/1.1")),
        ("h11 takes fragments; 3.2 has none",
         fragment, get(b"Host: a", line=b"GET /#a HTTP/1.1")),
        ("h11 takes CONNECT; our choice: 501, as RFC 9110, 9.1 has it",
         at_the_beginning(rb"CONNECT \S+ HTTP/1"), get(b"Host: a:80", line=b"CONNECT a:80 HTTP/1.1")),
        ("h11 takes all major versions; RFC 9110, 15.6.6 has 505",
         other_major_version, get(b"Host: a", line=b"GET / HTTP/2.0")),
        ("h11 takes equal lengths for one; RFC 9110, 8.6 leaves the choice",
         equal_lengths, sized(b"5, 5")),
        ("h11 goes by the coding if there is a length, too; 6.1 leaves the choice",
         both_lengths, get(b"Host: a", b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
        ("h11 takes codings in HTTP/1.0; 6.1 has none there",
         coding_in_1_0, get(b"Transfer-Encoding: chunked", line=b"GET / HTTP/1.0") + b"0\r\n\r\n"),
        ("h11 leaves unknown expectations to others; RFC 9110, 10.1.1 offers 417",
         unknown_expectation, get(b"Host: a", b"Expect: x")),
        ("h11 takes blanks behind a size; 7.1 has none",
         size_line(HEX + rb"+[ \t]+"), chunked(b"5 \r\nhello\r\n0\r\n\r\n")),
        ("h11 takes anything for extensions; 7.1.1 does not",
         size_line(rb"(?s)%b+(?!%b\Z);.*" % (HEX, EXTENSIONS)), chunked(b"5;\r\nhello\r\n0\r\n\r\n")),
    ),
    *rules(
        "error", "incomplete",
        ("h11 waits for more than anyone can send; our choice: 413 from 19 digits on",
         length(rb"0*[1-9]\d{18,}"), sized(b"1" + b"0" * 18)),
        ("h11 waits for such chunks, too; our choice: 413 from 16 digits on",
         size_line(rb"0*[1-9A-Fa-f]%b{15,}(?:%b)?" % (HEX, EXTENSIONS)), chunked(b"1000000000000000\r\nhello")),
        ("h11 waits for the rest of a line that begins like none",
         begins_like_none, b"("),
        ("h11 waits for the rest of a head with a bare CR",
         bare_in_head, b"GET / HTTP/1.1\r;"),
        ("h11 waits for the rest of a size line with a bare CR or LF",
         bare_in_size_line, chunked(b"5\nhello")),
        ("h11 waits for the rest of trailers that are wrong",
         bad_trailer, chunked(b"0\r\nX\r\n")),
    ),
    *rules(
        "heard error incomplete end", "error",
        ("h11 takes no empty line before a request; 2.2 has us ignore one",
         at_the_beginning(rb"\r\n"), b"\r\n" + get(b"Host: a")),
    ),
    *rules(
        "incomplete end", "error",
        ("h11 does not wait for the rest of what may become an empty line before a request; 2.2 has us ignore one",
         at_the_beginning(rb"\r\Z"), b"\r"),
    ),
    *rules(
        "heard incomplete", "error",
        ("h11 takes no length of more than 20 digits; RFC 9110, 8.6 sets no limit",
         length(rb"(?=.{21})0+\d{1,18}"), sized(b"0" * 20 + b"5")),
        ("h11 takes no size of more than 20 digits; 7.1 sets no limit",
         size_line(rb"(?=%b{21})0+%b{,15}(?:%b)?" % (HEX, HEX, EXTENSIONS)), chunked(b"0" * 21 + b"\r\n\r\n")),
        ("h11 takes no blank before an extension; 7.1.1 does",
         size_line(rb"%b{1,20}[ \t]+%b" % (HEX, EXTENSIONS)), chunked(b"5 ;a\r\nhello\r\n0\r\n\r\n")),
    ),
    *rules(
        "heard", "heard error",
        ("h11 reads lengths and codings even in trailers; RFC 9110, 6.5.1: they are too late there",
         framing_in_trailers, chunked(b"0\r\nContent-Length: x\r\n\r\n")),
    ),
    *rules(
        "heard", "heard",
        ("h11 gives codings in lower case",
         field(b"transfer-encoding", rb".*[A-Z].*"), get(b"Host: a", b"Transfer-Encoding: Chunked") + b"0\r\n\r\n"),
    ),
    *rules(
        "heard error incomplete", "end",
        ("h11 closes after HTTP/1.0; 9.3 lets us go on",
         after_keep_alive, get(b"Connection: keep-alive", line=b"GET / HTTP/1.0") * 2),
    ),
]  # fmt: skip


def kind(outcome: Heard | End) -> str:
    return "heard" if isinstance(outcome, Heard) else outcome


def reasons(message: Message, our: Heard | End, their: Heard | End) -> list[Rule]:
    """The rules that may explain the difference, of those the first."""
    candidates = [rule for rule in RULES if kind(our) in rule.ours.split() and kind(their) in rule.theirs.split()]
    places = [(place, rule) for rule in candidates if (place := rule.offence(message)) is not None]
    first = min((place for place, _ in places), default=None)
    return [rule for place, rule in places if place == first]


# ---------------------------------------------------------------- the tests

SAID = [*REQUESTS * 6, *(rule.example for rule in RULES)]  # mostly what nobody has anything against


async def test_the_requests_that_are_mutated_are_heard() -> None:
    for data in REQUESTS:
        verdict = await our_verdict(data * 2, 65536)
        is_last = b"Connection: close" in data or data.startswith(b"GET /old")
        assert (len(verdict.heard), verdict.end) == (1 if is_last else 2, "end")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.why)
async def test_each_rule_explains_its_example(rule: Rule) -> None:
    assert explanations(rule.example, await our_verdict(rule.example, 65536)) == [rule.why]


async def test_every_difference_has_one_reason() -> None:
    chance = random.Random(SEED)
    hits: Counter[str] = Counter()

    async def compare(data: bytes, read_size: int) -> None:
        hits.update(explanations(data, await our_verdict(data, read_size)))

    for _ in range(CASES // AT_ONCE):
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(compare, mutated(chance, SAID), chance.choice(READ_SIZES))
    print(*(f"{hits[rule.why]:7} {rule.why}" for rule in RULES), f"{CASES:7} cases", sep="\n")
    assert not [rule.why for rule in RULES if not hits[rule.why]], "these rules explain nothing"


def explanations(data: bytes, our: Verdict) -> list[str]:
    """Why h11 differs, if it does."""
    their, begins = their_verdict(data)
    for index, begin in enumerate(begins):
        if our.on(index) != their.on(index):
            message = Message(data[begin:], data[begins[index - 1] : begin] if index else b"")
            why = [rule.why for rule in reasons(message, our.on(index), their.on(index))]
            assert len(why) == 1, f"{data!r}\nto us: {our}\nto h11: {their}\nbecause: {why}"
            return why
        if index < len(their.heard):
            alike = Message(data[begin : begins[index + 1]])
            wide = [rule.why for rule in RULES if rule.offence(alike) is not None]
            assert not wide, f"{alike.data!r} is heard alike, but: {wide}"
    assert our == their
    return []
