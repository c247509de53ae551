"""What charts are drawn from: the tables, and which models, data sets and methods are drawn, under which names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from longspec.analysis import claims, runs
from longspec.core.spec import load_of
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
    baseline: str
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    noise_floor: float | None
    verdict: str
    peer: bool
    number_format: str | None
    same_as_baseline: bool
    throughput_speedup: float | None = None  # of a served engine
    throughput_speedup_low: float | None = None
    throughput_speedup_high: float | None = None

    @property
    def variant(self) -> str:
        """The variant's name, without its load."""
        return load_of(self.method)[0]

    @property
    def concurrency(self) -> int:
        """Requests in flight."""
        return load_of(self.method)[1]

    @property
    def title(self) -> str:
        """What the method is called in charts."""
        return f"{claims.labelled(self.method, self.number_format)} (peer)" if self.peer else self.method


@dataclass(frozen=True)
class ChartData:
    """What every chart is given.

    `tables`: by the CSV's name. `cells`: the models and data sets that are drawn apart. `titles`: all methods;
    `compared`: of these, those that are compared with a baseline, a served engine's at the least of its loads.
    `widths`: of each method that drafts, nodes at each depth, where known. `training`: training.csv by drafter.
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
        """Select the rows of speedup.csv that are drawn, of compared methods at all their loads."""
        rows = rows_of(self.table("speedup"), Speedup, "speedup.csv")
        return [row for row in rows if row.variant in self.numbers and row.method != row.baseline]

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each compared variant, by its name without a load: of its colour and mark."""
        return {load_of(method)[0]: number for number, method in enumerate(self.compared)}

    @property
    def baselines(self) -> dict[str, str]:
        """What each compared method is divided by."""
        return {row.method: row.baseline for row in self.speedups()}

    @property
    def over(self) -> str:
        """What speedups are over, in words: the baseline's name where there is one."""
        return self.baseline if set(self.baselines.values()) <= {self.baseline} else "the baseline of its group"


def chart_data(results: Results) -> ChartData:
    """Choose what is drawn of some results: of very many models and data sets, the first."""
    grid = results.grid
    rows = rows_of(results.tables["speedup"].drop_duplicates("method"), Speedup, "speedup.csv")
    named = {row.method: row.title for row in rows}
    titles = {method: named.get(method, method) for method in grid["methods"]}
    plain = {row.method for row in rows if row.same_as_baseline or row.method == row.baseline}
    compared = _at_least_load({name: titles[name] for name in titles if name not in {grid["baseline"], *plain}})
    return ChartData(
        tables=results.tables,
        cells=list(runs.cells(grid))[:MOST_CELLS],
        baseline=grid["baseline"],
        titles=titles,
        compared=compared,
        widths={name: shape for name in compared if (shape := _shape(results, name))},
        training=results.training,
    )


def _at_least_load(methods: Titles) -> dict[str, str]:
    """Keep of each variant the label of its least load, in the order of the methods."""
    least: dict[str, str] = {}
    for label in sorted(methods, key=lambda label: load_of(label)[1]):
        least.setdefault(load_of(label)[0], label)
    return {label: methods[label] for label in methods if label in least.values()}


def _shape(results: Results, method: str) -> list[int]:
    """Nodes at each depth, where the configuration or the tuning says so and all jobs of a method agree."""
    shapes = [job.widths for (_, _, name), job in results.jobs.items() if name == method]
    return shapes[0] if shapes and all(shape == shapes[0] for shape in shapes) else []


def by_load(rows: Sequence[Speedup]) -> dict[tuple[Cell, str], list[Speedup]]:
    """Collect the rows of each variant that ran at several loads, by model and data set, the least load first."""
    found: dict[tuple[Cell, str], list[Speedup]] = {}
    for row in sorted(rows, key=lambda row: row.concurrency):
        found.setdefault(((row.model, row.dataset), row.variant), []).append(row)
    return {key: points for key, points in found.items() if len(points) > 1}
