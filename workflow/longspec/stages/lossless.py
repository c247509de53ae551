"""Stage `lossless`: a verdict on every job's outputs, from what its gate found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import lossless, runs, tables
from longspec.core.errors import UserError
from longspec.core.program import run as run_stage
from longspec.core.records import Comparison, read_records
from longspec.stages._analysis import arguments, many_records


def build(grid: runs.Grid, results: Path) -> pd.DataFrame:
    """One row per model, data set and method but vanilla; UserError when a gate has not seen every sample."""
    rows = []
    for model, dataset in runs.cells(grid):
        methods = [method for method in grid["methods"] if method != grid["baseline"]]
        for run in runs.read_cell(results, model, dataset, methods):
            gate = results / model / dataset / run.method / "gate.jsonl"
            found = read_records(gate, Comparison)
            if [(c.sample_id, c.repeat) for c in found] != [(s.sample_id, s.repeat) for s in run.samples]:
                raise UserError(f"{gate}: its samples are not those of samples.jsonl beside it; make it again")
            rows.append(lossless.row(run, found))
    return table(rows)


def table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """lossless.csv of its rows."""
    counts = ["first_divergence_position", "ties", "tokens_tested"]
    return pd.DataFrame(rows, columns=lossless.COLUMNS).astype(dict.fromkeys(counts, "Int64"))


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, compute, write, print."""
    args: Any = arguments(__doc__).parse_args(argv)
    with many_records():
        made = build(args.grid, args.results)
    tables.write(made, args.results / "lossless.csv")
    print(f"\nlossless\n{tables.show(args.results / 'lossless.csv')}")


if __name__ == "__main__":
    run_stage(main)
