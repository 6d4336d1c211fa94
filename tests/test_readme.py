"""The README's code runs, and the examples in docstrings do."""

from __future__ import annotations

import doctest
import hashlib
import re
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

import trio_chat._buffer
from trio_chat.testing import check_handler, open_chat

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def code() -> dict[str, Any]:
    """All Python blocks, run in one namespace."""
    namespace: dict[str, Any] = {"__name__": "readme"}
    for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
        exec(block, namespace)
    return namespace


async def test_the_protocol_passes_its_test(code: dict[str, Any]) -> None:
    await code["test_greeter"]()


async def test_the_protocol_adds_numbers(code: dict[str, Any]) -> None:
    async with open_chat(code["Adder"]) as peer:
        await peer.send(b"3\n123\n2\n45\n\n")
        await peer.expect(b"123\n168\n")
        await peer.expect_eof()
    await check_handler(code["Adder"], b"1\n5\n2\n37\n\n")


@pytest.mark.parametrize(
    "said", [b"10\n", b"one\n", b"2\nab\n", b"3\n12\n3", b"3\n1234\n", b"0\n", b"9" * 5000 + b"\n"]
)
async def test_the_protocol_wants_digits(code: dict[str, Any], said: bytes) -> None:
    async with open_chat(code["Adder"]) as peer:
        await peer.send(said)
        await peer.expect(b"digits, please\n")
        await peer.expect_eof()


async def test_the_application_answers(
    code: dict[str, Any], nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    (listener,) = await nursery.start(partial(code["serve"], code["app"], 0))
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
    async with httpx.AsyncClient() as client:
        assert (await client.post(f"{url}hello", data={"name": "Ann"})).text == "Hello, Ann!\n"
        digest = hashlib.sha256(bytes(10_000_000)).hexdigest()
        assert (await client.put(f"{url}digest", content=bytes(10_000_000))).json() == {"sha256": digest}
        monkeypatch.chdir(README.parent)
        assert (await client.get(f"{url}readme")).content == README.read_bytes()
        assert (await client.get(url)).status_code == 404
    nursery.cancel_scope.cancel()


def test_docstrings() -> None:
    failed, tried = doctest.testmod(trio_chat._buffer)
    assert (failed, tried > 0) == (0, True)
