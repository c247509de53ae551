"""What every analysis stage is given on its command line, and how those that read every sample stay quick."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
from collections.abc import Iterator
from pathlib import Path


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Make a parser of the grid and the results folder; a stage adds its own arguments."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--grid", type=json.loads, required=True, help="cells, methods and baseline, as JSON")
    parser.add_argument("--results", type=Path, required=True)
    return parser


@contextlib.contextmanager
def many_records() -> Iterator[None]:
    """Stop Python's search for cycles meanwhile: records have none, and it would walk millions of them repeatedly."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
