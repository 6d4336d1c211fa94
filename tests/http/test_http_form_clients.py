"""Forms as browsers, httpx and curl send them."""

import json
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
import trio
from form_bodies import fields_of, outcome
from test_http_clients import curl, needs_curl

from trio_chat.http import JSONResponse, Request, Response, serve

_CHROME = """\
------WebKitFormBoundary7MA4YWxkTrZu0gW
Content-Disposition: form-data; name="text"

ä & b
------WebKitFormBoundary7MA4YWxkTrZu0gW
Content-Disposition: form-data; name="none"; filename=""
Content-Type: application/octet-stream


------WebKitFormBoundary7MA4YWxkTrZu0gW
Content-Disposition: form-data; name="some"; filename="%22€%22.txt"
Content-Type: text/plain

one
two
------WebKitFormBoundary7MA4YWxkTrZu0gW--
"""


async def test_what_chrome_sends() -> None:
    body = _CHROME.replace("\n", "\r\n").encode()
    content_type = "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW"
    assert await outcome(content_type, body) == (
        [("text", "ä & b")],
        [("some", '"€".txt', "text/plain", b"one\r\ntwo")],
    )


_NAMES = ["plain.txt", "ä€😀.txt", 'a"b.txt', "a;b=c.txt", "a b%20.txt"]


@pytest.mark.parametrize("filename", [*_NAMES, "line\r\nend"])
async def test_what_httpx_sends(filename: str) -> None:
    request = httpx.Request(
        "POST",
        "http://a/",
        data={"a": ["1", ""], filename: "ä\r\n"},
        files=[("f", (filename, b"\r\n--one", "text/x")), ("f", ("2", b""))],
    )
    assert await outcome(request.headers["content-type"], request.read()) == (
        [("a", "1"), ("a", ""), (filename, "ä\r\n")],
        [("f", filename, "text/x", b"\r\n--one"), ("f", "2", "application/octet-stream", b"")],
    )


async def test_what_httpx_sends_urlencoded() -> None:
    request = httpx.Request("POST", "http://a/", data={"a": ["1", ""], "b=&+%ä": "€ \r\n"})
    fields = await fields_of(request.headers["content-type"], request.read())
    assert fields == [("a", "1"), ("a", ""), ("b=&+%ä", "€ \r\n")]


async def describe(request: Request) -> Response:
    """Says which form has arrived."""
    form = await request.form()
    files = []
    for _, file in form.files.pairs():
        content = await file.read()
        assert file.size == len(content)
        files.append([file.name, file.filename, file.content_type, len(content), sha256(content).hexdigest()])
    return JSONResponse([form.pairs(), files])


@pytest.fixture
async def url(nursery: trio.Nursery) -> str:
    (listener,) = await nursery.start(serve, describe, 0)
    return f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"


def described(name: str, filename: str, content_type: str, content: bytes) -> list[object]:
    return [name, filename, content_type, len(content), sha256(content).hexdigest()]


@needs_curl
@pytest.mark.parametrize("fields", [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]])
async def test_curl_sends_a_form(url: str, fields: list[str], tmp_path: Path) -> None:
    large, small = bytes(range(256)) * 4096, b"one\r\ntwo\n"
    (tmp_path / "large.bin").write_bytes(large)
    (tmp_path / "small.txt").write_bytes(small)
    parts = [
        "a=1",
        "a=ä €",
        f"b=<{tmp_path}/small.txt",
        f"f=@{tmp_path}/large.bin",
        f"f=@{tmp_path}/small.txt",
        f'g=@{tmp_path}/small.txt;type=text/x-y;filename="ä \\"b\\".txt"',
        "empty=@/dev/null",
    ]
    options = [option for part in parts for option in ("-F", part)]
    fields_, files = json.loads(await curl(*fields, *options, url))
    assert fields_ == [["a", "1"], ["a", "ä €"], ["b", small.decode()]]
    assert files == [
        described("f", "large.bin", "application/octet-stream", large),
        described("f", "small.txt", "text/plain", small),
        described("g", 'ä "b".txt', "text/x-y", small),
        described("empty", "null", "application/octet-stream", b""),
    ]


@needs_curl
async def test_curl_sends_an_urlencoded_form(url: str) -> None:
    options = ["-d", "a=1", "-d", "b=%26", "--data-urlencode", "c=ä &+", "-d", "a="]
    assert json.loads(await curl(*options, url)) == [[["a", "1"], ["b", "&"], ["c", "ä &+"], ["a", ""]], []]


async def test_httpx_sends_a_form(url: str) -> None:
    content = bytes(range(256)) * 4096
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        response = await client.post(url, data={"a": "ä"}, files={"f": ("€", content), "g": ("x", b"")})
    assert response.json() == [
        [["a", "ä"]],
        [
            described("f", "€", "application/octet-stream", content),
            described("g", "x", "application/octet-stream", b""),
        ],
    ]
