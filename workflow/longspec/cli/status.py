"""Show how far each job of an experiment is, while it runs or after.

    python -m longspec status [--configfile config/config.yaml ...]

A table with colour on a terminal; in a pipe, plain text separated by tabs. Nothing is changed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text
from snakemake.utils import update_config

from longspec.config.load import load
from longspec.config.plan.plan import Plan
from longspec.core.errors import UserError, one_line
from longspec.measure.progress import Progress, rows

STYLES = {"done": "green", "running": "cyan", "stopped": "red", "waiting": "dim"}


def cells_of(row: Progress) -> list[str]:
    """Write a job's progress as the texts of one line, in the order of HEAD."""
    left = "" if row.seconds_left is None or row.state == "done" else _duration(row.seconds_left)
    done = f"{row.done}/{'?' if row.total is None else row.total}"
    rate = "" if row.tokens_per_second is None else f"{row.tokens_per_second:.1f}"
    return [*row.names, row.state, done, str(row.lost or ""), rate, left, row.note]


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes // 60}:{minutes % 60:02d} h"


HEAD = ["model", "data set", "method", "state", "samples", "failed", "tokens/s", "time left", "last line of the log"]


def show(table: list[Progress], console: Console) -> None:
    """Print the progress of all jobs: aligned and coloured on a terminal, else separated by tabs."""
    if not console.is_terminal:
        for line in [HEAD, *map(cells_of, table)]:
            print("\t".join(part.replace("\t", " ") for part in line))
        return
    drawn = Table(*HEAD, box=None, header_style="bold")
    for row in table:
        drawn.add_row(*(Text(part, style=STYLES[row.state]) for part in cells_of(row)))
    console.print(drawn)
    known = [row.seconds_left for row in table if row.seconds_left is not None]
    open_jobs = sum(row.state != "done" for row in table)
    unknown = sum(row.seconds_left is None for row in table)
    console.print(
        f"{len(table) - open_jobs} of {len(table)} jobs done; at least {_duration(sum(known))} of work left"
        + (f", and {unknown} jobs not begun" if unknown else ""),
        highlight=False,
    )


def read_config(files: list[Path]) -> dict[str, object]:
    """Merge configuration files as Snakemake does: later ones override. UserError where one cannot be read."""
    merged: dict[str, object] = {}
    for file in files:
        try:
            update_config(merged, yaml.safe_load(file.read_text(encoding="utf-8")) or {})
        except (OSError, yaml.YAMLError, AttributeError, ValueError, RecursionError) as error:
            raise UserError(str(file), f"cannot be read ({one_line(error)})", "a configuration in YAML") from None
    return merged


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, read the results folder, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, nargs="+", default=[Path("config/config.yaml")])
    files = parser.parse_args(argv).configfile
    show(rows(Plan(load(read_config(files), files))), Console())
