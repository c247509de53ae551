"""The report: one HTML file with the claims, every table, charts, samples to page through, conditions and machine.

Contract: nothing is computed here that is not in a table; every text is escaped by the template engine, or is JSON
that cannot end its element; the page's own policy lets nothing load and no script run but the one in it; the same
results give the same bytes. Long tables and many samples are shown in part, and the page says so.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from longspec.analysis import claim_thresholds, runs
from longspec.core.run_record import CheckedEngine, RunRecord
from longspec.core.spec import Grid, load_of
from longspec.report import browser
from longspec.report.cards import cards
from longspec.report.charts import drawn
from longspec.report.charts.data import chart_data
from longspec.report.engines import engines, groups, named
from longspec.report.results import MOST_CLAIMS, Cell, Config, Names, Results
from longspec.report.table import table

TEMPLATES = Path(__file__).with_name("templates")
COMMAND = "snakemake --cores 1 --resources gpu=1 --configfile experiment.yaml"
"""What makes the results again from the configuration that the report prints."""
UNKNOWN = "–"
MOST_VALUES = 12
"""Values of one condition that are written out."""


def render(results: Results, unpinned: Sequence[str] = ()) -> str:
    """Write the page; `unpinned` are what the configuration reads from a hub without a commit."""
    grid, summary = results.grid, results.summary
    data = chart_data(results)
    conditions, by_cell = _split({names: _conditions(job) for names, job in results.jobs.items()})
    machine, _ = _split({names: job.environment.stated() for names, job in results.jobs.items()})
    return template("report.html.j2").render(
        summary=summary,
        most_claims=MOST_CLAIMS,
        cards=cards(summary.claims, data.cells),
        cells=len(list(runs.cells(grid))),
        drawn_cells=len(data.cells),
        least_prompts=claim_thresholds.LEAST_PROMPTS,
        tainted_at_most=claim_thresholds.TAINTED_AT_MOST,
        methods=grid["methods"],
        tables=_shown(results.tables),
        groups=groups(results),
        engines=engines(results),
        audit=_by_rule(results.tables["audit"]),
        charts=drawn(data),
        trained=bool(results.training),
        samples=list(browser.cells(results)),
        prompts=_prompts(results),
        conditions=conditions,
        conditions_by_cell=by_cell,
        machine={**machine, **_engine_checks(results.jobs.values())},
        unpinned=unpinned,
        config=yaml.safe_dump(_in_order(results.config, grid), sort_keys=False, allow_unicode=True, width=100),
        command=f"{_checkout(machine.get('git_commit', UNKNOWN))}{COMMAND}",
    )


def template(name: str) -> jinja2.Template:
    """Load a page of this project: escaped, with its style, its script, and a policy that lets nothing else in."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals.update(
        table=table,
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
    )
    return environment.get_template(name)


def _checkout(commit: str) -> str:
    """Write the command that checks out the code of the results; empty where no single commit holds it."""
    return "" if commit == UNKNOWN or "|" in commit or commit.endswith("-dirty") else f"git checkout {commit}\n"


def _engine_checks(jobs: Iterable[RunRecord]) -> dict[str, str]:
    """How the engines of our own loop were checked against transformers, a text for each record that there is."""
    records = [(job.engine_checks or {}).get("target") for job in jobs]
    said = list(dict.fromkeys(_engine_check(record) for record in records if record))
    return {"engine checked": " | ".join(said)} if said else {}


def _engine_check(record: CheckedEngine) -> str:
    """One check in words, with the times that the choice of an engine rests on where one was chosen."""
    text = (
        f"{record.engine}, against transformers {record.transformers}: max difference {record.max_difference:.1g} in "
        f"logits, distance {record.distance:.1g} (bound {record.bound:.1g})"
    )
    steps = [f"{engine} {1e3 * found['1']:.1f} ms" for engine, found in (record.step_seconds or {}).items()]
    return f"{text}; a step of one token, measured at load: {', '.join(steps)}" if len(steps) > 1 else text


def _in_order(config: Config, grid: Grid) -> dict[str, object]:
    """Order the configuration's methods as in the grid: the first one that drafts nothing is the baseline."""
    known = config.whole["methods"]
    assert isinstance(known, dict)
    names = [name for name in dict.fromkeys(load_of(label)[0] for label in grid["methods"]) if name in known]
    return {**config.whole, "methods": {name: known[name] for name in [*names, *sorted(set(known) - set(names))]}}


def _shown(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Leave out of each table what its labels say already."""
    named_tables = {**tables, "speedup": named(tables["speedup"])}
    return {name: table.drop(columns="concurrency", errors="ignore") for name, table in named_tables.items()}


def _conditions(job: RunRecord) -> dict[str, object]:
    """List a run's conditions, but for the flags of a server: the section on engines has its command line."""
    return {key: value for key, value in job.conditions.stated().items() if key != "server"}


def _by_rule(audit: pd.DataFrame) -> pd.DataFrame:
    """Count for each rule of the audit how often it was checked and broken, with its first finding."""
    rows = []
    for rule, found in audit.groupby("rule", sort=False):
        failed = found[found["verdict"] == "fail"]
        first = failed["finding"].iloc[0] if len(failed) else None
        rows.append((str(rule), len(found), len(failed), first))
    return pd.DataFrame(rows, columns=["rule", "checked", "failed", "first finding"])


def _prompts(results: Results) -> pd.DataFrame:
    """List what became of each data set's prompts; one without a summary is left out."""
    rows = [{"model": m, "dataset": d, **vars(counts)} for (m, d), counts in results.prompts.items()]
    return pd.DataFrame(rows, columns=["model", "dataset", "kept", "too_short", "too_long", "truncated", "data"])


def _split(mappings: Mapping[Names, Mapping[str, object]]) -> tuple[dict[str, str], pd.DataFrame]:
    """Each key with its value, or all its values; and, where data sets differ in a key, its values in each.

    The methods of one data set differ in what makes a peer's loop another; any other difference was refused.
    """
    keys = list(dict.fromkeys(key for mapping in mappings.values() for key in mapping))
    cells: dict[Cell, list[Mapping[str, object]]] = {}
    for (model, dataset, _), mapping in mappings.items():
        cells.setdefault((model, dataset), []).append(mapping)
    merged = {key: _values(mappings.values(), key) for key in keys}
    within = {cell: {key: _values(found, key) for key in keys} for cell, found in cells.items()}
    differ = [key for key in keys if len({one[key] for one in within.values()}) > 1]
    rows = [{"model": m, "dataset": d, **{key: one[key] for key in differ}} for (m, d), one in within.items()]
    return merged, pd.DataFrame(rows if differ else [])


def _values(mappings: Iterable[Mapping[str, object]], key: str) -> str:
    """All that a key is in some mappings; of very many, how many."""
    values = list(dict.fromkeys(_text(mapping.get(key)) for mapping in mappings))
    return " | ".join(values) if len(values) <= MOST_VALUES else f"{len(values)} values"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return UNKNOWN if value is None else str(value)
