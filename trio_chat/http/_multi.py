"""A mapping whose names may have several values, in the order in which they came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class MultiMapping(Mapping[str, str]):
    """Reads like a dict of the first values; `get_all` gives the others, too."""

    __slots__ = ("_values",)

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> str:
        return self._values[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def get_all(self, name: str) -> list[str]:
        """All values of `name`; an empty list if there is none."""
        return list(self._values.get(name, ()))

    def __repr__(self) -> str:
        pairs = [(name, value) for name, values in self._values.items() for value in values]
        return f"{type(self).__name__}({pairs!r})"


class Form(MultiMapping):
    """The fields of a submitted form."""

    __slots__ = ()
