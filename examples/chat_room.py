"""A chat room for nc and telnet: what one says, the others read. Try it with several: nc localhost 5000"""

import argparse
from functools import partial

import trio

from trio_chat import AsyncChat, serve_tcp


class Member(AsyncChat):
    """One person in the room. The first line is their name."""

    terminator = (b"\r\n", b"\n")
    max_frame_bytes = 1000
    high_water_bytes = 256 * 1024  # who lags further behind than this misses what is said meanwhile

    def __init__(self, stream: trio.abc.Stream, room: set["Member"]) -> None:
        super().__init__(stream)
        self.room = room
        self.name = ""

    def handle_connect(self) -> None:
        self.push(b"Your name? ")

    def found_terminator(self) -> None:
        line = self._get_data().decode("utf-8", "replace").strip()
        if self.name:
            self.say(f"{self.name}: {line}")
        elif line:
            self.name = line
            self.room.add(self)
            self.say(f"* {self.name} is here")
            self.push(f"* in the room: {', '.join(sorted(member.name for member in self.room))}\n".encode())
        else:
            self.push(b"Your name? ")

    def handle_close(self) -> None:
        if self in self.room:
            self.room.remove(self)
            self.say(f"* {self.name} has left")

    def say(self, text: str) -> None:
        for member in self.room - {self}:
            member.hear(text)

    def hear(self, text: str) -> None:
        if not self.closing and self.queued_bytes < self.high_water_bytes:
            self.push(f"{text}\n".encode())


async def main(host: str, port: int) -> None:
    room: set[Member] = set()
    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(partial(serve_tcp, partial(Member, room=room), port, host=host))
        print(f"listening on {host}, port {listener.socket.getsockname()[1]}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args()
    try:
        trio.run(main, options.host, options.port)
    except* KeyboardInterrupt:
        print("stopped")
