"""Charts of speed: the speedup of each method with its interval, and the time of each sample."""

from __future__ import annotations

from itertools import accumulate

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from longspec.report.charts import svg
from longspec.report.charts.data import ChartData, Speedup
from longspec.report.charts.svg import INK, MARKERS, PAIR
from longspec.report.results import Cell

INCHES, GAP = 0.24, 1.0
"""Height of a bar, and of the space between two groups in bars."""
MOST_MARKS = 400
"""Marks of one method in one panel; of more samples, as many at even distances."""


def bars(data: ChartData) -> Markup:
    """Draw the speedup of each method over its baseline by data set, with intervals, a line at 1 and the noise floor as
    a band. The methods of each baseline stand together. The bars of peers are hollow and hatched."""
    rows = [row for row in data.speedups() if row.speedup is not None]
    if not rows:
        return Markup()
    cells, groups = svg.cells_of(data.table("speedup")), _groups(rows)
    starts = list(accumulate((len(group) + GAP for group in groups[:-1]), initial=0.0))
    length, reach = starts[-1] + len(groups[-1]), _reach(rows)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for start, group in zip(starts, groups, strict=True):
            _noise_floor(axes, start, group)
            for place, row in enumerate(sorted(group, key=lambda row: data.numbers[row.variant])):
                _bar(axes, row, data.numbers[row.variant], start + place, reach)
        axes.axvline(1, color=INK, linewidth=0.9, linestyle="--")
        middles = [start + (len(group) - 1) / 2 for start, group in zip(starts, groups, strict=True)]
        axes.set_yticks(middles, _headings(groups, cells))
        axes.tick_params(axis="y", length=0)
        across = f"times the decode throughput of {data.over}"
        axes.set(xlim=(0, 1.14 * reach), ylim=(length - 0.5 + GAP / 2, -0.5 - GAP / 2), xlabel=across)
        axes.legend(handles=_legend(data, rows), loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.4, ncols=3)

    size = svg.NARROW, 0.9 + INCHES * (length + GAP)
    titles = {**{row.method: row.title for row in rows if row.method not in data.compared}, **data.compared}
    words = svg.words_of(data.table("speedup"), titles, cells, "speedup", "×")
    return svg.svg(draw, size, f"Speedup over {data.over} by data set", words)


def _groups(rows: list[Speedup]) -> list[list[Speedup]]:
    """Collect the rows of each model, data set and baseline, in the table's order of the former."""
    found: dict[tuple[str, str], dict[str, list[Speedup]]] = {}
    for row in rows:
        found.setdefault((row.model, row.dataset), {}).setdefault(row.baseline, []).append(row)
    return [group for groups in found.values() for group in groups.values()]


def _headings(groups: list[list[Speedup]], cells: list[Cell]) -> list[str]:
    """Name each group by its data set, and by its baseline where there are several."""
    names = dict(zip(cells, svg.names_of(cells), strict=True))
    several = len({group[0].baseline for group in groups}) > 1
    return [names[group[0].model, group[0].dataset] + f"\nover {group[0].baseline}" * several for group in groups]


def _legend(data: ChartData, rows: list[Speedup]) -> list[Patch]:
    """Make one entry for each variant, whatever its loads."""
    peers = {row.variant for row in rows if row.peer}
    titles = [title.partition("@")[0] for title in data.compared.values()]
    looks = [_look(number, variant in peers) for variant, number in data.numbers.items()]
    return [Patch(label=title, **look) for title, look in zip(titles, looks, strict=True)]


def _reach(rows: list[Speedup]) -> float:
    """Where intervals are cut, so that a wide one leaves room for the bars: at twice the highest bar."""
    most = max(row.speedup or 0.0 for row in rows)
    return max(1.0, most, min(max(row.speedup_high or 0.0 for row in rows), 2 * most))


def _look(number: int, peer: bool) -> svg.Look:
    return {"linewidth": 0.4, **(svg.hollow if peer else svg.fill)(number)}


def _noise_floor(axes: Axes, start: float, rows: list[Speedup]) -> None:
    """Draw a band of the speedups that two equal methods may show, behind the bars of one group."""
    limit = next((row.noise_floor for row in rows if row.noise_floor), None)
    if limit:
        middle, height = start + (len(rows) - 1) / 2, len(rows) + 0.3
        axes.barh(middle, limit - 1 / limit, height, 1 / limit, color=INK, alpha=0.14, linewidth=0)


def _bar(axes: Axes, row: Speedup, number: int, place: float, reach: float) -> None:
    """Draw one bar, its interval and its number; an interval that is cut ends in an arrowhead and names its end."""
    value = row.speedup or 0.0
    axes.barh(place, value, 0.86, **_look(number, row.peer))
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
    methods, baselines, timings = data.compared, data.baselines, data.table("timings")
    base = timings[timings["method"].isin(set(baselines.values()))]
    base = base[[*PAIR, "method", "decode_seconds"]].rename(columns={"method": "baseline"})
    mine = timings[timings["method"].isin(list(methods))]
    mine = mine.assign(baseline=mine["method"].map(baselines))
    pairs = mine.merge(base, on=[*PAIR, "baseline"], suffixes=("", "_baseline"))
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
        f"{methods[method]}: {int(slower[mine].sum())} of {int(mine.sum())} samples slower than {baselines[method]}"
        for method, mine in ((method, pairs["method"] == method) for method in methods)
    )
    title = f"Decode seconds of each sample, {data.over} against each method"
    labels = svg.Labels(title, words, f"decode seconds, {data.over}", "decode seconds, method")
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
