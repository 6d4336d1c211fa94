"""`FileResponse`: files of a real file system, in threads, over memory streams and to curl."""

import errno
import os
import re
import resource
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote

import pytest
import trio
from http_talk import Answer, get, is_open, say, say_once, talk
from trio.testing import lockstep_stream_pair

from trio_chat.http import App, FileResponse, HTTPError, HTTPRequestHandler, Request, Response, serve
from trio_chat.http._file_body import FileBody

DATA = bytes(range(256)) * 4
MTIME = 784111777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
PETABYTE = 2**50
CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")


async def request_with(*fields: str, method: str = "GET") -> Request:
    """The request that an application gets."""
    requests: list[Request] = []

    async def app(request: Request) -> Response:
        requests.append(request)
        return Response()

    await talk([get("/", *fields, method=method)], app)
    (request,) = requests
    return request


async def resolved(response: Response, *fields: str, method: str = "GET") -> Response:
    with trio.fail_after(10):
        return await response.resolve(await request_with(*fields, method=method))


async def content(response: Response) -> bytes:
    """What the body gives, which has to be as much as Content-Length says; it is closed then."""
    assert isinstance(response.body, FileBody)
    async with aclosing(response.body) as pieces:
        data = b"".join([piece async for piece in pieces])
    assert int(response.headers["content-length"]) == len(data)
    return data


def giving(response: Response) -> App:
    async def app(_request: Request) -> Response:
        return response

    return app


async def answered(response: Response, *fields: str, method: str = "GET") -> Answer:
    """The answer on the wire, however the request is cut."""

    (answer,) = await say(get("/", *fields, method=method), giving(response), methods=[method])
    return answer


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A file of 1,024 bytes. In the end it must not be open, whatever the test does."""
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    os.utime(path, (MTIME, MTIME))
    yield path
    assert not is_open(path)


@pytest.fixture
def sparse(tmp_path: Path) -> Iterator[Path]:
    """A file that nobody can read to its end."""
    path = tmp_path / "sparse.bin"
    path.touch()
    try:
        os.truncate(path, PETABYTE)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        os.truncate(path, 2**43)
    yield path
    assert not is_open(path)


# ---------------------------------------------------------------- the whole file


async def test_a_file(path: Path) -> None:
    answer = await answered(FileResponse(path))
    assert (answer.status, answer.body) == (200, DATA)
    assert answer.field("content-type") == "application/octet-stream"
    assert answer.field("last-modified") == DATE
    assert answer.field("accept-ranges") == "bytes"
    assert re.fullmatch('"[0-9a-f]{24}"', answer.field("etag") or "")
    assert answer.field("content-disposition") is answer.field("content-range") is answer.field("connection") is None


@pytest.mark.parametrize("kind", [str, Path])
async def test_paths(path: Path, kind: Callable[[Path], str | os.PathLike[str]]) -> None:
    assert await content(await resolved(FileResponse(kind(path)))) == DATA


async def test_a_symbolic_link(path: Path) -> None:
    link = path.with_name("link.txt")
    link.symlink_to(path)
    response = await resolved(FileResponse(link))
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert await content(response) == DATA


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_an_empty_file(path: Path, method: str) -> None:
    os.truncate(path, 0)
    answer = await answered(FileResponse(path), method=method)
    assert (answer.status, answer.field("content-length"), answer.body) == (200, "0", b"")


async def piece_bytes(path: Path) -> int:
    """How long the pieces of a file are there."""
    async with aclosing(await body_of(path)) as body:
        return body.piece_bytes


@pytest.mark.parametrize("extra", [-1, 0, 1])
async def test_pieces(path: Path, extra: int) -> None:
    size = await piece_bytes(path)
    data = os.urandom(2 * size + extra)
    path.write_bytes(data)
    response = await resolved(FileResponse(path))
    assert isinstance(response.body, FileBody)
    async with aclosing(response.body) as body:
        sizes = [len(piece) async for piece in body]
    assert sizes == [size, size, extra] if extra > 0 else [size, size + extra]
    assert [answer.body for answer in await say_once(get() * 2, giving(FileResponse(path)))] == [data] * 2


async def test_a_response_can_be_sent_again_and_sees_what_has_changed(path: Path) -> None:
    response = FileResponse(path, {"X-A": "1"})
    headers = response.headers.raw
    whole, part = await resolved(response), await resolved(response, "Range: bytes=1-3")
    assert (await content(part), await content(whole)) == (DATA[1:4], DATA)
    path.write_bytes(b"changed")
    assert await content(await resolved(response)) == b"changed"
    assert (response.status, response.headers.raw) == (200, headers)


async def test_a_head_has_the_fields_of_a_get(sparse: Path) -> None:
    """Nothing is read: it would take weeks."""
    get_answer = await resolved(FileResponse(sparse, {"X-A": "1"}, filename="a"))
    await get_answer.aclose()
    head_answer = await answered(FileResponse(sparse, {"X-A": "1"}, filename="a"), "Range: bytes=0-1", method="HEAD")
    fields = {name: get_answer.headers.get_all(name) for name in get_answer.headers}
    assert head_answer.headers.pop("date")
    assert (head_answer.status, head_answer.headers) == (200, fields)
    assert head_answer.field("content-length") == str(sparse.stat().st_size)


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "get"])
async def test_other_methods_get_the_whole_without_validators(path: Path, method: str) -> None:
    fields = ["Range: bytes=0-1", 'If-Match: "x"', "If-None-Match: *", f"If-Unmodified-Since: {EARLIER}"]
    answer = await answered(FileResponse(path, {"X-A": "1"}), *fields, method=method)
    assert (answer.status, answer.body) == (200, DATA)
    assert set(answer.headers) == {"x-a", "content-type", "content-length", "date"}


# ---------------------------------------------------------------- validators


async def etag_of(path: Path) -> str:
    response = await resolved(FileResponse(path))
    await response.aclose()
    return response.headers["etag"]


async def test_the_etag_changes_with_the_file(path: Path) -> None:
    first = await etag_of(path)
    assert await etag_of(path) == first
    os.utime(path, ns=(MTIME * 10**9, MTIME * 10**9 + 100))  # within the second of Last-Modified
    later = await etag_of(path)
    other = path.with_name("other")
    other.write_bytes(DATA[::-1])
    other.replace(path)
    os.utime(path, ns=(MTIME * 10**9, MTIME * 10**9 + 100))
    replaced = await etag_of(path)
    os.truncate(path, 3)
    os.utime(path, ns=(MTIME * 10**9, MTIME * 10**9 + 100))
    assert len({first, later, replaced, await etag_of(path)}) == 4


async def test_last_modified_is_never_later_than_date(path: Path) -> None:
    """RFC 9110, section 8.8.2.1."""
    tomorrow = path.stat().st_ctime + 86400
    os.utime(path, (tomorrow, tomorrow))
    (answer,) = await say_once(get(), giving(FileResponse(path)))
    dates = [parsedate_to_datetime(answer.field(name) or "") for name in ("last-modified", "date")]
    assert dates == sorted(dates)


@pytest.mark.parametrize("mtime_ns", [-(2**63), -1, 0, 2**63 - 1])
async def test_odd_times(path: Path, mtime_ns: int) -> None:
    os.utime(path, ns=(0, mtime_ns))
    (answer,) = await say_once(get(), giving(FileResponse(path)))
    assert (answer.status, answer.body) == (200, DATA)
    assert (answer.field("last-modified") == "Thu, 01 Jan 1970 00:00:00 GMT") == (mtime_ns <= 0)
    assert (await answered(FileResponse(path), f"If-None-Match: {answer.field('etag')}")).status == 304


async def test_validators_of_the_application_win(path: Path) -> None:
    response = FileResponse(path, {"etag": 'W/"mine"', "LAST-MODIFIED": EARLIER})
    answer = await answered(response)
    assert (answer.field("etag"), answer.field("last-modified")) == ('W/"mine"', EARLIER)
    for field, status in [
        ('If-None-Match: "mine"', 304),
        (f"If-None-Match: {await etag_of(path)}", 200),
        ('If-Match: "mine"', 412),
        (f"If-Modified-Since: {EARLIER}", 304),
        (f"If-Unmodified-Since: {EARLIER}", 200),
    ]:
        assert (await answered(response, field)).status == status, field
    assert (await answered(response, "Range: bytes=0-1", 'If-Range: W/"mine"')).status == 200
    assert (await answered(response, "Range: bytes=0-1", f"If-Range: {EARLIER}")).status == 200  # a date is weak
    assert (await answered(response, "Range: bytes=0-1", f"If-Range: {DATE}")).status == 200


# ---------------------------------------------------------------- preconditions


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_not_modified(path: Path, method: str) -> None:
    """RFC 9110, section 15.4.5: what has to be there, what may not, and what is not about the file."""
    kept = {
        "Cache-Control": "max-age=1",
        "Content-Location": "/x",
        "Expires": DATE,
        "Set-Cookie": "a=b",
        "Vary": "Accept",
    }
    response = FileResponse(path, {**kept, "Content-Language": "en", "Content-Encoding": "br"}, filename="a")
    etag = await etag_of(path)
    answer = await answered(response, f"If-None-Match: {etag}", "Range: bytes=0-1", method=method)
    assert (answer.status, answer.body, answer.field("etag")) == (304, b"", etag)
    assert set(answer.headers) - {"accept-ranges"} == {"date", "etag", *map(str.lower, kept)}
    assert (await answered(response, f"If-Modified-Since: {DATE}", method=method)).status == 304
    assert (await answered(response, f"If-Modified-Since: {EARLIER}", method=method)).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_precondition_failed(path: Path, method: str) -> None:
    response = FileResponse(path, {"Cache-Control": "max-age=1", "Content-Type": "image/png"})
    for field in ('If-Match: "x"', f"If-Unmodified-Since: {EARLIER}"):
        answer = await answered(response, field, "Range: bytes=0-1", method=method)
        assert (answer.status, answer.field("cache-control"), answer.field("accept-ranges")) == (412, None, None)
        assert answer.field("content-type") == "text/plain; charset=utf-8"
    assert (await answered(response, "If-Match: *", method=method)).status == 200


# ---------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("value", "part", "content_range"),
    [
        ("bytes=0-0", slice(0, 1), "bytes 0-0/1024"),
        ("bytes=1-255", slice(1, 256), "bytes 1-255/1024"),
        ("bytes=1000-", slice(1000, 1024), "bytes 1000-1023/1024"),
        ("bytes=1000-9999", slice(1000, 1024), "bytes 1000-1023/1024"),
        ("bytes=-1", slice(1023, 1024), "bytes 1023-1023/1024"),
        ("bytes=-9999", slice(0, 1024), "bytes 0-1023/1024"),
        ("Bytes=0-", slice(0, 1024), "bytes 0-1023/1024"),
    ],
)
async def test_a_range(path: Path, value: str, part: slice, content_range: str) -> None:
    answer = await answered(FileResponse(path, {"X-A": "1"}), f"Range: {value}")
    assert (answer.status, answer.body, answer.field("content-range")) == (206, DATA[part], content_range)
    assert answer.field("content-length") == str(len(DATA[part]))
    assert (answer.field("etag"), answer.field("last-modified")) == (await etag_of(path), DATE)
    assert (answer.field("x-a"), answer.field("content-type")) == ("1", "application/octet-stream")


@pytest.mark.parametrize("value", ["bytes=1024-", "bytes=-0", f"bytes={'9' * 20_000}-"])
async def test_unsatisfiable(path: Path, value: str) -> None:
    (answer,) = await say_once(get("/", f"Range: {value}"), giving(FileResponse(path, {"Cache-Control": "max-age=1"})))
    assert (answer.status, answer.field("content-range")) == (416, "bytes */1024")
    assert (answer.field("cache-control"), answer.field("etag")) == (None, None)


@pytest.mark.parametrize("value", ["bytes=0-1,3-4", "bytes=1-0", "lines=0-1", "bytes"])
async def test_ranges_that_are_ignored(path: Path, value: str) -> None:
    answer = await answered(FileResponse(path), f"Range: {value}")
    assert (answer.status, answer.body, answer.field("content-range")) == (200, DATA, None)


async def test_if_range(path: Path) -> None:
    etag = await etag_of(path)
    for validator, status in [(etag, 206), (DATE, 200), (f"W/{etag}", 200), (EARLIER, 200), ('"x"', 200)]:
        answer = await answered(FileResponse(path), "Range: bytes=0-1", f"If-Range: {validator}")
        assert (answer.status, answer.body) == (status, DATA[:2] if status == 206 else DATA)


async def test_a_range_behind_4_gib(sparse: Path) -> None:
    size = sparse.stat().st_size
    with sparse.open("r+b") as file:
        file.seek(size - 100)
        file.write(b"here")
    answer = await answered(FileResponse(sparse), f"Range: bytes={size - 101}-{size - 96}")
    assert (answer.status, answer.body) == (206, b"\0here\0")
    assert answer.field("content-range") == f"bytes {size - 101}-{size - 96}/{size}"


# ---------------------------------------------------------------- what is no file, or none that may be read


def make_fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def make_socket(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return path


def make_loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


NO_FILES: Mapping[str, Callable[[Path], str | Path]] = {
    "missing": lambda directory: directory / "missing",
    "empty path": lambda directory: "",
    "directory": lambda directory: directory,
    "below a file": lambda directory: directory / "data.bin" / "x",
    "file with a slash": lambda directory: f"{directory}/data.bin/",
    "FIFO": lambda directory: make_fifo(directory / "fifo"),
    "socket": lambda directory: make_socket(directory / "socket"),
    "device": lambda directory: "/dev/zero",
    "terminal": lambda directory: "/dev/tty",
    "loop of links": lambda directory: make_loop(directory / "loop"),
    "long name": lambda directory: directory / ("x" * 1000),
    "long path": lambda directory: f"{directory}{'/x' * 5000}",
    "NUL": lambda directory: f"{directory}/data.bin\0",
    "lone surrogate": lambda directory: f"{directory}/\ud800",
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_no_regular_file(path: Path, kind: str, method: str) -> None:
    response = FileResponse(NO_FILES[kind](path.parent))
    before = sorted(os.listdir("/dev/fd"))
    with pytest.raises(HTTPError) as caught:
        await resolved(response, method=method)
    assert caught.value.status == 404
    assert sorted(os.listdir("/dev/fd")) == before
    (answer,) = await say_once(get(), giving(response))
    assert (answer.status, answer.text) == (404, "Not Found\n")


async def test_a_file_that_may_not_be_read(path: Path) -> None:
    path.chmod(0)
    if os.access(path, os.R_OK):
        path = Path("/proc/sys/vm/compact_memory")  # which not even root can read
        if os.access(path, os.R_OK) or not path.exists():
            pytest.skip("this user may read everything")
    (answer,) = await say_once(get(), giving(FileResponse(path)))
    assert (answer.status, answer.text) == (403, "Forbidden\n")


async def test_the_servers_own_trouble_is_not_the_clients(path: Path) -> None:
    request = await request_with()
    with no_more_descriptors(), pytest.raises(OSError, match="Too many open files"):
        await FileResponse(path).resolve(request)
    assert await content(await FileResponse(path).resolve(request)) == DATA


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


# ---------------------------------------------------------------- the life of the body


async def body_of(path: Path, *fields: str) -> FileBody:
    body = (await resolved(FileResponse(path), *fields)).body
    assert isinstance(body, FileBody)
    return body


async def test_a_body_holds_the_file_until_it_is_closed(path: Path) -> None:
    body = await body_of(path)
    assert is_open(path)
    await body.aclose()
    assert not is_open(path)
    await body.aclose()
    assert [piece async for piece in body] == []


async def test_a_body_is_closed_in_spite_of_cancellation(path: Path) -> None:
    for began in (False, True):
        body = await body_of(path)
        if began:
            assert await anext(body) == DATA
        with trio.CancelScope() as scope:
            scope.cancel()
            await body.aclose()
        assert not is_open(path)


async def test_cancelled_before_the_file_is_opened_or_read(path: Path) -> None:
    request = await request_with()
    with trio.CancelScope() as scope:
        scope.cancel()
        await FileResponse(path).resolve(request)
    assert scope.cancelled_caught
    assert not is_open(path)
    body = await body_of(path)
    with trio.CancelScope() as scope:
        scope.cancel()
        async with aclosing(body):
            await anext(body)
    assert scope.cancelled_caught
    assert not is_open(path)


async def test_a_failure_after_the_file_was_opened_closes_it(path: Path) -> None:
    for nonsense in (None, object()):
        with pytest.raises(AttributeError):
            await FileResponse(path).resolve(nonsense)  # type: ignore[arg-type]
        assert not is_open(path)


@pytest.mark.parametrize(("size", "expected"), [(0, b""), (5, DATA[2:5]), (2000, DATA[2:11])])
async def test_a_file_that_changes_its_size_before_it_is_read(path: Path, size: int, expected: bytes) -> None:
    body = await body_of(path, "Range: bytes=2-10")
    os.truncate(path, size)
    async with aclosing(body):
        assert [piece async for piece in body] == [expected] * (size > 2)
        with pytest.raises(StopAsyncIteration):
            await anext(body)


async def test_a_file_that_is_shortened_while_it_is_read(path: Path) -> None:
    size = await piece_bytes(path)
    path.write_bytes(bytes(3 * size))
    body = await body_of(path)
    async with aclosing(body):
        assert len(await anext(body)) == size
        os.truncate(path, size + 10)
        assert [len(piece) async for piece in body] == [10]


async def test_a_file_that_is_replaced_while_it_is_read(path: Path) -> None:
    body = await body_of(path)
    other = path.with_name("other")
    other.write_bytes(b"other")
    other.replace(path)
    async with aclosing(body):
        assert [piece async for piece in body] == [DATA]


async def test_the_client_learns_that_a_file_was_shortened(path: Path) -> None:
    """By the end of the connection, before Content-Length is reached."""

    async def app(request: Request) -> Response:
        response = await FileResponse(path).resolve(request)
        os.truncate(path, 10)
        return response

    head, _, body = (await talk([get() * 2], app)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nContent-Length: 1024" in head
    assert body == DATA[:10]


async def test_a_server_that_is_cancelled_closes_the_file(sparse: Path) -> None:
    """While the client takes its time."""
    client, server = lockstep_stream_pair()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(HTTPRequestHandler(server, giving(FileResponse(sparse))).run)
            await client.send_all(get())
            assert (await client.receive_some()).startswith(b"HTTP/1.1 200 ")
            await client.receive_some(10)
            assert is_open(sparse)
            nursery.cancel_scope.cancel()
    assert not is_open(sparse)


async def test_a_client_that_goes_away_closes_the_file(sparse: Path) -> None:
    client, server = lockstep_stream_pair()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(HTTPRequestHandler(server, giving(FileResponse(sparse))).run)
            await client.send_all(get())
            await client.receive_some(10)
            assert is_open(sparse)
            await client.aclose()
    assert not is_open(sparse)


# ---------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.HTML", "text/html; charset=utf-8"),
        ("a.b.css", "text/css; charset=utf-8"),
        ("a.png", "image/png"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a", "application/octet-stream"),
        (".html", "application/octet-stream"),
        ("html", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
        ("a.tar", "application/x-tar"),
        ("a.tar.gz", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.gz", "application/gzip"),
        ("a.html.gz", "application/gzip"),
        ("a.txt.bz2", "application/x-bzip2"),
        ("a.xz", "application/x-xz"),
        ("a.Z", "application/x-compress"),
        ("a.html.br", "application/octet-stream"),
        ("data:text/html,a", "application/octet-stream"),
        ("data:image.png", "image/png"),
        ("http:?a.png", "image/png"),
        ("#a?b.png", "image/png"),
        ("\ud800.png", "image/png"),
    ],
)
def test_the_type_is_guessed_from_the_name(name: str, content_type: str) -> None:
    for path in (name, f"some.html/{name}", f"/{name}"):
        assert FileResponse(path).headers.get_all("content-type") == [content_type]


def test_a_content_encoding_is_the_applications_word() -> None:
    def type_of(name: str, encoding: str) -> str:
        return FileResponse(name, {"Content-Encoding": encoding}).headers["content-type"]

    assert type_of("a.html.gz", "gzip") == "text/html; charset=utf-8"
    assert type_of("a.html.br", "br") == "text/html; charset=utf-8"
    assert type_of("a.html", "gzip") == "text/html; charset=utf-8"
    assert type_of("a.html.gz", "br") == "application/gzip"
    assert type_of("a.gz", "gzip") == "application/octet-stream"


def test_a_type_that_is_given() -> None:
    assert FileResponse("a.html", content_type="text/x").headers.get_all("content-type") == ["text/x"]
    assert FileResponse("a.html", {"content-type": "text/y"}).headers.get_all("content-type") == ["text/y"]


# ---------------------------------------------------------------- filename


@pytest.mark.parametrize(
    ("filename", "plain", "extended"),
    [
        ("a.txt", "a.txt", "a.txt"),
        ("two words.txt", "two words.txt", "two%20words.txt"),
        ("caf\xe9.txt", "caf_.txt", "caf%C3%A9.txt"),
        ("\u20ac \U0001f600", "_ _", "%E2%82%AC%20%F0%9F%98%80"),
        ('a"b', "a_b", "a%22b"),
        ('"; filename="x', "_; filename=_x", "%22%3B%20filename%3D%22x"),
        ("a\\b\\", "a_b_", "a%5Cb%5C"),
        ("50%41.txt", "50_41.txt", "50%2541.txt"),
        ("it's;a,b", "it's;a,b", "it%27s%3Ba%2Cb"),
        ("!#$&+-.^_`|~", "!#$&+-.^_`|~", "!#$&+-.^_`|~"),
        ("a\r\nX: y", "a__X: y", "a__X%3A%20y"),
        ("a\0\x1f\x7f\x85b", "a____b", "a____b"),
        ("\ud800", "_", "%3F"),
        ("", "", ""),
    ],
)
def test_filename(filename: str, plain: str, extended: str) -> None:
    headers = FileResponse("a.html", filename=filename).headers
    assert headers["content-disposition"] == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}"
    assert headers["content-type"] == "text/html; charset=utf-8"
    if not re.search("[\0-\x1f\x7f-\x9f\ud800]", filename):
        assert unquote(extended, errors="strict") == filename


def test_a_disposition_of_the_application_wins() -> None:
    response = FileResponse("a", {"Content-Disposition": "inline"}, filename="b")
    assert response.headers.get_all("content-disposition") == ["inline"]


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize("name", ["Content-Length", "content-range", "Transfer-Encoding"])
def test_fields_that_are_ours(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be given"):
        FileResponse("a", {name: "1"})


def test_wrong_arguments() -> None:
    for wrong in (1, None, object()):
        with pytest.raises(TypeError):
            FileResponse(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        FileResponse("a", filename=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a header field"):
        FileResponse("a", content_type="text/plain\r\nX: y")


def test_repr() -> None:
    assert repr(FileResponse(Path("a"))) == "<FileResponse 'a'>"


# ---------------------------------------------------------------- curl


@pytest.fixture
async def url(path: Path, nursery: trio.Nursery) -> str:
    async def app(request: Request) -> Response:
        return FileResponse(path, filename=request.query or None)

    (listener,) = await nursery.start(serve, app, 0)
    return f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"


async def curl(*arguments: str | Path, directory: Path | None = None) -> bytes:
    assert CURL is not None
    command = [CURL, "-q", "--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "20", *arguments]
    done = await trio.run_process(command, capture_stdout=True, cwd=directory)
    return bytes(done.stdout)


@needs_curl
@pytest.mark.parametrize(
    ("value", "part"),
    [("0-9", slice(10)), ("1000-", slice(1000, None)), ("-5", slice(-5, None)), ("0-1,3-4", slice(None))],
)
async def test_curl_range(url: str, value: str, part: slice) -> None:
    assert await curl("-r", value, url) == DATA[part]


@needs_curl
@pytest.mark.parametrize("resumed_at", [0, 1, 500, 1023, 1024])
async def test_curl_resumes(url: str, tmp_path: Path, resumed_at: int) -> None:
    """Also what is complete: to that the answer is 416, whose body is not appended."""
    target = tmp_path / "target"
    target.write_bytes(DATA[:resumed_at])
    await curl("--no-fail", "-C", "-", "-o", target, url)
    assert target.read_bytes() == DATA


@needs_curl
@pytest.mark.parametrize(("seconds", "body"), [(-1, DATA), (0, b""), (1, b"")])
async def test_curl_asks_for_what_is_newer(url: str, seconds: int, body: bytes) -> None:
    assert await curl("-z", formatdate(MTIME + seconds, usegmt=True), url) == body


@needs_curl
@pytest.mark.parametrize(("seconds", "status"), [(-1, b"412"), (1, b"200")])
async def test_curl_asks_for_what_is_older(url: str, tmp_path: Path, seconds: int, status: bytes) -> None:
    date = formatdate(MTIME + seconds, usegmt=True)
    options = ("--no-fail", "-w", "%{http_code}", "-o", tmp_path / "target")
    assert await curl(*options, "-z", f"-{date}", url) == status


@needs_curl
async def test_curl_compares_tags(url: str, path: Path, tmp_path: Path) -> None:
    arguments = ("--etag-save", tmp_path / "tag", "--etag-compare", tmp_path / "tag", url)
    (tmp_path / "tag").touch()
    assert await curl(*arguments) == DATA
    assert await curl(*arguments) == b""
    path.write_bytes(b"changed")
    assert await curl(*arguments) == b"changed"


@needs_curl
async def test_curl_saves_under_the_name_that_is_given(url: str, tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    await curl("-O", "-J", f"{url}?saved.bin", directory=tmp_path / "downloads")
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "downloads").iterdir()] == [("saved.bin", DATA)]


@needs_curl
async def test_curl_many_at_once_over_one_connection(url: str, path: Path) -> None:
    data = os.urandom(3 * await piece_bytes(path) + 1)
    path.write_bytes(data)
    assert await curl(*[url] * 20) == data * 20
