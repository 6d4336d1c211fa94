"""All modules that are checked together: which classes are channels, and what calls and attributes refer to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeAlias

from ._check_scopes import Class, Function, Module
from ._check_selection import Glance, ModulePaths
from ._check_sources import Source

#: What made an object: a class of the program, or the dotted name of something else that was called.
Maker: TypeAlias = Class | str

ASYNC_CHAT = "asynchat.async_chat"
DISPATCHER = "asyncore.dispatcher"
SENDER = "asyncore.dispatcher_with_send"
FILE = "asyncore.file_dispatcher"
#: smtpd's classes, which went with asynchat, and what they are.
_OF_SMTPD = {
    "smtpd.SMTPChannel": ASYNC_CHAT,
    **dict.fromkeys(("smtpd.SMTPServer", "smtpd.DebuggingServer", "smtpd.PureProxy", "smtpd.MailmanProxy"), DISPATCHER),
}
_OLD_MODULES = {"asynchat", "asyncore", "smtpd"}
OLD_BASES = {ASYNC_CHAT, DISPATCHER, SENDER, FILE}


class Program:
    """The modules, and the answers to what can be known about them without running them."""

    def __init__(self, sources: list[Source], glances: list[Glance]) -> None:
        self._paths = ModulePaths(glance.path for glance in glances)
        self._namesakes = ModulePaths(glance.path for glance in glances if glance.is_namesake)
        copies = {glance.path for glance in glances if glance.is_copy}
        self.modules = [Module(source, self._is_namesake) for source in sources if source.path not in copies]
        self._by_path = {module.source.path: module for module in self.modules}
        self._bases = {one: [self._base(node, one) for node in one.node.bases] for one in self._all_classes()}
        self._children: dict[Class, list[Class]] = {}
        for one, bases in self._bases.items():
            for base in bases:
                if isinstance(base, Class):
                    self._children.setdefault(base, []).append(one)
        self.old_bases = {one: self._old_bases(one) for one in self._bases}
        self._old_modules = {module for module in self.modules if self._uses_asynchat(module)}
        self._servers = {one for one in self._bases if self._is_server(one)}
        self._attributes: dict[Class, dict[str, Maker | None]] = {}
        self._variables: dict[Function, dict[str, Maker | None]] = {}

    def _all_classes(self) -> Iterator[Class]:
        for module in self.modules:
            yield from module.all_classes

    # ------------------------------------------------------------------ modules

    def module(self, dotted: str) -> Module | None:
        path = self._paths.find(dotted)
        return None if path is None else self._by_path.get(path)

    def _is_namesake(self, dotted: str) -> bool:
        """Whether it is a module in a package; one that is not would be the standard library's."""
        name = dotted.lstrip(".")
        return "." in dotted and self._namesakes.find(name, 2 if "." in name else 1) is not None

    def uses_asynchat(self, module: Module) -> bool:
        return module in self._old_modules

    def _uses_asynchat(self, module: Module) -> bool:
        return any(name.partition(".")[0] in _OLD_MODULES for name in module.names.values()) or any(
            self.old_bases[one] for one in module.all_classes
        )

    # ------------------------------------------------------------------ classes

    def class_of(self, node: ast.AST, function: Function) -> Class | None:
        """The class of the program that an expression names."""
        module = function.module
        if isinstance(node, ast.Name) and not function.binds(node.id) and node.id in module.classes:
            return module.classes[node.id]
        found = self._definition(node, function)
        return found if isinstance(found, Class) else None

    def function_of(self, node: ast.AST, function: Function) -> Function | None:
        """The function of the program, no method, that an expression names."""
        if isinstance(node, ast.Name) and (inner := function.find_inner(node.id)):
            return inner
        found = self._definition(node, function)
        return found if isinstance(found, Function) else None

    def _definition(self, node: ast.AST, function: Function) -> Class | Function | None:
        if isinstance(node, ast.Name) and not function.binds(node.id) and node.id not in function.module.names:
            for star in function.module.stars:
                if found := self._defined_in(f"{star}.{node.id}"):
                    return found
        dotted = function.module.dotted(node, function)
        if dotted is None or "." not in dotted:
            return None
        return self._defined_in(dotted)

    def _defined_in(self, dotted: str, depth: int = 0) -> Class | Function | None:
        module_name, _, name = dotted.rpartition(".")
        module = self.module(module_name)
        if module is None:
            return None
        found = module.classes.get(name) or module.top.inner.get(name)
        if found is None and depth < 5:
            elsewhere = [module.names[name]] if name in module.names else [f"{star}.{name}" for star in module.stars]
            found = next(
                (one for each in elsewhere if "." in each and (one := self._defined_in(each, depth + 1))), None
            )
        return found

    def _base(self, node: ast.AST, one: Class) -> Class | str | None:
        return self.class_of(node, one.module.top) or one.module.dotted(node, one.module.top)

    def bases(self, one: Class) -> list[Class | str | None]:
        return self._bases[one]

    def ancestors(self, one: Class) -> list[Class]:
        """The class itself and those of the program that it derives from, roughly in the order of lookup."""
        found = [one]
        for known in found:
            found.extend(base for base in self._bases[known] if isinstance(base, Class) and base not in found)
        return found

    def descendants(self, one: Class) -> list[Class]:
        found = [one]
        for known in found:
            found.extend(child for child in self._children.get(known, []) if child not in found)
        return found

    def family(self, one: Class) -> list[Class]:
        """Those whose methods `self.method` may mean in a method of this class."""
        family = self.ancestors(one)
        return family + [each for each in self.descendants(one) if each not in family]

    def method(self, one: Class, name: str) -> Function | None:
        return next((each.methods[name] for each in self.ancestors(one) if name in each.methods), None)

    def _old_bases(self, one: Class) -> set[str]:
        """Those of asynchat's and asyncore's classes that it derives from."""
        return {_OF_SMTPD.get(base, base) for base in self._outer_bases(one)} & OLD_BASES

    def _outer_bases(self, one: Class) -> set[str]:
        return {base for each in self.ancestors(one) for base in self._bases[each] if isinstance(base, str)}

    def is_smtp(self, one: Class | None) -> bool:
        """Whether it derives from one of smtpd's classes."""
        return one is not None and not self._outer_bases(one).isdisjoint(_OF_SMTPD)

    def is_channel(self, one: Class | None) -> bool:
        """Whether it derives from async_chat."""
        return one is not None and ASYNC_CHAT in self.old_bases[one]

    def is_server(self, one: Class | None) -> bool:
        """Whether it is a dispatcher that listens."""
        return one in self._servers

    def _is_server(self, one: Class) -> bool:
        if self.is_channel(one) or not self.old_bases[one]:
            return False
        if self.is_smtp(one):
            return True
        methods = [method for each in self.family(one) for method in each.methods.values()]
        return any(method.name in ("handle_accept", "handle_accepted") for method in methods) or any(
            isinstance(node, ast.Attribute) and node.attr == "listen" and method.is_self(node.value)
            for method in methods
            for node in method.nodes
        )

    def is_client(self, one: Class) -> bool:
        """Whether it makes its connection by itself."""
        methods = (method for each in self.family(one) for method in each.methods.values())
        return any(
            isinstance(node, ast.Attribute)
            and node.attr in ("create_socket", "set_socket")
            and method.is_self(node.value)
            for method in methods
            for node in method.nodes
        )

    def is_connection(self, one: Class | None) -> bool:
        """Whether it is a channel, or a dispatcher that does not listen."""
        return one is not None and bool(self.old_bases[one]) and not self.is_server(one)

    def is_known_connection(self, node: ast.AST, function: Function) -> bool:
        """Whether an expression is known to be such an object."""
        if function.is_self(node):
            return self.is_connection(function.owner)
        made = self.maker(node, function)
        return self.is_connection(made) if isinstance(made, Class) else made in OLD_BASES

    # ------------------------------------------------------------------ objects

    def maker(self, node: ast.AST, function: Function) -> Maker | None:
        """What made the object that an expression gives, if all assignments agree on it."""
        if isinstance(node, ast.Call):
            return self.class_of(node.func, function) or function.module.dotted(node.func, function)
        if isinstance(node, ast.Attribute) and function.is_self(node.value) and function.owner:
            return self._attribute(function.owner, node.attr)
        if isinstance(node, ast.Name):
            scope: Function | None = function
            while scope and not (node.id in scope.bound and node.id in self._makers(scope)):
                scope = scope.parent
            return self._makers(scope)[node.id] if scope else None
        return None

    def _attribute(self, one: Class, name: str) -> Maker | None:
        if one not in self._attributes:
            makers: dict[str, Maker | None] = {}
            self._attributes[one] = makers
            for each in self.family(one):
                for method in each.methods.values():
                    for target, value in assignments(method):
                        if isinstance(target, ast.Attribute) and method.is_self(target.value):
                            self._note(makers, target.attr, value, method)
                for statement in each.node.body:
                    if isinstance(statement, ast.Assign):
                        for target in statement.targets:
                            if isinstance(target, ast.Name):
                                self._note(makers, target.id, statement.value, each.module.top)
        return self._attributes[one].get(name)

    def _makers(self, function: Function) -> dict[str, Maker | None]:
        if function not in self._variables:
            makers: dict[str, Maker | None] = {}
            self._variables[function] = makers
            for target, value in assignments(function):
                if isinstance(target, ast.Name):
                    self._note(makers, target.id, value, function)
        return self._variables[function]

    def _note(self, makers: dict[str, Maker | None], name: str, value: ast.expr, function: Function) -> None:
        if isinstance(value, ast.Constant) and value.value is None:
            return  # not made yet
        made = self.maker(value, function) if isinstance(value, ast.Call) else None
        makers[name] = made if makers.get(name, made) == made else None


def assignments(function: Function) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Target and value of each plain assignment, and of each with statement."""
    for node in function.nodes:
        if isinstance(node, ast.Assign):
            yield from ((target, node.value) for target in node.targets)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value:
            yield node.target, node.value
        elif isinstance(node, ast.withitem) and node.optional_vars:
            yield node.optional_vars, node.context_expr
