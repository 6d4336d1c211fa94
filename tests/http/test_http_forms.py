"""Forms: RFC 7578, and section 4.10.21 of HTML for what browsers do."""

import pytest
from form_bodies import (
    BLOCK,
    END,
    MULTIPART,
    URLENCODED,
    fields_of,
    form_of,
    outcome,
    outcome_of,
    part,
    status_of,
    status_once,
    text,
    upload,
)
from trio.testing import assert_checkpoints

# ---------------------------------------------------------------- media types


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/json",
        "multipart/mixed; boundary=XX",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="XX "',
        'multipart/form-data; boundary="X\xe9"',
        "multipart/form-data; boundary=" + "X" * 71,
        "multipart/form-data, boundary=XX",
        URLENCODED + "; charset=iso-8859-1",
        URLENCODED + "; charset=utf-16",
        URLENCODED + '; charset=""',
    ],
)
async def test_other_types_are_415(content_type: str) -> None:
    assert await status_of(content_type, text("a", "1") + END) == 415


@pytest.mark.parametrize(
    "content_type",
    [
        URLENCODED,
        URLENCODED.upper(),
        URLENCODED + ";charset=UTF-8",
        URLENCODED + '; charset="utf8"',
        URLENCODED + "; charset=us-ascii",
        URLENCODED + "; other=1",
        f" {URLENCODED} ;",
    ],
)
async def test_urlencoded_types(content_type: str) -> None:
    assert await fields_of(content_type, b"a=%C3%A9") == [("a", "\xe9")]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("Multipart/Form-Data; Boundary=XX", b"XX"),
        ('multipart/form-data;boundary="XX"; charset=utf-8', b"XX"),
        ("multipart/form-data; boundary=" + "-" * 70, b"-" * 70),
        ("multipart/form-data; boundary=X", b"X"),
        ('multipart/form-data; boundary="a b:c/d=?"', b"a b:c/d=?"),
    ],
)
async def test_multipart_types(content_type: str, boundary: bytes) -> None:
    body = (text("a", "1") + END).replace(b"--XX", b"--" + boundary)
    assert await fields_of(content_type, body) == [("a", "1")]


# ---------------------------------------------------------------- urlencoded


async def test_urlencoded_fields() -> None:
    body = b"a=1&b=&a=2&c&d+e=%C3%A9%26&%3D=%3d"
    assert await fields_of(URLENCODED, body) == [
        ("a", "1"),
        ("b", ""),
        ("a", "2"),
        ("c", ""),
        ("d e", "\xe9&"),
        ("=", "="),
    ]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", []),
        (b"&", []),
        (b"=", [("", "")]),
        (b"\xff=%ff", [("\ufffd", "\ufffd")]),
        (b"a=%", [("a", "%")]),
        (b"a;b=1;2", [("a;b", "1;2")]),
    ],
)
async def test_odd_urlencoded_fields(body: bytes, fields: list[tuple[str, str]]) -> None:
    assert await fields_of(URLENCODED, body) == fields


async def test_a_long_urlencoded_form() -> None:
    """It is decoded in a thread: others run meanwhile."""
    with assert_checkpoints():
        form = await form_of(URLENCODED, [b"a=" + b"%C3%A9" * 100_000])
    assert form.pairs() == [("a", "\xe9" * 100_000)]


async def test_form_is_a_mapping_of_the_first_values() -> None:
    form = await form_of(URLENCODED, [b"a=1&b=2&a=3"])
    assert dict(form) == {"a": "1", "b": "2"}
    assert (form.get_all("a"), form.get_all("x"), len(form), "x" in form) == (["1", "3"], [], 2, False)
    assert form.pairs() == [("a", "1"), ("b", "2"), ("a", "3")]
    assert repr(form) == "Form([('a', '1'), ('b', '2'), ('a', '3')])"
    assert (len(form.files), form.files.get_all("a")) == (0, [])
    with pytest.raises(KeyError):
        form["x"]
    await form.aclose()


# ---------------------------------------------------------------- multipart


async def test_fields_and_files_in_order() -> None:
    body = [
        text("a", "1"),
        upload("f", "x.txt", b"one", "Content-Type: text/plain; charset=x"),
        text("b", ""),
        upload("g", "y", b""),
        text("a", "2"),
        upload("f", "x.txt", b"two\r\n"),
    ]
    assert await outcome(MULTIPART, b"".join([*body, END])) == (
        [("a", "1"), ("b", ""), ("a", "2")],
        [
            ("f", "x.txt", "text/plain; charset=x", b"one"),
            ("g", "y", "application/octet-stream", b""),
            ("f", "x.txt", "application/octet-stream", b"two\r\n"),
        ],
    )


async def test_files_are_a_mapping_of_the_first_files() -> None:
    body = upload("f", "1", b"one", "X-Extra: \xe9") + upload("g", "2") + upload("f", "3") + text("f", "4") + END
    form = await form_of(MULTIPART, [body])
    assert (form["f"], list(form.files), form.files["f"].filename) == ("4", ["f", "g"], "1")
    assert [file.filename for file in form.files.get_all("f")] == ["1", "3"]
    assert repr(form) == (
        "Form([('f', '4')], [<FormFile 'f', '1', 3 bytes>, <FormFile 'g', '2', 0 bytes>, <FormFile 'f', '3', 0 bytes>])"
    )
    headers = form.files["f"].headers
    assert headers["content-disposition"] == 'form-data; name="f"; filename="1"'
    assert headers.raw[1] == (b"X-Extra", "\xe9".encode())
    await form.aclose()


@pytest.mark.parametrize("fields", [[], ["Content-Type: application/octet-stream"]])
async def test_a_field_in_which_no_file_was_chosen_is_left_out(fields: list[str]) -> None:
    """Browsers send a file without name and content. HTML, section 4.10.21.4: an empty File object."""
    body = upload("f", "", b"", *fields) + text("a", "1") + END
    assert await outcome(MULTIPART, body) == ([("a", "1")], [])


async def test_a_file_with_content_may_have_no_name() -> None:
    assert await outcome(MULTIPART, upload("f", "", b"x") + END) == (
        [],
        [("f", "", "application/octet-stream", b"x")],
    )


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        ('; name="\xe9"; filename="\u20ac.txt"', "\xe9", "\u20ac.txt"),
        ('; name="a%22b"; filename="%22%0D%0A%41.txt"', 'a"b', '"\r\n%41.txt'),  # HTML, section 4.10.21.8
        ('; name="a\\"b"; filename="c\\"d"', 'a"b', 'c"d'),
        ("; name=a; filename=b", "a", "b"),
        ('; filename="b"; name="a"', "a", "b"),
        ('; name="a"; filename="../../b"', "a", "../../b"),
        ('; name="a"; filename="C:\\dir\\b"', "a", "b"),
        ('; name="a;b"; filename="c;d=e"', "a;b", "c;d=e"),
        ('; name=""; filename="b"', "", "b"),
        ('; filename="b"', "", "b"),
        ('; name="a"; filename="b"; filename*=UTF-8\'\'c', "a", "b"),  # RFC 7578, section 4.2: not to be used
    ],
)
async def test_names(disposition: str, name: str, filename: str) -> None:
    form = await outcome(MULTIPART, part(disposition, b"x") + END)
    assert form == ([], [(name, filename, "application/octet-stream", b"x")])


async def test_what_is_not_utf_8_is_replaced() -> None:
    body = part('; name="N"; filename="F"', b"\xff") + part('; name="N"', b"\xff") + END
    body = body.replace(b"N", b"\xff").replace(b"F", b"\xfe")
    assert await outcome(MULTIPART, body) == (
        [("\ufffd", "\ufffd")],
        [("\ufffd", "\ufffd", "application/octet-stream", b"\xff")],
    )


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("text/plain", 200),
        ("text/plain; charset=utf-8", 200),
        ('TEXT/PLAIN;CHARSET="US-ASCII"', 200),
        ("application/json", 200),
        ("text/plain; charset=iso-8859-1", 415),
        ("text/plain; charset=utf-16", 415),
    ],
)
async def test_charsets_of_text_parts(content_type: str, status: int) -> None:
    body = part('; name="a"', b"1", f"Content-Type: {content_type}") + END
    assert await status_of(MULTIPART, body) == status


async def test_a_charset_field_changes_nothing() -> None:
    body = text("_charset_", "iso-8859-1") + text("a", "\xe9") + END
    assert await fields_of(MULTIPART, body) == [("_charset_", "iso-8859-1"), ("a", "\xe9")]


@pytest.mark.parametrize(
    "content",
    [b"\r\n", b"\r", b"\n", b"--XX", b"\r\n--X", b"\r\n--", b"\r\n-\r\n--X\r\n", b"\n--XX--", b"\r\r\n--Y", b"\0\xff"],
)
async def test_content_is_taken_as_it_is(content: bytes) -> None:
    form = await outcome(MULTIPART, upload("f", "x", content) + part('; name="a"', content) + END)
    assert form == (
        [("a", content.decode("utf-8", "replace"))],
        [("f", "x", "application/octet-stream", content)],
    )


@pytest.mark.parametrize("body", [END, b"--XX--", b"\r\n" + END, b"--XX--\r\n\r\nepilogue", b"preamble\r\n--XX--"])
async def test_a_form_without_fields(body: bytes) -> None:
    assert await fields_of(MULTIPART, body) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"a=1",
        text("a", "1"),
        text("a", "1") + b"--XX",
        text("a", "1") + b"--XX-",
        text("a", "1") + b"--XY--\r\n",
        text("a", "1") + b"--XXX--\r\n",
        b"--XX\n" + text("a", "1") + END,
        b"preamble--XX--\r\n",
        b"x" * 100 + END,
        b"--XX\r\n\r\n1\r\n" + END,
        b'--XX\r\nContent-Disposition: attachment; name="a"\r\n\r\n1\r\n' + END,
        b"--XX\r\nContent-Disposition form-data\r\n\r\n1\r\n" + END,
        part('; name="a"', b"1", "X: 1\n2") + END,
        part('; name="a\nb"', b"1") + END,
        part('; name="a\rb"', b"1") + END,
        part('; name="a\0b"', b"1") + END,
        part('; name="a"', b"1", "X Y: 1") + END,
        part('; name="a"', b"12", "Content-Length: 1") + END,
        part('; name="a"', b"1", "Content-Length: 2") + END,
        upload("f", "x", b"1"),
    ],
)
async def test_malformed_multipart_is_400(body: bytes) -> None:
    assert await status_of(MULTIPART, body) == 400


@pytest.mark.parametrize("shift", range(-80, 10))
async def test_a_part_may_end_anywhere_in_a_block(shift: int) -> None:
    """The file before the text fills the parser's first block but for a few bytes."""
    head = upload("f", "x")[:-2]
    content = b"\r\n" * (BLOCK // 2)
    content = content[: BLOCK + shift - len(head)]
    form = await outcome_of(MULTIPART, [head + content + b"\r\n" + text("a", "1") + END])
    assert form == ([("a", "1")], [("f", "x", "application/octet-stream", content)])


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(("fields", "status"), [(2, 200), (3, 200), (4, 413)])
async def test_max_fields(fields: int, status: int) -> None:
    """Files count, too; so do those that were not chosen."""
    assert await status_of(URLENCODED, b"&".join([b"a=1"] * fields), max_fields=3) == status
    assert await status_of(MULTIPART, text("a", "") * fields + END, max_fields=3) == status
    body = upload("f", "x") + upload("f", "") + text("a", "") * (fields - 2) + END
    assert await status_of(MULTIPART, body, max_fields=3) == status


@pytest.mark.parametrize(("files", "status"), [(2, 200), (3, 200), (4, 413)])
async def test_max_files(files: int, status: int) -> None:
    """Of file fields, also of those without a file; text fields do not count."""
    for body in (upload("f", "x") * files, upload("f", "") * files, upload("f", "x") + upload("f", "") * (files - 1)):
        assert await status_of(MULTIPART, body + text("a", "1") * 5 + END, max_files=3) == status


@pytest.mark.parametrize(("length", "status"), [(19, 200), (20, 200), (21, 413)])
async def test_max_text_bytes(length: int, status: int) -> None:
    """Names count, too; files do not."""
    assert await status_of(URLENCODED, b"a=" + b"x" * (length - 2), max_text_bytes=20) == status
    body = upload("f" * 30, "x", b"y" * 30) + text("abc", "1234567") + text("a", "x" * (length - 11)) + END
    assert await status_of(MULTIPART, body, max_text_bytes=20) == status
    body = text("a", "1") + text("x" * (length - 2), "") + END
    assert await status_of(MULTIPART, body, max_text_bytes=20) == status


@pytest.mark.parametrize("spool_bytes", [0, 5, 1000])
@pytest.mark.parametrize(("length", "status"), [(19, 200), (20, 200), (21, 413)])
async def test_max_file_bytes(length: int, status: int, spool_bytes: int) -> None:
    """Of all files together."""
    body = upload("f", "x", b"1234567") + text("a", "x" * 30) + upload("g", "y", b"x" * (length - 7)) + END
    pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
    assert await status_once(MULTIPART, pieces, max_file_bytes=20, spool_bytes=spool_bytes) == status


@pytest.mark.parametrize("length", [4224, 4225])
async def test_header_lines_of_parts_are_limited(length: int) -> None:
    """By the package `multipart`; the verdict on the longest line does not depend on where it is cut."""
    line = "X: " + "x" * (length - 3)
    body = part('; name="a"', b"1", line) + END
    wanted = 200 if length == 4224 else 413
    at = body.index(line.encode()) + length
    for cut in range(at - 3, at + 4):
        assert await status_once(MULTIPART, [body[:cut], body[cut:]]) == wanted


async def test_too_many_header_lines_of_a_part() -> None:
    body = part('; name="a"', b"1", *["X: 1"] * 8) + END
    assert await status_of(MULTIPART, body) == 413


async def test_default_limits() -> None:
    """That of the length of files is in test_http_form_files.py."""
    for count, status in ((1000, 200), (1001, 413)):
        assert await status_once(URLENCODED, [b"&".join([b"a=1"] * count)]) == status
        assert await status_once(MULTIPART, [text("a", "1") * count + END]) == status
    for count, status in ((100, 200), (101, 413)):
        assert await status_once(MULTIPART, [upload("f", "x") * count + END]) == status
    for length, status in ((2**20, 200), (2**20 + 1, 413)):
        assert await status_once(URLENCODED, [b"a" * length]) == status
        assert await status_once(MULTIPART, [text("a", "x" * (length - 1)) + END]) == status
