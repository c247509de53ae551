"""The report: one HTML file with every table, three charts, the conditions and the machine.

Contract: nothing is computed here that is not in a table; every text is escaped by the template engine; the
file needs no network. It does not know how results were made.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from longspec.analysis import charts, runs, tables

TABLES = ("speedup", "throughput", "acceptance", "acceptance_by_position", "timings")
EXAMPLES = 3
"""Samples of each data set that are shown with their outputs."""


def render(grid: runs.Grid, config: dict[str, Any], results: Path, template: Path, style: Path) -> str:
    """The page as text."""
    frames = {name: tables.read(results / f"{name}.csv") for name in TABLES}
    facts = _facts(grid, results)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    return environment.get_template(template.name).render(
        style=Markup(style.read_text(encoding="utf-8")),
        baseline=grid["baseline"],
        grid=grid,
        frames=frames,
        best=_best(frames["speedup"]),
        charts=_charts(frames, grid["baseline"]),
        prompts=_prompts(grid, results),
        examples=_examples(grid, results),
        conditions=_common([run["conditions"] for run in facts]),
        machine=_common([run["environment"] for run in facts]),
        started=min(run["started"] for run in facts),
        config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100),
        command="snakemake --cores 1 --resources gpu=1",
        results=shlex.quote(str(results)),
    )


def _facts(grid: runs.Grid, results: Path) -> list[dict[str, Any]]:
    return [
        runs.read_facts(results / model / dataset / method / "run.json")
        for model, dataset in runs.cells(grid)
        for method in grid["methods"]
    ]


def _charts(frames: dict[str, pd.DataFrame], baseline: str) -> dict[str, Markup]:
    if frames["speedup"].empty:
        return {}
    return {
        "speedup": charts.speedup_bars(frames["speedup"]),
        "times": charts.time_scatter(frames["timings"], baseline),
        "positions": charts.position_lines(frames["acceptance_by_position"]),
    }


def _best(speedup: pd.DataFrame) -> list[dict[str, Any]]:
    """The fastest method of each cell, for the first lines of the page."""
    known = speedup.dropna(subset=["speedup"])
    if known.empty:
        return []
    rows = known.loc[known.groupby(["model", "dataset"], sort=False)["speedup"].idxmax()]
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _prompts(grid: runs.Grid, results: Path) -> list[dict[str, Any]]:
    """What became of each data set's prompts."""
    rows = []
    for model, dataset in runs.cells(grid):
        path = results / model / dataset / "prompts_summary.json"
        if path.is_file():
            rows.append({"model": model, "dataset": dataset, **json.loads(path.read_text(encoding="utf-8"))})
    return rows


def _examples(grid: runs.Grid, results: Path) -> list[dict[str, Any]]:
    """The first samples of each cell, with vanilla's answer."""
    rows = []
    for model, dataset in runs.cells(grid):
        run = runs.read(results, model, dataset, grid["baseline"])
        for sample in run.samples[:EXAMPLES]:
            rows.append({"model": model, "dataset": dataset, "sample_id": sample.sample_id, "texts": sample.texts})
    return rows


def _common(mappings: list[dict[str, Any]]) -> dict[str, str]:
    """Each key with its value, or with all its values where runs differ."""
    merged: dict[str, str] = {}
    for key in dict.fromkeys(key for mapping in mappings for key in mapping):
        values = dict.fromkeys(_text(mapping.get(key)) for mapping in mappings)
        merged[key] = " | ".join(values)
    return merged


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return "–" if value is None else str(value)


def _cell(value: Any, column: str = "") -> str:
    """A number as a reader wants it; an empty cell stays empty."""
    if value is None or pd.isna(value):
        return ""
    if column.endswith("_bytes"):
        return f"{value / 2**20:,.0f} MiB"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.3f}"
    return f"{int(value):,}" if isinstance(value, float) else str(value)
