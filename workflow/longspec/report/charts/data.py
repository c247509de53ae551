"""What charts are drawn from: the tables, and which models, data sets and methods are drawn, under which names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from longspec.analysis import claims, runs
from longspec.report.results import Cell, Results, rows_of

MOST_CELLS = 12
"""Models and data sets that are drawn apart."""
Titles = Mapping[str, str]
"""Methods in drawing order, each with the name that it has in charts: a peer says that it is one."""


@dataclass(frozen=True)
class Speedup:
    """A row of speedup.csv, as far as charts show it; None where nothing was measured."""

    model: str
    dataset: str
    method: str
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    noise_floor: float | None
    verdict: str
    peer: bool
    number_format: str | None
    same_as_baseline: bool

    @property
    def title(self) -> str:
        """What the method is called in charts."""
        return f"{claims.labelled(self.method, self.number_format)} (peer)" if self.peer else self.method


@dataclass(frozen=True)
class ChartData:
    """What every chart is given.

    `tables`: by the CSV's name. `cells`: the models and data sets that are drawn apart. `titles`: all methods;
    `compared`: of these, those that are compared with the baseline. `widths`: of each method that drafts, nodes at each
    depth, where known. `training`: training.csv by drafter.
    """

    tables: Mapping[str, pd.DataFrame]
    cells: Sequence[Cell]
    baseline: str
    titles: Titles
    compared: Titles
    widths: Mapping[str, list[int]] = field(default_factory=dict)
    training: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def table(self, name: str) -> pd.DataFrame:
        """Select a table's rows of the models and data sets that are drawn."""
        return self.tables[name].merge(pd.DataFrame(self.cells, columns=["model", "dataset"]))

    def speedups(self) -> list[Speedup]:
        """Select the rows of speedup.csv that are drawn, of compared methods."""
        rows = rows_of(self.table("speedup"), Speedup, "speedup.csv")
        return [row for row in rows if row.method in self.compared]


def chart_data(results: Results) -> ChartData:
    """Choose what is drawn of some results: of very many models and data sets, the first."""
    grid = results.grid
    rows = rows_of(results.tables["speedup"].drop_duplicates("method"), Speedup, "speedup.csv")
    named = {row.method: row.title for row in rows}
    titles = {method: named.get(method, method) for method in grid["methods"]}
    again = {row.method for row in rows if row.same_as_baseline}
    compared = {name: title for name, title in titles.items() if name not in {grid["baseline"], *again}}
    return ChartData(
        tables=results.tables,
        cells=list(runs.cells(grid))[:MOST_CELLS],
        baseline=grid["baseline"],
        titles=titles,
        compared=compared,
        widths={name: shape for name in compared if (shape := _shape(results, name))},
        training=results.training,
    )


def _shape(results: Results, method: str) -> list[int]:
    """Nodes at each depth, where the configuration or the tuning says so and all jobs of a method agree."""
    shapes = [job.widths for (_, _, name), job in results.jobs.items() if name == method]
    return shapes[0] if shapes and all(shape == shapes[0] for shape in shapes) else []
