"""Bodies of forms, and what is read from them, however they are cut."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import NamedTuple, TypeAlias

from trio_chat.http import Form, FormLimits, HTTPError
from trio_chat.http._form_reader import read_form

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XX"
BLOCK = 64 * 1024  # what the parser is fed at a time


class Upload(NamedTuple):
    """All of a `FormFile`."""

    name: str
    filename: str
    content_type: str
    content: bytes


class Outcome(NamedTuple):
    fields: list[tuple[str, str]]
    files: list[Upload]


Refusal: TypeAlias = tuple[int, str]


async def pieces_of(pieces: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


async def form_of(content_type: str, pieces: Iterable[bytes], **limits: int) -> Form:
    async with aclosing(pieces_of(pieces)) as body:
        return await read_form(content_type, body, FormLimits(**limits))


async def outcome_of(content_type: str, pieces: Iterable[bytes], **limits: int) -> Outcome | Refusal:
    try:
        form = await form_of(content_type, pieces, **limits)
    except HTTPError as refusal:
        return refusal.status, refusal.detail
    files = []
    for _, file in form.files.pairs():
        content = await file.read()
        assert (file.size, await file.read()) == (len(content), b"")
        files.append(Upload(file.name, file.filename, file.content_type, content))
    await form.aclose()
    return Outcome(form.pairs(), files)


async def status_once(content_type: str, pieces: Iterable[bytes], **limits: int) -> int:
    """200 if the pieces are a form."""
    form = await outcome_of(content_type, pieces, **limits)
    return 200 if isinstance(form, Outcome) else form[0]


async def outcome(content_type: str, body: bytes, **limits: int) -> Outcome | Refusal:
    """What comes of `body`, which is the same however it is cut."""
    whole = await outcome_of(content_type, [body], **limits)
    splits = [[body[:at], body[at:]] for at in range(1, len(body))]
    singles = [body[at : at + 1] for at in range(len(body))]
    for pieces in (*splits, singles, [b"", body, b""]):
        assert await outcome_of(content_type, pieces, **limits) == whole, f"cut as {pieces}"
    return whole


async def fields_of(content_type: str, body: bytes) -> list[tuple[str, str]]:
    form = await outcome(content_type, body)
    assert isinstance(form, Outcome), form
    assert form.files == []
    return form.fields


async def status_of(content_type: str, body: bytes, **limits: int) -> int:
    """200 if the body is a form, however it is cut."""
    form = await outcome(content_type, body, **limits)
    return 200 if isinstance(form, Outcome) else form[0]


def part(disposition: str, content: bytes = b"", *fields: str) -> bytes:
    """A part of a multipart body; `disposition` is what stands behind form-data."""
    lines = ["--XX", f"Content-Disposition: form-data{disposition}", *fields, "", ""]
    return "\r\n".join(lines).encode() + content + b"\r\n"


def text(name: str, value: str) -> bytes:
    return part(f'; name="{name}"', value.encode())


def upload(name: str, filename: str, content: bytes = b"", *fields: str) -> bytes:
    return part(f'; name="{name}"; filename="{filename}"', content, *fields)


END = b"--XX--\r\n"
