"""The analysis as a library: make the tables of one step from raw results, in any folder.

Contract: raw results are read below `results`; tables of earlier steps are read in `folder`, and the step's own are
written there. The workflow gives one folder for both; an audit gives an empty one and compares (verify/audit.py).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from longspec.analysis import tables
from longspec.core.spec import Grid
from longspec.core.steps import STEPS


def modules(step: str) -> list[ModuleType]:
    """Import the modules of a step. By name, so that a step's version holds its own code and no other step's."""
    return [importlib.import_module(f"longspec.{name}") for name in STEPS[step]]


def write(step: str, grid: Grid, results: Path, folder: Path, **options: Any) -> list[Path]:
    """Make the tables of `metrics`, `lossless` or `speedup` and write each as a CSV; returns their paths.

    `options` go to the step's first module. Raises UserError where raw results are damaged or not comparable.
    """
    written = []
    for module in modules(step):
        for name, table in module.build(grid, results, folder, **options).items():
            written.append(folder / f"{name}.csv")
            tables.write(table, written[-1])
        options = {}
    return written
