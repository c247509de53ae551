"""Stage `metrics`: timings, throughput and acceptance tables from the raw samples of every job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import metrics, runs, tables
from longspec.stages._analysis import arguments
from longspec.stages._run import run as run_stage


def build(grid: runs.Grid, results: Path) -> dict[str, pd.DataFrame]:
    """Table name to table, in the order of the grid."""
    timings, throughput, acceptance, positions = [], [], [], []
    for model, dataset in runs.cells(grid):
        for method in grid["methods"]:
            run = runs.read(results, model, dataset, method)
            drafts = method != grid["baseline"] and _has_drafter(run)
            rows = metrics.timings(run)
            timings.append(rows)
            throughput.append(metrics.throughput(rows, run))
            acceptance.append(metrics.acceptance(rows, run, drafts))
            if drafts:
                positions.append(metrics.acceptance_by_position(run))
    counts = ["drafted_tokens", "accepted_tokens", "verification_steps"]
    return {
        "timings": pd.concat(timings, ignore_index=True),
        "throughput": pd.DataFrame(throughput),
        "acceptance": pd.DataFrame(acceptance).astype(dict.fromkeys(counts, "Int64")),
        "acceptance_by_position": pd.concat(positions, ignore_index=True)
        if positions
        else pd.DataFrame(columns=metrics.POSITION_COLUMNS),
    }


def _has_drafter(run: runs.Run) -> bool:
    """Whether the job's method entry names one; a second plain variant has none."""
    entry: dict[str, Any] = run.facts.get("spec", {}).get("method", {"drafter": None})
    return "drafter" in entry


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, compute, write, print."""
    args: Any = arguments(__doc__).parse_args(argv)
    for name, table in build(args.grid, args.results).items():
        tables.write(table, args.results / f"{name}.csv")
    for name in ("throughput", "acceptance"):
        print(f"\n{name}\n{tables.show(args.results / f'{name}.csv')}")


if __name__ == "__main__":
    run_stage(main)
