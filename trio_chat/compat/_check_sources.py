"""Python files: which there are, and how they are read and parsed, whatever is in them."""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import tokenize
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

_COMMENT = re.compile(r"#\s*trio-chat:\s*ignore(?:\[([\w\s,]*)\])?", re.IGNORECASE)

# Of a script: python by any path and version, or what env is to look for, behind its options and variables.
_SHEBANG = re.compile(rb"#![ \t]*(?:\S*/)?(?:env[ \t]+(?:-\S+[ \t]+|\w+=\S*[ \t]+)*(?:\S*/)?)?python[\w.-]*(?!\S)")
_HEAD_BYTES = 512  # Linux looks for a shebang at 256, and what is packed into one file has a null byte soon behind it

# What only Python 2 takes, and no Python 3 program has in these forms.
_PYTHON_2 = re.compile(
    r"""^\s*print\s+(?![=(\[.]|if\b|in\b|and\b|or\b|is\b|not\b|else\b)\S
    | ^\s*print\s*>>
    | ^\s*except\s+[\w.()\s,]+?,\s*[\w\[\]]+\s*:
    | ^\s*raise\s+[\w.]+\s*,
    | ^\s*exec\s+["'\w]
    | \bur["']
    | <>
    | ^\s*def\s+\w+\s*\([^)]*\([^)]*\)""",
    re.VERBOSE,
)


class Unusable(Exception):
    """A file that cannot be checked: the code, and what is wrong at which place (from 1).

    `path` is there if it is a directory, or in one, `advice` if that of the code does not fit.
    """

    def __init__(
        self,
        code: str,
        message: str,
        line: int = 1,
        column: int = 1,
        *,
        source: str = "",
        path: str = "",
        advice: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line
        self.column = column
        self.source = source
        self.path = path
        self.advice = advice


@dataclass(slots=True)
class Source:
    """A file that could be parsed."""

    path: str
    lines: list[str]
    tree: ast.Module
    _ignored: dict[int, frozenset[str]]

    def line(self, number: int) -> str:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def column(self, line: int, byte_offset: int) -> int:
        """From 1, in characters: ast counts bytes of UTF-8."""
        return len(self.line(line).encode()[:byte_offset].decode(errors="replace")) + 1

    def ignores(self, line: int, code: str) -> bool:
        codes = self._ignored.get(line)
        return codes is not None and (not codes or code in codes)


def python_files(paths: list[str]) -> Iterator[str | Unusable]:
    """The files that are named and, below directories that are named, those that end in .py, and scripts; each once.

    Scripts are files without an ending whose first line calls for Python, as old daemons often are; not what zipapp
    makes. Hidden directories are left out, and so are pipes and devices below directories; symbolic links to
    directories are not followed.
    """
    seen: set[str] = set()
    for path in paths:
        for found in _below(path) if path != "-" and os.path.isdir(path) else [path]:
            if isinstance(found, str):
                real = found if found == "-" else os.path.realpath(found)
                if real in seen:
                    continue
                seen.add(real)
            yield found


def _below(directory: str) -> Iterator[str | Unusable]:
    errors: list[OSError] = []
    found = False
    for folder, names, files in os.walk(directory, onerror=errors.append):
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "__pycache__")
        for name in sorted(files):
            path = os.path.join(folder, name)
            if _is_python(path):
                found = True
                yield path
    for error in errors:
        yield Unusable("TC902", f"cannot be read: {error.strerror}", path=error.filename)
    if not found and not errors:
        yield Unusable("TC902", "cannot be checked: there is no Python file in it", path=directory)


def _is_python(path: str) -> bool:
    if path.endswith(".py"):
        return _is_file(path)
    return not os.path.splitext(path)[1] and _is_script(path)


def _is_file(path: str) -> bool:
    """Whether it is to be read: a pipe would have us wait for a writer. Broken links are, to be reported."""
    return os.path.isfile(path) or not os.path.exists(path)


def _is_script(path: str) -> bool:
    """Of what cannot be read nobody knows, and most of it is none: it is not reported."""
    if os.path.isfile(path):
        with suppress(OSError), open(path, "rb", buffering=0) as file:
            head = file.read(_HEAD_BYTES)
            return _SHEBANG.match(head) is not None and b"\0" not in head
    return False


def read_text(path: str) -> str:
    """The text of a file, or of standard input for "-". Raises Unusable."""
    return _decode(_read(path))


def parse(path: str, text: str) -> Source:
    """Raises Unusable."""
    lines = re.split("\r\n|\r|\n", text)
    return Source(path, lines, _parse(text, lines), _ignored(text))


def _read(path: str) -> bytes:
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as exc:
        raise Unusable("TC902", f"cannot be read: {getattr(exc, 'strerror', None) or exc}") from None


def _decode(data: bytes) -> str:
    """As tokenize.open does: by the coding cookie or the byte order mark, else as UTF-8."""
    if b"\0" in data:
        raise _with_null(data[: data.index(b"\0")].count(b"\n") + 1)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except SyntaxError as exc:
        raise _misencoded(exc.msg) from None
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        raise _misencoded(f"it is not {exc.encoding}", line) from None
    except (LookupError, UnicodeError, ValueError) as exc:  # rot13 and the like, which encode no text
        raise _misencoded(str(exc)) from None


def _misencoded(message: str, line: int = 1) -> Unusable:
    advice = (
        "Say in its first or second line how it is encoded (PEP 263): # -*- coding: latin-1 -*-. "
        "Or convert it: iconv -f latin-1 -t utf-8 FILE."
    )
    return Unusable("TC902", f"cannot be read: {message}", line, advice=advice)


def _with_null(line: int) -> Unusable:
    advice = "If it is text in UTF-16, convert it: iconv -f utf-16 -t utf-8 FILE. Else it is damaged, or no text."
    message = "cannot be read: there is a null byte in it, so it is no Python source"
    return Unusable("TC902", message, line, advice=advice)


def _parse(text: str, lines: list[str]) -> ast.Module:
    if "\0" in text:  # by another encoding: UTF-7 has other bytes for it
        raise _with_null(next(number for number, line in enumerate(lines, 1) if "\0" in line))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of strings with odd escapes; not our business, and once per file
            # From 3.14 on Python takes `except OSError, exc:`, but as something else than Python 2 meant.
            return ast.parse(text, feature_version=(3, 13))
    except SyntaxError as exc:
        if exc.msg.startswith("too many"):
            raise Unusable("TC903", f"cannot be checked: {exc.msg}", exc.lineno or 1) from None
        line = exc.lineno or 1
        source = lines[line - 1].strip() if line <= len(lines) else ""
        language = "is Python 2" if _is_python_2(exc, lines) else "is not Python 3"
        raise Unusable("TC901", f"{language}: {exc.msg}", line, exc.offset or 1, source=source) from None
    except (RecursionError, MemoryError):
        raise Unusable("TC903", "cannot be checked: it is nested too deeply") from None
    except ValueError as exc:  # half a surrogate pair, which some encodings let through
        raise _misencoded(str(exc)) from None


def _is_python_2(exc: SyntaxError, lines: list[str]) -> bool:
    return isinstance(exc, TabError) or any(_PYTHON_2.search(line) for line in lines)


def _ignored(text: str) -> dict[int, frozenset[str]]:
    """By line, the codes that a comment there wants to be ignored; none of them means all."""
    ignored: dict[int, frozenset[str]] = {}
    if "trio-chat" not in text.lower():
        return ignored
    with suppress(tokenize.TokenError, SyntaxError):  # the parser has taken it: whatever tokenize thinks
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and (match := _COMMENT.search(token.string)):
                ignored[token.start[0]] = frozenset((match[1] or "").upper().replace(",", " ").split())
    return ignored
