"""Write what `auto` chose in each job, what it predicted, and what was then measured."""

from __future__ import annotations

from typing import Any

from longspec.analysis import tables
from longspec.analysis.tuning_table import READ, build
from longspec.cli._grid import arguments


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, compute, write, print."""
    args: Any = arguments(__doc__).parse_args(argv)
    made = {name: tables.read(args.results / f"{name}.csv") for name in READ}
    tables.write(build(args.grid, args.results, made), args.results / "tuning.csv")
    print(f"\ntuning\n{tables.show(args.results / 'tuning.csv')}")
