"""Read, write and show the CSV tables, in one number format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from longspec.core.io import write_whole
from longspec.core.spec import load_of

NAMES = ["model", "dataset", "method"]
OF_SAMPLES = ("timings", "repeats", "throughput", "acceptance", "acceptance_by_position", "acceptance_curves",
              "windows", "load")  # fmt: skip
"""Tables that the samples alone give (sample_tables.py)."""
TEXT_COLUMNS = [*NAMES, "sample_id", "stop_reason", "verdict", "worst_sample", "baseline", "line_sha256",
                "rule", "finding", "axis", "reference", "tainted", "number_format", "reference_format"]  # fmt: skip
"""Columns that are never numbers, whatever they look like."""
SHOWN = {
    "speedup.csv": [*NAMES, "speedup", "speedup_low", "speedup_high", "over_reference", "end_to_end_speedup",
                    "identical_outputs", "samples_paired", "verdict"],
    "costs.csv": [*NAMES, "draft_cost", "verify_cost", "acceptance_length", "predicted_speedup", "measured_speedup",
                  "best_gamma", "best_depth"],
}  # fmt: skip


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV, whole or not at all. Missing values are empty, never 0.

    A table of methods gets the column `concurrency` beside them: the requests in flight, which their labels say."""
    write_whole({path: str(with_concurrency(table).to_csv(index=False, lineterminator="\n"))})


def with_concurrency(table: pd.DataFrame) -> pd.DataFrame:
    """Put `concurrency` after `method`, where there is a method; empty in rows that are about none."""
    if "method" not in table or "concurrency" in table:
        return table
    loads = {label: load_of(label)[1] for label in table["method"].unique() if isinstance(label, str) and label}
    made = table.copy(deep=False)
    made.insert(list(made.columns).index("method") + 1, "concurrency", made["method"].map(loads).astype("Int64"))
    return made


def read(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table that `write` wrote, or some of its columns; names stay text whatever they look like."""
    return _read(path, usecols=columns)


def _read(path: Path, **options: Any) -> pd.DataFrame:
    table: pd.DataFrame = pd.read_csv(
        path,
        dtype=dict.fromkeys(TEXT_COLUMNS, str),
        keep_default_na=False,
        na_values=[""],
        **options,
    )
    return table


def show(path: Path) -> str:
    """Draw a table for the terminal; of a wide one, the columns in SHOWN."""
    table = _read(path, dtype_backend="numpy_nullable")  # counts stay whole numbers beside empty cells
    table = table[SHOWN.get(path.name, list(table.columns))]
    rows = table.astype(object).where(table.notna(), "")
    return tabulate(rows.values.tolist(), headers=list(table.columns), floatfmt=".3f")
