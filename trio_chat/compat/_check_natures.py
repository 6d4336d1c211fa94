"""Tells bytes from text in expressions, as far as that can be told without running them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ._check_names import GIVES_TEXT, SAME, SPLITS
from ._check_program import Program, assignments
from ._check_scopes import Class, Function

#: What an expression is; "of bytes" and "of str" are lists. None: who knows.
Nature: TypeAlias = Literal["bytes", "str", "of bytes", "of str"] | None

LISTS: dict[Nature, Nature] = {"bytes": "of bytes", "str": "of str"}
_ITEMS: dict[Nature, Nature] = {"of bytes": "bytes", "of str": "str"}


@dataclass(slots=True)
class Memory:
    """What is known of variables (by function) and attributes (by class), and of which it is being worked out."""

    known: dict[tuple[object, str], Nature] = field(default_factory=dict)
    pending: set[tuple[object, str]] = field(default_factory=set)


class Natures:
    """Those of the expressions in one function.

    A variable is what all that is assigned to it is, an attribute what all that is assigned to it in the class's family
    is. What is defined by itself, perhaps by way of others, is not known.
    """

    def __init__(self, program: Program, function: Function, memory: Memory) -> None:
        self.program = program
        self.function = function
        self.owner = function.owner
        self.memory = memory

    def of(self, node: ast.expr) -> Nature:
        nature: Nature = None
        match node:
            case ast.Constant(value=bytes()):
                nature = "bytes"
            case ast.Constant(value=str()) | ast.JoinedStr():
                nature = "str"
            case ast.Name():
                nature = self._variable(node.id)
            case ast.Attribute() if self.function.is_self(node.value) and self.owner:
                nature = self._attribute(self.owner, node.attr)
            case ast.Tuple(elts=[first, *rest]):
                nature = LISTS.get(self.of(first))
                nature = nature if all(LISTS.get(self.of(item)) == nature for item in rest) else None
            case ast.BinOp(op=ast.Add()):
                nature = _sum(self.of(node.left), self.of(node.right))
            case ast.BinOp(op=ast.Mod()):
                left = self.of(node.left)
                nature = left if left in LISTS else None
            case ast.IfExp():
                body = self.of(node.body)
                nature = body if body == self.of(node.orelse) else None
            case ast.Subscript():
                whole = self.of(node.value)
                nature = whole if isinstance(node.slice, ast.Slice) else _ITEMS.get(whole)
            case ast.Call():
                nature = self._call(node)
        return nature

    def _call(self, node: ast.Call) -> Nature:
        dotted = self.function.module.dotted(node.func, self.function)
        if dotted in GIVES_TEXT:
            return "str"
        if dotted in ("bytes", "bytearray"):
            return "bytes"
        return self._method(node.func.value, node.func.attr) if isinstance(node.func, ast.Attribute) else None

    def _method(self, receiver: ast.expr, name: str) -> Nature:
        if name == "_get_data" and self.function.is_self(receiver) and self.owner:
            return None if self.program.method(self.owner, name) else "bytes"
        if name == "decode":
            return "str"
        of_receiver = self.of(receiver)
        if of_receiver == "str" and name in ("encode", "format"):
            return "bytes" if name == "encode" else "str"
        if of_receiver in LISTS and (name in SAME or name in SPLITS):
            return of_receiver if name in SAME else LISTS[of_receiver]
        return None

    # ------------------------------------------------------------------ variables

    def _variable(self, name: str) -> Nature:
        function = self.function
        if not function.binds(name):
            function = function.module.top
        if name not in function.bound:
            return None  # imported, a builtin, or of a function around this one
        return self._once((function, name), lambda: self._all_assigned(name, function))

    def _once(self, key: tuple[object, str], find: Callable[[], Nature]) -> Nature:
        known, pending = self.memory.known, self.memory.pending
        if key not in known and key not in pending:
            pending.add(key)
            known[key] = find()
            pending.discard(key)
        return known.get(key)

    def _all_assigned(self, name: str, function: Function) -> Nature:
        natures: set[Nature] = set()
        if self._is_received(name, function):
            natures.add("bytes")
        elif name in function.parameters:
            natures = self._given(function.parameters.index(name), name, function)
            if natures != {"str"}:
                return None
        values = [value for target, value in assignments(function) if getattr(target, "id", None) == name]
        added_to = {node.target for node in function.nodes if isinstance(node, ast.AugAssign)}
        stores = [node for node in function.nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        if len(values) != sum(node.id == name and node not in added_to for node in stores):
            return None  # a loop variable and the like
        natures.update(self._in(function).of(value) for value in values)
        return natures.pop() if len(natures) == 1 else None

    def _is_received(self, name: str, function: Function) -> bool:
        """Whether it is the data that collect_incoming_data is given."""
        is_callback = function.is_method and function.name == "collect_incoming_data"
        return is_callback and function.parameters[1:2] == [name] and self.program.is_channel(function.owner)

    def _given(self, place: int, name: str, function: Function) -> set[Nature]:
        """What a method is given in the calls by other methods of its family, if it does not ask what it was."""
        if not function.is_method or function.owner is None or any(_asks(node, name) for node in function.nodes):
            return {None}
        natures: set[Nature] = set()
        for method in self._methods(function.owner):
            for node in method.nodes:
                match node:
                    case ast.Call(func=ast.Attribute() as called) if _is_own(called, function.name, method):
                        given = node.args[place - 1 : place]
                        natures.add(self._in(method).of(given[0]) if given else None)
        return natures

    # ------------------------------------------------------------------ attributes

    def _attribute(self, owner: Class, name: str) -> Nature:
        return self._once((owner, name), lambda: self._of_family(owner, name))

    def _of_family(self, owner: Class, name: str) -> Nature:
        natures: set[Nature] = set()
        for method in self._methods(owner):
            for target, value in assignments(method):
                if _is_own(target, name, method) and not any(_is_own(part, name, method) for part in ast.walk(value)):
                    natures.add(self._in(method).of(value))
        if natures <= {None}:
            return self._list_of_family(owner, name)
        return natures.pop() if len(natures) == 1 else None

    def _list_of_family(self, owner: Class, name: str) -> Nature:
        """By what is appended to it."""
        natures: set[Nature] = set()
        for method in self._methods(owner):
            for node in method.nodes:
                match node:
                    case ast.Call(func=ast.Attribute(attr="append", value=held), args=[item]) if _is_own(
                        held, name, method
                    ):
                        natures.add(self._in(method).of(item))
        if not natures and name == "incoming" and self.program.is_channel(owner):
            return "of bytes"
        return LISTS.get(natures.pop()) if len(natures) == 1 else None

    def _methods(self, owner: Class) -> Iterator[Function]:
        return (method for one in self.program.family(owner) for method in one.methods.values())

    def _in(self, function: Function) -> Natures:
        return self if function is self.function else Natures(self.program, function, self.memory)


def _sum(left: Nature, right: Nature) -> Nature:
    """That of the one side if the other is not known."""
    return (left or right) if left is None or right is None or left == right else None


def _is_own(node: ast.AST, name: str, method: Function) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == name and method.is_self(node.value)


def _asks(node: ast.AST, name: str) -> bool:
    """Whether it is isinstance(name, …)."""
    match node:
        case ast.Call(func=ast.Name(id="isinstance"), args=[ast.Name(id=asked), *_]):
            return asked == name
    return False
