"""What the tools here are given, and refuse at once and in clear words if it is not what they take."""

from __future__ import annotations

import trio

from .. import AsyncChat, HandlerFactory


def made_by(handler_factory: HandlerFactory, stream: trio.abc.Stream) -> AsyncChat:
    """A handler."""
    chat: object = handler_factory(stream)
    if not isinstance(chat, AsyncChat):
        raise TypeError(f"the handler factory {handler_factory!r} returned {chat!r}, not an AsyncChat")
    return chat


def as_bytes(name: str, data: object) -> bytes:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"{name} is bytes, or like bytes; got {data!r}")
    return bytes(data)


def check_number(name: str, number: object, at_least: int) -> None:
    if not isinstance(number, int):
        raise TypeError(f"{name} is a whole number; got {number!r}")
    if number < at_least:
        raise ValueError(f"{name} is at least {at_least}; got {number}")
