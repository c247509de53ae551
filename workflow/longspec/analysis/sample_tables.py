"""Make timings, repeats, throughput and acceptance tables of the raw samples of every job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import acceptance, runs, timings
from longspec.analysis.tables import OF_SAMPLES
from longspec.core.spec import Grid

Visitor = Callable[[runs.Run, runs.Run | None], None]
"""Called with each run and the baseline of its cell; None for the baseline itself."""
COUNTS = ["drafted_tokens", "accepted_tokens", "verification_steps", "depth"]


def build(grid: Grid, results: Path, folder: Path | None = None, see: Visitor | None = None) -> dict[str, pd.DataFrame]:
    """Make each of OF_SAMPLES, rows in the order of the grid. Every job's files are read once; `see` is shown each run.

    No table is read in `folder`: this is the first step."""
    parts: dict[str, list[Any]] = {name: [] for name in OF_SAMPLES}
    for model, dataset in runs.cells(grid):
        baseline = None
        for run in runs.read_cell(results, model, dataset, grid["methods"]):
            if see is not None:
                see(run, baseline)
            rows = timings.timings(run, baseline)
            steps = acceptance.Steps(run)
            drafts = baseline is not None and _drafts(run, steps)
            parts["timings"].append(rows)
            parts["repeats"].append(timings.repeats(rows))
            parts["throughput"].append(timings.throughput(rows, run))
            parts["acceptance"].append(acceptance.row(run, drafts, steps))
            if drafts:
                parts["acceptance_by_position"].append(acceptance.by_position(run, steps))
                parts["acceptance_curves"].append(acceptance.curves(run, steps))
            baseline = baseline or run
    return {
        "timings": _joined(parts["timings"], timings.TIMING_COLUMNS),
        "repeats": _joined(parts["repeats"], timings.REPEAT_COLUMNS),
        "throughput": pd.DataFrame(parts["throughput"]),
        "acceptance": pd.DataFrame(parts["acceptance"]).astype(dict.fromkeys(COUNTS, "Int64")),
        "acceptance_by_position": _joined(parts["acceptance_by_position"], acceptance.POSITION_COLUMNS),
        "acceptance_curves": _joined(parts["acceptance_curves"], acceptance.CURVE_COLUMNS),
    }


def _joined(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """One table of those that have rows; with the columns alone where none has."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def _drafts(run: runs.Run, steps: acceptance.Steps) -> bool:
    """Tell whether the job's variant names a drafter, or a peer drafted; a second plain variant does neither."""
    return "drafter" in run.record.variant or bool(steps.drafted.any())
