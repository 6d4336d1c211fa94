"""Results as pictures: horizontal bars for each case, or curves of what grows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, ScalarFormatter

from .bars import BARS, Bar
from .results import Results, Spread
from .tables import number, why_not

_OURS, _OTHERS, _BOUND, _NOISE = "#d1495b", "#a9b4c2", "#2b2d42", "#5c677d"
_COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#17becf", "#bcbd22", "#7f7f7f")
_WIDTH = 10.0
_thousands = EngFormatter(sep="")
_HIGHLIGHTED = ("trio_chat", "TerminatorBuffer", "kv_server.py")
_TEXT = 0.16  # how much of a panel's width a figure takes
_OUTLIER = 3.0  # who is so many times as far as the next one leaves the picture, so that the others can be seen

# Text stays text, and the same figures give the same file.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "trio_chat", "font.family": "sans-serif", "font.size": 9})


def draw(results: Results, path: Path) -> None:
    figure = _curves(results) if results.kinds() else _bars(results)
    _title(figure, results)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, facecolor="white")


def _title(figure: Figure, results: Results) -> None:
    about = results.about
    better = "more" if results.more_is_better else "less"
    figure.suptitle(f"{results.title}: {results.unit}, {better} is better", x=0.01, ha="left", fontweight="bold")
    origin = f"{about['cpu']}, {about['python']}, {about['date']}"
    text = f"{results.notes}\nMedians of the rounds; thin lines from the lowest to the highest. {origin}."
    figure.supxlabel(text, x=0.01, ha="left", fontsize=7, color=_NOISE)


# ---------------------------------------------------------------------- bars


class _Row(NamedTuple):
    label: str
    color: str
    spread: Spread | None
    instead: str
    #: How far it should reach, or should not.
    bounds: Sequence[float]

    @property
    def end(self) -> float:
        return self.spread.high if self.spread else 0.0


def _bars(results: Results) -> Figure:
    if len(results.contestants) == 1:
        (name,) = results.contestants
        panels = {name: [_row(results, case, name, case) for case in results.cases]}
    else:
        panels = {
            case: [_row(results, case, name, name) for name in results.contestants if results.took_part(case, name)]
            for case in results.cases
        }
    columns = 1 if len(panels) == 1 else 2
    lines = math.ceil(len(panels) / columns)
    height = 0.26 * max(map(len, panels.values())) + 0.75
    figure = Figure(figsize=(_WIDTH, lines * height + 0.7), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flatten().tolist()
    for panel, (title, rows) in zip(axes, panels.items(), strict=False):
        panel.set_title(title, loc="left", fontsize=9, fontweight="bold")
        _draw_rows(panel, rows)
        bounds = dict.fromkeys(str(bar) for bar in BARS if (bar.benchmark, bar.case) == (results.name, title))
        if bounds:
            panel.set_title(f"bars: {', '.join(bounds)}", loc="right", fontsize=7, color=_BOUND)
    for panel in axes[len(panels) :]:
        panel.set_visible(False)
    return figure


def _row(results: Results, case: str, name: str, label: str) -> _Row:
    bars = [bar for bar in BARS if (bar.benchmark, bar.case, bar.contestant) == (results.name, case, name)]
    bounds = [value for bar in bars if (value := _value_of(bar, results)) is not None]
    color = _OURS if name in _HIGHLIGHTED else _OTHERS
    return _Row(label, color, results.spread(case, name), why_not(results, case, name), bounds)


def _value_of(bar: Bar, results: Results) -> float | None:
    if bar.versus is None:
        return bar.bound
    theirs = results.spread(bar.case, bar.versus)
    if theirs is None:
        return None
    return theirs.median * bar.bound if results.more_is_better else theirs.median / bar.bound


def _draw_rows(panel: Axes, rows: Sequence[_Row]) -> None:
    limit = _limit([max(row.end, *row.bounds, 0.0) for row in rows])
    for at, row in enumerate(rows):
        if row.spread is not None:
            panel.barh(at, row.spread.median, color=row.color, height=0.72)
            panel.plot([row.spread.low, row.spread.high], [at, at], color=_NOISE, linewidth=0.8)
        for bound in row.bounds:
            panel.plot([bound, bound], [at - 0.5, at + 0.5], color=_BOUND, linewidth=1.2)
        text = number(row.spread.median) if row.spread else row.instead
        if row.end > limit:
            panel.annotate(f"{text} →", (limit, at), (-4, 0), textcoords="offset points", ha="right", va="center")
        else:
            panel.annotate(text, (_free(row, limit), at), (4, 0), textcoords="offset points", va="center")
    panel.set_yticks(range(len(rows)), [row.label for row in rows])
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_xlim(0, limit)
    panel.xaxis.set_major_formatter(lambda value, _: _thousands(value) if value >= 1000 else f"{value:g}")
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(axis="y", length=0)


def _free(row: _Row, limit: float) -> float:
    """Where the figure is written: behind the bar, and behind what bounds stand there."""
    place = row.end
    for bound in sorted(row.bounds):
        if place <= bound <= place + _TEXT * limit:
            place = bound
    return place


def _limit(ends: Sequence[float]) -> float:
    """Where the picture ends, with room for the figure behind the longest bar."""
    *_, second, first = sorted([0.0, 0.0, *ends])
    longest = second * 1.5 if second and first > _OUTLIER * second else first
    return longest * 1.25 or 1.0


# ---------------------------------------------------------------------- curves


def _curves(results: Results) -> Figure:
    """Logarithmic both ways: twice as much input is one step to the right, whatever it takes."""
    kinds = results.kinds()
    figure = Figure(figsize=(_WIDTH, 4.8), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False).flatten().tolist()
    for panel, (kind, cases) in zip(panels, kinds.items(), strict=True):
        for name in results.contestants:
            _curve(panel, results, cases, name)
        panel.set_title(kind, loc="left", fontsize=9, fontweight="bold")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.set_xlabel("KiB")
        panel.grid(color="#e5e5e5", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def _curve(panel: Axes, results: Results, cases: Sequence[str], name: str) -> None:
    points = [
        (size.median, spread.median)
        for case in cases
        if (spread := results.spread(case, name)) and (size := results.extra(case, name, "KiB"))
    ]
    others = [other for other in results.contestants if other not in _HIGHLIGHTED]
    color = _COLORS[others.index(name) % len(_COLORS)] if name in others else _OURS
    panel.plot(
        [size for size, _ in points],
        [value for _, value in points],
        "--" if name == "TerminatorBuffer" else "-",
        color=color,
        linewidth=1.2 if name in others else 2.4,
        marker="o",
        markersize=3,
        label=name,
    )
