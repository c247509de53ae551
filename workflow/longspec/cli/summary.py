"""Write what may be claimed: summary.json for programs, tables for papers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from longspec.analysis import tables
from longspec.analysis.summary import READ, build
from longspec.cli._grid import arguments
from longspec.core.io import write_whole
from longspec.report import publication


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, judge, write, print the claims."""
    parser = arguments(__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="folder of tables.md and tables.tex")
    args: Any = parser.parse_args(argv)
    made = {name: tables.read(args.results / f"{name}.csv") for name in READ}
    summary = build(args.grid, args.results, made)
    args.tables.mkdir(parents=True, exist_ok=True)
    text = publication.markdown(summary, made["acceptance"])
    write_whole(
        {
            args.results / "summary.json": json.dumps(summary, indent=2, ensure_ascii=False) + "\n",
            args.tables / "tables.md": text,
            args.tables / "tables.tex": publication.latex(summary, made["acceptance"]),
        }
    )
    print(text)
