"""A submitted form as the application sees it: text fields, and files that are in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from io import BytesIO
from typing import BinaryIO, TypeVar

import trio

from ._headers import Headers
from ._threads import close_in_thread

T = TypeVar("T")


class MultiMapping(Mapping[str, T]):
    """Reads like a dict of the first values; `get_all` gives the others, too."""

    __slots__ = ("_pairs", "_values")

    def __init__(self, pairs: Iterable[tuple[str, T]] = ()) -> None:
        self._pairs = list(pairs)
        self._values: dict[str, list[T]] = {}
        for name, value in self._pairs:
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> T:
        return self._values[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get_all(self, name: str) -> list[T]:
        """All values of `name`, in order; an empty list if there is none."""
        return list(self._values.get(name, ()))

    def pairs(self) -> list[tuple[str, T]]:
        """All names and values in the order in which they came."""
        return self._pairs.copy()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pairs!r})"


class FormFile:
    """A file that came with a form.

    Attributes:
        name: of the field.
        filename: as the client says (of a Windows path, its last part); perhaps empty. It may be anything, "../../x"
            or a name with a NUL: show it, but do not use it as a path.
        content_type: as the client says, with its parameters; "application/octet-stream" if it does not.
        headers: all fields of this part.
        size: in bytes.
        file: open for reading and writing in binary, at its beginning: a `BytesIO`, or a file on disk, without a name,
            that is gone when it is closed. What one does with the latter may block: do it in a thread, as `read` does.
    """

    __slots__ = ("content_type", "file", "filename", "headers", "name", "size")

    def __init__(self, name: str, filename: str, headers: Headers) -> None:
        self.name: str = name
        self.filename: str = filename
        self.headers: Headers = headers
        self.content_type: str = headers.get("content-type") or "application/octet-stream"
        self.size: int = 0
        self.file: BinaryIO = BytesIO()

    async def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, by default all that are left; fewer, or none, at the end."""
        if isinstance(self.file, BytesIO):
            return self.file.read(size)
        return await trio.to_thread.run_sync(self.file.read, size)

    async def aclose(self) -> None:
        """Close the file; it does not matter if it is closed. Not skipped by a cancellation."""
        await close_files([self])

    def __repr__(self) -> str:
        return f"<FormFile {self.name!r}, {self.filename!r}, {self.size} bytes>"


class Form(MultiMapping[str]):
    """The text fields of a submitted form, and its `files`, both by the names of the fields.

    The files are closed when the request has been answered: what is to stay has to be copied.
    """

    __slots__ = ("files",)

    def __init__(self, fields: Iterable[tuple[str, str]] = (), files: Iterable[FormFile] = ()) -> None:
        super().__init__(fields)
        self.files: MultiMapping[FormFile] = MultiMapping((file.name, file) for file in files)

    async def aclose(self) -> None:
        """Close all files; it does not matter if they are closed. Not skipped by a cancellation."""
        await close_files(file for _, file in self.files.pairs())

    def __repr__(self) -> str:
        return (
            f"Form({self._pairs!r}, {[file for _, file in self.files.pairs()]!r})" if self.files else super().__repr__()
        )


async def close_files(files: Iterable[FormFile]) -> None:
    """Close them all, even if that of one fails, which is raised at the end. Not skipped by a cancellation."""
    still_open = [file.file for file in files if not file.file.closed]
    if all(isinstance(file, BytesIO) for file in still_open):
        _close_all(still_open)
        return
    await close_in_thread(_close_all, still_open)


def _close_all(files: list[BinaryIO]) -> None:
    with ExitStack() as stack:
        for file in files:
            stack.callback(file.close)
