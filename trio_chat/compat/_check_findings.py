"""What has been found, and where."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from ._check_kinds import KINDS, Kind
from ._check_sources import Source


@dataclass(frozen=True, slots=True)
class Finding:
    """A hazard at its place; a file that cannot be checked is one, too, with a code from TC901 on.

    Attributes:
        line, column: from 1, in characters.
        source: the line as it stands there.
    """

    path: str
    line: int
    column: int
    code: str
    message: str
    advice: str
    source: str = ""

    @property
    def kind(self) -> Kind:
        return KINDS[self.code]

    @property
    def of_a_file(self) -> bool:
        """Whether it says that the file cannot be checked."""
        return self.code.startswith("TC9")


@dataclass(slots=True)
class Report:
    """Gathers findings: each code once per line, and not where a comment says that it is to be ignored."""

    _found: dict[tuple[str, int, str], Finding] = field(default_factory=dict)

    def add(self, source: Source, node: ast.AST, code: str, message: str, advice: str = "") -> None:
        line: int = getattr(node, "lineno", 1)
        if not source.ignores(line, code):
            column = source.column(line, getattr(node, "col_offset", 0))
            text = source.line(line).strip()
            finding = Finding(source.path, line, column, code, message, advice or KINDS[code].advice, text)
            self.add_finding(finding)

    def add_finding(self, finding: Finding) -> None:
        place = (finding.path, finding.line, finding.code)
        before = self._found.get(place)
        if before is None or finding.column < before.column:
            self._found[place] = finding

    def sorted(self) -> list[Finding]:
        return sorted(
            self._found.values(), key=lambda finding: (finding.path, finding.line, finding.column, finding.code)
        )
