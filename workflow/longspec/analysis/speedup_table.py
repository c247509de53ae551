"""Make speedup.csv: every method paired with the baseline, sample by sample."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd

from longspec.analysis import claims, runs, speedup, tables, verdict
from longspec.analysis.speedup_row import SpeedupRow, columns
from longspec.core.errors import UserError
from longspec.core.run_record import RunRecord
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
    rows: list[SpeedupRow] = []
    for (model, dataset), records in runs.records(grid, results):
        compared = [name for name in grid["methods"] if name != grid["baseline"]]
        verdicts = {name: str(judged[model, dataset, name]) for name in compared}
        mine = {name: jobs.get((model, dataset, name), timings.iloc[:0]) for name in records}
        rows += cell(grid, records, verdicts, mine)
    table = pd.DataFrame([columns(row) for row in rows], columns=COLUMNS)
    return table.astype({"first_divergence_position": "Int64"})


def cell(
    grid: Grid, records: dict[str, RunRecord], verdicts: dict[str, str], timings: dict[str, pd.DataFrame]
) -> list[SpeedupRow]:
    """Make the rows of one model and data set, one for each method that has a verdict. `records`, `timings`: by method,
    the baseline's too. Raises UserError where two runs' conditions differ."""
    baseline, reference = records[grid["baseline"]], grid.get("reference")
    again = {name: records[name].variant == baseline.variant for name in verdicts}
    variants = sum(not same for same in again.values())
    plain = timings[reference] if reference in timings else timings[baseline.method].iloc[:0]
    rows = []
    for method in verdicts:
        run = records[method]
        speedup.refuse_unlike(run, baseline)
        row = SpeedupRow(
            model=run.model,
            dataset=run.dataset,
            method=method,
            baseline=baseline.method,
            figures=speedup.compare(timings[method], timings[baseline.method], variants),
            verdict=verdict.in_its_cell(method, verdicts),
            same_as_baseline=int(again[method]),
            peer=int(run.conditions.loop != baseline.conditions.loop),
            machines=speedup.machines(run, baseline),
            number_format=verdict.other_format(run, baseline),
            reference=reference,
            reference_format=verdict.other_format(records[reference], baseline) if reference in records else None,
            over_reference=speedup.over_reference(timings[method], plain),
        )
        rows.append(row)
    limits = [claims.floor(row.figures.speedup.low, row.figures.speedup.high) for row in rows if row.same_as_baseline]
    floor = max((limit for limit in limits if not math.isnan(limit)), default=float("nan"))
    fastest = _fastest(rows)
    return [replace(row, noise_floor=floor, fastest=int(row is fastest)) for row in rows]


def _fastest(rows: list[SpeedupRow]) -> SpeedupRow | None:
    """Find the variant that a reader takes for the result: of those whose output is the model's, else of all."""
    known = [row for row in rows if not row.same_as_baseline and row.figures.speedup.value > 0]
    sound = [row for row in known if row.verdict not in verdict.NOT_THE_MODEL and row.number_format is None]
    return max(sound or known, key=lambda row: row.figures.speedup.value, default=None)


def refuse_lossy(table: pd.DataFrame) -> None:
    """Refuse, by name, the jobs whose output is not the model's, or not known to be."""
    lossy = table[table["verdict"].isin(verdict.NOT_THE_MODEL)]
    if len(lossy):
        jobs = ", ".join(f"{'/'.join(names)} ({why})" for *names, why in lossy[[*tables.NAMES, "verdict"]].to_numpy())
        raise UserError("lossless.csv", f"not lossless: {jobs}", "no such run, by `lossless: require`")
