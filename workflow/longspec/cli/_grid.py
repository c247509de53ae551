"""Arguments that the analysis and the report share, and a guard for commands that read every sample."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
from collections.abc import Iterator
from pathlib import Path


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Make a parser of the grid and the results folder; a command adds its own."""
    parser = argparse.ArgumentParser(description=description)
    grid_and_results(parser)
    return parser


def grid_and_results(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add --grid, which may be left out unless `required`, and --results."""
    found = "" if required else "; by default what lies in --results"
    parser.add_argument(
        "--grid", type=json.loads, required=required, help=f"cells, methods and baseline, as JSON{found}"
    )
    parser.add_argument("--results", type=Path, required=True)


@contextlib.contextmanager
def many_records() -> Iterator[None]:
    """Stop Python's search for cycles meanwhile: records have none, and it would walk millions of them repeatedly."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
