"""One module's functions and names: which belongs to which scope, and what imported names stand for."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from ._check_selection import absolute, old_module
from ._check_sources import Source

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef)


def canonical(dotted: str, is_namesake: Callable[[str], bool]) -> str:
    """`dotted` with whatever module is asynchat or asyncore under these names."""
    parts = dotted.split(".")
    for index in reversed(range(len(parts))):
        if (old := old_module(parts[index])) and not is_namesake(".".join(parts[: index + 1])):
            return ".".join([old, *parts[index + 1 :]])
    return dotted


@dataclass(eq=False, slots=True, repr=False)
class Function:
    """A function; or, with a module as its node, all that stands outside of functions.

    Attributes:
        owner: the class whose method it is, or in whose method it stands.
        self_name: what the instance is called in it, if it has one.
        bound: the names that are its own.
        nodes: what is in it, without the functions in it.
    """

    node: FunctionNode | ast.Module
    module: Module
    parent: Function | None = None
    owner: Class | None = None
    self_name: str | None = None
    bound: set[str] = field(default_factory=set)
    nodes: list[ast.AST] = field(default_factory=list)
    inner: dict[str, Function] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "<module>" if isinstance(self.node, ast.Module) else self.node.name

    @property
    def is_method(self) -> bool:
        return self.owner is not None and self.owner.methods.get(self.name) is self

    @property
    def parameters(self) -> list[str]:
        if isinstance(self.node, ast.Module):
            return []
        return [argument.arg for argument in (*self.node.args.posonlyargs, *self.node.args.args)]

    def is_self(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and self.self_name is not None and node.id == self.self_name

    def binds(self, name: str) -> bool:
        """Whether `name` is a variable of this function, or of one around it."""
        return self.parent is not None and (name in self.bound or self.parent.binds(name))

    def find_inner(self, name: str) -> Function | None:
        """The function that `name` stands for here, if it is one of this module."""
        if name in self.inner:
            return self.inner[name]
        return self.parent.find_inner(name) if self.parent and name not in self.bound else None


@dataclass(eq=False, slots=True, repr=False)
class Class:
    """A class: its methods, and the functions that stand in it as attributes."""

    node: ast.ClassDef
    module: Module
    methods: dict[str, Function] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.node.name


@dataclass(eq=False, repr=False)
class Module:
    """A parsed file: its functions and classes at any depth, and what its imported names stand for.

    Attributes:
        is_namesake: whether a dotted name is that of a module of the program that is only called like the old one.
    """

    source: Source
    is_namesake: Callable[[str], bool]
    top: Function = field(init=False)
    functions: list[Function] = field(default_factory=list)
    all_classes: list[Class] = field(default_factory=list)
    classes: dict[str, Class] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.top = Function(self.source.tree, self)
        self._fill(self.top, None, list(self.source.tree.body))
        self._name_imports()

    def _fill(self, function: Function, owner: Class | None, body: list[ast.AST]) -> None:
        """Sort what is in a function into its own nodes, and functions of their own."""
        self.functions.append(function)
        pending: list[tuple[ast.AST, Class | None]] = [(node, owner) for node in reversed(body)]
        while pending:
            node, inside = pending.pop()
            function.nodes.append(node)
            if isinstance(node, _SCOPES):
                self._add_function(function, node, inside)
                defaults = filter(None, (*node.args.defaults, *node.args.kw_defaults))
                pending.extend((child, inside) for child in (*node.decorator_list, *defaults))
                continue
            if isinstance(node, ast.ClassDef):
                found = Class(node, self)
                self.all_classes.append(found)
                self.classes.setdefault(node.name, found)
                pending.extend((child, None) for child in (*node.decorator_list, *node.bases, *node.keywords))
                pending.extend((child, found) for child in reversed(node.body))
                continue
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.imports.append(node)
            elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load) and inside is None:
                function.bound.add(node.id)
            pending.extend((child, inside) for child in reversed(list(ast.iter_child_nodes(node))))
        for node in function.nodes:
            if isinstance(node, ast.Global | ast.Nonlocal):
                function.bound.difference_update(node.names)

    def _add_function(self, parent: Function, node: FunctionNode, owner: Class | None) -> None:
        function = Function(node, self, parent, owner or parent.owner, parent.self_name)
        arguments = node.args
        bound = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        function.bound.update(argument.arg for argument in bound if argument)
        if owner:
            owner.methods[node.name] = function
            static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in node.decorator_list)
            function.self_name = function.parameters[0] if function.parameters and not static else None
        else:
            parent.inner[node.name] = function
            if function.self_name in function.bound:
                function.self_name = None
        self._fill(function, None, list(node.body))

    def _name_imports(self) -> None:
        for node in self.imports:
            for alias in node.names:
                if isinstance(node, ast.Import):
                    full = alias.name if alias.asname else alias.name.split(".")[0]
                    self._name(alias.asname or full, full)
                elif alias.name == "*":
                    self.stars.append(self.absolute(node))
                else:
                    self._name(alias.asname or alias.name, f"{self.absolute(node)}.{alias.name}")
        for statement in self.top.nodes:  # such as: Base = asynchat.async_chat
            if isinstance(statement, ast.Assign) and (dotted := self.dotted(statement.value, self.top)):
                for target in statement.targets:
                    if isinstance(target, ast.Name) and "." in dotted:
                        self._name(target.id, dotted)

    def _name(self, name: str, dotted: str) -> None:
        """Of several meanings, as after try: … except ImportError: …, the one that is asynchat counts."""
        known = self._canonical(self.names.get(name, ""))
        if not known.startswith(("asynchat", "asyncore")):
            self.names[name] = self._canonical(dotted)

    def absolute(self, node: ast.ImportFrom) -> str:
        """The module that is imported from; a relative one as its path says."""
        return absolute(self.source.path, node.level, node.module or "")

    def _canonical(self, dotted: str) -> str:
        return canonical(dotted, self.is_namesake)

    def dotted(self, node: ast.AST, function: Function) -> str | None:
        """What an expression names outside of this module: "time.sleep", or "open" for a builtin."""
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or function.binds(node.id):
            return None
        base = self.names.get(node.id)
        if base is None:
            if names or node.id in self.classes or node.id in self.top.bound or function.find_inner(node.id):
                return None
            base = node.id
        return self._canonical(".".join([base, *reversed(names)]))
