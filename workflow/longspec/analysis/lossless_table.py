"""Make lossless.csv: a verdict on every job's outputs, from what its gate found."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from longspec.analysis import runs, tables, verdict
from longspec.core.errors import UserError
from longspec.core.records import Comparison, read_records
from longspec.core.spec import Grid, gated_against

COUNTS = ["first_divergence_position", "ties", "tokens_tested"]


def build(grid: Grid, results: Path, folder: Path) -> dict[str, pd.DataFrame]:
    """Make one row per model, data set and method but our loop's baseline, from the gates, run.json and timings.csv.

    Raises UserError where a gate has not seen every sample."""
    samples = _samples(folder / "timings.csv")
    rows = []
    for (model, dataset), records in runs.records(grid, results):
        for method in grid["methods"]:
            if method == grid["baseline"]:
                continue
            gate = results / model / dataset / method / "gate.jsonl"
            found = read_records(gate, Comparison)
            if [(c.sample_id, c.repeat) for c in found] != samples[model, dataset, method]:
                raise UserError(
                    str(gate), "its samples are not those of samples.jsonl beside it", "this file made again"
                )
            rows.append(verdict.row(records[method], records[gated_against(grid, method)], found))
    return {"lossless": pd.DataFrame(rows, columns=verdict.COLUMNS).astype(dict.fromkeys(COUNTS, "Int64"))}


def _samples(timings: Path) -> dict[tuple[str, str, str], list[tuple[str, int]]]:
    """(sample id, repeat) of every sample of each job, in the order in which they ran."""
    read = tables.read(timings, columns=[*tables.NAMES, "sample_id", "repeat"])
    found: dict[tuple[str, str, str], list[tuple[str, int]]] = {}
    for (model, dataset, method), rows in read.groupby(tables.NAMES, sort=False):
        samples = zip(rows["sample_id"].fillna("").tolist(), rows["repeat"].tolist(), strict=True)
        found[str(model), str(dataset), str(method)] = list(samples)
    return found
