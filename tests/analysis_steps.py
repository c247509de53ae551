"""Steps of the analysis in this process, as the workflow's rules call them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from longspec.cli import analyse


def run(results: Path, grid: dict[str, Any], *steps: str, reports: Path | None = None) -> None:
    """Run these steps; `summary` writes into `reports`, or into a folder of that name in the results."""
    for step in steps:
        extra = ["--reports", str(reports or results / "reports")] if step == "summary" else []
        analyse.main([step, "--grid", json.dumps(grid), "--results", str(results), *extra])
