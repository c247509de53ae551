"""Every method paired with vanilla, sample by sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import claims, runs, speedup, tables, verdict
from longspec.core.errors import UserError

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
]


def build(grid: runs.Grid, results: Path) -> pd.DataFrame:
    """One row per model, data set and method but vanilla, from timings.csv and lossless.csv."""
    timings = tables.read(results / "timings.csv")
    return compare(grid, results, timings, tables.read(results / "lossless.csv"))


def compare(grid: runs.Grid, results: Path, timings: pd.DataFrame, lossless: pd.DataFrame) -> pd.DataFrame:
    """The same from tables in memory; UserError when two runs' conditions differ."""
    judged = lossless.set_index(tables.NAMES)["verdict"]
    jobs = dict(list(timings.groupby(tables.NAMES, sort=False)))
    nothing = timings.iloc[:0]
    rows: list[dict[str, Any]] = []
    base, reference = grid["baseline"], grid.get("reference")
    for model, dataset in runs.cells(grid):
        facts = {m: runs.read_facts(results / model / dataset / m / "run.json") for m in grid["methods"]}
        formats = {name: verdict.other_format(facts[name], facts[base]) for name in facts}
        found = {name: str(judged[model, dataset, name]) for name in facts if name != base}
        cell = []
        for method in grid["methods"]:
            if method != base:
                names = dict(zip(tables.NAMES, (model, dataset, method), strict=True))
                speedup.refuse_unlike(facts[method], facts[base])
                mine, theirs = (jobs.get((model, dataset, name), nothing) for name in (method, base))
                judgement = {"verdict": verdict.in_its_cell(method, found), "baseline": base}
                again = int(_entry(facts[method]) == _entry(facts[base]))
                loops = [facts[name]["conditions"].get("loop") for name in (method, base)]
                made_on = {"same_as_baseline": again, "machines": speedup.machines(facts[method], facts[base])}
                beside = {"peer": int(loops[0] != loops[1]), "reference": reference}
                named = {"number_format": formats[method], "reference_format": formats.get(reference)}
                over = speedup.over_reference(mine, jobs.get((model, dataset, reference), nothing))
                cell.append(
                    {**names, **speedup.compare(mine, theirs), **judgement, **made_on, **beside, **named, **over}
                )
        floors = [claims.floor(row["speedup_low"], row["speedup_high"]) for row in cell if row["same_as_baseline"]]
        rows += [{**row, "noise_floor": max(floors, default=float("nan"))} for row in cell]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"first_divergence_position": "Int64"})


def _entry(facts: dict[str, Any]) -> dict[str, Any]:
    """A variant's own configuration, but for its name."""
    return {key: value for key, value in facts["spec"]["method"].items() if key != "name"}


def refuse_lossy(table: pd.DataFrame) -> None:
    """Refuse, by name, the jobs whose output is not the model's, or not known to be."""
    lossy = table[table["verdict"].isin(verdict.NOT_THE_MODEL)]
    if len(lossy):
        jobs = ", ".join(f"{'/'.join(names)} ({why})" for *names, why in lossy[[*tables.NAMES, "verdict"]].to_numpy())
        raise UserError("lossless.csv", f"not lossless: {jobs}", "no such run, by `lossless: require`")
