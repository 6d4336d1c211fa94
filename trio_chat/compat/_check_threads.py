"""Who else touches channels: threads, signal handlers, forked children (TC502 to TC504, TC807)."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from ._check_findings import Report
from ._check_names import CHANNEL_METHODS, FROM_ANY_THREAD, TELLING_METHODS
from ._check_program import ASYNC_CHAT, Program
from ._check_reach import Code, Entry, Reach, function_of, nodes_of, sounds_like_stack
from ._check_scopes import Class, Function, Module


def check_threads(program: Program, reach: Reach, report: Report) -> None:
    threads = _Threads(program, reach, report)
    for entry in reach.entries:
        if not entry.runs_loop and program.uses_asynchat(entry.starter.module):
            threads.enter(entry)
    loops = [entry for entry in reach.entries if entry.runs_loop]
    for module in program.modules:
        for function in module.functions if program.uses_asynchat(module) else ():
            for loop in loops:
                if module in threads.linked(loop.starter.module):
                    threads.check_other_thread(function, loop)
            for node in function.nodes:
                if isinstance(node, ast.Call):
                    threads.check_call(node, function)


class _Threads:
    def __init__(self, program: Program, reach: Reach, report: Report) -> None:
        self.program = program
        self.reach = reach
        self.report = report
        self._touching: dict[Code, str] = {}
        #: What runs in a thread that was started on purpose.
        self.visited: set[Code] = {entry.code for entry in reach.entries if entry.runs_loop and entry.code is not None}

    # ------------------------------------------------------------------ threads

    def enter(self, entry: Entry) -> None:
        starter, node = entry.starter, entry.node
        where = (starter.module.source.path, getattr(node, "lineno", 1))
        if isinstance(node, ast.Attribute) and node.attr in CHANNEL_METHODS and self.is_channel(node, starter):
            overriding = [] if entry.code is None else [entry.code]
            self.add_call(node, starter, node, overriding, "in a thread")
        elif entry.code is not None:
            self.visit(entry.code, where)

    def visit(self, code: Code, where: tuple[str, int]) -> None:
        """Report what touches channels, where thread and callbacks part: that is the call to be replaced."""
        if code in self.visited:
            return
        self.visited.add(code)
        function = function_of(code)
        started = f"started in {place(where, function)}"
        for node in nodes_of(code):
            if not isinstance(node, ast.Call):
                continue
            called = list(self.reach.called_by(node, function))
            if method := self.touched(node, function):
                self.add_call(node, function, method, called, f"in a thread, {started}")
                continue
            for each in called:
                if touched := self.touches(each):
                    if each in self.reach.callbacks or self.is_foreign(each, function):
                        self.add_touch(node, function, each.name, touched, f"in a thread, {started}")
                    else:
                        self.visit(each, where)

    def is_foreign(self, called: Function, function: Function) -> bool:
        """Whether it is a channel's method that is called from outside."""
        if called.owner is None or not self.program.is_channel(called.owner):
            return False
        return function.owner is None or called.owner not in self.program.family(function.owner)

    def add_touch(self, node: ast.AST, function: Function, name: str, touched: str, where: str) -> None:
        """Report a call of `name`, which is a channel's method `touched`, or leads to it."""
        how = "is called" if name == touched else f"leads to {touched}()"
        self.add(node, function, f"{name}() {how} {where}", "TC807" if touched in FROM_ANY_THREAD else "TC502")

    def add_call(
        self, node: ast.AST, function: Function, method: ast.Attribute, overriding: Iterable[Code], where: str
    ) -> None:
        """Report a call of a channel's method; what overrides it may do more than any thread may."""
        self.add_touch(node, function, method.attr, _worst([method.attr, *map(self.touches, overriding)]), where)

    def touches(self, code: Code) -> str:
        """The channel's method that it calls, or what it calls; of several rather one that threads must not call."""
        if code not in self._touching:
            self._touching[code] = self._find_touch(code)
        return self._touching[code]

    def _find_touch(self, code: Code) -> str:
        pending: list[Code] = [code]
        seen = set(pending)
        found: list[str] = []
        for each in pending:
            function = function_of(each)
            for node in nodes_of(each):
                if isinstance(node, ast.Call):
                    if method := self.touched(node, function):
                        found.append(method.attr)
                    called = [one for one in self.reach.called_by(node, function) if one not in seen]
                    pending.extend(called)
                    seen.update(called)
        return _worst(found)

    def touched(self, node: ast.Call, function: Function) -> ast.Attribute | None:
        """The channel's method that is called, if one is."""
        method = node.func
        if isinstance(method, ast.Attribute) and method.attr in CHANNEL_METHODS and self.is_channel(method, function):
            known = self.is_known_channel(method.value, function)
            return method if known or method.attr != "push" or may_be_bytes(node.args) else None
        return None

    def is_channel(self, method: ast.Attribute, function: Function) -> bool:
        """Whether it is a channel's method; of objects that come from elsewhere the method's name has to tell."""
        known = self.is_known_channel(method.value, function)
        if known is not None:
            return known
        return method.attr in TELLING_METHODS or (method.attr == "push" and not sounds_like_stack(method.value))

    def is_known_channel(self, node: ast.expr, function: Function) -> bool | None:
        if function.is_self(node):
            return self.program.is_channel(function.owner)
        dotted = function.module.dotted(node, function)
        if dotted is not None:
            return dotted == ASYNC_CHAT
        made: Class | str | None = self.program.class_of(node, function) or self.program.maker(node, function)
        if made is None:
            return None
        return self.program.is_channel(made) if isinstance(made, Class) else made == ASYNC_CHAT

    def linked(self, module: Module) -> set[Module | None]:
        """A module, and those that it imports or imports from."""
        dotted = set(module.names.values()) | {name.rpartition(".")[0] for name in module.names.values()}
        return {module, *(self.program.module(name) for name in dotted if name)}

    def check_other_thread(self, function: Function, loop: Entry) -> None:
        """Of a program whose loop runs in a thread: what touches channels outside of that."""
        owner = function.owner
        inside = owner is not None and (self.program.old_bases[owner] or "more" in owner.methods)
        if inside or function in self.visited or function in self.reach.callbacks:
            return
        for node in function.nodes:
            if not isinstance(node, ast.Call):
                continue
            method = self.touched(node, function)
            if method and self.is_known_channel(method.value, function) and not self.reach.runs_loop(function):
                start = place((loop.starter.module.source.path, getattr(loop.node, "lineno", 1)), function)
                where = f"outside of the loop's thread, which starts in {start}"
                self.add_call(node, function, method, self.reach.called_by(node, function), where)

    # ------------------------------------------------------------------ signals and forks

    def check_call(self, node: ast.Call, function: Function) -> None:
        dotted = function.module.dotted(node.func, function)
        if dotted == "os.fork":
            self.add(node, function, "os.fork()", "TC503")
        elif dotted == "signal.signal" and len(node.args) > 1 and self.handler_touches(node.args[1], function):
            self.add(node, function, "a signal handler touches channels", "TC504")

    def handler_touches(self, handler: ast.expr, function: Function) -> bool:
        if isinstance(handler, ast.Lambda):
            return self.uses_loop((function, handler)) or bool(self.touches((function, handler)))
        if isinstance(handler, ast.Attribute) and handler.attr in CHANNEL_METHODS:
            return self.is_channel(handler, function)
        code = self.program.function_of(handler, function)
        if code is None and isinstance(handler, ast.Attribute) and function.is_self(handler.value) and function.owner:
            code = self.program.method(function.owner, handler.attr)
        return code is not None and (self.uses_loop(code) or bool(self.touches(code)))

    def uses_loop(self, code: Code) -> bool:
        function = function_of(code)
        names = (node for node in nodes_of(code) if isinstance(node, ast.Name | ast.Attribute))
        return any((function.module.dotted(node, function) or "").startswith("asyncore.") for node in names)

    def add(self, node: ast.AST, function: Function, message: str, code: str) -> None:
        self.report.add(function.module.source, node, code, message)


def _worst(methods: Iterable[str]) -> str:
    """Of channels' methods the first that threads must not call, or else the first; "" if there is none."""
    return min(filter(None, methods), key=FROM_ANY_THREAD.__contains__, default="")


def place(where: tuple[str, int], function: Function) -> str:
    """A path and a line as they are named in the finding in a function: its own file needs no path."""
    path, line = where
    return f"line {line}" if path == function.module.source.path else f"{path}:{line}"


def may_be_bytes(arguments: list[ast.expr]) -> bool:
    """Whether a push() of what comes from elsewhere may be a channel's."""
    match arguments:
        case [ast.Constant(value=bytes())]:
            return True
        case [ast.Constant() | ast.JoinedStr() | ast.Tuple() | ast.List() | ast.Dict() | ast.Set()]:
            return False
    return len(arguments) == 1
