"""Make the files of what may be claimed: summary.json for programs, tables.md and tables.tex for papers."""

from __future__ import annotations

import json
from pathlib import Path

from longspec.analysis import summary, tables
from longspec.core.spec import Grid
from longspec.report import publication


def build(grid: Grid, results: Path, folder: Path) -> dict[str, str]:
    """Judge the tables in `folder` and write all that is said of them: name of the file to its text."""
    judged = summary.build(grid, results, folder)
    printed = [tables.read(folder / f"{name}.csv") for name in ("acceptance", "speedup")]
    return {
        "summary.json": json.dumps(judged, indent=2, ensure_ascii=False) + "\n",
        "tables.md": publication.markdown(judged, *printed),
        "tables.tex": publication.latex(judged, *printed),
    }
