"""Stage `report`: the report and the page beside LongSpec's figures, from the tables and runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from longspec.analysis import paper, report
from longspec.cli._grid import arguments
from longspec.core.io import write_whole
from longspec.core.program import run as run_stage
from longspec.locations import PAPER, PUBLISHED, TEMPLATE


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, render, write."""
    parser = arguments(__doc__)
    parser.add_argument("--config", type=json.loads, required=True, help="the configuration, as JSON")
    parser.add_argument("--unpinned", nargs="*", default=[], help="what is read from a hub without a commit")
    parser.add_argument("--reports", type=Path, required=True, help="folder of the pages")
    args: Any = parser.parse_args(argv)
    pages = {
        args.reports / "index.html": report.render(args.grid, args.config, args.results, TEMPLATE, args.unpinned),
        args.reports / "paper.html": paper.render(args.grid, args.config, args.results, PAPER, PUBLISHED),
    }
    args.reports.mkdir(parents=True, exist_ok=True)
    write_whole(pages)
    print(f"report: {(args.reports / 'index.html').resolve()}")


if __name__ == "__main__":
    run_stage(main)
