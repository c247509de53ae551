"""How every chart is drawn: inline SVG whose text stays text, in colours for colour-blind readers (Okabe and Ito).

Contract: the same numbers give the same bytes; a method has one colour and one mark in all charts; axes and
text take the page's own colour, so that a chart reads in light and dark; each chart carries a title and a
description in words, for readers who cannot see it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from longspec.analysis.verdict import NOT_THE_MODEL
from longspec.report.results import Cell

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
Look = dict[str, str | float]
"""Keywords of matplotlib's drawing functions."""
LABEL: Look = {"va": "center", "fontsize": 8}


@dataclass(frozen=True)
class Labels:
    """What stands around a chart's panels: a title and a description for who cannot see it, and the axes' names."""

    title: str
    words: str
    across: str
    up: str


def cells_of(table: pd.DataFrame) -> list[Cell]:
    """List a table's models and data sets in its order."""
    return list(dict.fromkeys(zip(table["model"], table["dataset"], strict=True)))


def names_of(cells: Sequence[Cell]) -> list[str]:
    """Name a panel or a group of bars by its data set, and by its model where there are several."""
    several = len({model for model, _ in cells}) > 1
    return [f"{model}\n{dataset}" if several else dataset for model, dataset in cells]


def judged(text: str, verdict: str) -> str:
    """Add the verdict to a speedup that is not one of this model."""
    return f"{text} ({verdict})" if verdict in NOT_THE_MODEL else text


def words_of(table: pd.DataFrame, methods: Mapping[str, str], cells: Sequence[Cell], column: str, unit: str) -> str:
    """Say a column's numbers, of each method on each data set, in a sentence for who cannot see the chart."""
    names = [name.replace("\n", " / ") for name in names_of(cells)]
    rows = table.set_index([*CELL, "method"])
    verdicts = rows["verdict"] if "verdict" in rows else pd.Series(dtype=str)

    def said(key: tuple[str, str, str]) -> str:
        value = rows[column].get(key)
        text = f"{methods[key[2]]} " + ("none" if value is None or pd.isna(value) else f"{value:.2f}{unit}")
        return judged(text, str(verdicts.get(key, "")))

    parts = [", ".join(said((*cell, method)) for method in methods) for cell in cells]
    return "; ".join(f"{name}: {part}" for name, part in zip(names, parts, strict=True)) + "."


def colour(number: int) -> str:
    """Choose the colour of the method of this number."""
    return PALETTE[number % len(PALETTE)]


def fill(number: int) -> Look:
    """Choose how the areas of the method of this number are filled."""
    return {"facecolor": colour(number), "edgecolor": INK, "hatch": HATCHES[number // len(PALETTE) % len(HATCHES)]}


def hollow(number: int) -> Look:
    """Choose how the areas of a peer of this number look: an outline and slanted lines in its colour."""
    hatch = "\\\\\\" + HATCHES[number // len(PALETTE) % len(HATCHES)]
    return {"facecolor": "none", "edgecolor": colour(number), "linewidth": 1.2, "hatch": hatch}


def stroke(number: int) -> Look:
    """Choose how the lines of the method of this number are drawn."""
    line = LINES[number // len(PALETTE) % len(LINES)]
    return {"color": colour(number), "marker": MARKERS[number % len(MARKERS)], "linestyle": line}


def panels(
    table: pd.DataFrame,
    cells: Sequence[Cell],
    panel: Callable[[Axes, pd.DataFrame], None],
    height: float,
    labels: Labels,
) -> Markup:
    """Draw a small chart of `height` inches for each model and data set, with one legend above all; `panel` draws one
    from its rows of the table."""
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
        figure.supxlabel(labels.across, fontsize=9)
        figure.supylabel(labels.up, fontsize=9)
        marks, names = grid.flat[0].get_legend_handles_labels()
        figure.legend(marks, names, loc="outside upper left", ncols=3)

    return svg(draw, (WIDE, 0.6 + rows * (height + 0.35)), labels.title, labels.words)


def svg(draw: Callable[[Figure], None], size: tuple[float, float], title: str, words: str) -> Markup:
    """Draw one figure of `size` inches as an <svg> element that carries its title and a description in words."""
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
