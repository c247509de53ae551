"""A table of the page: which columns, how each number is written, what is said where rows are left out.

Contract: a cell without a value is a dash and never a 0; a table that is shown in part says so; a column X whose
interval stands in X_low and X_high is one column of the page. The template writes the cells as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

MOST_ROWS = 300
"""Rows that are shown."""
LONG_TEXT = 40
"""Characters above which a cell's text may break into lines."""
FRACTIONS = ("seconds", "rate", "length", "per_second", "per_step", "per_depth", "speedup", "gap", "rounding",
             "bound", "apart", "p_value", "shift", "_low", "_high", "floor", "share", "drift", "spread", "least",
             "median", "cost", "_gap", "reference", "per_request", "over_client",
             "cores", "baseline")  # fmt: skip
"""How the names of columns end whose numbers are no counts."""


@dataclass(frozen=True)
class Cell:
    """A cell's text, and its class in the style sheet: "number", "wrap", or none."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table as the page shows it."""

    caption: str
    heads: list[Cell]
    rows: list[list[Cell]]


def table(frame: pd.DataFrame, caption: str, columns: Sequence[str] = (), file: str = "") -> Table:
    """Make a table of a frame's `columns`, or of all; of a long one, rows at even distances. `file` has all rows."""
    columns = [column for column in columns or frame.columns if not _ends_an_interval(column, frame)]
    shown = frame.iloc[:: max(1, -(-len(frame) // MOST_ROWS))]
    if len(shown) < len(frame):
        caption += f" ({len(shown)} of {len(frame)} rows{f'; {file} has all' if file else ''})"
    made = [_column(shown, column) for column in columns]
    rows = zip(*(cells for _, cells in made), strict=True)
    return Table(caption, [head for head, _ in made], [list(row) for row in rows])


def _ends_an_interval(column: str, frame: pd.DataFrame) -> bool:
    return column.endswith(("_low", "_high")) and column.rpartition("_")[0] in frame


def _column(frame: pd.DataFrame, column: str) -> tuple[Cell, list[Cell]]:
    """Write a column's head and cells."""
    kind = "number" if pd.api.types.is_numeric_dtype(frame[column]) else ""
    head = column.removesuffix("_bytes").replace("_", " ")
    texts = [written(value, column) for value in frame[column].tolist()]
    if f"{column}_low" in frame:
        head += " [95% interval]"
        ends = zip(frame[f"{column}_low"].tolist(), frame[f"{column}_high"].tolist(), strict=True)
        texts = [
            text if pd.isna(low) else f"{text} [{low:.3f}, {high:.3f}]"
            for text, (low, high) in zip(texts, ends, strict=True)
        ]
    return Cell(head, kind), [Cell(text, kind or ("wrap" if len(text) > LONG_TEXT else "")) for text in texts]


def written(value: object, column: str = "") -> str:
    """Write a value of a column as a reader wants it; a dash where there is none."""
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return "–"
    if not isinstance(value, int | float):
        return str(value)
    if column.endswith("_bytes"):
        return f"{value / 2**20:,.0f} MiB"
    return f"{value:,.3f}" if column.replace(" ", "_").endswith(FRACTIONS) else f"{value:,.0f}"
