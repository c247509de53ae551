"""Write a verdict on every job's outputs, from what its gate found."""

from __future__ import annotations

from typing import Any

from longspec.analysis import tables
from longspec.analysis.lossless_table import build
from longspec.cli._grid import arguments, many_records


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, compute, write, print."""
    args: Any = arguments(__doc__).parse_args(argv)
    with many_records():
        made = build(args.grid, args.results)
    tables.write(made, args.results / "lossless.csv")
    print(f"\nlossless\n{tables.show(args.results / 'lossless.csv')}")
