"""A service with work of its own, and an HTTP status page in the same nursery.

Try it with: curl localhost:8080/status
"""

import argparse
import json
import sys

import trio

from trio_chat.http import Request, Response, serve


class Counter:
    """The service: it counts, once in a while."""

    def __init__(self) -> None:
        self.count = 0

    async def work(self) -> None:
        while True:
            self.count += 1
            await trio.sleep(0.1)

    async def status(self, request: Request) -> Response:
        if request.path != "/status":
            return Response(404, "not found\n")
        return Response(200, json.dumps({"count": self.count}), content_type="application/json")


async def main(port: int) -> str | None:
    counter = Counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(counter.work)
        try:
            (listener, *_) = await nursery.start(serve, counter.status, port)
        except (OSError, ValueError) as error:
            nursery.cancel_scope.cancel()
            return f"cannot listen on 127.0.0.1, port {port}: {error}"
        print(f"status at http://127.0.0.1:{listener.socket.getsockname()[1]}/status", flush=True)
    return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    try:
        sys.exit(trio.run(main, parser.parse_args().port))
    except* KeyboardInterrupt:
        print("stopped")
