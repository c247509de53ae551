"""Chart of load: the speedup of each served engine's speculation against the requests in flight."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from longspec.report.charts import svg
from longspec.report.charts.data import ChartData, Speedup, by_load
from longspec.report.charts.svg import INK
from longspec.report.results import rows_of

APART = 1.07
"""Factor between the places of two variants at one load."""


def curves(data: ChartData) -> Markup:
    """Draw a line for each variant that ran at several loads: its throughput over its engine's without speculation,
    with intervals, and as hollow marks the ratio that one request feels."""
    lines = by_load(data.speedups())
    if not lines:
        return Markup()
    variants = list(dict.fromkeys(variant for _, variant in lines))
    table = data.table("speedup")
    table = table[table["method"].isin({row.method for rows in lines.values() for row in rows})]

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        mine = by_load(rows_of(rows, Speedup, "speedup.csv"))
        axes.axhline(1, color=INK, linewidth=0.9, linestyle="--")
        for place, variant in enumerate(variants):
            shift = APART ** (place - (len(variants) - 1) / 2)
            found = [row for (_, name), points in mine.items() if name == variant for row in points]
            _line(axes, found, variant, shift, svg.stroke(data.numbers[variant]))
        loads = sorted({row.concurrency for points in mine.values() for row in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(loads, [str(load) for load in loads])
        axes.minorticks_off()
        axes.set(xlim=(loads[0] / 1.4, loads[-1] * 1.4), ylim=(0, _top(mine)))

    words = "; ".join(_words(cell, variant, rows) for (cell, variant), rows in lines.items())
    labels = svg.Labels(
        "Speedup by requests in flight", f"{words}.", "requests in flight", "times the engine without it"
    )
    return svg.panels(table, list(dict.fromkeys(cell for cell, _ in lines)), panel, 2.1, labels)


def _line(axes: Axes, rows: list[Speedup], title: str, shift: float, look: svg.Look) -> None:
    """Draw one variant's points, in the order of their loads."""
    known = [row for row in rows if row.throughput_speedup is not None]
    places = [row.concurrency * shift for row in known]
    values = [row.throughput_speedup or 0.0 for row in known]
    axes.plot(places, values, label=title, markersize=4.5, **look)
    for place, row in zip(places, known, strict=True):
        if row.throughput_speedup_low is not None and row.throughput_speedup_high is not None:
            ends = [row.throughput_speedup_low, row.throughput_speedup_high]
            axes.plot([place, place], ends, color=look["color"], linewidth=1.1, marker="_", markersize=5)
    felt = [(row.concurrency * shift, row.speedup) for row in rows if row.speedup is not None]
    if felt:
        hollow = {"markerfacecolor": "none", "markersize": 4.5, "linewidth": 0.0, "alpha": 0.7}
        axes.plot(*zip(*felt, strict=True), **{**look, **hollow})


def _top(lines: dict[tuple[tuple[str, str], str], list[Speedup]]) -> float:
    """Choose where the axis ends: above all figures, and above the intervals unless they are very wide."""
    rows = [row for points in lines.values() for row in points]
    most = max(max(row.throughput_speedup or 0.0, row.speedup or 0.0) for row in rows)
    return 1.08 * max(1.2, most, min(max(row.throughput_speedup_high or 0.0 for row in rows), 2 * most))


def _words(cell: tuple[str, str], variant: str, rows: list[Speedup]) -> str:
    figures = ", ".join(
        f"{row.throughput_speedup:.2f}× with {row.concurrency}" for row in rows if row.throughput_speedup is not None
    )
    return f"{' / '.join(cell)}: {variant} {figures or 'none'}"
