"""How findings are shown: to people, and to programs."""

from __future__ import annotations

import json
import textwrap
from collections import Counter

from ._check_findings import Finding


def as_text(findings: list[Finding], files: int, hidden_notes: int) -> str:
    """A line each, with the source line and the advice below it, and a summary."""
    blocks = [_block(finding) for finding in findings]
    return "\n".join([*blocks, _summary(findings, files, hidden_notes)])


def _block(finding: Finding) -> str:
    lines = [f"{finding.path}:{finding.line}:{finding.column}: {finding.code} {finding.message}"]
    if finding.source:
        lines.append(f"    | {finding.source}")
    lines.append(
        textwrap.fill(finding.advice, 110, initial_indent="    = ", subsequent_indent="      ", break_on_hyphens=False)
    )
    return "\n".join(lines)


def _summary(findings: list[Finding], files: int, hidden_notes: int) -> str:
    counts = Counter(finding.kind.severity for finding in findings if not finding.of_a_file)
    unusable = sum(finding.of_a_file for finding in findings)
    parts = [_count(counts[severity], severity) for severity in ("error", "warning", "note") if counts[severity]]
    summary = f"{', '.join(parts) or 'Nothing found'} in {_count(files - unusable, 'file')}."
    if unusable:
        summary += f" {_count(unusable, 'file')} could not be checked."
    if hidden_notes:
        summary += f" {_count(hidden_notes, 'note')} more with --notes."
    return summary


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def as_json(findings: list[Finding]) -> str:
    """A list of objects, with: path, line and column (from 1), code, severity, message, advice, source (the line)."""
    return json.dumps([_object(finding) for finding in findings], indent=1)


def _object(finding: Finding) -> dict[str, str | int]:
    return {
        "path": finding.path,
        "line": finding.line,
        "column": finding.column,
        "code": finding.code,
        "severity": finding.kind.severity,
        "message": finding.message,
        "advice": finding.advice,
        "source": finding.source,
    }
