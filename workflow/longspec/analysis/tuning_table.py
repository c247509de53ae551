"""Make tuning.csv: what `auto` chose in each job, what it predicted, and what was then measured.

Contract: one row per job that chose something; the measured figures are those of the other tables.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from longspec.analysis import runs, tables
from longspec.core.spec import Grid

MEASURED = {
    "acceptance_length": ("acceptance", "acceptance_length"),
    "tokens_per_second": ("throughput", "throughput_tokens_per_second"),
    "speedup": ("speedup", "speedup"),
}
"""Predicted figure to the table and column where its measured value stands."""
COLUMNS = [
    *tables.NAMES,
    "chosen",
    *(f"{kind}_{figure}" for figure in MEASURED for kind in ("predicted", "measured")),
    "candidates",
    "texts",
    "texts_are",
    "positions",
    "tuning_seconds",
]


def build(grid: Grid, results: Path, folder: Path) -> dict[str, pd.DataFrame]:
    """Make one row per tuned job, in the order of the grid, from run.json and the tables in MEASURED; no table where no
    job was tuned. Cells are empty where nothing could be predicted."""
    frames = {name: tables.read(folder / f"{name}.csv").set_index(tables.NAMES) for name, _ in MEASURED.values()}
    rows = []
    tuned = ((r, r.tuning) for _, records in runs.records(grid, results) for r in records.values() if r.tuning)
    for record, tuning in tuned:
        predicted, names = tuning.get("predicted") or {}, tuple(record.names.values())
        row: dict[str, object] = {**record.names, "chosen": json.dumps(tuning["options"])}
        for figure, (table, column) in MEASURED.items():
            row[f"predicted_{figure}"] = predicted.get(figure)
            row[f"measured_{figure}"] = frames[table][column].get(names)
        resting_on = {key: tuning.get(key) for key in ("candidates", "texts", "texts_are", "positions")}
        rows.append({**row, **resting_on, "tuning_seconds": tuning.get("seconds")})
    return {"tuning": pd.DataFrame(rows, columns=COLUMNS)} if rows else {}
