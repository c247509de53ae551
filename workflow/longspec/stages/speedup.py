"""Stage `speedup`: every method paired with vanilla, sample by sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import metrics, runs, speedup, tables
from longspec.errors import UserError
from longspec.stages._analysis import arguments
from longspec.stages._run import run as run_stage

COLUMNS = [
    *tables.NAMES,
    "samples_paired",
    "speedup",
    "end_to_end_speedup",
    "identical_outputs",
    "verdict",
    "baseline",
    "first_divergence_position",
    "samples_slower",
    "samples_missing",
    "machines",
]


def build(grid: runs.Grid, results: Path) -> pd.DataFrame:
    """One row per model, data set and method but vanilla."""
    judged = tables.read(results / "lossless.csv").set_index(tables.NAMES)["verdict"]
    rows = []
    for model, dataset in runs.cells(grid):
        baseline = runs.read(results, model, dataset, grid["baseline"])
        base_timings = metrics.timings(baseline)
        for method in grid["methods"]:
            if method != grid["baseline"]:
                run = runs.read(results, model, dataset, method)
                row = speedup.compare(run, metrics.timings(run), baseline, base_timings)
                rows.append({**row, "verdict": judged[model, dataset, method]})
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"first_divergence_position": "Int64"})


def refuse_lossy(table: pd.DataFrame) -> None:
    """UserError naming the jobs whose output is not the model's."""
    lossy = table[table["verdict"] == "not lossless"]
    if len(lossy):
        jobs = ", ".join("/".join(names) for names in lossy[tables.NAMES].itertuples(index=False))
        raise UserError(f"not lossless: {jobs}; `lossless: require` lets no such run pass (lossless.csv says more)")


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, compute, write, print."""
    parser = arguments(__doc__)
    parser.add_argument("--lossless", choices=("report", "require"), default="report")
    args: Any = parser.parse_args(argv)
    table = build(args.grid, args.results)
    if args.lossless == "require":
        refuse_lossy(table)
    tables.write(table, args.results / "speedup.csv")
    print(f"\nspeedup\n{tables.show(args.results / 'speedup.csv')}")


if __name__ == "__main__":
    run_stage(main)
