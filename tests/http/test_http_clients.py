"""Clients that others wrote, over TCP."""

import http.client
import re
import shutil

import httpx
import pytest
import trio

from trio_chat.http import Request, Response, serve

CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")


async def site(request: Request) -> Response:
    """Says what arrived, and from where."""
    body = await request.read()
    port = request.client[1] if isinstance(request.client, tuple) else None
    text = f"{request.method} {request.target} {len(body)} {port} {sum(body)}"
    return Response(200, text, {"X-Expect": request.headers.get("expect", "none")})


@pytest.fixture
async def port(nursery: trio.Nursery) -> int:
    (listener,) = await nursery.start(serve, site, 0)
    number: int = listener.socket.getsockname()[1]
    return number


async def curl(*arguments: str, data: bytes = b"") -> str:
    assert CURL is not None
    # -q: no .curlrc; the other options: as in a script, and nothing but this server
    command = [CURL, "-q", "--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "20", *arguments]
    done = await trio.run_process(command, stdin=data, capture_stdout=True)
    return done.stdout.decode()


@needs_curl
async def test_curl_get(port: int) -> None:
    text = await curl(f"http://127.0.0.1:{port}/a%20b?c")
    assert re.fullmatch(r"GET /a%20b\?c 0 \d+ 0", text)


@needs_curl
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
async def test_curl_head(port: int, version: str) -> None:
    head = await curl("-I", version, f"http://127.0.0.1:{port}/")
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert head.endswith("\r\n\r\n")
    assert re.search(r"\r\nContent-Length: [1-9]\d*\r\n", head)


@needs_curl
@pytest.mark.parametrize(("field", "heard"), [("Expect:", "none"), ("Expect: 100-continue", "100-continue")])
async def test_curl_post(port: int, field: str, heard: str) -> None:
    data = bytes(range(250)) * 400  # 100 kB
    answer = await curl("-i", "-H", field, "--data-binary", "@-", f"http://127.0.0.1:{port}/post", data=data)
    *heads, body = answer.split("\r\n\r\n")
    assert [head.split("\r\n")[0] for head in heads] == ["HTTP/1.1 100 Continue"] * (heard != "none") + [
        "HTTP/1.1 200 OK"
    ]
    assert f"\r\nX-Expect: {heard}" in heads[-1]
    assert re.fullmatch(rf"POST /post 100000 \d+ {sum(data)}", body)


@needs_curl
async def test_curl_reuses_its_connection(port: int) -> None:
    report = "\n%{num_connects}\n"
    text = await curl("-w", report, f"http://127.0.0.1:{port}/1", f"http://127.0.0.1:{port}/2")
    first, connects, second, connects_again = text.splitlines()
    assert (first.split()[1], connects, second.split()[1], connects_again) == ("/1", "1", "/2", "0")
    assert first.split()[3] == second.split()[3]


@needs_curl
@pytest.mark.parametrize("field", ["Expect:", "Expect: 100-continue"])
async def test_curl_learns_that_a_body_is_too_large(port: int, field: str) -> None:
    options = ["-i", "--no-fail", "-H", field, "--data-binary", "@-"]
    answer = await curl(*options, f"http://127.0.0.1:{port}/", data=bytes(3 * 2**20))
    assert answer.startswith("HTTP/1.1 413 ")


async def test_http_client_keeps_its_connection(port: int) -> None:
    def converse() -> list[tuple[int, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            found = []
            for method, body in (("GET", None), ("POST", b"x" * 100_000), ("HEAD", None), ("PUT", b""), ("GET", None)):
                connection.request(method, f"/{method}", body)
                response = connection.getresponse()
                found.append((response.status, response.read().decode()))
                assert not response.will_close
            return found
        finally:
            connection.close()

    found = await trio.to_thread.run_sync(converse)
    ours = found[0][1].split()[3]
    assert found == [
        (200, f"GET /GET 0 {ours} 0"),
        (200, f"POST /POST 100000 {ours} {100_000 * ord('x')}"),
        (200, ""),
        (200, f"PUT /PUT 0 {ours} 0"),
        (200, f"GET /GET 0 {ours} 0"),
    ]


async def test_http_client_is_told_that_the_connection_closes(port: int) -> None:
    def converse() -> tuple[bool, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            response = connection.getresponse()
            return response.will_close, response.read()[:5]
        finally:
            connection.close()

    assert await trio.to_thread.run_sync(converse) == (True, b"GET /")


async def test_httpx(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
        responses = [
            await client.get("/1"),
            await client.post("/2", content=b"\x01" * 100_000),
            await client.head("/3"),
        ]
        texts = [response.text.split() for response in responses]
        ours = texts[0][3]
        assert texts == [["GET", "/1", "0", ours, "0"], ["POST", "/2", "100000", ours, "100000"], []]
        assert [response.status_code for response in responses] == [200, 200, 200]
        assert responses[2].headers["content-length"] != "0"


async def test_httpx_many_at_once(port: int) -> None:
    texts: list[str] = []

    async def fetch(number: int) -> None:
        response = await client.post(f"/{number}", json={"number": number})
        texts.append(response.text)

    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20)
    async with client, trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(fetch, number)
    assert sorted(int(text.split()[1][1:]) for text in texts) == list(range(50))
