"""The report: one HTML file with every table, three charts, the conditions and the machine.

Contract: nothing is computed here that is not in a table; every text is escaped by the template engine; the
file needs no network and no script; the same results give the same bytes. It does not know how results were
made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from longspec.analysis import charts, runs, tables

TABLES = ("speedup", "lossless", "throughput", "acceptance", "acceptance_by_position", "timings")
COMMAND = "snakemake --cores 1 --resources gpu=1 --configfile experiment.yaml"
"""What makes the results again from the configuration that the report prints."""
FRACTIONS = ("seconds", "rate", "length", "per_second", "per_step", "speedup", "gap", "rounding", "p_value", "shift")
"""How the names of columns end whose numbers are no counts."""
EXAMPLES = 3
"""Samples of each data set that are shown with their outputs."""


def render(grid: runs.Grid, config: dict[str, Any], results: Path, template: Path, style: Path) -> str:
    """The page as text."""
    frames = {name: tables.read(results / f"{name}.csv") for name in TABLES}
    facts = {(m, d, name): _facts(results, m, d, name) for m, d in runs.cells(grid) for name in grid["methods"]}
    conditions, by_cell = _split({key: run["conditions"] for key, run in facts.items()})
    machine, _ = _split({key: run["environment"] for key, run in facts.items()})
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
        charts=_charts(frames, grid),
        prompts=_prompts(grid, results),
        examples=_examples(grid, results),
        conditions=conditions,
        conditions_by_cell=by_cell,
        machine=machine,
        started=min(run["started"] for run in facts.values()),
        config=yaml.safe_dump(_in_order(config, grid), sort_keys=False, allow_unicode=True, width=100),
        command=COMMAND,
    )


def _facts(results: Path, model: str, dataset: str, method: str) -> dict[str, Any]:
    return runs.read_facts(results / model / dataset / method / "run.json")


def _in_order(config: dict[str, Any], grid: runs.Grid) -> dict[str, Any]:
    """The configuration with its methods as in the grid: the first one that drafts nothing is the baseline."""
    known = config.get("methods", {})
    names = [name for name in grid["methods"] if name in known]
    return {**config, "methods": {name: known[name] for name in [*names, *sorted(set(known) - set(names))]}}


def _charts(frames: dict[str, pd.DataFrame], grid: runs.Grid) -> dict[str, Markup]:
    """The charts that have something to show."""
    baseline = grid["baseline"]
    methods = [name for name in grid["methods"] if name != baseline]
    drawn = {}
    if frames["speedup"]["speedup"].notna().any():
        drawn["speedup"] = charts.speedup_bars(frames["speedup"], methods, baseline)
        drawn["times"] = charts.time_scatter(frames["timings"], methods, baseline)
    if not frames["acceptance_by_position"].empty:
        drawn["positions"] = charts.position_lines(frames["acceptance_by_position"], methods)
    return drawn


def _best(speedup: pd.DataFrame) -> list[dict[str, Any]]:
    """The fastest method of each cell, for the first lines of the page."""
    known = speedup.dropna(subset=["speedup"])
    if known.empty:
        return []
    rows = known.loc[known.groupby(["model", "dataset"], sort=False)["speedup"].idxmax()]
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _prompts(grid: runs.Grid, results: Path) -> list[dict[str, Any]]:
    """What became of each data set's prompts; a cell without a summary is left out."""
    rows = []
    for model, dataset in runs.cells(grid):
        path = results / model / dataset / "prompts_summary.json"
        if path.is_file():
            rows.append({"model": model, "dataset": dataset, **json.loads(path.read_text(encoding="utf-8"))})
    return rows


def _examples(grid: runs.Grid, results: Path) -> list[dict[str, Any]]:
    """The first samples of each cell, with the baseline's answer."""
    rows = []
    for model, dataset in runs.cells(grid):
        run = runs.read(results, model, dataset, grid["baseline"])
        for sample in run.samples[:EXAMPLES]:
            rows.append({"model": model, "dataset": dataset, "sample_id": sample.sample_id, "texts": sample.texts})
    return rows


def _split(mappings: dict[tuple[str, str, str], dict[str, Any]]) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Each key with its value, or all its values; and, where data sets differ in a key, its value in each.

    The methods of one data set never differ in a condition: such a speedup was refused.
    """
    keys = list(dict.fromkeys(key for mapping in mappings.values() for key in mapping))
    merged = {key: list(dict.fromkeys(_text(mapping.get(key)) for mapping in mappings.values())) for key in keys}
    differ = [key for key in keys if len(merged[key]) > 1]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for (model, dataset, _), mapping in mappings.items():
        cell = cells.setdefault((model, dataset), {"model": model, "dataset": dataset})
        cell |= {key: _text(mapping.get(key)) for key in differ}
    return {key: " | ".join(values) for key, values in merged.items()}, list(cells.values()) if differ else []


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return "–" if value is None else str(value)


def _cell(value: Any, column: str = "") -> str:
    """A number as a reader wants it; a dash where the table has no value."""
    if value is None or pd.isna(value):
        return "–"
    if column.endswith("_bytes"):
        return f"{value / 2**20:,.0f} MiB"
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.3f}" if column.endswith(FRACTIONS) else f"{value:,.0f}"
