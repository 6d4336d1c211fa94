"""Answers every line with the same line, until one says "quit". Try it with: nc localhost 12345"""

import argparse
import sys

import trio

from trio_chat import AsyncChat, open_tcp_listeners, serve_listeners


class Echo(AsyncChat):
    terminator = (b"\r\n", b"\n")  # whichever the client types
    max_frame_bytes = 1024
    on_oversize = "skip"

    def found_terminator(self) -> None:
        line = self._get_data()
        self.push(line + b"\n")
        if line == b"quit":
            self.close_when_done()

    def handle_oversize(self) -> None:
        self.incoming.clear()
        self.push(b"that line was too long\n")


async def main(host: str, port: int) -> None:
    try:
        listeners = await open_tcp_listeners(port, host=host)
    except (OSError, ValueError) as error:
        sys.exit(f"cannot listen on {host}, port {port}: {error}")
    print(f"listening on {host}, port {listeners[0].socket.getsockname()[1]}", flush=True)
    await serve_listeners(Echo, listeners)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=12345)
    options = parser.parse_args()
    try:
        trio.run(main, options.host, options.port)
    except* KeyboardInterrupt:
        print("stopped")
