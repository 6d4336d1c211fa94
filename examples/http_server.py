"""A small site: a page with a form, the answer to it, and a count of visits kept in a session.

Stop it with Ctrl-C or SIGTERM: requests in progress have ten seconds to finish. A second time stops it at once.
"""

import argparse
import html
import logging
import secrets
import signal
import sys

import trio

from trio_chat import SocketListener, open_tcp_listeners, serve_listeners
from trio_chat.http import AccessEntry, HTTPRequestHandler, Request, Response

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1>{content}<p id="visits">Visits: {visits}</p></body></html>
"""
FORM = """<form method="post" action="/hello">
<label>Your name <input name="name" autofocus></label> <button>Send</button></form>"""

Sessions = dict[str, int]  # visits by session; a real site would forget the old ones


class SiteHandler(HTTPRequestHandler):
    """As in asynchat's documentation: a handler that is given the connection, the sessions and a log."""

    def __init__(self, stream: trio.abc.Stream, sessions: Sessions, log: logging.Logger) -> None:
        super().__init__(stream)
        self.sessions = sessions
        self.log = log

    def log_request(self, entry: AccessEntry) -> None:
        self.log.info("%s", entry.common_log_format())

    async def handle_request(self, request: Request) -> Response:
        match request.method, request.path:
            case "GET" | "HEAD", "/":
                return self.page(request, "Welcome", FORM)
            case "POST", "/hello":
                name = (await request.form()).get("name", "").strip() or "stranger"
                return self.page(request, f"Hello, {name}!", '<p><a href="/">Again</a></p>')
            case _, "/" | "/hello":
                return Response(405, "method not allowed\n", {"Allow": "GET, HEAD" if request.path == "/" else "POST"})
            case _:
                return Response(404, "not found\n")

    def page(self, request: Request, title: str, content: str) -> Response:
        session = cookie(request, "session")
        headers = {}
        if session not in self.sessions:
            session = secrets.token_urlsafe(16)
            headers["Set-Cookie"] = f"session={session}; Path=/; HttpOnly; SameSite=Lax"
        visits = self.sessions[session] = self.sessions.get(session, 0) + 1
        body = PAGE.format(title=html.escape(title), content=content, visits=visits)
        return Response(200, body, headers, content_type="text/html; charset=utf-8")


def cookie(request: Request, name: str) -> str:
    for pair in request.headers.get("cookie", "").split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value
    return ""


async def main(host: str, port: int) -> None:
    sessions: Sessions = {}
    log = logging.getLogger("site")
    try:
        listeners = await open_tcp_listeners(port, host=host)
    except (OSError, ValueError) as error:
        sys.exit(f"cannot listen on {host}, port {port}: {error}")
    print(f"point your browser at {url_of(listeners[0])}", flush=True)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_on_signals, stop, nursery.cancel_scope)
        await serve_listeners(lambda stream: SiteHandler(stream, sessions, log), listeners, stop=stop)
        nursery.cancel_scope.cancel()
    print("stopped", flush=True)


async def stop_on_signals(stop: trio.Event, everything: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if stop.is_set():
                everything.cancel()
            else:
                print("stopping; once more to stop at once", flush=True)
                stop.set()


def url_of(listener: SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    trio.run(main, options.host, options.port)
