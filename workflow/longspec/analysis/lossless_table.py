"""A verdict on every job's outputs, from what its gate found."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from longspec.analysis import runs, verdict
from longspec.core.errors import UserError
from longspec.core.records import Comparison, read_records


def build(grid: runs.Grid, results: Path) -> pd.DataFrame:
    """One row per model, data set and method but vanilla; UserError when a gate has not seen every sample."""
    rows = []
    for model, dataset in runs.cells(grid):
        baseline = runs.read_facts(results / model / dataset / grid["baseline"] / "run.json")
        methods = [method for method in grid["methods"] if method != grid["baseline"]]
        for run in runs.read_cell(results, model, dataset, methods):
            gate = results / model / dataset / run.method / "gate.jsonl"
            found = read_records(gate, Comparison)
            if [(c.sample_id, c.repeat) for c in found] != [(s.sample_id, s.repeat) for s in run.samples]:
                raise UserError(
                    str(gate), "its samples are not those of samples.jsonl beside it", "this file made again"
                )
            rows.append(verdict.row(run, baseline, found))
    return table(rows)


def table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """lossless.csv of its rows."""
    counts = ["first_divergence_position", "ties", "tokens_tested"]
    return pd.DataFrame(rows, columns=verdict.COLUMNS).astype(dict.fromkeys(counts, "Int64"))
