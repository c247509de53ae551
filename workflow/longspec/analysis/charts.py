"""Charts as inline SVG: text stays text, colours tell methods apart for colour-blind readers (Okabe and Ito).

The same numbers give the same bytes. Colours of axes and text follow the page's style sheet.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes

matplotlib.use("Agg")
PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
INK = "#123456"
"""A stand-in for the page's text colour; replaced by currentColor in the SVG."""
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "longspec",
    "font.family": "sans-serif",
    "font.size": 10,
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


def speedup_bars(table: pd.DataFrame) -> Markup:
    """Speedup over vanilla by data set, one bar a method; a line at 1."""
    groups = list(dict.fromkeys(zip(table["model"], table["dataset"], strict=True)))
    methods = list(dict.fromkeys(table["method"]))
    several = table["model"].nunique() > 1

    def draw(axes: Axes) -> None:
        height = 0.8 / max(len(methods), 1)
        for number, method in enumerate(methods):
            rows = table[table["method"] == method].set_index(["model", "dataset"])["speedup"]
            values = [rows.get(group, float("nan")) for group in groups]
            places = [place + (number + 0.5) * height - 0.4 for place in range(len(groups))]
            axes.barh(places, values, height * 0.9, color=_colour(number), label=method)
            for place, value in zip(places, values, strict=True):
                if pd.notna(value):
                    axes.text(value, place, f" {value:.2f}×", va="center", fontsize=9)
        axes.axvline(1, color=INK, linewidth=1, linestyle="--")
        axes.set_yticks(range(len(groups)), [f"{m} / {d}" if several else d for m, d in groups])
        axes.invert_yaxis()
        axes.set_xlim(0, max(1.1, table["speedup"].max() * 1.12) if len(table) else 1.1)
        axes.set_xlabel("decode throughput relative to vanilla")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16 - 0.1 / len(groups)), ncols=3)

    return _svg(draw, 1.2 + 0.34 * len(groups) * max(len(methods), 1), "Speedup over vanilla by data set")


def time_scatter(timings: pd.DataFrame, baseline: str) -> Markup:
    """Decode seconds of each sample: vanilla across, the method up. Below the diagonal is faster."""
    key = ["model", "dataset", "sample_id", "repeat"]
    base = timings[timings["method"] == baseline][[*key, "decode_seconds"]]
    methods = [name for name in dict.fromkeys(timings["method"]) if name != baseline]
    top = timings["decode_seconds"].max() * 1.05

    def draw(axes: Axes) -> None:
        for number, method in enumerate(methods):
            pairs = timings[timings["method"] == method].merge(base, on=key, suffixes=("", "_vanilla"))
            slower = pairs["decode_seconds"] > pairs["decode_seconds_vanilla"]
            for rows, face in ((pairs[~slower], _colour(number)), (pairs[slower], "none")):
                axes.scatter(
                    rows["decode_seconds_vanilla"],
                    rows["decode_seconds"],
                    s=22,
                    marker=MARKERS[number % len(MARKERS)],
                    edgecolors=_colour(number),
                    facecolors=face,
                    label=f"{method} ({int(slower.sum())} of {len(pairs)} slower)" if face != "none" else None,
                )
        axes.plot([0, top], [0, top], color=INK, linewidth=1, linestyle="--")
        axes.set(xlabel=f"{baseline}: decode seconds", ylabel="method: decode seconds")
        axes.legend(loc="upper left")

    return _svg(draw, 4.2, "Decode seconds of each sample, vanilla against method")


def position_lines(table: pd.DataFrame) -> Markup:
    """Conditional acceptance at each position of the draft, all data sets together."""

    def draw(axes: Axes) -> None:
        for number, (method, rows) in enumerate(table.groupby("method", sort=False)):
            sums = rows.groupby("position")[["accepted", "offered"]].sum()
            axes.plot(
                sums.index,
                sums["accepted"] / sums["offered"],
                marker=MARKERS[number % len(MARKERS)],
                color=_colour(number),
                label=str(method),
            )
        axes.set(xlabel="position in the draft", ylabel="accepted, of those offered", ylim=(0, 1.02))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="lower right")

    return _svg(draw, 3.4, "Conditional acceptance by position in the draft")


def _colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def _svg(draw: Callable[[Axes], None], height: float, title: str) -> Markup:
    """One figure, 7.6 inches wide, as an <svg> element with its title for screen readers."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.6, height))
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
        plt.close(figure)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    # Ids are local to a figure; in one page they must differ between figures.
    prefix = re.sub(r"\W+", "-", title.lower())
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\1{prefix}-", svg)
    head = f'<svg role="img" aria-label="{escape(title)}"'
    svg = re.sub(r'^<svg width="[^"]+" height="[^"]+"|^<svg', head, svg, count=1)
    svg = re.sub(r'^(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg)
    return Markup(re.sub(r'^(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg))
