"""What every analysis stage is given on its command line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser of the grid and the results folder; a stage adds its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--grid", type=json.loads, required=True, help="cells, methods and baseline, as JSON")
    parser.add_argument("--results", type=Path, required=True)
    return parser
