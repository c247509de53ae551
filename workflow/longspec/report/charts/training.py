"""Chart of training: what the log of each trained drafter holds."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from longspec.report.charts import svg
from longspec.report.charts.data import ChartData

COLUMNS = 4
"""Panels side by side."""


def curves(data: ChartData) -> Markup:
    """Draw the training of each drafter, one below another: each column of numbers over the first one."""
    return Markup().join(_curves(name, table) for name, table in data.training.items())


def _curves(name: str, table: pd.DataFrame) -> Markup:
    step, *rest = [str(column) for column in table if pd.api.types.is_numeric_dtype(table[column])]
    columns = min(COLUMNS, len(rest))
    rows = -(-len(rest) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(rest) :]:
            axes.remove()
        for number, (axes, column) in enumerate(zip(grid.flat, rest, strict=False)):
            axes.plot(table[step], table[column], color=svg.colour(number), linewidth=1)
            axes.set_title(column.replace("_", " "), loc="left")
        figure.supxlabel(step, fontsize=9)
        figure.suptitle(name, fontsize=9, x=0, ha="left")

    last = ", ".join(f"{column} {table[column].iloc[-1]:.3g}" for column in rest)
    return svg.svg(draw, (svg.WIDE, 0.5 + 1.9 * rows), f"Training of the drafter {name}", f"At the end: {last}.")
