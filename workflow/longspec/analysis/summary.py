"""Judge what may be claimed of finished tables, as summary.json."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pandas as pd

from longspec.analysis import claims, runs, tables
from longspec.core import run_record
from longspec.core.spec import Grid

SCHEMA = Path(__file__).with_name("summary.schema.json")


def build(grid: Grid, results: Path, folder: Path) -> dict[str, object]:
    """Make summary.json, checked against its schema, from tables in `folder` and each baseline's run.json."""
    speedups, audit, throughput = (tables.read(folder / f"{name}.csv") for name in ("speedup", "audit", "throughput"))
    speedups = speedups.astype({"windows_paired": "Int64"})  # empty cells make floats of them
    drifted = claims.drifted(throughput)
    groups = {grid["baseline"], *grid.get("baselines", {}).values()}
    baselines = {
        (*cell, name): run_record.read(results.joinpath(*cell, name, "run.json"))
        for cell in runs.cells(grid)
        for name in sorted(groups)
    }
    judged = []
    for row in speedups.to_dict("records"):
        names = {str(key): value for key, value in row.items()}
        method, baseline = names["method"], names["baseline"]
        if names["same_as_baseline"] or method == baseline:
            continue
        cell = (names["model"], names["dataset"])
        drift = {m: drifted[*cell, m] for m in (method, baseline) if (*cell, m) in drifted}
        judged.append(claims.judge(names, audit, drift, baselines[*cell, baseline].conditions))
    references, engines = claims.references(speedups), claims.engines(speedups)
    summary = {
        "schema_version": claims.SCHEMA_VERSION,
        "baseline": grid["baseline"],
        "started": min(record.started for record in baselines.values()),
        "verdict": claims.verdict_line(judged, audit, references, engines),
        "references": references,
        "noise": noise(speedups),
        **({"engines": engines} if engines else {}),
        "claims": judged,
    }
    jsonschema.validate(summary, json.loads(SCHEMA.read_text(encoding="utf-8")))
    return summary


def noise(speedups: pd.DataFrame) -> list[dict[str, object]]:
    """List each variant that is the baseline over again, and what it measured."""
    rows = speedups[speedups["same_as_baseline"] == 1]
    columns = [*tables.NAMES, "speedup", "speedup_low", "speedup_high", "noise_floor"]
    return [
        {str(k): None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
        for row in rows[columns].to_dict("records")
    ]
