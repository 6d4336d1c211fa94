"""Text where bytes are needed: what Python 3 made of programs that were written for Python 2 (TC7)."""

from __future__ import annotations

import ast

from ._check_findings import Report
from ._check_names import TAKES_SAME
from ._check_natures import LISTS, Memory, Nature, Natures
from ._check_program import Maker, Program
from ._check_reach import Reach, sounds_like_stack
from ._check_scopes import Class, Function
from ._check_sockets import Sockets

_ONE_BYTE = 'One of several bytes is a number: take data[:1] == b"…", or data[0] == ord("…").'


def check_text(program: Program, reach: Reach, report: Report) -> None:
    memory = Memory()
    sockets = Sockets(program)
    for module in program.modules:
        if program.uses_asynchat(module):
            for one in module.all_classes:
                _check_class(program, one, memory, report)
            for function in module.functions:
                _Text(program, reach, function, memory, report, sockets=sockets).check()


def uses_encoding(program: Program, one: Class) -> bool:
    """Whether the class has use_encoding set, so that text is encoded for it in some places."""
    for each in program.ancestors(one):
        for node in [*each.node.body, *(node for method in each.methods.values() for node in method.nodes)]:
            for target in node.targets if isinstance(node, ast.Assign) else ():
                name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
                if name == "use_encoding" and isinstance(node, ast.Assign):
                    return not (isinstance(node.value, ast.Constant) and not node.value.value)
    return False


def _check_class(program: Program, one: Class, memory: Memory, report: Report) -> None:
    if program.is_channel(one) and not uses_encoding(program, one):
        natures = Natures(program, one.module.top, memory)
        for node in one.node.body:
            if (
                isinstance(node, ast.Assign)
                and natures.of(node.value) == "str"
                and any(isinstance(target, ast.Name) and target.id == "terminator" for target in node.targets)
            ):
                report.add(one.module.source, node, "TC702", f"the terminator of {one.name} is text")


class _Text:
    """The mistakes in one function."""

    def __init__(
        self,
        program: Program,
        reach: Reach,
        function: Function,
        memory: Memory,
        report: Report,
        *,
        sockets: Sockets,
    ) -> None:
        self.sockets = sockets
        self.program = program
        self.reach = reach
        self.function = function
        self.report = report
        self.natures = Natures(program, function, memory)
        self.produces = function.is_method and function.name == "more"

    def add(self, node: ast.AST, code: str, message: str, advice: str = "") -> None:
        self.report.add(self.function.module.source, node, code, message, advice)

    def check(self) -> None:
        of = self.natures.of
        for node in self.function.nodes:
            match node:
                case ast.Call():
                    self.check_call(node)
                case ast.BinOp(left=left, op=ast.Add(), right=right):
                    self.check_sum(node, of(left), of(right))
                case ast.AugAssign(target=target, op=ast.Add(), value=value):
                    self.check_sum(node, of(target), of(value))
                case ast.Compare(left=left, ops=[operator], comparators=[right]):
                    if self.is_number(left) or self.is_number(right):
                        self.check_number(node, operator, self.of_choices(left), self.of_choices(right))
                    else:
                        self.check_comparison(node, operator, of(left), self.of_choices(right))
                case ast.Return(value=ast.expr() as value) if self.produces and of(value) == "str":
                    if not (isinstance(value, ast.Constant) and not value.value):  # "" ends a producer, as b"" does
                        self.add(value, "TC701", "more() of a producer gives text")

    def check_sum(self, node: ast.AST, left: Nature, right: Nature) -> None:
        if {left, right} == {"bytes", "str"}:
            self.add(node, "TC703", f"{left} + {right}")

    def check_comparison(self, node: ast.Compare, operator: ast.cmpop, left: Nature, right: Nature) -> None:
        if {left, right} == {"bytes", "str"}:
            if isinstance(operator, ast.Eq | ast.NotEq):
                self.add(node, "TC704", f"{left} are compared with {right}, and never equal")
            elif isinstance(operator, ast.In | ast.NotIn):
                self.add(node, "TC703", f"{left} in {right}")
        elif isinstance(operator, ast.In | ast.NotIn) and left in LISTS and right in LISTS.values():
            among = "str" if right == "of str" else "bytes"
            if left != among:
                self.add(node, "TC704", f"{left} are looked for among {among}, and never found")

    def of_choices(self, node: ast.expr) -> Nature:
        """Of a list or set that stands in a comparison as well: nothing is added to that."""
        return self.natures.of(ast.Tuple(node.elts) if isinstance(node, ast.List | ast.Set) else node)

    def is_number(self, node: ast.expr) -> bool:
        """Whether it is one byte of bytes."""
        return (
            isinstance(node, ast.Subscript)
            and not isinstance(node.slice, ast.Slice)
            and self.natures.of(node.value) == "bytes"
        )

    def check_number(self, node: ast.Compare, operator: ast.cmpop, left: Nature, right: Nature) -> None:
        other = left or right
        if isinstance(operator, ast.Eq | ast.NotEq) and other in LISTS:
            self.add(node, "TC704", f"a byte, which is a number, is compared with {other}", _ONE_BYTE)
        elif isinstance(operator, ast.In | ast.NotIn) and right in LISTS.values():
            self.add(
                node, "TC704", "a byte, which is a number, is looked for among strings, and never found", _ONE_BYTE
            )
        elif isinstance(operator, ast.In | ast.NotIn) and right == "str":
            self.add(node, "TC703", "a byte, which is a number, in str", _ONE_BYTE)

    def check_call(self, node: ast.Call) -> None:
        given = self.natures.of(node.args[0]) if node.args else None
        if self.function.module.dotted(node.func, self.function) == "asynchat.simple_producer":
            encoded = any(uses_encoding(self.program, one) for one in self.function.module.all_classes)
            if given == "str" and not encoded:
                self.add(node, "TC701", "simple_producer() is given text")
        elif isinstance(node.func, ast.Attribute):
            self.check_method(node, node.func, given)

    def check_method(self, node: ast.Call, method: ast.Attribute, given: Nature) -> None:
        name = method.attr
        if name in ("push", "set_terminator"):
            last = self.natures.of(node.args[-1]) if node.args else None  # the first may be self
            if last == "str" and self.is_asynchats(method):
                if name == "push":
                    self.add(node, "TC701", "push() is given text")
                elif not self.encodes(method):
                    self.add(node, "TC702", "the terminator is text")
        elif name in ("send", "sendall"):
            if given == "str" and self.sends_bytes(method):
                self.add(node, "TC701", f"{name}() is given text")
        elif name in TAKES_SAME and (receiver := self.natures.of(method.value)) in LISTS:
            other: Nature = "str" if receiver == "bytes" else "bytes"
            if given == other or (name in ("join", "startswith", "endswith") and given == LISTS[other]):
                self.add(node, "TC703", f"{name}() of {receiver} is given {other}")

    def is_asynchats(self, method: ast.Attribute) -> bool:
        """Whether a method is that of a channel, and asynchat's own: not one that the program has in its place."""
        receiver = method.value
        if self.function.module.dotted(receiver, self.function) == "asynchat.async_chat":
            return True
        made = self.maker(receiver)
        if made is None and not self.function.is_self(receiver):
            elsewhere = self.function.module.dotted(receiver, self.function) is None
            return elsewhere and self.reach.is_defined_nowhere(method.attr) and not sounds_like_stack(receiver)
        if not isinstance(made, Class) or not self.program.is_channel(made) or self.program.is_smtp(made):
            return False  # smtpd's push takes text
        return not any(method.attr in each.methods for each in self.program.family(made))

    def sends_bytes(self, method: ast.Attribute) -> bool:
        """Whether a method is the send of a socket, or that of a channel, and not one that the program has made."""
        receiver = method.value
        if self.sockets.is_socket(receiver, self.function):
            return True
        made = self.maker(receiver)
        own = isinstance(made, Class) and any(method.attr in each.methods for each in self.program.family(made))
        return not own and self.program.is_known_connection(receiver, self.function)

    def encodes(self, method: ast.Attribute) -> bool:
        made = self.maker(method.value) or self.function.owner
        if isinstance(made, Class) and self.program.is_channel(made):
            return uses_encoding(self.program, made)
        return any(uses_encoding(self.program, one) for one in self.function.module.all_classes)

    def maker(self, receiver: ast.expr) -> Maker | None:
        return self.function.owner if self.function.is_self(receiver) else self.program.maker(receiver, self.function)
