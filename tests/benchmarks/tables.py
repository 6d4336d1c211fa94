"""Results in words: tables for a terminal, and Markdown for a README."""

from __future__ import annotations

from collections.abc import Sequence

from .bars import Verdict, bound_of
from .results import Results, Spread

_MET = {True: "met", False: "NOT MET", None: "not measured"}


def number(value: float, bound: float | None = None) -> str:
    """Three digits or more: so many that it is seen on which side of the bound it is."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    if bound is not None:
        while _side(round(value, digits), bound) != _side(value, bound):
            digits += 1
    return f"{value:,.{digits}f}"


def _side(value: float, bound: float) -> int:
    return (value > bound) - (value < bound)


def as_text(results: Results) -> str:
    better = "more" if results.more_is_better else "less"
    parts = [f"{results.title} ({results.unit}, {better} is better)", results.notes]
    for rows in _layout(results):
        parts += ["", *_aligned(rows)]
    return "\n".join([*parts, *failures(results)])


def _layout(results: Results) -> list[list[list[str]]]:
    """A table for each case; one for all if there is but one contestant; one for each kind of what grows."""
    if kinds := results.kinds():
        return [_table_of_growth(results, kind, cases) for kind, cases in kinds.items()]
    if len(results.contestants) == 1:
        (name,) = results.contestants
        extras = list(dict.fromkeys(extra for case in results.cases for extra in results.extra_names(case)))
        return [[_head(results, name, extras), *(_row(results, case, name, case, extras) for case in results.cases)]]
    return [_table_of_case(results, case) for case in results.cases]


def _table_of_case(results: Results, case: str) -> list[list[str]]:
    extras = results.extra_names(case)
    took_part = [name for name in results.contestants if results.took_part(case, name)]
    return [_head(results, case, extras), *(_row(results, case, name, name, extras) for name in took_part)]


def _head(results: Results, title: str, extras: Sequence[str]) -> list[str]:
    return [title, "median", "spread", *(f"{subject} is … times as good" for subject in results.subjects), *extras]


def _row(results: Results, case: str, name: str, title: str, extras: Sequence[str]) -> list[str]:
    spread = results.spread(case, name)
    figures = (
        [why_not(results, case, name), ""]
        if spread is None
        else [number(spread.median, bound_of(results.name, case, name)), f"{spread.relative:.0%}"]
    )
    ratios = [
        ""
        if subject == name
        else _ratio(results.advantage(case, subject, name), bound_of(results.name, case, subject, name))
        for subject in results.subjects
    ]
    observed = [results.extra(case, name, extra) for extra in extras]
    return [title, *figures, *ratios, *("" if extra is None else number(extra.median) for extra in observed)]


def _table_of_growth(results: Results, kind: str, cases: Sequence[str]) -> list[list[str]]:
    rows = [[kind, *(case.removeprefix(f"{kind}: ") for case in cases), "for twice as much"]]
    for name in results.contestants:
        spreads = {case: results.spread(case, name) for case in cases}
        cells = [why_not(results, case, name) if s is None else number(s.median) for case, s in spreads.items()]
        growth = results.growth(cases, name)
        rows.append([name, *cells, "" if growth is None else f"{growth:.1f} times"])
    return rows


def why_not(results: Results, case: str, name: str) -> str:
    """In a word."""
    return next((failure.partition(":")[0] for failure in results.failures(case, name)), "")


def _ratio(spread: Spread | None, bound: float | None) -> str:
    return "" if spread is None else f"{number(spread.median, bound)} [{_range(spread, bound)}]"


def _range(spread: Spread, bound: float | None) -> str:
    return f"{number(spread.low, bound)} … {number(spread.high, bound)}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if not index else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def failures(results: Results) -> list[str]:
    """Each reason once, and in how many rounds."""
    lines = []
    for case in results.cases:
        for name in results.contestants:
            reasons = results.failures(case, name)
            for reason in dict.fromkeys(reasons):
                lines.append(f"{case}, {name}, in {reasons.count(reason)} rounds: {reason}")
    return lines


def bars_as_text(verdicts: Sequence[Verdict]) -> str:
    rows = [["bar", "who", "to be", "is", "in", ""]]
    for verdict in verdicts:
        bar, spread = verdict.bar, verdict.spread
        rounds = f"{spread.rounds} rounds" if spread else ""
        figures = [_ratio(spread, bar.bound), rounds, _outcome(verdict)]
        rows.append([f"{bar.benchmark}: {bar.case}", bar.contestant, str(bar), *figures])
    return "\n".join(_aligned(rows))


def _outcome(verdict: Verdict) -> str:
    if verdict.failed:
        return f"FAILED ({verdict.failed} of {verdict.rounds} rounds)"
    return _MET[verdict.met]


# ---------------------------------------------------------------------- Markdown


def as_markdown(results: Results) -> str:
    """Medians; behind them in parentheses how many times as good the first subject is, within a round."""
    if results.kinds() or len(results.contestants) == 1:
        tables = [[*map(_line, rows[:1]), _rule(rows[0]), *map(_line, rows[1:])] for rows in _layout(results)]
    else:
        tables = [_table_of_medians(results)]
    rounds = len({sample.round for sample in results.samples})
    parts = [
        f"**{results.title}**, {results.unit}, in {rounds} rounds. {results.notes}",
        *map("\n".join, tables),
    ]
    if reasons := failures(results):
        parts.append("\n".join(f"- {reason}" for reason in reasons))
    return "\n\n".join(parts)


def _table_of_medians(results: Results) -> list[str]:
    subject = results.subjects[0] if results.subjects else None
    lines = [_line(["", *results.cases]), _rule(["", *results.cases])]
    for name in results.contestants:
        cells = [_cell(results, case, name, subject) for case in results.cases]
        lines.append(_line([f"**{name}**" if name in results.subjects else name, *cells]))
    if subject is not None:
        lines += ["", f"In parentheses: how many times as good {subject} is, the median of the ratios within a round."]
    return lines


def _cell(results: Results, case: str, name: str, subject: str | None) -> str:
    if (spread := results.spread(case, name)) is None:
        return why_not(results, case, name)
    median = number(spread.median, bound_of(results.name, case, name))
    if subject in (None, name) or (ratio := results.advantage(case, subject, name)) is None:
        return median
    return f"{median} ({number(ratio.median, bound_of(results.name, case, subject, name))})"


def bars_as_markdown(verdicts: Sequence[Verdict]) -> str:
    head = ["", "who", "to be", "is", "in its rounds", "rounds", ""]
    lines = [_line(head), _rule(head)]
    for verdict in verdicts:
        bar, spread = verdict.bar, verdict.spread
        figures = ["", "", ""]
        if spread is not None:
            figures = [number(spread.median, bar.bound), _range(spread, bar.bound), str(spread.rounds)]
        lines.append(_line([f"{bar.benchmark}: {bar.case}", bar.contestant, str(bar), *figures, _outcome(verdict)]))
    return "\n".join(lines)


def origin(results: Results) -> str:
    """Where the figures come from."""
    about = results.about
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['date']}, `{about['command']}`: {about['cpu']}, {about['cores']} cores, {about['system']}, "
        f"{about['python']}, {about['wrk'] or 'no wrk'}; {versions}."
    )


def _rule(head: Sequence[str]) -> str:
    return _line(["---", *["---:"] * (len(head) - 1)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
