"""What belonged to asyncore: its module, its dispatchers, its way with sockets and buffers (TC1 to TC4, TC8)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ._check_findings import Report
from ._check_kinds import KINDS
from ._check_names import (
    DEAD_METHODS,
    FIFO_METHODS,
    GONE,
    LOOP_METHODS,
    MORE_OF_ASYNCORE,
    OF_ASYNCORE,
    QUEUE_STATES,
    SELECTS,
    SENDING_STEPS,
    SET_UP,
    SIZES,
    STATE,
)
from ._check_program import ASYNC_CHAT, DISPATCHER, FILE, OLD_BASES, SENDER, Program
from ._check_reach import Reach, is_super
from ._check_scopes import Class, Function, Module


def check_machinery(program: Program, reach: Reach, report: Report) -> None:
    for module in program.modules:
        if program.uses_asynchat(module):
            _check_imports(program, module, report)
            for one in module.all_classes:
                if program.old_bases[one]:
                    _check_class(program, one, report)
            for function in module.functions:
                if _stands_in(function, program) not in DEAD_METHODS:
                    _Machinery(program, reach, function, report).check()


def _stands_in(function: Function, program: Program) -> str:
    """The name of the channel's method that a function is, or stands in."""
    outer: Function | None = function
    while outer and not (outer.is_method and outer.owner and program.old_bases[outer.owner]):
        outer = outer.parent
    return outer.name if outer else ""


def _check_imports(program: Program, module: Module, report: Report) -> None:
    for node in module.imports:
        base = module.absolute(node) if isinstance(node, ast.ImportFrom) else ""
        if base.startswith("trio_chat"):
            continue
        meant = {module.names.get(alias.asname or alias.name, alias.name) for alias in node.names}
        for code, name in (("TC207", "asyncore"), ("TC208", "asynchat"), ("TC209", "smtpd")):
            if program.module(name) is None and any(each == name or each.startswith(f"{name}.") for each in meant):
                report.add(module.source, node, code, f"the import of {name}")


def _check_class(program: Program, one: Class, report: Report) -> None:
    """What the class statement and the names of its methods tell."""
    source = one.module.source
    direct = _direct_bases(program, one)
    if FILE in direct:
        report.add(source, one.node, "TC106", f"{one.name} derives from asyncore.file_dispatcher")
    elif any(isinstance(base, str) and base.startswith("smtpd.") for base in program.bases(one)):
        if program.is_server(one):
            report.add(source, one.node, "TC104", f"{one.name} is a server of smtpd's", KINDS["TC209"].advice)
    elif direct and program.is_server(one):
        report.add(source, one.node, "TC104", f"{one.name} is a listening asyncore.dispatcher")
    elif direct:
        base = "dispatcher" if DISPATCHER in direct else "dispatcher_with_send"
        report.add(source, one.node, "TC105", f"{one.name} is a connection that derives from asyncore.{base}")
    if not program.is_server(one):
        for node, name in _definitions(one):
            if name in DEAD_METHODS:
                report.add(source, node, "TC101", f"{one.name} overrides {name}(), which nothing calls any more")
            elif name in LOOP_METHODS:
                report.add(source, node, "TC802", f"{one.name} overrides {name}()")
            elif name == "handle_error":
                report.add(source, node, "TC801", f"{one.name} overrides handle_error()")


def _direct_bases(program: Program, one: Class) -> set[str]:
    """asyncore's classes that it derives from without another class between; none if it is a channel."""
    if program.is_channel(one):
        return set()
    return {base for base in program.bases(one) if isinstance(base, str)} & OLD_BASES


def _definitions(one: Class) -> Iterator[tuple[ast.AST, str]]:
    """The methods of a class, and what is assigned in it or on the instance, and so takes the place of methods."""
    for name, method in one.methods.items():
        yield method.node, name
        for node in method.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and method.is_self(node.value):
                yield node, node.attr
    for statement in one.node.body:
        if isinstance(statement, ast.Assign):
            yield from ((target, target.id) for target in statement.targets if isinstance(target, ast.Name))


class _Machinery:
    """The hazards in the statements of one function, or of a module's top level."""

    def __init__(self, program: Program, reach: Reach, function: Function, report: Report) -> None:
        self.program = program
        self.reach = reach
        self.function = function
        self.module = function.module
        self.report = report
        owner = function.owner
        self.owner = owner if owner is not None and program.old_bases[owner] else None
        self.bases = {base for node in function.nodes if isinstance(node, ast.ClassDef) for base in node.bases}
        #: Reported otherwise already.
        self.fifos: set[ast.expr] = set()
        #: Reported as a whole already.
        self.is_noted = _stands_in(function, program) in LOOP_METHODS

    def add(self, node: ast.AST, code: str, message: str = "") -> None:
        if not (self.is_noted and code.startswith("TC8")):
            self.report.add(self.module.source, node, code, message or KINDS[code].meaning)

    def check(self) -> None:
        for node in self.function.nodes:
            if isinstance(node, ast.Name | ast.Attribute) and node not in self.bases:
                if isinstance(node.ctx, ast.Load):
                    self.check_name(node)
                if isinstance(node, ast.Attribute):
                    self.check_attribute(node)
            elif isinstance(node, ast.Call):
                self.check_map(node)
                self.check_call(node)
            elif isinstance(node, ast.While) and self.flushes(node):
                self.add(node, "TC506")

    # ------------------------------------------------------------------ names of modules

    def check_name(self, node: ast.Name | ast.Attribute) -> None:
        dotted = self.module.dotted(node, self.function) or ""
        old, _, name = dotted.partition(".")
        if dotted in SELECTS and self.function not in self.reach.callbacks:
            self.add(node, "TC302", f"{dotted}() beside Trio's loop")
        elif dotted == "ssl.wrap_socket":
            self.add(node, "TC303", "ssl.wrap_socket(), which Python 3.12 has dropped")
        elif dotted == "asynchat.fifo":
            self.add(node, "TC403")
        elif old == "asyncore" and name and "." not in name:
            if name.startswith("dispatcher") and self.owner and not self.program.is_channel(self.owner):
                return  # the class gets another base, or none
            if name in OF_ASYNCORE:
                self.add(node, OF_ASYNCORE[name], f"asyncore.{name}")
            elif name in MORE_OF_ASYNCORE:
                self.add(node, "TC206", f"asyncore.{name} is not there any more")

    # ------------------------------------------------------------------ attributes of channels

    def check_attribute(self, node: ast.Attribute) -> None:
        name = node.attr
        if name == "_map" and self.owner and self.function.is_self(node.value):
            self.add(node, "TC806", "_map, the map of channels")
        if not self.is_connection(node.value):
            return
        stored = isinstance(node.ctx, ast.Store)
        if name in GONE and not self.is_its_own(name):
            self.add(node, "TC401", f"{name}: asynchat has no such attribute")
        elif name in STATE and node not in self.fifos:
            self.add(node, "TC804", f"{name} of a channel")
        elif name in SIZES and stored and self.function.name != "__init__":
            self.add(node, "TC805", f"{name} is changed while running")

    def is_connection(self, node: ast.AST) -> bool:
        return self.program.is_known_connection(node, self.function)

    def is_its_own(self, name: str) -> bool:
        """Whether a channel's class makes such an attribute by itself."""
        if self.owner is None or not self.program.is_channel(self.owner):
            return False
        methods = (method for one in self.program.family(self.owner) for method in one.methods.values())
        return any(
            isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.ctx, ast.Store)
            for method in methods
            if method.name not in DEAD_METHODS
            for node in method.nodes
        )

    # ------------------------------------------------------------------ calls

    def check_call(self, node: ast.Call) -> None:
        if not isinstance(node.func, ast.Attribute):
            return
        receiver, name = node.func.value, node.func.attr
        if self.owner and name == "wrap_socket" and self.module.dotted(node.func, self.function) != "ssl.wrap_socket":
            self.add(node, "TC303", "wrap_socket() over the socket of a channel")
        elif self.owner and name == "do_handshake":
            self.add(node, "TC303", "do_handshake() in a channel")
        elif self.is_attribute(receiver, "producer_fifo"):
            if name in FIFO_METHODS:
                self.fifos.add(receiver)
                self.add(node, "TC402", f"{name}() of producer_fifo, which is a deque")
        elif self.is_old_method(node.func):
            self.check_old_call(node, name)

    def flushes(self, node: ast.While) -> bool:
        """Whether it goes on sending while something is queued."""
        asked = {part.attr for part in ast.walk(node.test) if isinstance(part, ast.Attribute)}
        called = (part.func for statement in node.body for part in ast.walk(statement) if isinstance(part, ast.Call))
        return not asked.isdisjoint(QUEUE_STATES) and any(
            isinstance(method, ast.Attribute) and method.attr in SENDING_STEPS and self.is_connection(method.value)
            for method in called
        )

    def is_attribute(self, node: ast.expr, name: str) -> bool:
        return isinstance(node, ast.Attribute) and node.attr == name and self.is_connection(node.value)

    def is_old_method(self, node: ast.Attribute) -> bool:
        """Whether it is a method of asynchat's or asyncore's own: on a channel, on super(), or on a base class."""
        receiver = node.value
        if self.function.is_self(receiver):
            return self.owner is not None and self.program.method(self.owner, node.attr) is None
        if self.owner and is_super(receiver):
            return not any(node.attr in one.methods for one in self.program.ancestors(self.owner)[1:])
        if self.owner and self.module.dotted(receiver, self.function) in OLD_BASES:
            return True
        made = self.program.class_of(receiver, self.function) if self.owner else None
        made_by = made or self.program.maker(receiver, self.function)
        if isinstance(made_by, Class):
            return bool(self.program.old_bases[made_by]) and self.program.method(made_by, node.attr) is None
        return made_by in OLD_BASES

    def check_old_call(self, node: ast.Call, name: str) -> None:
        if self.program.is_server(self.owner):
            if name == "accept":
                self.add(node, "TC103", "accept(): connections come to handle_accepted already accepted")
            elif name in SET_UP and self.owner and not _direct_bases(self.program, self.owner):
                self.add(node, "TC102", f"{name}() of a listening dispatcher")
            return
        parameters = {argument.id for argument in node.args[:1] if isinstance(argument, ast.Name)}
        if name == "accept":
            self.add(node, "TC103", "accept(): connections come to handle_accepted already accepted")
        elif name == "set_socket" and parameters & set(self.function.parameters):
            return  # it is what handle_accepted was given
        elif name in SET_UP:
            self.add(node, "TC102", f"{name}(): a channel does not make its connection by itself")
        elif name in ("send", "recv"):
            self.add(node, "TC803", f"{name}() of a channel")

    def check_map(self, node: ast.Call) -> None:
        """`map=…`, or the place of it: after the socket."""
        function = node.func
        made: Class | str | None
        unbound = isinstance(function, ast.Attribute) and function.attr == "__init__"
        if isinstance(function, ast.Attribute) and unbound and is_super(function.value):
            bases = set(self.program.bases(self.owner)) & OLD_BASES if self.owner else set()
            made, place = (bases.pop() if bases else self.owner), 1
        else:
            named = function.value if isinstance(function, ast.Attribute) and unbound else function
            dotted = self.module.dotted(named, self.function)
            made = dotted if dotted in OLD_BASES else self.program.class_of(named, self.function)
            place = 2 if unbound else 1
        if made is None or (isinstance(made, Class) and not self.program.old_bases[made]):
            return
        given = [keyword.value for keyword in node.keywords if keyword.arg == "map"]
        if made in (ASYNC_CHAT, DISPATCHER, SENDER, FILE):
            given += node.args[place : place + 1]
        if any(not (isinstance(value, ast.Constant) and value.value is None) for value in given):
            self.add(node, "TC806", "a map argument")
