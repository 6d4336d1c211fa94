"""The handlers keep what every handler has to, whatever of their protocols, right and wrong, a client says."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio.testing
from factories import Echo, FileServer, MailServer, key_value_store, room_with_polly, site, web, websocket_room

from trio_chat.testing import check_handler

CHAT = b"\nPolly\r\nAnn\n" + b"x" * 1001 + b"\nhello, \xff\x1b\r\nbye\r"
KEYS = (
    b"*2\r\n$4\r\nECHO\r\n$3\r\n\r\n*\r\nset a 'b c' px 1\nMULTI\r\nGET a\n*1\r\n$4\r\nEXEC\r\nnope\n*1\r\n$x\r\nPING\n"
)
MAIL = (
    b"NOOP\r\nHELO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.dot\r\n..\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<c>\r\n"
    b"DATA\r\n\n.\r\n.\r\nBAD\rBAD\nQUIT\r\nNOOP\r\n"
)
FILES = (
    b"USER ann\r\nPASS secret\nMKD a\r\nRNFR a\r\nRNTO b\r\n\xff\xf4\xff\xf2ABOR\r\nRETR x\r\nEPSV 9\r\nRMD b\r\n\r\n"
    b"QUIT\r\n"
)
SUMS = (
    b"\r\nPOST /sum HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\n[1]\r\n0\r\nA: b\r\n\r\n"
    b"POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabGET /poem HTTP/1.1\r\nHost: a\r\n\r\n"
    b"POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxHEAD / HTTP/1.1\r\n\r\n"
)
FORM = (
    b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 8\r\n\r\nname=AnnPUT / HTTP/1.0\r\nHost: a\r\n\r\n"
)

WEBSOCKET = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)  # and no frame: trio-websocket overlooks those that come with the handshake, which no client may send so early


def without_what_is_new_each_time(output: bytes) -> bytes:
    return re.sub(rb"250 it is \S+|Date: [^\r]+|session=[^;]+", b"", output)


@pytest.mark.parametrize(
    ("factory", "data", "most"),
    [
        pytest.param(Echo, b"one\r\ntwo\n" + b"x" * 1025 + b"\n\r\rthree\r\nquit\nfour\n", 60, id="echo_server"),
        pytest.param(room_with_polly, CHAT, 60, id="chat_room"),
        pytest.param(key_value_store, KEYS, 80, id="kv_server"),
        pytest.param(MailServer, MAIL, 12, id="smtp_server"),
        pytest.param(FileServer, FILES, 25, id="ftp_server"),
        pytest.param(web, SUMS, 60, id="http"),
        pytest.param(site, FORM, 60, id="http_server"),
        pytest.param(websocket_room, WEBSOCKET, 60, id="websocket_chat"),
    ],
)
async def test_promises(factory: Any, data: bytes, most: int, mock_clock: trio.testing.MockClock) -> None:
    await check_handler(factory, data, most=most, comparable=without_what_is_new_each_time)
