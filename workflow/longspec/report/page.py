"""The report: one HTML file with the claims, every table, charts, samples to page through, conditions and machine.

Contract: nothing is computed here that is not in a table; every text is escaped by the template engine, or is JSON
that cannot end its element; the page's own policy lets nothing load and no script run but the one in it; the same
results give the same bytes. Long tables and many samples are shown in part, and the page says so. It does not know how
results were made.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from longspec.analysis import claimable, claims, runs, tables
from longspec.core.records import STEP_PARTS
from longspec.core.run_record import RunRecord
from longspec.report import browser, charts

TEMPLATES = Path(__file__).with_name("templates")
TABLES = ("speedup", "lossless", "throughput", "acceptance", "acceptance_by_position", "acceptance_curves", "timings",
          "repeats", "audit", "costs")  # fmt: skip
COMMAND = "snakemake --cores 1 --resources gpu=1 --configfile experiment.yaml"
"""What makes the results again from the configuration that the report prints."""
FRACTIONS = ("seconds", "rate", "length", "per_second", "per_step", "per_depth", "speedup", "gap", "rounding",
             "bound", "apart", "p_value", "shift", "_low", "_high", "floor", "share", "drift", "spread", "least",
             "median", "cost", "_gap", "reference")  # fmt: skip
"""How the names of columns end whose numbers are no counts."""
MOST_ROWS = 300
"""Rows of a table that are shown; the CSV has all."""
MOST_CELLS = 12
"""Models and data sets in a chart."""
Records = dict[tuple[str, str, str], RunRecord]
"""By model, data set and method."""


def render(grid: runs.Grid, config: dict[str, Any], results: Path, unpinned: Sequence[str] = ()) -> str:
    """The page as text; `unpinned` are what the configuration reads from a hub without a commit."""
    frames = {name: tables.read(results / f"{name}.csv") for name in TABLES}
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    found = runs.records(grid, results)
    records = {(m, d, name): run for (m, d), methods in found for name, run in methods.items()}
    conditions, by_cell = _split({key: run.conditions.stated() for key, run in records.items()})
    machine, _ = _split({key: run.environment.stated() for key, run in records.items()})
    shown = {name: _some(frame) for name, frame in frames.items()}
    return template("report.html.j2").render(
        summary=summary,
        best=_best(summary["claims"]),
        least_prompts=claimable.LEAST_PROMPTS,
        tainted_at_most=claimable.TAINTED_AT_MOST,
        grid=grid,
        frames=shown,
        lengths={name: len(frame) for name, frame in frames.items()},
        audit=_by_rule(frames["audit"]),
        charts=_charts(frames, grid, records),
        training=_training(config, results),
        cells=list(browser.cells(grid, results, len(frames["timings"]))),
        prompts=_prompts(grid, results),
        conditions=conditions,
        conditions_by_cell=by_cell[:MOST_ROWS],
        machine={**machine, **_engine_checks(records)},
        started=summary["started"],
        unpinned=unpinned,
        config=yaml.safe_dump(_in_order(config, grid), sort_keys=False, allow_unicode=True, width=100),
        command=f"{_checkout(machine.get('git_commit', '–'))}{COMMAND}",
    )


def template(name: str) -> jinja2.Template:
    """A page of this project: escaped, with its style, its script, and a policy that lets nothing else in."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals.update(
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
    )
    return environment.get_template(name)


def _checkout(commit: str) -> str:
    """The line that goes to the code of the results; empty where no single commit holds it."""
    return "" if commit == "–" or "|" in commit or commit.endswith("-dirty") else f"git checkout {commit}\n"


def _engine_checks(records: Records) -> dict[str, str]:
    """How the engines of our own loop were checked, a text for each record that there is."""
    checks = [(run.engine_checks or {}).get("target") for run in records.values()]
    said = [
        f"{check.engine}, against transformers {check.transformers}: max difference "
        f"{check.max_difference:.1g} in logits, distance {check.distance:.1g} (bound {check.bound:.1g})"
        + _choice(check.step_seconds or {})
        for check in checks
        if check
    ]
    return {"engine checked": " | ".join(dict.fromkeys(said))} if said else {}


def _choice(step_seconds: dict[str, dict[str, float]]) -> str:
    """What the choice of an engine rests on, where one was chosen."""
    steps = [f"{engine} {1e3 * found['1']:.1f} ms" for engine, found in step_seconds.items()]
    return f"; a step of one row, measured at load: {', '.join(steps)}" if len(steps) > 1 else ""


def _some(frame: pd.DataFrame) -> pd.DataFrame:
    """A table without what only a program reads, and of a long one some rows at even distances."""
    frame = frame.drop(columns=["line_sha256"], errors="ignore")
    return frame.iloc[:: max(1, -(-len(frame) // MOST_ROWS))]


def _in_order(config: dict[str, Any], grid: runs.Grid) -> dict[str, Any]:
    """The configuration with its methods as in the grid: the first one that drafts nothing is the baseline."""
    known = config.get("methods", {})
    names = [name for name in grid["methods"] if name in known]
    return {**config, "methods": {name: known[name] for name in [*names, *sorted(set(known) - set(names))]}}


def _charts(frames: dict[str, pd.DataFrame], grid: runs.Grid, records: Records) -> dict[str, Markup]:
    """The charts that have something to show; of very many cells, the first."""
    baseline = grid["baseline"]
    again = set(frames["speedup"].loc[frames["speedup"]["same_as_baseline"] == 1, "method"])
    found = frames["speedup"].set_index("method")[["peer", "number_format"]]
    peers = {
        str(name): f"{claims.labelled(str(name), row['number_format'])} (peer)"
        for name, row in found.iterrows()
        if row["peer"]
    }
    titles = {name: peers.get(name, name) for name in grid["methods"]}
    methods = {name: titles[name] for name in titles if name != baseline and name not in again}
    kept = pd.DataFrame(list(runs.cells(grid))[:MOST_CELLS], columns=["model", "dataset"])
    few = {name: frame.merge(kept, on=["model", "dataset"]) for name, frame in frames.items() if name != "audit"}
    drawn = {}
    if methods and few["speedup"]["speedup"].notna().any():
        drawn["speedup"] = charts.speedup_bars(few["speedup"], methods, baseline)
        drawn["times"] = charts.time_scatter(few["timings"], methods, baseline)
    if few["costs"]["profiled_steps"].notna().any():
        profiled = set(few["costs"].loc[few["costs"]["profiled_steps"].notna(), "method"])
        drawn["parts"] = charts.step_parts(few["costs"], {m: titles[m] for m in titles if m in profiled}, STEP_PARTS)
    if not few["acceptance_by_position"].empty:
        drawn["positions"] = charts.position_lines(few["acceptance_by_position"], methods)
        for axis, across in (
            ("output_position", "output tokens so far, at most"),
            ("context_tokens", "tokens of context, at most"),
        ):
            drawn[axis] = charts.curve_lines(few["acceptance_curves"], methods, axis, across)
        widths = {name: shape for name in methods if (shape := _shape(records, name))}
        if widths:
            drawn["shapes"] = charts.draft_shapes(frames["acceptance_by_position"], methods, widths)
    return drawn


def _shape(records: Records, method: str) -> list[int]:
    """Nodes at each depth, where the variant's configuration or its tuning says so and all cells agree."""
    shapes = [run.widths for (_, _, name), run in records.items() if name == method]
    return shapes[0] if all(shape == shapes[0] for shape in shapes) else []


def _best(judged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fastest method of each cell, with the interval that a claim of it rests on, for the top of the page."""
    best = [claim for claim in judged if claim["fastest"] and claim["speedup"] is not None]
    return [{**claim, **dict(zip(("low", "high"), claims.interval(claim), strict=True))} for claim in best[:MOST_CELLS]]


def _by_rule(audit: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a rule of the audit: how often it was checked and broken, and the first finding."""
    rows = []
    for rule, found in audit.groupby("rule", sort=False):
        failed = found[found["verdict"] == "fail"]
        first = failed["finding"].iloc[0] if len(failed) else None
        rows.append({"rule": rule, "checked": len(found), "failed": len(failed), "first finding": first})
    return rows


def _training(config: dict[str, Any], results: Path) -> list[tuple[str, Markup]]:
    """The training of each drafter that the workflow has trained."""
    files = {name: results / "drafters" / name / "training.csv" for name in config.get("drafters", {})}
    return [(name, charts.training_lines(tables.read(f), name)) for name, f in files.items() if f.is_file()]


def _prompts(grid: runs.Grid, results: Path) -> list[dict[str, Any]]:
    """What became of each data set's prompts; a cell without a summary is left out."""
    rows = []
    for model, dataset in runs.cells(grid):
        path = results / model / dataset / "prompts_summary.json"
        if path.is_file():
            summary = json.loads(path.read_text(encoding="utf-8"))
            rows.append({"model": model, "dataset": dataset, "data": None, **summary})
    return rows[:MOST_ROWS]


def _split(mappings: dict[tuple[str, str, str], dict[str, object]]) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Each key with its value, or all its values; and, where data sets differ in a key, its values in each.

    The methods of one data set differ in what makes a peer's loop another; any other difference was refused.
    """
    keys = list(dict.fromkeys(key for mapping in mappings.values() for key in mapping))
    cells: dict[tuple[str, str], list[dict[str, object]]] = {}
    for (model, dataset, _), mapping in mappings.items():
        cells.setdefault((model, dataset), []).append(mapping)
    merged = {key: _values(mappings.values(), key) for key in keys}
    within = {cell: {key: _values(found, key) for key in keys} for cell, found in cells.items()}
    differ = [key for key in keys if len({one[key] for one in within.values()}) > 1]
    rows = [{"model": m, "dataset": d, **{key: one[key] for key in differ}} for (m, d), one in within.items()]
    return merged, rows if differ else []


def _values(mappings: Iterable[dict[str, object]], key: str) -> str:
    """All that a key is in some mappings; of very many, how many."""
    values = list(dict.fromkeys(_text(mapping.get(key)) for mapping in mappings))
    return " | ".join(values) if len(values) <= MOST_CELLS else f"{len(values)} values"


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
    return f"{value:,.3f}" if column.replace(" ", "_").endswith(FRACTIONS) else f"{value:,.0f}"
