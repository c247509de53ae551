"""Ask the files whether every speedup compares like with like, and whether each table is what the raw files give.

    python -m longspec audit --results results      # on anybody's results, without a model

Without --grid, as an outsider runs it, summary.json and the tables and claims in --reports are held against the tables
too. results/audit.csv has a row for each job and rule and for each table."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from longspec.analysis import tables
from longspec.cli._grid import many_records
from longspec.core.io import write_whole
from longspec.verify import audit_published
from longspec.verify.audit import audited, found_grid


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, audit, write, print what failed; with --strict a failure ends with status 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--grid", type=json.loads, help="cells, methods and baseline, as JSON; by default what lies there"
    )
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--reports", type=Path, help="folder of the report; by default reports-x beside results-x")
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
    folder = args.results.absolute()
    reports = args.reports or folder.with_name(folder.name.replace("results", "reports", 1))
    found = {} if args.grid else audit_published.findings(grid, args.results, reports, made)
    wrong = [f"{path}: {finding}" for path, finding in found.items() if finding]
    print("".join(f"published: {line}\n" for line in wrong), end="")
    if found:
        print(f"published: {len(found) - len(wrong)} of {len(found)} files say what the tables give")
    if args.strict and (len(failed) or wrong):
        sys.exit(1)
