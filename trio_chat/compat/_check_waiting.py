"""What waits: calls that keep the Trio thread, and with it every connection, from going on (TC501, TC505)."""

from __future__ import annotations

import ast

from ._check_findings import Report
from ._check_names import BLOCKING, CONNECTING, LOCKS, OPENS, READS, WAITING_METHODS
from ._check_program import Program
from ._check_reach import Reach
from ._check_scopes import Function


def check_waiting(program: Program, reach: Reach, report: Report) -> None:
    for function, callback in reach.callbacks.items():
        waiting = _Waiting(program, function)
        for node in function.nodes:
            place = node.context_expr if isinstance(node, ast.withitem) else node
            if what := waiting.waits(node):
                message = f"{what} waits in {callback}(), and everyone with it"
                report.add(function.module.source, place, "TC501", _by_way_of(message, function, callback))
            elif what := waiting.reads(node):
                report.add(function.module.source, place, "TC505", f"{what} reads a file in {callback}()")


def _by_way_of(message: str, function: Function, callback: str) -> str:
    return message if function.name == callback.rpartition(".")[2] else f"{message}, by way of {function.name}()"


class _Waiting:
    """Judges the nodes of one function."""

    def __init__(self, program: Program, function: Function) -> None:
        self.program = program
        self.function = function

    def waits(self, node: ast.AST) -> str:
        """What a node calls that waits, as it is to be named; empty if nothing."""
        if isinstance(node, ast.withitem):
            made = self.program.maker(node.context_expr, self.function)
            return f"with {ast.unparse(node.context_expr)}" if made in LOCKS else ""
        if not isinstance(node, ast.Call):
            return ""
        dotted = self.function.module.dotted(node.func, self.function)
        if dotted in BLOCKING or (dotted in CONNECTING and (node.args or node.keywords)):
            return f"{dotted}()"
        if isinstance(node.func, ast.Attribute) and self._method_waits(node, node.func):
            return f"{ast.unparse(node.func)}()" if len(ast.unparse(node.func)) < 40 else f"{node.func.attr}()"
        return ""

    def _method_waits(self, node: ast.Call, method: ast.Attribute) -> bool:
        made = self.program.maker(method.value, self.function)
        if not isinstance(made, str):
            return made is None and self._sounds_like_waiting(node, method)
        return method.attr in WAITING_METHODS.get(made, ()) and not self._will_not_wait(node)

    def _sounds_like_waiting(self, node: ast.Call, method: ast.Attribute) -> bool:
        """Of an object that comes from elsewhere there is only its name, which is believed in two cases."""
        name = method.value.attr if isinstance(method.value, ast.Attribute) else getattr(method.value, "id", "")
        name = name.lower()
        if method.attr == "acquire":
            return any(word in name for word in ("lock", "mutex", "semaphore")) and not self._will_not_wait(node)
        if method.attr == "get":
            given = {keyword.arg for keyword in node.keywords}
            plain = not node.args and given <= {"block", "timeout"}
            return name.endswith(("queue", "_q")) and plain and not self._will_not_wait(node)
        return False

    def _will_not_wait(self, node: ast.Call) -> bool:
        """lock.acquire(False), queue.get(block=False), event.wait(0) and the like."""
        given = [keyword.value for keyword in node.keywords if keyword.arg in ("block", "blocking", "timeout")]
        return any(isinstance(value, ast.Constant) and value.value in (0, False) for value in (*node.args[:1], *given))

    def reads(self, node: ast.AST) -> str:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            return ""
        if node.func.attr in ("read_text", "read_bytes"):
            return f"{node.func.attr}()"
        made = self.program.maker(node.func.value, self.function)
        return f"{node.func.attr}()" if node.func.attr in READS and made in OPENS else ""
