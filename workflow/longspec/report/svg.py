"""How every chart is drawn: inline SVG whose text stays text, in colours for colour-blind readers (Okabe and Ito).

Contract: the same numbers give the same bytes; a method has one colour and one mark in all charts; axes and
text take the page's own colour, so that a chart reads in light and dark; each chart carries a title and a
description in words. It does not know what is drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from longspec.analysis.verdict import NOT_THE_MODEL

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


def cells_of(table: pd.DataFrame) -> list[Cell]:
    """(model, data set) pairs in the order of a table."""
    return list(dict.fromkeys(zip(table["model"], table["dataset"], strict=True)))


def names_of(cells: Sequence[Cell]) -> list[str]:
    """What a panel or a group of bars is called: the model only where there are several."""
    several = len({model for model, _ in cells}) > 1
    return [f"{model}\n{dataset}" if several else dataset for model, dataset in cells]


def values_of(table: pd.DataFrame, method: str, cells: Sequence[Cell], column: str = "speedup") -> list[Any]:
    """One method's figure in each cell; NaN where there is none."""
    rows = table[table["method"] == method].set_index(CELL)[column]
    return [rows.get(cell, float("nan")) for cell in cells]


def judged(text: str, verdict: object) -> str:
    """A figure never stands without the verdict that takes its worth away."""
    return f"{text} ({verdict})" if verdict in NOT_THE_MODEL else text


def words_of(table: pd.DataFrame, methods: Mapping[str, str], cells: Sequence[Cell], column: str, unit: str) -> str:
    """The chart's numbers as a sentence, for who cannot see it."""
    parts: dict[str, list[str]] = {name.replace("\n", " / "): [] for name in names_of(cells)}
    for method, title in methods.items():
        verdicts = values_of(table, method, cells, "verdict") if "verdict" in table else [""] * len(cells)
        for part, value, verdict in zip(parts.values(), values_of(table, method, cells, column), verdicts, strict=True):
            part.append(judged(f"{title} {value:.2f}{unit}", verdict) if pd.notna(value) else f"{title} none")
    return "; ".join(f"{name}: {', '.join(part)}" for name, part in parts.items()) + "."


def colour(number: int) -> str:
    """The colour of the method of this number."""
    return PALETTE[number % len(PALETTE)]


def fill(number: int) -> dict[str, str]:
    """How its areas are filled."""
    return {"color": colour(number), "edgecolor": INK, "hatch": HATCHES[number // len(PALETTE) % len(HATCHES)]}


def hollow(number: int) -> dict[str, Any]:
    """The same of what another library ran: an outline and slanted lines in its colour."""
    hatch = "\\\\\\" + HATCHES[number // len(PALETTE) % len(HATCHES)]
    return {"facecolor": "none", "edgecolor": colour(number), "linewidth": 1.2, "hatch": hatch}


def stroke(number: int) -> dict[str, str]:
    """How its lines are drawn."""
    line = LINES[number // len(PALETTE) % len(LINES)]
    return {"color": colour(number), "marker": MARKERS[number % len(MARKERS)], "linestyle": line}


def panels(
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
            axes.set_title(names_of(cells)[number], loc="left")
            panel(axes, table[(table["model"] == model) & (table["dataset"] == dataset)])
        figure.supxlabel(across, fontsize=9)
        figure.supylabel(up, fontsize=9)
        marks, names = grid.flat[0].get_legend_handles_labels()
        figure.legend(marks, names, loc="outside upper left", ncols=3)

    return svg(draw, (WIDE, 0.6 + rows * (height + 0.35)), title, words)


def svg(draw: Callable[[Figure], None], size: tuple[float, float], title: str, words: str) -> Markup:
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
