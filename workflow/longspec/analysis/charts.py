"""Charts as inline SVG: text stays text, colours tell methods apart for colour-blind readers (Okabe and Ito).

Contract: the same numbers give the same bytes; a method has one colour and one mark in all charts; axes and
text take the page's own colour, so that a chart reads in light and dark; each chart carries a title and a
description in words. Nothing is drawn that is not in a table. It does not know the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

matplotlib.use("Agg")
INK = "#123456"
"""A stand-in for the page's text colour; replaced by currentColor in the SVG."""
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", INK]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
LINES = ["-", "--", ":", "-."]
HATCHES = ["", "////", "....", "xxxx"]
"""Lines and hatches change where the colours begin again."""
CELL = ["model", "dataset"]
PAIR = [*CELL, "sample_id", "repeat"]
NARROW, WIDE = 5.8, 7.2
"""Inches (72 SVG units each): bars must fit a phone unscrolled, panels may scroll."""
COLUMNS = 3
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "longspec",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    # Names come from the user; a dollar sign in one is no formula.
    "text.parse_math": False,
}
LABEL: dict[str, Any] = {"va": "center", "fontsize": 8}
Cell = tuple[str, str]


def speedup_bars(table: pd.DataFrame, methods: Sequence[str], baseline: str) -> Markup:
    """Speedup of each method over the baseline by data set, a line at 1. `table` is speedup.csv."""
    cells = _cells(table)
    names = _names(cells)
    height = 0.84 / max(len(methods), 1)
    widest = max(1.0, table["speedup"].max()) * 1.1

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for number, method in enumerate(methods):
            values = _values(table, method, cells)
            places = [place + (number + 0.5) * height - 0.42 for place in range(len(cells))]
            axes.barh(places, values, height * 0.86, label=method, linewidth=0.4, **_fill(number))
            verdicts = _values(table, method, cells, "verdict")
            for place, value, verdict in zip(places, values, verdicts, strict=True):
                if pd.notna(value):
                    # A number that would lie across the line at 1 starts behind it.
                    start = 1.0 if value < 1 < value + 0.09 * widest else value
                    axes.annotate(
                        _judged(f"{value:.2f}×", verdict), (start, place), (3, 0), textcoords="offset points", **LABEL
                    )
        axes.axvline(1, color=INK, linewidth=0.9, linestyle="--")
        axes.set_yticks(range(len(cells)), names)
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(0, widest), ylim=(len(cells) - 0.5, -0.5), xlabel=f"times the decode throughput of {baseline}")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.4, ncols=3)

    rows = 0.3 * len(cells) + 0.22 * len(cells) * len(methods)
    words = _words(table, methods, cells, "speedup", "×")
    return _svg(draw, (NARROW, 0.9 + rows), f"Speedup over {baseline} by data set", words)


def position_lines(table: pd.DataFrame, methods: Sequence[str]) -> Markup:
    """Conditional acceptance by position in the draft, a panel a data set. `table` is acceptance_by_position.csv."""

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        for number, method in enumerate(methods):
            mine = rows[rows["method"] == method]
            axes.plot(mine["position"], mine["acceptance_rate"], label=method, markersize=3.5, **_stroke(number))
        axes.set(ylim=(0, 1.03))
        axes.xaxis.get_major_locator().set_params(integer=True)

    cells = _cells(table)
    first = table[table["position"] == 1]
    words = "At the first position: " + _words(first, methods, cells, "acceptance_rate", "")
    title = "Conditional acceptance by position in the draft"
    return _panels(table, cells, panel, 1.75, "position in the draft", "accepted, of those offered", title, words)


def time_scatter(timings: pd.DataFrame, methods: Sequence[str], baseline: str) -> Markup:
    """Decode seconds of each sample: the baseline across, the method up; above the diagonal, hollow, is slower."""
    base = timings[timings["method"] == baseline][[*PAIR, "decode_seconds"]]
    pairs = timings[timings["method"] != baseline].merge(base, on=PAIR, suffixes=("", "_baseline"))

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        top = rows[["decode_seconds", "decode_seconds_baseline"]].max().max() * 1.06
        axes.plot([0, top], [0, top], color=INK, linewidth=0.9, linestyle="--")
        for number, method in enumerate(methods):
            mine = rows[rows["method"] == method]
            slower = mine["decode_seconds"] > mine["decode_seconds_baseline"]
            axes.scatter(
                mine["decode_seconds_baseline"],
                mine["decode_seconds"],
                s=14,
                marker=MARKERS[number % len(MARKERS)],
                linewidths=0.8,
                edgecolors=_colour(number),
                facecolors=["none" if slow else _colour(number) for slow in slower],
            )
            # The legend shows the full mark even where the first sample was slower.
            axes.scatter([], [], s=14, marker=MARKERS[number % len(MARKERS)], color=_colour(number), label=method)
        axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))

    slower = pairs["decode_seconds"] > pairs["decode_seconds_baseline"]
    words = "; ".join(
        f"{method}: {int(slower[mine].sum())} of {int(mine.sum())} samples slower than {baseline}"
        for method, mine in ((method, pairs["method"] == method) for method in methods)
    )
    title = f"Decode seconds of each sample, {baseline} against each method"
    across, up = f"decode seconds, {baseline}", "decode seconds, method"
    return _panels(pairs, _cells(pairs), panel, 2.25, across, up, title, words)


def _cells(table: pd.DataFrame) -> list[Cell]:
    return list(dict.fromkeys(zip(table["model"], table["dataset"], strict=True)))


def _names(cells: Sequence[Cell]) -> list[str]:
    """What a panel or a group of bars is called: the model only where there are several."""
    several = len({model for model, _ in cells}) > 1
    return [f"{model}\n{dataset}" if several else dataset for model, dataset in cells]


def _values(table: pd.DataFrame, method: str, cells: Sequence[Cell], column: str = "speedup") -> list[Any]:
    rows = table[table["method"] == method].set_index(CELL)[column]
    return [rows.get(cell, float("nan")) for cell in cells]


def _judged(text: str, verdict: object) -> str:
    """A figure never stands without the verdict that takes its worth away."""
    return f"{text} (not lossless)" if verdict == "not lossless" else text


def _words(table: pd.DataFrame, methods: Sequence[str], cells: Sequence[Cell], column: str, unit: str) -> str:
    """The chart's numbers as a sentence, for who cannot see it."""
    parts: dict[str, list[str]] = {name.replace("\n", " / "): [] for name in _names(cells)}
    for method in methods:
        verdicts = _values(table, method, cells, "verdict") if "verdict" in table else [""] * len(cells)
        for part, value, verdict in zip(parts.values(), _values(table, method, cells, column), verdicts, strict=True):
            part.append(_judged(f"{method} {value:.2f}{unit}", verdict) if pd.notna(value) else f"{method} none")
    return "; ".join(f"{name}: {', '.join(part)}" for name, part in parts.items()) + "."


def _colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def _fill(number: int) -> dict[str, str]:
    return {"color": _colour(number), "edgecolor": INK, "hatch": HATCHES[number // len(PALETTE) % len(HATCHES)]}


def _stroke(number: int) -> dict[str, str]:
    line = LINES[number // len(PALETTE) % len(LINES)]
    return {"color": _colour(number), "marker": MARKERS[number % len(MARKERS)], "linestyle": line}


def _panels(
    table: pd.DataFrame,
    cells: Sequence[Cell],
    panel: Callable[[Axes, pd.DataFrame], None],
    height: float,
    across: str,
    up: str,
    title: str,
    words: str,
) -> Markup:
    """One small chart a model and data set, `height` inches each, with one legend above all."""
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        for number, axes in enumerate(grid.flat):
            if number >= len(cells):
                axes.remove()
                continue
            model, dataset = cells[number]
            axes.set_title(_names(cells)[number], loc="left")
            panel(axes, table[(table["model"] == model) & (table["dataset"] == dataset)])
        figure.supxlabel(across, fontsize=9)
        figure.supylabel(up, fontsize=9)
        marks, names = grid.flat[0].get_legend_handles_labels()
        figure.legend(marks, names, loc="outside upper left", ncols=3)

    return _svg(draw, (WIDE, 0.6 + rows * (height + 0.35)), title, words)


def _svg(draw: Callable[[Figure], None], size: tuple[float, float], title: str, words: str) -> Markup:
    """One figure as an <svg> element that carries its title and description."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=size, layout="constrained")
        draw(figure)
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", bbox_inches="tight", transparent=True, metadata=nothing)
        plt.close(figure)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    # Ids are local to a figure; in one page they must differ between figures.
    prefix = re.sub(r"\W+", "-", title.lower())
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\1{prefix}-", svg)
    opening, rest = svg.split(">", 1)
    # The page decides the size; the viewBox keeps the proportions.
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    label = f' role="img" aria-labelledby="{prefix}-title" aria-describedby="{prefix}-words">'
    head = f'<title id="{prefix}-title">{escape(title)}</title><desc id="{prefix}-words">{escape(words)}</desc>'
    return Markup(opening + label + head + rest)
