"""A chat room for nc and telnet: what one says, the others read. Try it with several: nc localhost 5000"""

import argparse
import sys

import trio

from trio_chat import AsyncChat, open_tcp_listeners, serve_listeners


class Member(AsyncChat):
    """One person in the room. The first line is their name."""

    terminator = (b"\r\n", b"\n")
    max_frame_bytes = 1000
    on_oversize = "skip"
    high_water_bytes = 256 * 1024  # who lags further behind than this misses what is said meanwhile

    def __init__(self, stream: trio.abc.Stream, room: dict[str, "Member"]) -> None:
        super().__init__(stream)
        self.room = room
        self.name = ""

    def handle_connect(self) -> None:
        self.hear("Your name?")

    def found_terminator(self) -> None:
        line = "".join(filter(str.isprintable, self._get_data().decode("utf-8", "replace"))).strip()
        if self.name and line:
            self.say(f"{self.name}: {line}")
        elif not self.name:
            self.enter(line)

    def enter(self, name: str) -> None:
        if not name.isalnum() or name in self.room:
            self.hear("Letters and digits that nobody else has, please. Your name?")
            return
        self.name = name
        self.room[name] = self
        self.say(f"* {name} is here")
        self.hear(f"* in the room: {', '.join(sorted(self.room))}")

    def handle_oversize(self) -> None:
        self.incoming.clear()
        self.hear("* that was too long")

    def handle_close(self) -> None:
        if self.name:
            del self.room[self.name]
            self.say(f"* {self.name} has left")

    def say(self, text: str) -> None:
        for member in self.room.values():
            if member is not self:
                member.hear(text)

    def hear(self, text: str) -> None:
        if not self.closing and self.queued_bytes < self.high_water_bytes:
            self.push(f"{text}\n".encode())


async def main(host: str, port: int) -> None:
    try:
        listeners = await open_tcp_listeners(port, host=host)
    except (OSError, ValueError) as error:
        sys.exit(f"cannot listen on {host}, port {port}: {error}")
    print(f"listening on {host}, port {listeners[0].socket.getsockname()[1]}", flush=True)
    room: dict[str, Member] = {}
    await serve_listeners(lambda stream: Member(stream, room), listeners)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args()
    try:
        trio.run(main, options.host, options.port)
    except* KeyboardInterrupt:
        print("stopped")
