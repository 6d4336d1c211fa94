"""What a head says about the rest of the message and of the connection. Each check names its section."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address
from typing import TypeAlias

from ._errors import HTTPError
from ._headers import elements_of

#: The values of those fields that say something about it, by lower-case name.
Framing: TypeAlias = Mapping[str, Sequence[str]]

# RFC 3986, section 3.2.2: reg-names and IPv4 addresses, or an IPv6 or later address in brackets; then a port.
_host = re.compile(
    r"(?:\[(?:[0-9A-Fa-f:.]++|[vV][0-9A-Fa-f]++\.[0-9A-Za-z._~!$&'()*+,;=:-]++)\]|(?:[0-9A-Za-z.~_!$&'()*+,;=-]++|%[0-9A-Fa-f]{2})++)"
    r"(?::[0-9]*+)?"
)
# RFC 9112, section 3.2.2: the absolute form of a target.
_absolute_form = re.compile(r"https?://([^/?]++)(.*+)", re.IGNORECASE)
_MAX_LENGTH_DIGITS = 18  # fewer than int() refuses, more than anyone sends


def check_target(method: str, target: str) -> None:
    """Raise HTTPError unless the target agrees with RFC 9112, section 3.2."""
    if method == "CONNECT":
        raise HTTPError(501, "this server is no proxy")  # RFC 9110, section 9.3.6
    if target[0] == "/":
        return
    if target == "*":
        if method != "OPTIONS":
            raise HTTPError(400, "the target * is for OPTIONS")
        return
    absolute = _absolute_form.fullmatch(target)
    if absolute is None or not _is_host(absolute[1]):
        raise HTTPError(400, "invalid request target")


def authority_of(target: str, host: str) -> str:
    """The host and port that the client asked for. RFC 9112, section 3.3: those of an absolute target, before Host."""
    absolute = _absolute_form.fullmatch(target)
    return absolute[1] if absolute else host


def origin_form(method: str, target: str) -> str:
    """The path and query of a target that has passed `check_target`; "*" stays as it is."""
    if target[0] == "/" or (absolute := _absolute_form.fullmatch(target)) is None:
        return target
    if not absolute[2] and method == "OPTIONS":
        return "*"  # section 3.2.4
    return absolute[2] if absolute[2].startswith("/") else f"/{absolute[2]}"


def the_host(framing: Framing, http_version: str) -> str:
    """What the field Host says; empty if there is none, which is right in HTTP/1.0 only. RFC 9112, section 3.2.

    An empty Host is refused, too: an http URI without a host is invalid (RFC 9110, section 4.2.1).
    """
    hosts = framing.get("host", ())
    if len(hosts) > 1 or (not hosts and http_version != "1.0"):
        raise HTTPError(400, "a request has exactly one Host")
    if hosts and not _is_host(hosts[0]):
        raise HTTPError(400, "invalid Host")
    return "".join(hosts)


def _is_host(text: str) -> bool:
    """Whether this is uri-host [ ":" port ]. RFC 9110, section 7.2."""
    if not _host.fullmatch(text):
        return False
    if text[0] == "[" and not text.startswith(("[v", "[V")):
        try:
            IPv6Address(text[1 : text.index("]")])
        except ValueError:
            return False
    return True


def body_length(framing: Framing, http_version: str) -> int | None:
    """How many bytes of body follow; None: the body is chunked. RFC 9112, section 6.

    Stricter than section 5.6.1 of RFC 9110 has it: an empty element in the list of codings is refused, because proxies
    differ about what it means.
    """
    lengths = framing.get("content-length")
    if transfer_encoding := framing.get("transfer-encoding"):
        if lengths:  # section 6.3, number 3: an attempt at request smuggling, or a broken client
            raise HTTPError(400, "both Content-Length and Transfer-Encoding")
        if http_version == "1.0":  # section 6.1
            raise HTTPError(400, "Transfer-Encoding in HTTP/1.0")
        _check_codings(elements_of(transfer_encoding))
        return None
    if not lengths:
        return 0  # section 6.3, number 7
    length = lengths[0]
    if len(lengths) > 1 or not (length.isascii() and length.isdigit()):  # section 6.3, number 5
        raise HTTPError(400, "invalid Content-Length")
    digits = length.lstrip("0") or "0"
    if len(digits) > _MAX_LENGTH_DIGITS:
        raise HTTPError(413)
    return int(digits)


def _check_codings(codings: list[str]) -> None:
    if codings[-1] != "chunked":  # section 6.3, number 4: nobody knows where this body ends
        raise HTTPError(400, "the last transfer coding of a request is chunked")
    if "chunked" in codings[:-1] or not all(codings):  # section 6.1
        raise HTTPError(400, "invalid Transfer-Encoding")
    if len(codings) > 1:  # section 6.1
        raise HTTPError(501, "of the transfer codings, this server knows only chunked")


def keeps_alive(framing: Framing, http_version: str) -> bool:
    """Whether the client wants to go on after the response. RFC 9112, section 9.3."""
    options = elements_of(framing["connection"]) if "connection" in framing else ()
    return "close" not in options and (http_version != "1.0" or "keep-alive" in options)


def expects_continue(framing: Framing, http_version: str) -> bool:
    """Whether the client waits for "100 Continue". RFC 9110, section 10.1.1."""
    if http_version == "1.0" or "expect" not in framing:
        return False
    expectations = set(elements_of(framing["expect"])) - {""}
    if expectations - {"100-continue"}:
        raise HTTPError(417)
    return bool(expectations)
