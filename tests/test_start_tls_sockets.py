"""`start_tls` on real sockets, with clients that block."""

from __future__ import annotations

import errno
import select
import smtplib
import socket
import ssl
from functools import partial

import pytest
import trio
import trio.testing
from starttls import (
    READY,
    Securing,
)

from trio_chat import AsyncChat, SocketStream, serve_tcp

pytestmark = pytest.mark.usefixtures("securing")


class Mail(AsyncChat):
    """As much of SMTP as smtplib asks for."""

    terminator = b"\r\n"
    context: ssl.SSLContext

    def handle_connect(self) -> None:
        self.push(b"220 localhost\r\n")

    async def found_terminator(self) -> None:
        match self._get_data().split()[0].upper():
            case b"EHLO":
                self.push(b"250-localhost\r\n250 STARTTLS\r\n")
            case b"STARTTLS":
                self.push(b"220 ready\r\n")
                await self.start_tls(self.context)
            case b"QUIT":
                self.push(b"221 bye\r\n")
                self.close_when_done()
            case _:
                self.push(b"250 %s %d\r\n" % (type(self.stream).__name__.encode(), self.same_addresses))

    @property
    def same_addresses(self) -> bool:
        stream = self.stream.transport_stream if isinstance(self.stream, trio.SSLStream) else self.stream
        assert isinstance(stream, SocketStream)
        sock = stream.socket
        return (self.peer, self.local) == (sock.getpeername(), sock.getsockname())


async def test_smtplib(nursery: trio.Nursery, server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> None:
    Mail.context = server_context
    (listener,) = await nursery.start(partial(serve_tcp, Mail, 0, host="127.0.0.1"))

    def send_mail() -> None:
        with smtplib.SMTP("127.0.0.1", listener.socket.getsockname()[1], timeout=20) as client:
            assert client.noop() == (250, b"SocketStream 1")
            assert client.starttls(context=client_context)[0] == 220
            client.ehlo()
            for _ in range(3):
                assert client.noop() == (250, b"SSLStream 1")
            assert isinstance(client.sock, ssl.SSLSocket)

    await trio.to_thread.run_sync(send_mail)
    nursery.cancel_scope.cancel()


async def test_after_an_abort_the_client_sees_a_reset(
    nursery: trio.Nursery, server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    class Aborting(Securing):
        async def secure(self) -> None:
            await super().secure()
            await self.receive_more()
            self.abort()

    (listener,) = await nursery.start(partial(serve_tcp, Aborting, 0, host="127.0.0.1"))

    def talk_to_it() -> None:
        with socket.create_connection(listener.socket.getsockname(), timeout=20) as sock:
            sock.sendall(b"STARTTLS\r\n")
            assert sock.recv(len(READY), socket.MSG_WAITALL) == READY
            with client_context.wrap_socket(sock, server_hostname="localhost") as tls:
                tls.sendall(b"hello\r\n")
                select.select([tls], [], [], 20)
                assert tls.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET

    await trio.to_thread.run_sync(talk_to_it)
    nursery.cancel_scope.cancel()
