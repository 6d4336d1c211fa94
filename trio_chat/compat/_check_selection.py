"""Which files matter: in a large tree hardly any has to do with asynchat, and only those that do are parsed and kept.

These are the files that import asynchat, asyncore or smtpd; those whose classes may derive from the classes in them,
and so on; and what all of these import, for calls are followed there. Imports are looked for in the text, which finds
too many rather than too few. `test_a_large_tree_…` in tests/compat/test_check_selection.py sees to it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

_OLD_NAMES = ("asynchat", "asyncore", "smtpd")
# asynchat under the names it goes by: the standard library's, a copy that a project carries along (asynchat_25,
# _asynchat, pyasynchat), trio_chat's own, and asyncore as asynchat's attribute.
_OLD_MODULE = re.compile(r"_?(?:py)?(asynchat|asyncore)(?:_?\d+)?")
#: What a copy of them has at least.
_OLD_CLASSES = {"asynchat": "async_chat", "asyncore": "dispatcher"}
_STDLIB = sys.stdlib_module_names - set(_OLD_NAMES)
_CLASS = re.compile(r"^[ \t]*class[ \t]+(\w+)[ \t]*[(:]", re.MULTILINE)
_BEFORE_IMPORT = re.compile(r"(?:^|[:;])\s*(?:from\b\s*([.\w]+)\s*)?$")
_IMPORTED = re.compile(r"import\b[ \t]*(\([^)]*\)|[^\n;]*)")
_DOT = "\N{ONE DOT LEADER}"  # instead of a dot in the name of a folder
_LINE_END = re.compile("\r\n?|\n")


@dataclass(frozen=True, slots=True)
class Import:
    """An import statement: the module's dotted name, and the names that are taken from it, before and after `as`."""

    module: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Glance:
    """What is known of a file without parsing it: what it imports, and the classes in it."""

    path: str
    imports: frozenset[Import]
    classes: frozenset[str]

    @property
    def is_old(self) -> bool:
        named = (name for one in self.imports for name in (one.module, *one.names))
        return any(old in name for name in named for old in _OLD_NAMES)

    @property
    def is_copy(self) -> bool:
        """Whether it is a copy of the old library, and not a module of the program that has only its name."""
        return (old := old_module(stem(self.path))) is not None and (_OLD_CLASSES[old] in self.classes or self.is_old)

    @property
    def is_namesake(self) -> bool:
        return old_module(stem(self.path)) is not None and not self.is_copy


def stem(path: str) -> str:
    return PurePath(path).stem


def old_module(name: str) -> str | None:
    """asynchat or asyncore, if that is what a module of this name is."""
    match = _OLD_MODULE.fullmatch(name)
    return match and match[1]


def glance_at(path: str, text: str) -> Glance:
    if "\r" in text:
        text = _LINE_END.sub("\n", text)
    text = text.replace("\\\n", " ")
    classes = _CLASS.findall(text) if "class" in text else ()
    return Glance(path, frozenset(_imports(path, text)), frozenset(map(sys.intern, classes)))


def _imports(path: str, text: str) -> Iterator[Import]:
    at = text.find("import")
    while at >= 0:
        before = _BEFORE_IMPORT.search(text[text.rfind("\n", 0, at) + 1 : at].rpartition(";")[2])
        imported = _IMPORTED.match(text, at)
        at = text.find("import", at + 1)
        if before is None or imported is None:
            continue
        if base := before[1]:
            module = base.lstrip(".")
            module = absolute(path, len(base) - len(module), module)
            names = (name for words in _named(imported[1]) for name in {words[0], words[-1]})
            yield Import(sys.intern(module), tuple(map(sys.intern, names)))
        else:
            yield from (Import(sys.intern(words[0])) for words in _named(imported[1]))


def _named(text: str) -> Iterator[list[str]]:
    """The words between commas: those of "a.b as c, d" are a.b, as, c; and d."""
    yield from filter(None, (part.split() for part in re.sub(r"#.*|[()\\]", " ", text).split(",")))


def absolute(path: str, level: int, module: str) -> str:
    """The dotted name of a module that is imported in a file; of a relative import, as the file's path says."""
    if not level:
        return module
    return ".".join([*(folder for folder in _parts(path)[:-level] if folder.strip(_DOT)), *filter(None, [module])])


def _parts(path: str) -> list[str]:
    """The parts of a path as parts of a dotted name: without dots."""
    return [part.replace(".", _DOT) for part in re.split(r"[\\/]", path)]


class ModulePaths:
    """Finds files by module names. Files without an ending are scripts, which nobody can import."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_stem: dict[str, list[tuple[list[str], str]]] = {}
        self._folders: set[str] = set()
        self._found: dict[str, tuple[int, str | None]] = {}
        for path in paths:
            if not (pure := PurePath(path)).suffix:
                continue
            parts = _parts(str(pure.with_suffix("")))
            if parts[-1] == "__init__" and len(parts) > 1:
                parts.pop()
            self._by_stem.setdefault(parts[-1], []).append((parts, path))
            self._folders.update(parts[:-1])

    def find(self, dotted: str, at_least: int = 1) -> str | None:
        """The file that this module name means: that whose path agrees with the most of it from its end."""
        if dotted not in self._found:
            self._found[dotted] = self._find(dotted.split("."))
        agreed, path = self._found[dotted]
        return path if agreed >= at_least else None

    def _find(self, wanted: list[str]) -> tuple[int, str | None]:
        best: tuple[int, str | None] = (0, None)
        for parts, path in self._by_stem.get(wanted[-1], []):
            agree = 0
            while agree < min(len(wanted), len(parts)) and wanted[-1 - agree] == parts[-1 - agree]:
                agree += 1
            best = max(best, (agree, path), key=lambda pair: pair[0])
        if best[0] < len(wanted) and (wanted[0] in self._folders or wanted[0] in _STDLIB):
            return 0, None  # os.path is no path.py of the program's
        return best

    def imported(self, one: Import) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The files that an import statement may mean, each with the names that are taken from it, if not itself.

        The standard library is not followed.
        """
        parts = one.module.split(".")
        found: list[tuple[str | None, tuple[str, ...]]] = []
        if parts[0] not in _STDLIB:
            found += [(self.find(".".join(parts[:end]), end), ()) for end in range(1, len(parts))]
            found.append((self.find(one.module) if one.module else None, one.names))
            found += [(self.find(f"{one.module}.{name}", 2 if one.module else 1), ()) for name in one.names]
        yield from ((path, names) for path, names in found if path is not None)


class Selection:
    """Finds out which files matter."""

    def __init__(self, glances: list[Glance]) -> None:
        paths = ModulePaths(glance.path for glance in glances)
        self._glances = {glance.path: glance for glance in glances}
        self._imported: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        self._importers: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        for glance in self._glances.values():
            if glance.is_copy:
                continue
            found = {pair for one in glance.imports for pair in paths.imported(one)}
            self._imported[glance.path] = [(path, names) for path, names in found if path in self._glances]
            for path, names in found:
                self._importers.setdefault(path, []).append((glance.path, names))

    def select(self) -> set[str]:
        pending = list(self._heirs())
        chosen = set(pending)
        for path in pending:
            found = {imported for imported, _ in self._imported.get(path, [])} - chosen
            chosen |= found
            pending.extend(found)
        return chosen

    def _heirs(self) -> set[str]:
        """The files that import asynchat, and those that may have its classes from such files."""
        #: By file, the names by which others may get its classes.
        exported = {glance.path: set(glance.classes) for glance in self._glances.values() if glance.is_old}
        pending = list(exported)
        for path in pending:
            for importer, names in self._importers.get(path, []):
                classes = set(self._glances[importer].classes)
                if "*" in names:
                    gained = classes | exported[path]
                elif names:
                    taken = exported[path].intersection(names)
                    gained = classes | set(names) if taken else set()
                else:
                    gained = classes
                if gained and not gained <= exported.get(importer, set()):
                    exported.setdefault(importer, set()).update(gained)
                    pending.append(importer)
        return set(exported)
