"""Does every speedup compare like with like, and is each table what the raw files give? No model, no torch.

Contract: results/audit.csv has a row for each job and rule and for each table, pass or fail with the first finding; a
broken rule is a row, not an error. (audit_tokens.py asks the model whether the tokens are its own; this asks the
files.) What is published is made from audit.csv, so it is held against the tables by audit_published.py.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from longspec.analysis import costs_table, runs, sample_tables, speedup_table, tables, verdict
from longspec.analysis import lossless_table as lossless_stage
from longspec.core.errors import UserError
from longspec.core.records import Comparison, read_records
from longspec.verify import audit_rules

GATE = "gate compared these samples"
TABLE = "table is what the raw files give"
FILES = "files are whole"


class Auditor:
    """Sees each job once, on its way into the tables."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.rows: list[dict[str, str]] = []
        self.verdicts: list[dict[str, object]] = []

    def see(self, run: runs.Run, baseline: runs.Run | None) -> None:
        """One job beside the baseline of its cell; None for that one itself."""
        findings = audit_rules.job(run, baseline or run)
        if baseline is not None:
            place = self.job(run) / "gate.jsonl"
            comparisons = read_records(place, Comparison)
            finding = audit_rules.gate(comparisons, run.samples, baseline)
            findings[GATE] = f"{place}: {finding}" if finding else ""
            self.verdicts.append(verdict.row(run, baseline.facts, comparisons))
        if finding := findings[audit_rules.WRITTEN]:
            findings[audit_rules.WRITTEN] = f"{self.job(run) / 'samples.jsonl'}: {finding}"
        for rule, finding in findings.items():
            self.add(rule, finding, run.names)

    def job(self, run: runs.Run) -> Path:
        """Its folder."""
        return self.results / run.model / run.dataset / run.method

    def add(self, rule: str, finding: str, names: dict[str, str] | None = None) -> None:
        """One row of the audit."""
        names = names or dict.fromkeys(tables.NAMES, "")
        self.rows.append({**names, "rule": rule, "verdict": "fail" if finding else "pass", "finding": finding})


def build(grid: runs.Grid, results: Path) -> pd.DataFrame:
    """Every rule's verdict."""
    return audited(grid, results)["audit"]


def audited(grid: runs.Grid, results: Path) -> dict[str, pd.DataFrame]:
    """Every rule's verdict, as `audit`, and the tables that the files give."""
    auditor = Auditor(results)
    made: dict[str, pd.DataFrame] = {}
    try:
        made = sample_tables.build(grid, results, auditor.see)
        auditor.add(FILES, "")
    except UserError as error:
        auditor.add(FILES, str(error))
    if made:
        made["lossless"] = lossless_stage.table(auditor.verdicts)
        try:
            read = (tables.again(made[name]) for name in ("timings", "lossless"))
            made["speedup"] = speedup_table.compare(grid, results, *read)
            made["costs"] = costs_table.assemble(
                grid, results, *(tables.again(made[name]) for name in costs_table.READ)
            )
        except UserError as error:
            auditor.add(TABLE, f"{results / 'speedup.csv'}: cannot be made: {error}")
    for name, table in made.items():
        auditor.add(TABLE, _stored(results, name, table))
    made["audit"] = pd.DataFrame(auditor.rows, columns=audit_rules.COLUMNS)
    return made


def _stored(results: Path, name: str, table: pd.DataFrame) -> str:
    """The finding about one CSV."""
    path = results / f"{name}.csv"
    if not path.is_file():
        return f"{path}: missing"

    def samples_of(row: dict[str, str]) -> str:
        return str(results / row["model"] / row["dataset"] / row["method"] / "samples.jsonl")

    return audit_rules.table(str(path), path.read_text(encoding="utf-8"), tables.text(table), samples_of)


def found_grid(results: Path) -> runs.Grid:
    """The experiment that lies below a folder; the baseline is the one that lossless.csv has no verdict on."""
    jobs = sorted(path.parent.relative_to(results).parts for path in results.glob("*/*/*/run.json"))
    if not jobs:
        raise UserError(str(results), "no run.json below it", "a results folder")
    stored = tables.read(results / "speedup.csv") if (results / "speedup.csv").is_file() else pd.DataFrame()
    if stored.empty:
        raise UserError(str(results), "no speedup.csv with a row", "one, or --grid with the experiment's cells")
    baseline = str(stored["baseline"][0])
    methods = [baseline, *dict.fromkeys(stored["method"])]
    cells: dict[str, list[str]] = {}
    for model, dataset in dict.fromkeys(zip(stored["model"], stored["dataset"], strict=True)):
        cells.setdefault(model, []).append(dataset)
    named = stored["reference"].dropna()
    return {
        "cells": cells,
        "methods": methods,
        "baseline": baseline,
        "reference": str(named.iloc[0]) if len(named) else None,
    }
