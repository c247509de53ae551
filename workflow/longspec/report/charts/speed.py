"""Charts of speed: the speedup of each method with its interval, and the time of each sample."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from longspec.report.charts import svg
from longspec.report.charts.data import ChartData, Speedup
from longspec.report.charts.svg import INK, MARKERS, PAIR

MOST_MARKS = 400
"""Marks of one method in one panel; of more samples, as many at even distances."""


def bars(data: ChartData) -> Markup:
    """Draw the speedup of each method over the baseline by data set, with intervals, a line at 1 and the noise floor as
    a band. The bars of peers are hollow and hatched."""
    rows = [row for row in data.speedups() if row.speedup is not None]
    if not rows:
        return Markup()
    cells, methods = svg.cells_of(data.table("speedup")), data.compared
    height = 0.84 / len(methods)
    reach = _reach(rows)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, cell in enumerate(cells):
            mine = {row.method: row for row in rows if (row.model, row.dataset) == cell}
            _noise_floor(axes, place, list(mine.values()))
            for number, method in enumerate(methods):
                if method in mine:
                    _bar(axes, mine[method], number, place + (number + 0.5) * height - 0.42, height, reach)
        axes.axvline(1, color=INK, linewidth=0.9, linestyle="--")
        axes.set_yticks(range(len(cells)), svg.names_of(cells))
        axes.tick_params(axis="y", length=0)
        across = f"times the decode throughput of {data.baseline}"
        axes.set(xlim=(0, 1.14 * reach), ylim=(len(cells) - 0.5, -0.5), xlabel=across)
        peers = {row.method for row in rows if row.peer}
        marks = [Patch(label=methods[name], **_look(n, name in peers)) for n, name in enumerate(methods)]
        axes.legend(handles=marks, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.4, ncols=3)

    size = svg.NARROW, 0.9 + 0.3 * len(cells) + 0.24 * len(cells) * len(methods)
    words = svg.words_of(data.table("speedup"), methods, cells, "speedup", "×")
    return svg.svg(draw, size, f"Speedup over {data.baseline} by data set", words)


def _reach(rows: list[Speedup]) -> float:
    """Where intervals are cut, so that a wide one leaves room for the bars: at twice the highest bar."""
    most = max(row.speedup or 0.0 for row in rows)
    return max(1.0, most, min(max(row.speedup_high or 0.0 for row in rows), 2 * most))


def _look(number: int, peer: bool) -> svg.Look:
    return {"linewidth": 0.4, **(svg.hollow if peer else svg.fill)(number)}


def _noise_floor(axes: Axes, place: int, rows: list[Speedup]) -> None:
    """Draw a band of the speedups that two equal methods may show."""
    limit = next((row.noise_floor for row in rows if row.noise_floor), None)
    if limit:
        axes.barh(place, limit - 1 / limit, 0.94, 1 / limit, color=INK, alpha=0.14, linewidth=0)


def _bar(axes: Axes, row: Speedup, number: int, place: float, height: float, reach: float) -> None:
    """Draw one bar, its interval and its number; an interval that is cut ends in an arrowhead and names its end."""
    value = row.speedup or 0.0
    axes.barh(place, value, height * 0.86, **_look(number, row.peer))
    text, end, gap = svg.judged(f"{value:.2f}×", row.verdict), value, 3
    if row.speedup_low is not None and row.speedup_high is not None:
        end = max(value, min(row.speedup_high, reach))
        axes.plot([min(row.speedup_low, reach), end], [place, place], color=INK, linewidth=1.1, solid_capstyle="butt")
        if row.speedup_high > reach:
            axes.plot([end], [place], color=INK, marker=">", markersize=5, linewidth=0, clip_on=False, gid="cut")
            text, gap = f"{text}, to {row.speedup_high:.2f}", 7
    # A number that would lie across the line at 1 starts behind it.
    start = 1.0 if end < 1 < end + 0.1 * reach else end
    axes.annotate(text, (start, place), (gap, 0), textcoords="offset points", **svg.LABEL)


def times(data: ChartData) -> Markup:
    """Draw the decode seconds of each sample: the baseline across, the method up; hollow marks were slower."""
    methods, baseline, timings = data.compared, data.baseline, data.table("timings")
    base = timings[timings["method"] == baseline][[*PAIR, "decode_seconds"]]
    pairs = timings[timings["method"].isin(list(methods))].merge(base, on=PAIR, suffixes=("", "_baseline"))
    if not any(row.speedup is not None for row in data.speedups()):
        return Markup()

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        top = rows[["decode_seconds", "decode_seconds_baseline"]].max().max() * 1.06
        axes.plot([0, top], [0, top], color=INK, linewidth=0.9, linestyle="--")
        for number, method in enumerate(methods):
            _marks(axes, rows[rows["method"] == method], number, methods[method])
        axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))

    slower = pairs["decode_seconds"] > pairs["decode_seconds_baseline"]
    words = "; ".join(
        f"{methods[method]}: {int(slower[mine].sum())} of {int(mine.sum())} samples slower than {baseline}"
        for method, mine in ((method, pairs["method"] == method) for method in methods)
    )
    title = f"Decode seconds of each sample, {baseline} against each method"
    labels = svg.Labels(title, words, f"decode seconds, {baseline}", "decode seconds, method")
    return svg.panels(pairs, svg.cells_of(pairs), panel, 2.25, labels)


def _marks(axes: Axes, rows: pd.DataFrame, number: int, title: str) -> None:
    """Draw one method's samples."""
    rows = rows.iloc[:: max(1, -(-len(rows) // MOST_MARKS))]
    slower = rows["decode_seconds"] > rows["decode_seconds_baseline"]
    colour, marker = svg.colour(number), MARKERS[number % len(MARKERS)]
    axes.scatter(
        rows["decode_seconds_baseline"],
        rows["decode_seconds"],
        s=14,
        marker=marker,
        linewidths=0.8,
        edgecolors=colour,
        facecolors=["none" if slow else colour for slow in slower],
    )
    # The legend shows the full mark even where the first sample was slower.
    axes.scatter([], [], s=14, marker=marker, color=colour, label=title)
