"""Who runs what: which functions run in callbacks of channels, and which in other threads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from ._check_names import CALLBACKS, CHANNEL_METHODS, LOOP_METHODS, POOL_METHODS, SMTP_CALLBACKS, THREADS
from ._check_program import Program, assignments
from ._check_scopes import Class, Function

_OF_OTHERS = LOOP_METHODS | CHANNEL_METHODS | {name for kind in (dict, list, set, str, bytes) for name in dir(kind)}
_LOOPS = ("asyncore.loop", "asyncore.poll")

#: A function, or a lambda in one.
Code: TypeAlias = Function | tuple[Function, ast.Lambda]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a thread begins.

    Attributes:
        starter: the function that starts it; in a subclass of Thread, its run().
        node: what it is given to run there.
    """

    starter: Function
    node: ast.AST
    code: Code | None
    runs_loop: bool


@dataclass(slots=True)
class Reach:
    """The answers, worked out when it is made."""

    program: Program
    entries: list[Entry] = field(default_factory=list)
    #: The functions that run in callbacks, each with the name of one callback that leads to it.
    callbacks: dict[Function, str] = field(default_factory=dict)
    _thread_targets: set[ast.AST] = field(default_factory=set)
    _named: dict[str, list[Function]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for module in filter(self.program.uses_asynchat, self.program.modules):
            for one in module.all_classes:
                for name, method in one.methods.items():
                    self._named.setdefault(name, []).append(method)
            for function in module.functions:
                self._thread_targets.update(self._handed_over(function))
        for module in filter(self.program.uses_asynchat, self.program.modules):
            for function in module.functions:
                self.entries.extend(self._entries(function))
        pending = list(self._roots())
        for function, label in pending:
            if function not in self.callbacks:
                self.callbacks[function] = label
                pending.extend((called, label) for called in self.used_by(function))

    # ------------------------------------------------------------------ callbacks

    def _roots(self) -> Iterator[tuple[Function, str]]:
        for module in self.program.modules:
            uses_asynchat = self.program.uses_asynchat(module)
            for one in module.all_classes:
                names: set[str] = set()
                if self.program.old_bases[one]:
                    names = {*CALLBACKS, *LOOP_METHODS, *(SMTP_CALLBACKS if self.program.is_smtp(one) else ())}
                    if self.program.is_channel(one) and not self.program.is_client(one):
                        names.add("__init__")  # that of servers and clients runs once, before all else
                elif uses_asynchat:
                    names = {"more"}
                yield from ((one.methods[name], f"{one.name}.{name}") for name in sorted(names & one.methods.keys()))

    def used_by(self, function: Function) -> Iterator[Function]:
        """What a function calls, or takes hold of in order to call it later; not what it gives to a thread."""
        for node in function.nodes:
            if node in self._thread_targets:
                continue
            if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
                yield from self._referred(node, function)
            if isinstance(node, ast.Call):
                yield from self.called_by(node, function)
                yield from self._got_by_name(node, function)

    def _referred(self, node: ast.Attribute | ast.Name, function: Function) -> Iterator[Function]:
        if isinstance(node, ast.Attribute) and function.is_self(node.value) and function.owner:
            yield from self._methods(function.owner, node.attr)
        elif isinstance(node, ast.Name) and (inner := function.find_inner(node.id)) and inner.parent is function:
            yield inner

    def _methods(self, one: Class, name: str) -> Iterator[Function]:
        for each in self.program.family(one):
            if name in each.methods:
                yield each.methods[name]

    def called_by(self, node: ast.Call, function: Function) -> Iterator[Function]:
        """The functions of the program that a call may mean."""
        program = self.program
        if found := program.function_of(node.func, function):
            yield found
        elif made := program.class_of(node.func, function):
            if not program.is_server(made) and (method := program.method(made, "__init__")):
                yield method
        elif isinstance(node.func, ast.Attribute):
            yield from self._called_method(node.func, function)

    def _called_method(self, node: ast.Attribute, function: Function) -> Iterator[Function]:
        receiver, name = node.value, node.attr
        if function.is_self(receiver) and function.owner:
            yield from self._methods(function.owner, name)
        elif function.owner and is_super(receiver):
            yield from (
                each.methods[name] for each in self.program.ancestors(function.owner)[1:] if name in each.methods
            )
        elif named := self.program.class_of(receiver, function):
            if method := self.program.method(named, name):
                yield method
        elif isinstance(made := self.program.maker(receiver, function), Class):
            yield from self._methods(made, name)
        elif made is None and function.module.dotted(receiver, function) is None:
            yield from self._by_name(name)

    def _by_name(self, name: str) -> Iterator[Function]:
        """Methods of that name of channels and their servers, unless other classes have it as well."""
        if name not in _OF_OTHERS:
            found = self._named.get(name, [])
            if self.is_channels_own(name):
                yield from found

    def is_channels_own(self, name: str) -> bool:
        """Whether no class but channels and their servers has a method of this name."""
        methods = self._named.get(name, [])
        return all(method.owner is not None and bool(self.program.old_bases[method.owner]) for method in methods)

    def is_defined_nowhere(self, name: str) -> bool:
        """Whether no class of the program defines a method of this name."""
        return name not in self._named

    def _got_by_name(self, node: ast.Call, function: Function) -> Iterator[Function]:
        """Methods that getattr(self, "do_" + command) may give."""
        if not (isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) >= 2):
            return
        prefix = _prefix(node.args[1])
        if function.is_self(node.args[0]) and function.owner and prefix:
            for each in self.program.family(function.owner):
                yield from (method for name, method in each.methods.items() if name.startswith(prefix))

    # ------------------------------------------------------------------ threads

    def _entries(self, function: Function) -> Iterator[Entry]:
        for node in function.nodes:
            if isinstance(node, ast.Call) and (target := self._target(node, function)):
                yield self._entry(function, target)
        if function.is_method and function.name == "run" and function.owner and self._is_thread(function.owner):
            yield Entry(function, function.node, function, self.runs_loop(function))

    def _handed_over(self, function: Function) -> Iterator[ast.AST]:
        """What is given to threads, or is called a target at least: helpers that start threads call it so, too."""
        for node in function.nodes:
            if isinstance(node, ast.Call):
                yield from (keyword.value for keyword in node.keywords if keyword.arg == "target")
                if target := self._target(node, function):
                    yield target

    def _is_thread(self, one: Class) -> bool:
        return any("threading.Thread" in self.program.bases(each) for each in self.program.ancestors(one))

    def _target(self, node: ast.Call, function: Function) -> ast.expr | None:
        """What a call hands to a thread."""
        if (place := THREADS.get(function.module.dotted(node.func, function) or "")) is None:
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if (place := POOL_METHODS.get(method)) is None:
                return None
        given = [keyword.value for keyword in node.keywords if keyword.arg in ("target", "function")]
        given += node.args[place : place + 1]
        target = given[0] if given else None
        if isinstance(target, ast.Call) and function.module.dotted(target.func, function) == "functools.partial":
            return target.args[0] if target.args else None
        return target

    def _entry(self, function: Function, target: ast.expr) -> Entry:
        if isinstance(target, ast.Lambda):
            return Entry(
                function, target, (function, target), any(self._calls_loop(node, function) for node in ast.walk(target))
            )
        code = self.program.function_of(target, function)
        if code is None and isinstance(target, ast.Attribute):
            code = next(self._called_method(target, function), None)
        return Entry(
            function, target, code, self._is_loop(target, function) or (code is not None and self.runs_loop(code))
        )

    def _calls_loop(self, node: ast.AST, function: Function) -> bool:
        return isinstance(node, ast.Call) and self._is_loop(node.func, function)

    def _is_loop(self, node: ast.AST, function: Function) -> bool:
        if isinstance(node, ast.IfExp):
            return self._is_loop(node.body, function) or self._is_loop(node.orelse, function)
        if isinstance(node, ast.Name) and function.binds(node.id):  # poll = asyncore.poll
            given = [value for target, value in assignments(function) if getattr(target, "id", None) == node.id]
            return any(
                isinstance(value, ast.Attribute | ast.IfExp) and self._is_loop(value, function) for value in given
            )
        named = isinstance(node, ast.Name | ast.Attribute) and function.module.dotted(node, function)
        return isinstance(named, str) and named.startswith(_LOOPS)

    def runs_loop(self, function: Function) -> bool:
        """Whether a function runs asyncore's loop, or calls one that does."""
        pending = [function]
        seen = {function}
        for each in pending:
            if any(self._calls_loop(node, each) for node in each.nodes):
                return True
            for node in each.nodes:
                called = set(self.called_by(node, each)) - seen if isinstance(node, ast.Call) else set()
                pending.extend(called)
                seen |= called
        return False


def nodes_of(code: Code) -> Iterator[ast.AST]:
    return iter(code.nodes) if isinstance(code, Function) else ast.walk(code[1])


def function_of(code: Code) -> Function:
    return code if isinstance(code, Function) else code[0]


def is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def sounds_like_stack(node: ast.expr) -> bool:
    """Whether something with a push() is rather no channel, as its name tells."""
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return any(word in name.lower() for word in ("stack", "queue", "fifo", "heap", "history", "undo"))


def _prefix(node: ast.expr) -> str:
    """With what the string begins that an expression gives, as far as that is written there."""
    if isinstance(node, ast.BinOp):
        node = node.left
    elif isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        node = node.func.value
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return text.split("%")[0].split("{")[0]
