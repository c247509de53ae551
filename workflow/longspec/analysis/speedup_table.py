"""Make speedup.csv: every method paired with the baseline, sample by sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import claims, runs, speedup, tables, verdict
from longspec.core.errors import UserError
from longspec.core.spec import Grid

COLUMNS = [
    *tables.NAMES,
    "samples_paired",
    "speedup",
    "end_to_end_speedup",
    "identical_outputs",
    "verdict",
    "baseline",
    "first_divergence_position",
    "samples_slower",
    "samples_missing",
    "machines",
    "speedup_low",
    "speedup_high",
    "end_to_end_speedup_low",
    "end_to_end_speedup_high",
    "equal_length_pairs",
    "equal_length_speedup",
    "equal_length_speedup_low",
    "equal_length_speedup_high",
    "looping_pairs",
    "looping_speedup",
    "looping_speedup_low",
    "looping_speedup_high",
    "other_speedup",
    "other_speedup_low",
    "other_speedup_high",
    "looping_differs",
    "prompts_paired",
    "same_as_baseline",
    "noise_floor",
    "peer",
    "reference",
    "over_reference",
    "over_reference_low",
    "over_reference_high",
    "tainted_pairs",
    "number_format",
    "reference_format",
    "variants",
    "fastest",
    "simultaneous_low",
    "simultaneous_high",
]


def build(grid: Grid, results: Path, folder: Path, lossless: str = "report") -> dict[str, pd.DataFrame]:
    """Make one row per model, data set and method but the baseline, from run.json, timings.csv and lossless.csv.

    Raises UserError where two runs' conditions differ; with `lossless="require"` also where an output is not the
    model's."""
    table = compare(grid, results, *(tables.read(folder / f"{name}.csv") for name in ("timings", "lossless")))
    if lossless == "require":
        refuse_lossy(table)
    return {"speedup": table}


def compare(grid: Grid, results: Path, timings: pd.DataFrame, lossless: pd.DataFrame) -> pd.DataFrame:
    """Make speedup.csv of two tables and the run.json of all jobs."""
    judged = lossless.set_index(tables.NAMES)["verdict"]
    jobs = dict(list(timings.groupby(tables.NAMES, sort=False)))
    rows: list[dict[str, Any]] = []
    for model, dataset in runs.cells(grid):
        facts = {m: runs.read_facts(results / model / dataset / m / "run.json") for m in grid["methods"]}
        compared = [name for name in grid["methods"] if name != grid["baseline"]]
        verdicts = {name: str(judged[model, dataset, name]) for name in compared}
        mine = {name: jobs.get((model, dataset, name), timings.iloc[:0]) for name in facts}
        cell = _cell(grid, facts, verdicts, mine)
        rows += [{"model": model, "dataset": dataset, **row} for row in cell]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"first_divergence_position": "Int64"})


def _cell(
    grid: Grid, facts: dict[str, dict[str, Any]], verdicts: dict[str, str], timings: dict[str, pd.DataFrame]
) -> list[dict[str, Any]]:
    """The rows of one model and data set, a row for each method that has a verdict."""
    base, reference = grid["baseline"], grid.get("reference")
    again = {name: int(_entry(facts[name]) == _entry(facts[base])) for name in verdicts}
    variants = len(again) - sum(again.values())
    formats = {name: verdict.other_format(facts[name], facts[base]) for name in facts}
    over = timings.get(reference or "", timings[base].iloc[:0])
    rows: list[dict[str, Any]] = []
    for method in verdicts:
        speedup.refuse_unlike(facts[method], facts[base])
        loops = [facts[name]["conditions"].get("loop") for name in (method, base)]
        figures = speedup.compare(timings[method], timings[base], variants)
        named = {"number_format": formats[method], "reference_format": formats.get(reference or "")}
        judgement = {
            "verdict": verdict.in_its_cell(method, verdicts),
            "baseline": base,
            "same_as_baseline": again[method],
        }
        made_on = {"machines": speedup.machines(facts[method], facts[base]), "peer": int(loops[0] != loops[1])}
        beside = {"reference": reference, **speedup.over_reference(timings[method], over)}
        rows.append({"method": method, **figures, **judgement, **made_on, **named, **beside})
    floors = [claims.floor(row["speedup_low"], row["speedup_high"]) for row in rows if row["same_as_baseline"]]
    floor = max((limit for limit in floors if limit == limit), default=float("nan"))
    fastest = _fastest(rows)
    return [{**row, "noise_floor": floor, "fastest": int(row["method"] == fastest)} for row in rows]


def _fastest(rows: list[dict[str, Any]]) -> str | None:
    """The variant that a reader takes for the result: of those whose output is the model's, else of all."""
    known = [row for row in rows if not row["same_as_baseline"] and row["speedup"] > 0]
    sound = [row for row in known if row["verdict"] not in verdict.NOT_THE_MODEL and row["number_format"] is None]
    return max(sound or known, key=lambda row: row["speedup"], default={"method": None})["method"]


def _entry(facts: dict[str, Any]) -> dict[str, Any]:
    """A variant's own configuration, but for its name."""
    return {key: value for key, value in facts["spec"]["method"].items() if key != "name"}


def refuse_lossy(table: pd.DataFrame) -> None:
    """Refuse, by name, the jobs whose output is not the model's, or not known to be."""
    lossy = table[table["verdict"].isin(verdict.NOT_THE_MODEL)]
    if len(lossy):
        jobs = ", ".join(f"{'/'.join(names)} ({why})" for *names, why in lossy[[*tables.NAMES, "verdict"]].to_numpy())
        raise UserError("lossless.csv", f"not lossless: {jobs}", "no such run, by `lossless: require`")
