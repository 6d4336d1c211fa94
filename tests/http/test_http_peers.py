"""Peers that stand between us and the world, or press hard: nginx as a reverse proxy, aiohttp's client, wrk."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiohttp
import httpx
import pytest
import trio

from trio_chat.http import EventSourceResponse, JSONResponse, Request, Response, serve

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
WRK = shutil.which("wrk")

CONFIG = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream ours {{ server 127.0.0.1:{port}; keepalive 8; }}
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    server {{
        listen unix:{folder}/nginx.sock;
        client_max_body_size 0; client_body_buffer_size 1m;
        location / {{
            proxy_pass http://ours; proxy_http_version 1.1; proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
            proxy_request_buffering {buffering};
        }}
        location /old/ {{ proxy_pass http://ours; proxy_http_version 1.0; proxy_set_header Connection ""; }}
    }}
}}
"""


async def site(request: Request) -> Response | None:
    client = request.client[1] if isinstance(request.client, tuple) else None
    match request.path:
        case "/stream":
            return Response(200, tens())
        case "/events":
            return EventSourceResponse(text async for text in words())
        case "/shout":
            stream = await request.upgrade("shouting")
            async for data in stream:
                await stream.send_all(data.upper())
            return None
        case "/chatter":
            return Response(200, request.stream())
    received = Counter[str]()
    async for piece in request.stream():
        received["bytes"] += len(piece)
        received["sum"] += sum(piece)
    coding = request.headers.get("transfer-encoding")
    return JSONResponse({"client": client, "method": request.method, "coding": coding, **received})


async def tens() -> AsyncIterator[bytes]:
    for _ in range(10):
        yield b"0123456789" * 1000
        await trio.lowlevel.checkpoint()


async def words() -> AsyncIterator[str]:
    for word in ("one", "two", "three"):
        yield word


@pytest.fixture
async def port(nursery: trio.Nursery) -> int:
    (listener,) = await nursery.start(serve, site, 0)
    number: int = listener.socket.getsockname()[1]
    return number


# ---------------------------------------------------------------- nginx


async def start_nginx(folder: Path, port: int, nursery: trio.Nursery, *, buffering: str) -> httpx.AsyncClient:
    """A client that talks to us through nginx."""
    assert NGINX is not None
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, buffering=buffering))
    run = partial(trio.run_process, [NGINX, "-p", str(folder), "-c", str(config)], stderr=subprocess.DEVNULL)
    process = await nursery.start(run)
    assert process.returncode is None
    socket_path = folder / "nginx.sock"
    for _ in range(1000):
        try:
            await (await trio.open_unix_socket(str(socket_path))).aclose()
            break
        except OSError:
            await trio.sleep(0.01)  # nginx has no other way to say that it listens
    transport = httpx.AsyncHTTPTransport(uds=str(socket_path))
    return httpx.AsyncClient(transport=transport, base_url="http://a.example", timeout=20)


@needs_nginx
@pytest.mark.parametrize("buffering", ["on", "off"])
async def test_through_nginx(buffering: str, port: int, tmp_path: Path) -> None:
    """Also: nginx keeps its connections to us, whatever it has sent on them."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"\x01" * 3000

    async with trio.open_nursery() as nursery:
        async with await start_nginx(tmp_path, port, nursery, buffering=buffering) as client:
            clients = set()
            for _ in range(3):
                got = (await client.get("/")).json()
                assert got["method"] == "GET"
                clients.add(got["client"])
                counted = (await client.post("/", content=b"\x02" * 200_000)).json()
                assert (counted["bytes"], counted["sum"], counted["coding"]) == (200_000, 400_000, None)
                clients.add(counted["client"])
                chunked = (await client.post("/", content=chunks())).json()
                assert (chunked["bytes"], chunked["sum"]) == (150_000, 150_000)
                assert chunked["coding"] == ("chunked" if buffering == "off" else None)
                clients.add(chunked["client"])
                head = await client.head("/")
                assert (head.status_code, head.content) == (200, b"")
                assert (await client.get("/stream")).content == b"0123456789" * 10_000
                events = await client.get("/events")
                assert events.text == "data: one\n\ndata: two\n\ndata: three\n\n"
            assert len(clients) == 1  # one connection for all of them
            assert (await client.get("/old/stream")).json()["method"] == "GET"
        nursery.cancel_scope.cancel()


@needs_nginx
async def test_many_at_once_through_nginx(port: int, tmp_path: Path) -> None:
    statuses: Counter[int] = Counter()

    async def fetch(number: int) -> None:
        response = await client.post("/", content=b"\x01" * number)
        assert response.json()["bytes"] == number
        statuses[response.status_code] += 1

    async with trio.open_nursery() as nursery:
        async with (
            await start_nginx(tmp_path, port, nursery, buffering="off") as client,
            trio.open_nursery() as fetching,
        ):
            for number in range(1, 201):
                fetching.start_soon(fetch, number * 100)
        nursery.cancel_scope.cancel()
    assert statuses == {200: 200}


@needs_nginx
async def test_upgrade_through_nginx(port: int, tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        await (await start_nginx(tmp_path, port, nursery, buffering="off")).aclose()
        stream = await trio.open_unix_socket(str(tmp_path / "nginx.sock"))
        async with stream:
            await stream.send_all(
                b"GET /shout HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shouting\r\n\r\nhello"
            )
            received = b""
            while not received.endswith(b"HELLO"):
                received += await stream.receive_some()
        assert received.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------- aiohttp


async def test_aiohttp(port: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"\x01" * 1000

    async def converse() -> list[object]:
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as session:
            found: list[object] = []
            async with session.post("/", data=b"\x01" * 100_000) as response:
                found.append((await response.json())["bytes"])
            async with session.post("/", data=chunks()) as response:
                answer = await response.json()
                found.append((answer["bytes"], answer["coding"]))
            async with session.post("/", data=b"\x01" * 10, expect100=True) as response:
                found.append((await response.json())["bytes"])
            async with session.get("/stream") as response:
                found.append(len(await response.read()))
            async with session.post("/chatter", data=chunks()) as response:
                found.append(await response.read())
            async with session.get("/events") as response:
                found.append([line async for line in response.content])
            return found

    events = [b"data: one\n", b"\n", b"data: two\n", b"\n", b"data: three\n", b"\n"]
    found = await trio.to_thread.run_sync(lambda: asyncio.run(converse()))
    assert found == [100_000, (20_000, "chunked"), 10, 100_000, b"\x01" * 20_000, events]


# ---------------------------------------------------------------- TLS


async def test_https(nursery: trio.Nursery, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    async def app(request: Request) -> Response:
        return Response(200, f"{request.scheme} {len(await request.read())}")

    (listener,) = await nursery.start(partial(serve, app, 0, ssl_context=server_context))
    port = listener.transport_listener.socket.getsockname()[1]
    async with httpx.AsyncClient(verify=client_context, trust_env=False, timeout=20) as client:
        for size in (0, 10, 300_000):
            response = await client.post(f"https://127.0.0.1:{port}/", content=bytes(size))
            assert response.text == f"https {size}"


# ---------------------------------------------------------------- wrk


@pytest.mark.skipif(WRK is None, reason="wrk is not installed")
async def test_wrk_sees_no_error(port: int) -> None:
    assert WRK is not None
    command = [WRK, "-t1", "-c16", "-d1", f"http://127.0.0.1:{port}/stream"]
    report = (await trio.run_process(command, capture_stdout=True)).stdout.decode()
    assert re.search(r"\n +[1-9]\d* requests in", report)
    assert "Socket errors" not in report
    assert "Non-2xx" not in report
