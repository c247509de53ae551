"""Stage `symmetry`: does every speedup compare like with like, and is each table what the raw files give? No model.

    python -m longspec.stages.symmetry --results results      # with PYTHONPATH=workflow, on anybody's results

Contract: results/audit.csv has a row for each job and rule and for each table, pass or fail with the first finding; a
broken rule is a row, not an error. (`audit` asks the model whether the tokens are its own; this asks the files.) In the
workflow what is published is not there yet, since it is made from audit.csv: only without --grid, as an outsider runs
it, are summary.json and the tables and claims in --reports held against the tables too (_published.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import costs_table, runs, sample_tables, speedup_table, symmetry, tables, verdict
from longspec.analysis import lossless_table as lossless_stage
from longspec.cli._grid import many_records
from longspec.core.errors import UserError
from longspec.core.io import write_whole
from longspec.core.program import run as run_stage
from longspec.core.records import Comparison, read_records
from longspec.stages import _published

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
        findings = symmetry.job(run, baseline or run)
        if baseline is not None:
            place = self.job(run) / "gate.jsonl"
            comparisons = read_records(place, Comparison)
            finding = symmetry.gate(comparisons, run.samples, baseline)
            findings[GATE] = f"{place}: {finding}" if finding else ""
            self.verdicts.append(verdict.row(run, comparisons))
        if finding := findings[symmetry.WRITTEN]:
            findings[symmetry.WRITTEN] = f"{self.job(run) / 'samples.jsonl'}: {finding}"
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
    made["audit"] = pd.DataFrame(auditor.rows, columns=symmetry.COLUMNS)
    return made


def _stored(results: Path, name: str, table: pd.DataFrame) -> str:
    """The finding about one CSV."""
    path = results / f"{name}.csv"
    if not path.is_file():
        return f"{path}: missing"

    def samples_of(row: dict[str, str]) -> str:
        return str(results / row["model"] / row["dataset"] / row["method"] / "samples.jsonl")

    return symmetry.table(str(path), path.read_text(encoding="utf-8"), tables.text(table), samples_of)


def found_grid(results: Path) -> runs.Grid:
    """The experiment that lies below a folder; the baseline is the one that lossless.csv has no verdict on."""
    jobs = sorted(path.parent.relative_to(results).parts for path in results.glob("*/*/*/run.json"))
    if not jobs:
        raise UserError(f"{results}: no run.json below it; expected a results folder")
    stored = tables.read(results / "speedup.csv") if (results / "speedup.csv").is_file() else pd.DataFrame()
    if stored.empty:
        raise UserError(f"{results}: no speedup.csv with a row; expected one, or --grid with the experiment's cells")
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


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, audit, write, print what failed; with --strict a failure ends with status 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--grid", type=json.loads, help="cells, methods and baseline, as JSON; by default what lies there"
    )
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--reports", type=Path, help="folder of the report; by default `reports` beside the results")
    parser.add_argument("--strict", action="store_true", help="end with status 1 if a rule is broken")
    args: Any = parser.parse_args(argv)
    grid = args.grid or found_grid(args.results)
    with many_records():
        made = audited(grid, args.results)
    table = made["audit"]
    write_whole({args.results / "audit.csv": tables.text(table)})
    failed = table[table["verdict"] == "fail"]
    for row in failed.to_dict("records"):
        job = "/".join(str(row[name]) for name in tables.NAMES).strip("/")
        print(job or "tables", row["rule"], row["finding"], sep=": ")
    print(f"audit: {len(table) - len(failed)} of {len(table)} checks passed; {args.results / 'audit.csv'} has all")
    reports = args.reports or args.results.absolute().parent / "reports"
    found = {} if args.grid else _published.findings(grid, args.results, reports, made)
    wrong = [f"{path}: {finding}" for path, finding in found.items() if finding]
    print("".join(f"published: {line}\n" for line in wrong), end="")
    if found:
        print(f"published: {len(found) - len(wrong)} of {len(found)} files say what the tables give")
    if args.strict and (len(failed) or wrong):
        sys.exit(1)


if __name__ == "__main__":
    run_stage(main)
