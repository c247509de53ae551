"""Chart of costs: where the time of a step goes."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from longspec.core.records import STEP_PARTS
from longspec.report.charts import svg
from longspec.report.charts.data import ChartData


def step_parts(data: ChartData) -> Markup:
    """Draw the milliseconds of a step by part, a panel a data set, of the methods that were profiled."""
    table = data.table("costs")
    table = table[table["profiled_steps"].notna()]
    profiled = set(table["method"])
    methods = {name: title for name, title in data.titles.items() if name in profiled}
    if not methods:
        return Markup()

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        mine = rows.set_index("method")
        left = pd.Series(0.0, index=list(methods))
        for number, part in enumerate(STEP_PARTS):
            widths = 1e3 * mine[f"{part}_seconds_per_step"].reindex(list(methods), fill_value=0.0)
            axes.barh(range(len(methods)), widths, 0.7, left=left, label=part, linewidth=0.4, **svg.fill(number))
            left = left + widths
        axes.set_yticks(range(len(methods)), list(methods.values()))
        axes.invert_yaxis()

    cells = svg.cells_of(table)
    drafting = table.assign(milliseconds=1e3 * table["draft_seconds_per_step"])
    words = "Drafting, milliseconds a step: " + svg.words_of(drafting, methods, cells, "milliseconds", "")
    labels = svg.Labels("Where a step's time goes", words, "milliseconds a step", "")
    return svg.panels(table, cells, panel, 0.5 + 0.22 * len(methods), labels)
