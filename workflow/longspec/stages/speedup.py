"""Stage `speedup`: every method paired with vanilla, sample by sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import metrics, runs, speedup, tables
from longspec.stages._analysis import arguments
from longspec.stages._run import run as run_stage

COLUMNS = [
    *tables.NAMES,
    "samples_paired",
    "speedup",
    "end_to_end_speedup",
    "identical_outputs",
    "baseline",
    "first_divergence_position",
    "samples_slower",
]


def build(grid: runs.Grid, results: Path) -> pd.DataFrame:
    """One row per model, data set and method but vanilla."""
    rows = []
    for model, dataset in runs.cells(grid):
        baseline = runs.read(results, model, dataset, grid["baseline"])
        base_timings = metrics.timings(baseline)
        for method in grid["methods"]:
            if method != grid["baseline"]:
                run = runs.read(results, model, dataset, method)
                rows.append(speedup.compare(run, metrics.timings(run), baseline, base_timings))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"first_divergence_position": "Int64"})


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, compute, write, print."""
    args: Any = arguments(__doc__).parse_args(argv)
    tables.write(build(args.grid, args.results), args.results / "speedup.csv")
    print(f"\nspeedup\n{tables.show(args.results / 'speedup.csv')}")


if __name__ == "__main__":
    run_stage(main)
