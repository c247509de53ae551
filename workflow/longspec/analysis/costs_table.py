"""Make costs.csv: time by part of a step, memory by holder, and predicted beside measured speedup."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import costs, runs, tables
from longspec.core.spec import Grid, baseline_of

READ = ("acceptance", "acceptance_by_position", "speedup")
COUNTS = ["profiled_steps", "depth", "best_gamma", "best_depth", *costs.HELD, "peak_memory_bytes"]


def build(grid: Grid, results: Path, folder: Path) -> dict[str, pd.DataFrame]:
    """Make one row a job, in the order of the grid, from run.json and the tables in READ."""
    acceptance, positions, speedup = (tables.read(folder / f"{name}.csv").set_index(tables.NAMES) for name in READ)
    jobs, speedups = acceptance.to_dict("index"), speedup["speedup"]
    reached = {names: list(part["accepted"]) for names, part in positions.groupby(tables.NAMES, sort=False)}
    rows = []
    for _, records in runs.records(grid, results):
        for record in records.values():
            names = (record.model, record.dataset, record.method)
            accepted = _accepted(jobs[names], reached.get(names, []))
            rows.append(costs.row(record, records[baseline_of(grid, record.method)], accepted, speedups.get(names)))
    return {"costs": pd.DataFrame(rows, columns=costs.COLUMNS).astype(dict.fromkeys(COUNTS, "Int64"))}


def _accepted(row: Mapping[Hashable, Any], reached: list[int]) -> costs.Accepted:
    """Take what the cost model wants from a row of acceptance.csv; cells are empty where nothing was drafted."""
    depth, length, steps = (
        None if pd.isna(row[name]) else row[name] for name in ("depth", "acceptance_length", "verification_steps")
    )
    return costs.Accepted(depth, length, steps, reached)
