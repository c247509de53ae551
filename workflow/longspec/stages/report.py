"""Stage `report`: one HTML page from the tables and runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from longspec.analysis import report
from longspec.locations import STYLE, TEMPLATE
from longspec.stages._analysis import arguments
from longspec.stages._run import run as run_stage


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, render, write."""
    parser = arguments(__doc__)
    parser.add_argument("--config", type=json.loads, required=True, help="the configuration, as JSON")
    parser.add_argument("--output", type=Path, required=True)
    args: Any = parser.parse_args(argv)
    page = report.render(args.grid, args.config, args.results, TEMPLATE, STYLE)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(page, encoding="utf-8")
    print(f"report: {args.output.resolve()}")


if __name__ == "__main__":
    run_stage(main)
