"""The plan of the house, held against its imports."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import trio_chat

PACKAGE = Path(trio_chat.__file__).parent
PURE = {"_errors", "_terminators", "_chunks", "_buffer"}
IO_MODULES = {"trio", "socket", "ssl", "select", "selectors", "asyncio", "threading", "subprocess", "os", "io"}

#: From the ground up: a module imports only from floors below its own.
FLOORS = [
    {"_errors", "_endings", "_terminators", "_streams", "_replay", "_begun", "_transport"},
    {"_chunks", "_producers", "_handler", "_alarm", "_listening", "_farewell"},
    {"_buffer", "_outqueue", "_admission", "_unix"},
    {"_writer"},
    {"_timeouts", "_intake", "_callbacks"},
    {"_delivery", "_output", "_tls"},
    {"_connection"},
    {"_chat"},
    {"_server"},
    {"_serve"},
]


def modules() -> dict[str, ast.Module]:
    """The package's modules by dotted name, without the package's own."""
    paths = {path.relative_to(PACKAGE).with_suffix(""): path for path in PACKAGE.rglob("*.py")}
    return {".".join(name.parts): ast.parse(path.read_text()) for name, path in paths.items()}


MODULES = modules()


@cache
def imports_of(name: str) -> set[str]:
    """What a module imports: dotted names, those of the package relative to it, with a leading dot."""
    package = name.split(".")[:-1]
    imported: set[str] = set()
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)]
            imported.add("." + ".".join([*base, *([node.module] if node.module else [])]))
    return imported


def of_the_package(name: str) -> set[str]:
    return {imported[1:] for imported in imports_of(name) if imported.startswith(".")}


def test_every_module_stands_on_a_floor() -> None:
    core = {name for name in MODULES if "." not in name and name != "__init__"}
    assert core == set().union(*FLOORS)


@pytest.mark.parametrize("floor", range(len(FLOORS)))
def test_modules_import_only_from_below(floor: int) -> None:
    below = set().union(*FLOORS[:floor])
    for name in FLOORS[floor]:
        assert of_the_package(name) <= below, name


def test_there_is_no_import_cycle() -> None:
    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " imports ".join([*path[path.index(name) :], name])
        for imported in of_the_package(name):
            if imported in MODULES and not imported.endswith("__init__"):
                visit(imported, (*path, name))

    for name in MODULES:
        visit(name, ())


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_scanner_does_no_io(name: str) -> None:
    assert not {imported.split(".")[0] for imported in imports_of(name)} & IO_MODULES


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("http.")))
def test_http_uses_public_names_only(name: str) -> None:
    outside = {imported for imported in of_the_package(name) if not imported.startswith("http.")}
    assert outside <= {"", "http"}


COMPAT = sorted(name for name in MODULES if name.startswith("compat."))
CHECKER = [name for name in COMPAT if name.startswith("compat._check_") or name == "compat.check"]


@pytest.mark.parametrize("name", COMPAT)
def test_compat_uses_public_names_only(name: str) -> None:
    outside = {imported for imported in of_the_package(name) if not imported.startswith("compat.")}
    assert outside <= {"", "compat"}


@pytest.mark.parametrize("name", CHECKER)
def test_the_checker_knows_nothing_of_what_it_checks_for(name: str) -> None:
    assert {f".{imported}" for imported in CHECKER} >= {each for each in imports_of(name) if each.startswith(".")}
    assert not {imported.split(".")[0] for imported in imports_of(name)} & {"trio", "trio_chat"}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("testing.")))
def test_the_tools_for_tests_use_public_names_only_and_no_pytest(name: str) -> None:
    outside = {imported for imported in of_the_package(name) if not imported.startswith("testing.")}
    assert outside <= {"", "http", "testing"}
    if name not in ("testing.pytest_plugin", "testing.strategies"):
        others = {imported.split(".")[0] for imported in imports_of(name) if not imported.startswith(".")}
        assert not others & {"pytest", "_pytest", "pytest_trio", "hypothesis"}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.startswith("testing.")))
def test_nothing_needs_the_tools_for_tests(name: str) -> None:
    assert not {imported for imported in of_the_package(name) if imported.split(".")[0] == "testing"}
    assert not {imported for imported in imports_of(name) if imported.startswith("trio_chat")}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.split(".")[-1] == "__init__"))
def test_packages_only_re_export(name: str) -> None:
    docstring, *rest = MODULES[name].body
    assert isinstance(docstring, ast.Expr)
    assert all(isinstance(node, ast.ImportFrom) for node in rest)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_a_file_reads_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 380
