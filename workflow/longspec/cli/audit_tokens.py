"""Ask Hugging Face's model, and nothing of ours, whether the stored tokens are its own.

    python -m longspec audit_tokens --results results

What is asked and how ties are told from faults: longspec/verify/audit_tokens.py."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from longspec.analysis import tables
from longspec.core.errors import UserError
from longspec.verify.audit_tokens import COLUMNS, audit


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, audit every job below the folder, write, print; ends with status 1 if one disagrees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="a results folder, or one model's or data set's")
    parser.add_argument("--output", type=Path, help="a CSV; by default audit_tokens.csv in the results folder")
    args = parser.parse_args(argv)
    jobs = sorted(path.parent for path in args.results.rglob("run.json"))
    if not jobs:
        raise UserError(str(args.results), "no run.json below it", "a results folder")
    table = pd.DataFrame([audit(job) for job in jobs], columns=COLUMNS)
    output = args.output or args.results / "audit_tokens.csv"
    tables.write(table, output)
    print(tables.show(output))
    if (table["verdict"] == "disagrees").any():
        sys.exit(1)
