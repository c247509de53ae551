"""Make costs.csv: time by part of a step, memory by holder, and predicted beside measured speedup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import costs, runs, tables
from longspec.core.spec import Grid

READ = ("acceptance", "acceptance_by_position", "speedup")
COUNTS = ["profiled_steps", "depth", "best_gamma", "best_depth", *costs.HELD, "peak_memory_bytes"]


def build(grid: Grid, results: Path, folder: Path) -> dict[str, pd.DataFrame]:
    """Make one row a job, in the order of the grid, from run.json and the tables in READ."""
    acceptance, positions, speedup = (tables.read(folder / f"{name}.csv") for name in READ)
    accepted, speedups = _by_job(acceptance), _by_job(speedup)
    reached = {names: list(part["accepted"]) for names, part in positions.groupby(tables.NAMES, sort=False)}
    rows = []
    for model, dataset in runs.cells(grid):
        facts = {m: runs.read_facts(results / model / dataset / m / "run.json") for m in grid["methods"]}
        for method in grid["methods"]:
            names = (model, dataset, method)
            measured = speedups.get(names, {}).get("speedup")
            base = facts[grid["baseline"]]
            rows.append(costs.row(facts[method], base, accepted[names], reached.get(names, []), measured))
    return {"costs": pd.DataFrame(rows, columns=costs.COLUMNS).astype(dict.fromkeys(COUNTS, "Int64"))}


def _by_job(table: pd.DataFrame) -> dict[Any, dict[str, Any]]:
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    return {tuple(row[name] for name in tables.NAMES): row for row in rows}
