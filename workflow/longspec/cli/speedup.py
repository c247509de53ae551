"""Pair every method with the baseline, sample by sample, and write the speedups."""

from __future__ import annotations

from typing import Any

from longspec.analysis import tables
from longspec.analysis.speedup_table import build, refuse_lossy
from longspec.cli._grid import arguments


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, compute, write, print."""
    parser = arguments(__doc__)
    parser.add_argument("--lossless", choices=("report", "require"), default="report")
    args: Any = parser.parse_args(argv)
    table = build(args.grid, args.results)
    if args.lossless == "require":
        refuse_lossy(table)
    tables.write(table, args.results / "speedup.csv")
    print(f"\nspeedup\n{tables.show(args.results / 'speedup.csv')}")
