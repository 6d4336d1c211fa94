"""Who else touches channels: threads, signal handlers, forked children (TC502 to TC504)."""

from __future__ import annotations

import ast

from ._check_findings import Report
from ._check_names import CHANNEL_METHODS, TELLING_METHODS
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
        self._touching: dict[Code, bool] = {}
        #: What runs in a thread that was started on purpose.
        self.visited: set[Code] = {entry.code for entry in reach.entries if entry.runs_loop and entry.code is not None}

    # ------------------------------------------------------------------ threads

    def enter(self, entry: Entry) -> None:
        starter, node = entry.starter, entry.node
        where = (starter.module.source.path, getattr(node, "lineno", 1))
        if isinstance(node, ast.Attribute) and node.attr in CHANNEL_METHODS and self.is_channel(node, starter):
            self.report.add(starter.module.source, node, "TC502", f"{node.attr}() of a channel is run by a thread")
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
            if method := self.touched(node, function):
                self.add(node, function, f"{method.attr}() is called in a thread, {started}")
                continue
            for called in self.reach.called_by(node, function):
                if self.touches(called):
                    if called in self.reach.callbacks or self.is_foreign(called, function):
                        self.add(node, function, f"{called.name}() touches a channel, in a thread, {started}")
                    else:
                        self.visit(called, where)

    def is_foreign(self, called: Function, function: Function) -> bool:
        """Whether it is a channel's method that is called from outside."""
        if called.owner is None or not self.program.is_channel(called.owner):
            return False
        return function.owner is None or called.owner not in self.program.family(function.owner)

    def touches(self, code: Code) -> bool:
        """Whether it, or what it calls, touches a channel."""
        if code not in self._touching:
            self._touching[code] = self._finds_touch(code)
        return self._touching[code]

    def _finds_touch(self, code: Code) -> bool:
        pending: list[Code] = [code]
        seen = set(pending)
        for each in pending:
            function = function_of(each)
            for node in nodes_of(each):
                if isinstance(node, ast.Call):
                    if self.touched(node, function):
                        return True
                    called = set(self.reach.called_by(node, function)) - seen
                    pending.extend(called)
                    seen |= called
        return False

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
            method = self.touched(node, function) if isinstance(node, ast.Call) else None
            if method and self.is_known_channel(method.value, function) and not self.reach.runs_loop(function):
                where = place((loop.starter.module.source.path, getattr(loop.node, "lineno", 1)), function)
                message = f"{method.attr}() is called outside of the loop's thread, which starts in {where}"
                self.add(node, function, message)

    # ------------------------------------------------------------------ signals and forks

    def check_call(self, node: ast.Call, function: Function) -> None:
        dotted = function.module.dotted(node.func, function)
        if dotted == "os.fork":
            self.add(node, function, "os.fork()", "TC503")
        elif dotted == "signal.signal" and len(node.args) > 1 and self.handler_touches(node.args[1], function):
            self.add(node, function, "a signal handler touches channels", "TC504")

    def handler_touches(self, handler: ast.expr, function: Function) -> bool:
        if isinstance(handler, ast.Lambda):
            return self.touches((function, handler)) or self.uses_loop((function, handler))
        if isinstance(handler, ast.Attribute) and handler.attr in CHANNEL_METHODS:
            return self.is_channel(handler, function)
        code = self.program.function_of(handler, function)
        if code is None and isinstance(handler, ast.Attribute) and function.is_self(handler.value) and function.owner:
            code = self.program.method(function.owner, handler.attr)
        return code is not None and (self.touches(code) or self.uses_loop(code))

    def uses_loop(self, code: Code) -> bool:
        function = function_of(code)
        names = (node for node in nodes_of(code) if isinstance(node, ast.Name | ast.Attribute))
        return any((function.module.dotted(node, function) or "").startswith("asyncore.") for node in names)

    def add(self, node: ast.AST, function: Function, message: str, code: str = "TC502") -> None:
        self.report.add(function.module.source, node, code, message)


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
