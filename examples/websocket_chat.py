"""A chat room in the browser: an ordinary page and, on the same port, WebSockets, which trio-websocket speaks.

It needs `pip install trio-websocket`. Open the page in two windows, and say something.
"""

import argparse
import sys
from functools import partial

import trio

from trio_chat import SocketListener, open_tcp_listeners, serve_listeners
from trio_chat.http import HTTPError, HTTPRequestHandler, Request, Response

try:
    from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream
except ModuleNotFoundError as error:
    sys.exit(f"{error}: pip install trio-websocket")

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Chat</title></head>
<body><h1>Chat</h1>
<form id="say"><input id="text" autocomplete="off" autofocus> <button>Say</button></form>
<ul id="heard"></ul>
<script>
const scheme = location.protocol === "https:" ? "wss" : "ws";
const socket = new WebSocket(`${scheme}://${location.host}/chat`);
const hear = (text) => {
  const line = document.createElement("li");
  line.textContent = text;
  document.getElementById("heard").append(line);
};
socket.onopen = () => hear("* you are here");
socket.onmessage = (message) => hear(message.data);
socket.onclose = () => hear("* the connection is closed");
document.getElementById("say").onsubmit = (event) => {
  event.preventDefault();
  const text = document.getElementById("text");
  socket.send(text.value);
  text.value = "";
};
</script></body></html>
"""


class Room:
    """The application, and who is in it."""

    def __init__(self) -> None:
        self.members: set[WebSocketConnection] = set()

    async def respond(self, request: Request) -> Response | None:
        match request.path:
            case "/":
                return Response(200, PAGE, content_type="text/html; charset=utf-8")
            case "/chat" if request.headers.get("upgrade", "").lower() == "websocket":
                await self.join(request)
                return None  # the connection is no longer ours to answer on
            case "/chat":
                raise HTTPError(426, "this is for WebSockets", {"Upgrade": "websocket", "Connection": "Upgrade"})
            case _:
                raise HTTPError(404)

    async def join(self, request: Request) -> None:
        stream = await request.take_over(with_head=True)  # trio-websocket reads the request for itself
        async with trio.open_nursery() as nursery:
            handshake = await wrap_server_stream(nursery, stream)
            member = await handshake.accept()
            self.members.add(member)
            try:
                while True:
                    await self.say(await member.get_message())
            except ConnectionClosed:
                pass
            finally:
                self.members.discard(member)
            nursery.cancel_scope.cancel()

    async def say(self, text: str | bytes) -> None:
        async with trio.open_nursery() as nursery:
            for member in self.members:
                nursery.start_soon(self.tell, member, text)

    async def tell(self, member: WebSocketConnection, text: str | bytes) -> None:
        with trio.move_on_after(1):  # nobody waits longer for one who does not listen
            try:
                await member.send_message(text)
            except ConnectionClosed:
                self.members.discard(member)


async def main(host: str, port: int) -> None:
    try:
        listeners = await open_tcp_listeners(port, host=host)
    except (OSError, ValueError) as error:
        sys.exit(f"cannot listen on {host}, port {port}: {error}")
    print(f"point your browser at {url_of(listeners[0])}", flush=True)
    await serve_listeners(partial(HTTPRequestHandler, app=Room().respond), listeners)


def url_of(listener: SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    options = parser.parse_args()
    try:
        trio.run(main, options.host, options.port)
    except* KeyboardInterrupt:
        print("stopped")
