"""How programs end, and what keeps them from it: catch-alls and exits (TC601 to TC603)."""

from __future__ import annotations

import ast

from ._check_findings import Report
from ._check_kinds import KINDS
from ._check_names import EXITS
from ._check_program import Program
from ._check_reach import Reach
from ._check_scopes import Function

_EXCEPTIONS = frozenset({"SystemExit", "KeyboardInterrupt"})


def check_exceptions(program: Program, reach: Reach, report: Report) -> None:
    for module in program.modules:
        for function in module.functions if program.uses_asynchat(module) else ():
            if function not in reach.callbacks:
                _check_catch_alls(function, report, "TC602")
    for function, callback in reach.callbacks.items():
        _check_catch_alls(function, report, "TC601")
        for node in function.nodes:
            if how := _ends_program(node, function):
                report.add(function.module.source, node, "TC603", f"{how} in {callback}()")


def _check_catch_alls(function: Function, report: Report, code: str) -> None:
    for node in function.nodes:
        if isinstance(node, ast.ExceptHandler) and _catches_all(node, function) and not _raises_again(node):
            what = "except BaseException:" if node.type else "a bare except:"
            report.add(function.module.source, node, code, f"{what} {KINDS[code].meaning.split(': ')[-1]}")


def _catches_all(node: ast.ExceptHandler, function: Function) -> bool:
    if node.type is None:
        return True
    types = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(function.module.dotted(each, function) == "BaseException" for each in types)


def _raises_again(node: ast.ExceptHandler) -> bool:
    last = node.body[-1]
    if not isinstance(last, ast.Raise):
        return False
    return last.exc is None or (isinstance(last.exc, ast.Name) and last.exc.id == node.name)


def _ends_program(node: ast.AST, function: Function) -> str:
    if isinstance(node, ast.Call):
        dotted = function.module.dotted(node.func, function) or ""
        return f"{dotted}()" if dotted in EXITS else ""
    if isinstance(node, ast.Raise) and node.exc is not None:
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        dotted = function.module.dotted(raised, function) or ""
        return f"raise {dotted}" if dotted in _EXCEPTIONS else ""
    return ""
