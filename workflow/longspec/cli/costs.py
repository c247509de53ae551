"""Write time by part of a step, memory by holder, and predicted beside measured speedup."""

from __future__ import annotations

from typing import Any

from longspec.analysis import tables
from longspec.analysis.costs_table import build
from longspec.cli._grid import arguments


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, compute, write, print."""
    args: Any = arguments(__doc__).parse_args(argv)
    tables.write(build(args.grid, args.results), args.results / "costs.csv")
    print(f"\ncosts\n{tables.show(args.results / 'costs.csv')}")
