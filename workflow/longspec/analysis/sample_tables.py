"""Make the tables that the raw samples of every job give: timings, repeats, throughput, acceptance, windows, load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import acceptance, load, runs, timings, windows
from longspec.analysis.tables import OF_SAMPLES
from longspec.core.spec import Grid, baseline_of, gated_against

Visitor = Callable[[runs.Run, runs.Run, runs.Run | None], None]
"""Called with each run, the baseline that it is compared with (of a baseline itself), and the run that its output was
held against by the gate; None for the baseline of our loop."""
COUNTS = ["drafted_tokens", "accepted_tokens", "verification_steps", "depth", "uncounted_turns"]
Parts = dict[str, Any]


def build(grid: Grid, results: Path, folder: Path | None = None, see: Visitor | None = None) -> dict[str, pd.DataFrame]:
    """Make each of OF_SAMPLES, rows in the order of the grid. Every job's files are read once; `see` is shown each run.

    No table is read in `folder`: this is the first step."""
    parts: dict[str, list[Any]] = {name: [] for name in OF_SAMPLES}
    for model, dataset in runs.cells(grid):
        made: dict[str, Parts] = {}
        baselines: dict[str, runs.Run] = {}
        for run in runs.read_cell(results, model, dataset, _baselines_first(grid)):
            method = run.record.method
            if method in (grid["baseline"], baseline_of(grid, method)):
                baselines[method] = run
            gated = baselines[gated_against(grid, method)] if method != grid["baseline"] else None
            if see is not None:
                see(run, baselines[baseline_of(grid, method)], gated)
            made[method] = _parts(run, gated)
        for method in grid["methods"]:
            for name, part in made[method].items():
                parts[name].append(part)
    return {
        "timings": _joined(parts["timings"], timings.TIMING_COLUMNS),
        "repeats": _joined(parts["repeats"], timings.REPEAT_COLUMNS),
        "throughput": pd.DataFrame(parts["throughput"]),
        "acceptance": pd.DataFrame(parts["acceptance"]).astype(dict.fromkeys(COUNTS, "Int64")),
        "acceptance_by_position": _joined(parts["acceptance_by_position"], acceptance.POSITION_COLUMNS),
        "acceptance_curves": _joined(parts["acceptance_curves"], acceptance.CURVE_COLUMNS),
        "windows": _joined(parts["windows"], windows.COLUMNS),
        "load": pd.DataFrame(parts["load"], columns=load.COLUMNS),
    }


def _parts(run: runs.Run, gated: runs.Run | None) -> Parts:
    """Make a run's part of each table that it has a part in."""
    rows = timings.timings(run, gated)
    steps = acceptance.Steps(run)
    drafts = gated is not None and _drafts(run, steps)
    made: Parts = {
        "timings": rows,
        "repeats": timings.repeats(rows),
        "throughput": timings.throughput(rows, run),
        "acceptance": acceptance.row(run, drafts, steps),
    }
    if drafts and acceptance.each_step(run, steps):
        made["acceptance_by_position"] = acceptance.by_position(run, steps)
    if run.record.served:
        made["windows"] = windows.table(run)
        made["load"] = load.row(run, made["windows"], drafts)
    elif drafts:
        made["acceptance_curves"] = acceptance.curves(run, steps)
    return made


def _baselines_first(grid: Grid) -> list[str]:
    """List the methods so that each comes after the one that it is compared with."""
    return sorted(grid["methods"], key=lambda method: (method != grid["baseline"], method != baseline_of(grid, method)))


def _joined(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """One table of those that have rows; with the columns alone where none has."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def _drafts(run: runs.Run, steps: acceptance.Steps) -> bool:
    """Tell whether the job's variant names a drafter or how an engine speculates, or a peer drafted; a second plain
    variant does neither."""
    variant = run.record.variant
    return "drafter" in variant or bool(variant.get("speculation")) or bool(steps.drafted.any())
