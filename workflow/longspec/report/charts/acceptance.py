"""Charts of acceptance: by position in the draft, along a text, and on the shape of each draft."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from longspec.report.charts import svg
from longspec.report.charts.data import ChartData, Titles

MOST_CIRCLES = 8
"""Nodes of one depth that are drawn apart."""


def by_position(data: ChartData) -> Markup:
    """Draw the conditional acceptance by position in the draft, a panel a data set."""
    table, methods = data.table("acceptance_by_position"), data.compared
    if table.empty:
        return Markup()

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        for method, look in _lines(table, methods):
            mine = rows[rows["method"] == method]
            axes.plot(mine["position"], mine["acceptance_rate"], **look)
        axes.set(ylim=(0, 1.03))
        axes.xaxis.get_major_locator().set_params(integer=True)

    cells = svg.cells_of(table)
    first = table[table["position"] == 1]
    words = "At the first position: " + svg.words_of(first, methods, cells, "acceptance_rate", "")
    title = "Conditional acceptance by position in the draft"
    labels = svg.Labels(title, words, "position in the draft", "accepted, of those checked")
    return svg.panels(table, cells, panel, 1.75, labels)


def along_output(data: ChartData) -> Markup:
    """Draw the acceptance length by output tokens so far."""
    return _curve(data, "output_position", "output tokens so far, at most")


def along_context(data: ChartData) -> Markup:
    """Draw the acceptance length by tokens of prompt and output so far."""
    return _curve(data, "context_tokens", "tokens of prompt and output so far, at most")


def _curve(data: ChartData, axis: str, across: str) -> Markup:
    """Draw the acceptance length along a text, a panel a data set; `axis`: one of acceptance_curves.csv's."""
    table, methods = data.table("acceptance_curves"), data.compared
    table = table[table["axis"] == axis]
    if table.empty:
        return Markup()

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        for method, look in _lines(table, methods):
            mine = rows[rows["method"] == method]
            axes.plot(mine["below"], mine["acceptance_length"], **look)
        axes.set_xscale("log", base=2)
        ends = sorted(set(rows["below"]))
        axes.set_xticks(ends, [f"{end:,}" for end in ends])
        axes.minorticks_off()
        axes.set(ylim=(0, rows["acceptance_length"].max() * 1.1))

    cells = svg.cells_of(table)
    first = table.drop_duplicates(["model", "dataset", "method"])
    words = "In the first bin: " + svg.words_of(first, methods, cells, "acceptance_length", "")
    labels = svg.Labels(f"Acceptance length by {axis.replace('_', ' ')}", words, across, "tokens a step")
    return svg.panels(table, cells, panel, 1.75, labels)


def _lines(table: pd.DataFrame, methods: Titles) -> list[tuple[str, svg.Look]]:
    """List the methods that a table has rows of, each with the look of its line: by its number among all."""
    known = set(table["method"])
    return [
        (method, {"label": title, "markersize": 3.5, **svg.stroke(number)})
        for number, (method, title) in enumerate(methods.items())
        if method in known
    ]


def shapes(data: ChartData) -> Markup:
    """Draw each method's draft, depth by depth: as many circles as its configuration asks for, fuller where more steps
    accepted a token. Shares are over all data sets: steps that accepted a token at a depth, of all that drafted."""
    table = data.tables["acceptance_by_position"]
    drafted = {method: table[table["method"] == method] for method in data.widths}
    shares = {method: _shares(rows, len(data.widths[method])) for method, rows in drafted.items() if len(rows)}
    if not shares:
        return Markup()
    deepest = max(map(len, shares.values()))

    def draw(figure: Figure) -> None:
        grid = figure.subplots(1, len(shares), squeeze=False)
        for axes, (method, found) in zip(grid.flat, shares.items(), strict=True):
            axes.set_title(data.compared[method], loc="left")
            colour = svg.colour(list(data.compared).index(method))
            for depth, (width, share) in enumerate(zip(data.widths[method], found, strict=True), start=1):
                _level(axes, depth, width, share, colour)
            axes.set(xlim=(-MOST_CIRCLES / 2 - 1, MOST_CIRCLES / 2 + 3), ylim=(deepest + 0.6, 0.4))
            axes.set_xticks([])
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.spines["bottom"].set_visible(False)
        figure.supylabel("depth in the draft", fontsize=9)

    words = "; ".join(f"{method}: {', '.join(f'{share:.2f}' for share in found)}" for method, found in shares.items())
    title = "Shape of each draft, and the share of steps that accepted so deep"
    return svg.svg(draw, (svg.WIDE, 0.7 + 0.28 * deepest), title, f"By depth: {words}.")


def _shares(rows: pd.DataFrame, depths: int) -> list[float]:
    """Of one method, the share of all drafting steps that accepted a token at each depth."""
    steps = rows.loc[rows["position"] == 1, "offered"].sum()
    return [float(rows.loc[rows["position"] == depth, "accepted"].sum() / steps) for depth in range(1, depths + 1)]


def _level(axes: Axes, depth: int, width: int, share: float, colour: str) -> None:
    """Draw the nodes of one depth and its share."""
    shown = min(width, MOST_CIRCLES)
    for node in range(shown):
        place = (node - (shown - 1) / 2, depth)
        axes.scatter(*place, s=60, color=colour, alpha=max(share, 0.02), linewidths=0)
        axes.scatter(*place, s=60, facecolors="none", edgecolors=colour, linewidths=0.7)
    more = f" ({width} nodes)" if width > shown else ""
    axes.annotate(f"{share:.2f}{more}", (MOST_CIRCLES / 2 + 0.2, depth), **svg.LABEL)
