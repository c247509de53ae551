"""The report's charts, each from one table, which holds every number that is drawn.

It does not know the page; how things are drawn is svg.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from longspec.report import svg
from longspec.report.svg import INK, MARKERS, PAIR

Titles = Mapping[str, str]
"""Methods in drawing order, each with what it is called: a peer says that it is one."""
MOST_MARKS = 400
"""Marks of one method in one panel; of more samples, as many at even distances."""
MOST_CIRCLES = 8
"""Nodes of one depth that are drawn apart."""


def speedup_bars(table: pd.DataFrame, methods: Titles, baseline: str) -> Markup:
    """Speedup of each method over the baseline by data set, with intervals, a line at 1 and the noise floor as a band.

    `table` is speedup.csv. The bars of peers are hollow and hatched."""
    cells = svg.cells_of(table)
    names = svg.names_of(cells)
    height = 0.84 / max(len(methods), 1)
    most = table["speedup"].max()
    reach = max(1.0, most, min(table["speedup_high"].max(), 2 * most))
    """Where whiskers are cut, so that one wide interval leaves room for the bars."""
    widest = 1.14 * reach

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, limit in enumerate(svg.values_of(table, next(iter(methods)), cells, "noise_floor")):
            if pd.notna(limit):
                axes.barh(place, limit - 1 / limit, 0.94, 1 / limit, color=INK, alpha=0.14, linewidth=0)
        for number, method in enumerate(methods):
            places = [place + (number + 0.5) * height - 0.42 for place in range(len(cells))]
            peer = bool(table.loc[table["method"] == method, "peer"].any())
            look = {"label": methods[method], **(svg.hollow if peer else svg.fill)(number)}
            _bars(axes, table, method, look, places, height, reach)
        axes.axvline(1, color=INK, linewidth=0.9, linestyle="--")
        axes.set_yticks(range(len(cells)), names)
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(0, widest), ylim=(len(cells) - 0.5, -0.5), xlabel=f"times the decode throughput of {baseline}")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.4, ncols=3)

    rows = 0.3 * len(cells) + 0.24 * len(cells) * len(methods)
    words = svg.words_of(table, methods, cells, "speedup", "×")
    return svg.svg(draw, (svg.NARROW, 0.9 + rows), f"Speedup over {baseline} by data set", words)


def _bars(
    axes: Axes, table: pd.DataFrame, method: str, look: dict[str, Any], places: list[float], height: float, reach: float
) -> None:
    """One method's bars, whiskers and figures."""
    cells = svg.cells_of(table)
    columns = ("speedup", "speedup_low", "speedup_high", "verdict")
    values, lows, highs, verdicts = (svg.values_of(table, method, cells, column) for column in columns)
    axes.barh(places, values, height * 0.86, **{"linewidth": 0.4, **look})
    for place, value, low, high, verdict in zip(places, values, lows, highs, verdicts, strict=True):
        if pd.isna(value):
            continue
        if pd.notna(low):
            axes.plot([low, min(high, reach)], [place, place], color=INK, linewidth=1.1, solid_capstyle="butt")
        end = max(value, min(high, reach)) if pd.notna(high) else value
        # A number that would lie across the line at 1 starts behind it.
        start = 1.0 if end < 1 < end + 0.1 * reach else end
        text = svg.judged(f"{value:.2f}×", verdict)
        axes.annotate(text, (start, place), (3, 0), textcoords="offset points", **svg.LABEL)


def _lines(table: pd.DataFrame, methods: Titles) -> list[tuple[str, dict[str, Any]]]:
    """The methods that a table speaks of, each with how its line is drawn: by its number among all."""
    known = set(table["method"])
    looks = ({"label": methods[method], "markersize": 3.5, **svg.stroke(n)} for n, method in enumerate(methods))
    return [(method, look) for method, look in zip(methods, looks, strict=True) if method in known]


def position_lines(table: pd.DataFrame, methods: Titles) -> Markup:
    """Conditional acceptance by position in the draft, a panel a data set. `table` is acceptance_by_position.csv."""

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
    return svg.panels(table, cells, panel, 1.75, "position in the draft", "accepted, of those offered", title, words)


def curve_lines(table: pd.DataFrame, methods: Titles, axis: str, across: str) -> Markup:
    """Acceptance length along a text, a panel a data set. `table` is acceptance_curves.csv; `axis` one of its axes."""
    table = table[table["axis"] == axis]

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
    title = f"Acceptance length by {axis.replace('_', ' ')}"
    return svg.panels(table, cells, panel, 1.75, across, "tokens a verification step", title, words)


def time_scatter(timings: pd.DataFrame, methods: Titles, baseline: str) -> Markup:
    """Decode seconds of each sample: the baseline across, the method up; above the diagonal, hollow, is slower."""
    base = timings[timings["method"] == baseline][[*PAIR, "decode_seconds"]]
    pairs = timings[timings["method"] != baseline].merge(base, on=PAIR, suffixes=("", "_baseline"))

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        top = rows[["decode_seconds", "decode_seconds_baseline"]].max().max() * 1.06
        axes.plot([0, top], [0, top], color=INK, linewidth=0.9, linestyle="--")
        for number, method in enumerate(methods):
            mine = rows[rows["method"] == method]
            mine = mine.iloc[:: max(1, -(-len(mine) // MOST_MARKS))]
            slower = mine["decode_seconds"] > mine["decode_seconds_baseline"]
            colour, marker = svg.colour(number), MARKERS[number % len(MARKERS)]
            axes.scatter(
                mine["decode_seconds_baseline"],
                mine["decode_seconds"],
                s=14,
                marker=marker,
                linewidths=0.8,
                edgecolors=colour,
                facecolors=["none" if slow else colour for slow in slower],
            )
            # The legend shows the full mark even where the first sample was slower.
            axes.scatter([], [], s=14, marker=marker, color=colour, label=methods[method])
        axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))

    slower = pairs["decode_seconds"] > pairs["decode_seconds_baseline"]
    words = "; ".join(
        f"{methods[method]}: {int(slower[mine].sum())} of {int(mine.sum())} samples slower than {baseline}"
        for method, mine in ((method, pairs["method"] == method) for method in methods)
    )
    title = f"Decode seconds of each sample, {baseline} against each method"
    across, up = f"decode seconds, {baseline}", "decode seconds, method"
    return svg.panels(pairs, svg.cells_of(pairs), panel, 2.25, across, up, title, words)


def step_parts(table: pd.DataFrame, methods: Titles, parts: Sequence[str]) -> Markup:
    """Milliseconds of a step by part, a panel a data set. `table` is costs.csv, `parts` in drawing order."""
    table = table[table["profiled_steps"].notna()]

    def panel(axes: Axes, rows: pd.DataFrame) -> None:
        mine = [rows[rows["method"] == method] for method in methods]
        left = [0.0] * len(methods)
        for number, part in enumerate(parts):
            column = f"{part}_seconds_per_step"
            widths = [1e3 * float(row[column].iloc[0]) if len(row) else 0.0 for row in mine]
            axes.barh(range(len(methods)), widths, 0.7, left=left, label=part, linewidth=0.4, **svg.fill(number))
            left = [start + width for start, width in zip(left, widths, strict=True)]
        axes.set_yticks(range(len(methods)), list(methods.values()))
        axes.invert_yaxis()

    cells = svg.cells_of(table)
    words = "Drafting, milliseconds a step: " + svg.words_of(
        table.assign(milliseconds=1e3 * table["draft_seconds_per_step"], verdict=""), methods, cells, "milliseconds", ""
    )
    height = 0.5 + 0.22 * len(methods)
    return svg.panels(table, cells, panel, height, "milliseconds a step", "", "Where a step's time goes", words)


def draft_shapes(table: pd.DataFrame, methods: Titles, widths: dict[str, list[int]]) -> Markup:
    """Each method's draft, depth by depth: as many circles as its configuration asks for, the fuller the likelier.

    `table` is acceptance_by_position.csv; shares are pooled over data sets: steps that accepted a draft of this depth,
    of those that had one. Which node of a depth was accepted is not recorded, so the nodes of a depth look alike."""
    shares = table.groupby(["method", "position"])[["offered", "accepted"]].sum()
    steps = {name: shares.loc[(name, 1), "offered"] for name in widths if (name, 1) in shares.index}
    deepest = max((len(shape) for name, shape in widths.items() if name in steps), default=1)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(1, len(steps), squeeze=False)
        for axes, name in zip(grid.flat, steps, strict=True):
            axes.set_title(methods[name], loc="left")
            colour = svg.colour(list(methods).index(name))
            for depth, width in enumerate(widths[name], start=1):
                share = shares["accepted"].get((name, depth), 0) / steps[name]
                _level(axes, depth, width, float(share), colour)
            axes.set(xlim=(-MOST_CIRCLES / 2 - 1, MOST_CIRCLES / 2 + 3), ylim=(deepest + 0.6, 0.4))
            axes.set_xticks([])
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.spines["bottom"].set_visible(False)
        figure.supylabel("depth in the draft", fontsize=9)

    parts = []
    for name in steps:
        accepted = [shares["accepted"].get((name, depth + 1), 0) for depth in range(len(widths[name]))]
        parts.append(f"{name}: " + ", ".join(f"{count / steps[name]:.2f}" for count in accepted))
    words = "; ".join(parts)
    title = "Shape of each draft, and the share of steps that accepted so deep"
    return svg.svg(draw, (svg.WIDE, 0.7 + 0.28 * deepest), title, f"By depth: {words}.")


def _level(axes: Axes, depth: int, width: int, share: float, colour: str) -> None:
    shown = min(width, MOST_CIRCLES)
    for node in range(shown):
        place = (node - (shown - 1) / 2, depth)
        axes.scatter(*place, s=60, color=colour, alpha=max(share, 0.02), linewidths=0)
        axes.scatter(*place, s=60, facecolors="none", edgecolors=colour, linewidths=0.7)
    more = f" ({width} nodes)" if width > shown else ""
    axes.annotate(f"{share:.2f}{more}", (MOST_CIRCLES / 2 + 0.2, depth), **svg.LABEL)


def training_lines(table: pd.DataFrame, name: str) -> Markup:
    """A drafter's training: each column of numbers over the first one. `table` is its training.csv."""
    step, *rest = [str(column) for column in table if pd.api.types.is_numeric_dtype(table[column])]

    def draw(figure: Figure) -> None:
        grid: Any = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(rest) :]:
            axes.remove()
        for number, (axes, column) in enumerate(zip(grid.flat, rest, strict=False)):
            axes.plot(table[step], table[column], color=svg.colour(number), linewidth=1)
            axes.set_title(column.replace("_", " "), loc="left")
        figure.supxlabel(step, fontsize=9)

    columns = min(4, len(rest))
    rows = -(-len(rest) // columns)
    last = ", ".join(f"{column} {table[column].iloc[-1]:.3g}" for column in rest)
    return svg.svg(draw, (svg.WIDE, 0.3 + 1.9 * rows), f"Training of the drafter {name}", f"At the end: {last}.")
