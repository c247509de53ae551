"""Reading and showing the CSV tables; one number format for all of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from tabulate import tabulate


def write(table: pd.DataFrame, path: Path) -> None:
    """A CSV whose numbers read back as they were. Missing values are empty, never 0."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        table.to_csv(unfinished, index=False, lineterminator="\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path) -> pd.DataFrame:
    """A table written by `write`; names stay text whatever they look like."""
    names = dict.fromkeys(("model", "dataset", "method", "sample_id", "stop_reason"), str)
    return pd.read_csv(path, dtype=names, keep_default_na=False, na_values=[""])


def show(path: Path) -> str:
    """A table for the terminal."""
    table = read(path)
    rows = table.astype(object).where(table.notna(), "")
    return tabulate(rows.values.tolist(), headers=list(table.columns), floatfmt=".3f")
