"""Audit files: is like compared with like, and is each table what the raw files give? No model, no torch.

Contract: audit.csv has a row for each job and rule, and for each table, or each of its cells that is wrong; a rule that
is broken is a row, not an error. All tables are made again by the analysis itself, in a folder of the audit's own.
(audit_tokens.py asks the model whether the tokens are its own; this asks the files.) What is published is made from
audit.csv, so it is held against the tables by audit_published.py.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from longspec.analysis import library, runs, tables
from longspec.core.errors import UserError
from longspec.core.records import Comparison, read_records
from longspec.core.spec import Grid
from longspec.verify import audit_rules, differences

GATE = "gate compared these samples"
TABLE = "table is what the raw files give"
FILES = "files are whole"
TABLES = (*tables.OF_SAMPLES, "lossless", "speedup", "costs")


class Auditor:
    """The rows of audit.csv, and the rules that are asked of each job when its samples are read for the tables."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.rows: list[dict[str, str]] = []

    def see(self, run: runs.Run, baseline: runs.Run, gated: runs.Run | None) -> None:
        """Judge one job beside its baseline, a baseline beside itself; `gated`: the run that its gate compared it with,
        None for our loop's baseline."""
        findings = audit_rules.job(run, baseline)
        if gated is not None:
            place = self._job(run) / "gate.jsonl"
            finding = audit_rules.gate(read_records(place, Comparison), run.samples, gated)
            findings[GATE] = f"{place}: {finding}" if finding else ""
        if finding := findings[audit_rules.WRITTEN]:
            findings[audit_rules.WRITTEN] = f"{self._job(run) / 'samples.jsonl'}: {finding}"
        for rule, finding in findings.items():
            self.add(rule, finding, run.record.names)

    def add(self, rule: str, finding: str = "", names: dict[str, str] | None = None) -> None:
        """Add one row; without a finding the rule holds."""
        names = names or dict.fromkeys(tables.NAMES, "")
        self.rows.append({**names, "rule": rule, "verdict": "fail" if finding else "pass", "finding": finding})

    def _job(self, run: runs.Run) -> Path:
        return self.results.joinpath(*run.record.names.values())


def build(grid: Grid, results: Path, folder: Path) -> pd.DataFrame:
    """Make audit.csv, and in `folder`, which is empty, it and every table that the raw files give."""
    auditor = Auditor(results)
    try:
        library.write("metrics", grid, results, folder, see=auditor.see)
        auditor.add(FILES)
    except UserError as error:
        auditor.add(FILES, str(error))
    else:
        try:
            for step in ("lossless", "speedup"):
                library.write(step, grid, results, folder)
        except UserError as error:
            auditor.add(TABLE, f"{results / step}.csv: cannot be made: {error}")
    for again in (folder / f"{name}.csv" for name in TABLES):
        if again.is_file():
            for finding in differences.of_tables(results / again.name, again, results) or [""]:
                auditor.add(TABLE, finding)
    table = pd.DataFrame(auditor.rows, columns=audit_rules.COLUMNS)
    tables.write(table, folder / "audit.csv")
    return table


def found_grid(results: Path) -> Grid:
    """Find which experiment's results lie below a folder: cells, methods, baselines and reference, from speedup.csv."""
    jobs = sorted(path.parent.relative_to(results).parts for path in results.glob("*/*/*/run.json"))
    if not jobs:
        raise UserError(str(results), "no run.json below it", "a results folder")
    stored = tables.read(results / "speedup.csv") if (results / "speedup.csv").is_file() else pd.DataFrame()
    if stored.empty:
        raise UserError(str(results), "no speedup.csv with a row", "one, or --grid with the experiment's cells")
    groups = dict(zip(stored["method"], stored["baseline"], strict=True))
    served = {method: base for method, base in groups.items() if groups.get(base) == base}
    # Of an experiment of engines alone, our loop's baseline is what they are held against.
    ours = [*(base for method, base in groups.items() if method not in served), *stored["reference"].dropna()]
    baseline = str(ours[0])
    methods = [baseline, *dict.fromkeys(stored["method"])]
    cells: dict[str, list[str]] = {}
    for model, dataset in dict.fromkeys(zip(stored["model"], stored["dataset"], strict=True)):
        cells.setdefault(model, []).append(dataset)
    named = stored.loc[~stored["method"].isin(served), "reference"].dropna()
    grid: Grid = {
        "cells": cells,
        "methods": methods,
        "baseline": baseline,
        "reference": str(named.iloc[0]) if len(named) else None,
    }
    if served:
        grid["baselines"] = served
    return grid
