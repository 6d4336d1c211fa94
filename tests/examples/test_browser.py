"""A real browser, driven through ChromeDriver's WebDriver protocol, visits the example site."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from processes import running
from trio_websocket import open_websocket_url

from trio_chat.http import EventSourceResponse, HTTPError, Request, Response, ServerSentEvent, serve

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the WebDriver standard's key of an element reference

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="chromium and chromedriver are not both installed"),
]


class Browser:
    def __init__(self, driver: httpx.Client, session: str) -> None:
        self._driver = driver
        self._session = session

    def _post(self, command: str, **arguments: object) -> Any:
        response = self._driver.post(f"/session/{self._session}/{command}", json=arguments)
        assert response.is_success, response.text
        return response.json()["value"]

    def open(self, url: str) -> None:
        self._post("url", url=url)

    def _find(self, selector: str) -> str:
        element: str = self._post("element", using="css selector", value=selector)[ELEMENT]
        return element

    def type(self, selector: str, text: str) -> None:
        self._post(f"element/{self._find(selector)}/value", text=text)

    def click(self, selector: str) -> None:
        self._post(f"element/{self._find(selector)}/click")

    def text(self, selector: str) -> str:
        response = self._driver.get(f"/session/{self._session}/element/{self._find(selector)}/text")
        text: str = response.json()["value"]
        return text


@contextmanager
def browser(tmp_path: Path) -> Iterator[Browser]:
    assert CHROMEDRIVER
    switches = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-dev-shm-usage"]
    switches += ["disable-background-networking", "disable-component-update", "disable-sync"]
    arguments = [f"--{switch}" for switch in [*switches, f"user-data-dir={tmp_path / 'profile'}"]]
    options = {"binary": CHROMIUM, "args": arguments}
    command = [CHROMEDRIVER, "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            port = next(
                match[1] for line in process.stdout if (match := re.search(r"successfully on port (\d+)", line))
            )
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as driver:
                wanted = {
                    "goog:chromeOptions": options,
                    "timeouts": {"implicit": 20_000},
                }  # how long to look for elements
                capabilities = {"capabilities": {"alwaysMatch": wanted}}
                response = driver.post("/session", json=capabilities)
                assert response.is_success, response.text
                session = response.json()["value"]["sessionId"]
                try:
                    yield Browser(driver, session)
                finally:
                    driver.delete(f"/session/{session}")
        finally:
            process.terminate()


def test_a_browser_fills_in_the_form_and_reads_the_answer(tmp_path: Path) -> None:
    with running("http_server.py", tmp_path) as server, browser(tmp_path) as page:
        page.open(server.url)
        assert page.text("form ~ #visits") == "Visits: 1"
        page.type("input[name=name]", "Zoë & friends")
        page.click("button")
        assert page.text("p:has(a) ~ #visits") == "Visits: 2"
        assert page.text("h1") == "Hello, Zoë & friends!"
        page.click("a")
        assert page.text("form ~ #visits") == "Visits: 3"


PAGE = """<!doctype html><title>Test</title>
<form method="post" action="/files" enctype="multipart/form-data">
<input name="text"><input type="file" name="file" multiple><button>Send</button></form>
<ul id="heard"></ul>
<script>
const source = new EventSource("/events");
const hear = (text) => {
  const line = document.createElement("li");
  line.textContent = text;
  document.getElementById("heard").append(line);
};
source.onmessage = (message) => hear(`${message.lastEventId}: ${JSON.stringify(message.data)}`);
source.addEventListener("end", () => { source.close(); hear("closed"); });
</script>"""


async def site(request: Request) -> Response:
    match request.path:
        case "/":
            return Response(200, PAGE, content_type="text/html; charset=utf-8")
        case "/events":
            return EventSourceResponse(events_after(request.headers.get("last-event-id", "")))
        case "/files":
            form = await request.form()
            files = [[file.filename, len(await file.read())] for file in form.files.get_all("file")]
            return Response(200, f"<p>{form['text']} {json.dumps(files)}</p>", content_type="text/html")
    raise HTTPError(404)


async def events_after(last: str) -> AsyncIterator[ServerSentEvent]:
    """One, and at the second visit another, and the end: the browser comes again as the stream ends."""
    if not last:
        yield ServerSentEvent("one\nof two lines", id="1", retry=10)
    else:
        yield ServerSentEvent(f"after {last}", id="2")
        yield ServerSentEvent("", event="end")


async def test_a_browser_hears_events_and_uploads_files(nursery: trio.Nursery, tmp_path: Path) -> None:
    (listener,) = await nursery.start(serve, site, 0)
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
    small, large = tmp_path / "small.txt", tmp_path / "größer.bin"
    small.write_bytes(b"x")
    large.write_bytes(bytes(300_000))

    def visit() -> list[str]:
        with browser(tmp_path) as page:
            page.open(url)
            heard = [page.text(f"#heard li:nth-child({number})") for number in (1, 2, 3)]
            page.type("input[name=text]", "Zoë")
            page.type("input[type=file]", f"{small}\n{large}")
            page.click("button")
            return [*heard, page.text("p")]

    heard = await trio.to_thread.run_sync(visit)
    assert heard[:3] == ['1: "one\\nof two lines"', '2: "after 1"', "closed"]
    assert heard[3] == 'Zoë [["small.txt", 1], ["gr\\u00f6\\u00dfer.bin", 300000]]'


def test_a_browser_and_a_program_talk_by_websocket(tmp_path: Path) -> None:
    with running("websocket_chat.py", tmp_path) as server, browser(tmp_path) as page:
        page.open(server.url)
        assert page.text("#heard li") == "* you are here"

        async def converse() -> str | bytes:
            async with open_websocket_url(f"{server.url.replace('http', 'ws')}/chat") as socket:
                await socket.send_message("hello, browser")
                assert await socket.get_message() == "hello, browser"
                page.type("#text", "hello, Zoë")
                page.click("#say button")
                return await socket.get_message()

        assert trio.run(converse) == "hello, Zoë"
        assert page.text("#heard li:nth-child(2)") == "hello, browser"
        assert page.text("#heard li:nth-child(3)") == "hello, Zoë"
