"""Write the tables that follow from the samples alone: timings, throughput and acceptance."""

from __future__ import annotations

from typing import Any

from longspec.analysis import tables
from longspec.analysis.sample_tables import build
from longspec.cli._grid import arguments, many_records


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, compute, write, print."""
    args: Any = arguments(__doc__).parse_args(argv)
    with many_records():
        made = build(args.grid, args.results)
    for name, table in made.items():
        tables.write(table, args.results / f"{name}.csv")
    for name in ("throughput", "acceptance"):
        print(f"\n{name}\n{tables.show(args.results / f'{name}.csv')}")
