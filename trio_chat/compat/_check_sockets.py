"""The socket of a channel, under whatever name: what is called of it that it does not have (TC301)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ._check_findings import Report
from ._check_names import SOCKET_METHODS
from ._check_program import Program, assignments
from ._check_reach import Reach, is_super
from ._check_scopes import Class, Function


def check_sockets(program: Program, reach: Reach, report: Report) -> None:
    sockets = Sockets(program)
    for module in program.modules:
        for function in module.functions if program.uses_asynchat(module) else ():
            for node in function.nodes:
                match node:
                    case ast.Call(func=ast.Attribute() as method) if sockets.is_socket(method.value, function):
                        if what := _not_there(node, method.attr):
                            report.add(module.source, node, "TC301", f"{what} of a channel's socket")


def _not_there(node: ast.Call, name: str) -> str:
    """What a call asks of the socket in vain, as it is to be named; empty if nothing."""
    if name not in SOCKET_METHODS:
        return f"{name}()"
    first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ...
    if (name == "settimeout" and first != 0) or (name == "setblocking" and (first is ... or first)):
        return f"{name}({', '.join(map(ast.unparse, node.args))})"
    if name in ("send", "sendall", "recv") and len(node.args) + len(node.keywords) > 1:
        return f"flags for {name}()"
    return ""


class Sockets:
    """Knows the sockets of channels: what `self.socket` is, and what it was before a channel took it.

    That is what handle_accepted is given, and what the constructor of a channel hands on to the one of its base class,
    or to set_socket; and attributes that are assigned from these and from nothing else.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self._names: dict[Function, set[str]] = {}
        self._attributes: dict[Class, set[str]] = {}

    def is_socket(self, node: ast.expr, function: Function) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self._named(function)
            case ast.Attribute(value=holder, attr="socket") if self.program.is_known_connection(holder, function):
                return True
            case ast.Attribute(value=holder, attr=name) if function.is_self(holder) and function.owner:
                return name in self._held(function.owner)
        return False

    def _named(self, function: Function) -> set[str]:
        """The parameters of a function that are such sockets."""
        if function not in self._names:
            self._names[function] = set()  # for constructors that lead to themselves
            stored = {
                node.id for node in function.nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
            self._names[function] = set(self._given(function)).intersection(function.parameters) - stored
        return self._names[function]

    def _given(self, function: Function) -> Iterator[str]:
        owner = function.owner
        if function.name == "handle_accepted":
            place = 1 if function.is_method else 0
            yield from function.parameters[place : place + 1]
        elif function.is_method and self.program.is_connection(owner):
            for node in function.nodes:
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    yield from (
                        value.id for value in self._taken(node, node.func, function) if isinstance(value, ast.Name)
                    )

    def _taken(self, node: ast.Call, method: ast.Attribute, function: Function) -> Iterator[ast.expr]:
        """What a call gives a channel as its socket."""
        if method.attr == "set_socket":
            place, name = 0, "sock"
        elif method.attr == "__init__" and function.owner:
            place, name = self._place_in_constructor(function.owner)
            place -= is_super(method.value)
        else:
            return
        yield from node.args[place : place + 1]
        yield from (keyword.value for keyword in node.keywords if keyword.arg == name)

    def _place_in_constructor(self, one: Class) -> tuple[int, str]:
        """The place, after self, and the name of the parameter that is the socket, of the base's constructor."""
        for base in self.program.ancestors(one)[1:]:
            if constructor := base.methods.get("__init__"):
                names = self._named(constructor)
                found = [pair for pair in enumerate(constructor.parameters) if pair[1] in names]
                return found[0] if found else (len(constructor.parameters), "")
        return (2, "conn") if self.program.is_smtp(one) else (1, "sock")

    def _held(self, one: Class) -> set[str]:
        """The attributes of a class's instances that are such sockets."""
        if one not in self._attributes:
            held: dict[str, bool] = {}
            for each in self.program.family(one) if self.program.is_connection(one) else ():
                for method in each.methods.values():
                    for target, value in assignments(method):
                        if isinstance(target, ast.Attribute) and method.is_self(target.value) and not _is_none(value):
                            is_one = isinstance(value, ast.Name) and value.id in self._named(method)
                            held[target.attr] = held.get(target.attr, True) and is_one
            self._attributes[one] = {name for name, is_one in held.items() if is_one}
        return self._attributes[one]


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
