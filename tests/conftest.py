"""What tests of several files need: an authority that certifies localhost, contexts that trust it, Ctrl-C."""

from __future__ import annotations

import signal
import ssl

import pytest
import trustme


def pytest_configure() -> None:
    """A shell that runs tests in its background may have them ignore Ctrl-C, and so would the servers they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())  # the system's take 80 ms to be read


@pytest.fixture
def securing(server_context: ssl.SSLContext) -> None:
    """The handlers of the tests of `start_tls` have a certificate."""
    from starttls import Securing

    Securing.context = server_context
