"""A small site: a page with a form, the answer to it, and a count of visits kept in a session.

Stop it with Ctrl-C or SIGTERM: requests in progress are finished first.
"""

import argparse
import html
import logging
import secrets
import signal
from http.cookies import CookieError, SimpleCookie

import trio

from trio_chat import serve_tcp
from trio_chat.http import HTTPError, HTTPRequestHandler, Request, Response

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

    async def handle_request(self, request: Request) -> Response:
        try:
            response = await self.respond(request)
        except HTTPError as error:
            response = Response(error.status, f"{error.detail}\n")
        client = request.client[0] if isinstance(request.client, tuple) else "-"
        self.log.info("%s %s %s %d", client, request.method, request.target, response.status)
        return response

    async def respond(self, request: Request) -> Response:
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
        session = cookies_of(request).get("session")
        headers = {}
        if session not in self.sessions:
            session = secrets.token_urlsafe(16)
            headers["Set-Cookie"] = f"session={session}; Path=/; HttpOnly; SameSite=Lax"
        visits = self.sessions[session] = self.sessions.get(session, 0) + 1
        body = PAGE.format(title=html.escape(title), content=content, visits=visits)
        return Response(200, body, headers, content_type="text/html; charset=utf-8")


def cookies_of(request: Request) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(request.headers.get("cookie", "")).items()}
    except CookieError:
        return {}


async def main(host: str, port: int) -> None:
    sessions: Sessions = {}
    log = logging.getLogger("site")
    stop = trio.Event()
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            (listener, *_) = await nursery.start(
                lambda task_status: serve_tcp(
                    lambda stream: SiteHandler(stream, sessions, log),
                    port,
                    host=host,
                    stop=stop,
                    task_status=task_status,
                )
            )
            print(f"point your browser at http://{host}:{listener.socket.getsockname()[1]}/", flush=True)
            async for _ in signals:
                break
            stop.set()
    print("stopped", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    trio.run(main, options.host, options.port)
