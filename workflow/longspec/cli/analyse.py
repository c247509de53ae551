"""Make the tables of raw results, audit them, and judge what may be claimed: one step a call.

    python -m longspec analyse audit --results results      # on anybody's results, without a model

The steps, in their order: `metrics` from the samples alone, `lossless` from the gates, `speedup` (with costs.csv, and
tuning.csv where something was tuned) from both, `audit`, `summary`. Without --grid, as an outsider runs it, the audit
also holds summary.json and what is in --reports against the tables.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from longspec.analysis import library, tables
from longspec.cli._grid import grid_and_results, many_records
from longspec.core.io import write_whole

PRINTED = ("throughput", "acceptance", "lossless", "speedup", "costs", "tuning")
"""Tables that are printed when they are made."""


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, run one step, write, print; an audit with --strict ends with status 1 if a rule is broken."""
    args: Any = _arguments(argv)
    with many_records():
        {"audit": _audit, "summary": _summary}.get(args.step, _tables)(args)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    added = {name: steps.add_parser(name) for name in ("metrics", "lossless", "speedup", "audit", "summary")}
    for name, step in added.items():
        grid_and_results(step, required=name != "audit")
    added["speedup"].add_argument("--lossless", choices=("report", "require"), default="report")
    added["audit"].add_argument("--reports", type=Path, help="by default reports-x beside results-x")
    added["audit"].add_argument("--strict", action="store_true", help="end with status 1 if a rule is broken")
    added["summary"].add_argument("--reports", type=Path, required=True, help="folder of tables.md and tables.tex")
    return parser.parse_args(argv)


def _tables(args: Any) -> None:
    options = {"lossless": args.lossless} if args.step == "speedup" else {}
    for path in library.write(args.step, args.grid, args.results, args.results, **options):
        if path.stem in PRINTED:
            print(f"\n{path.stem}\n{tables.show(path)}")


def _audit(args: Any) -> None:
    audit, audit_published = library.modules("audit")
    grid = args.grid or audit.found_grid(args.results)
    with TemporaryDirectory() as folder:
        table = audit.build(grid, args.results, Path(folder))
        tables.write(table, args.results / "audit.csv")
        found = {}
        if not args.grid:
            results = args.results.absolute()
            reports = args.reports or results.with_name(results.name.replace("results", "reports", 1))
            found = audit_published.findings(grid, args.results, reports, Path(folder))
    failed = table[table["verdict"] == "fail"]
    for row in failed.to_dict("records"):
        job = "/".join(str(row[name]) for name in tables.NAMES).strip("/")
        print(job or "tables", row["rule"], row["finding"], sep=": ")
    print(f"audit: {len(table) - len(failed)} of {len(table)} checks passed; {args.results / 'audit.csv'} has all")
    wrong = [f"{path}: {finding}" for path, finding in found.items() if finding]
    print("".join(f"published: {line}\n" for line in wrong), end="")
    if found:
        print(f"published: {len(found) - len(wrong)} of {len(found)} files say what the tables give")
    if args.strict and (len(failed) or wrong):
        sys.exit(1)


def _summary(args: Any) -> None:
    (summary,) = library.modules("summary")
    texts = summary.build(args.grid, args.results, args.results)
    args.reports.mkdir(parents=True, exist_ok=True)
    folders = {"summary.json": args.results}
    write_whole({folders.get(name, args.reports) / name: text for name, text in texts.items()})
    print(texts["tables.md"])
