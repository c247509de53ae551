"""Make speedup.csv: every method paired with its baseline, sample by sample.

Methods that share a baseline are a group: the noise floor, the number of variants and the fastest are its own. A
served engine's baseline is the same engine without speculation at the same load, and our loop's stands beside as its
reference; that baseline has a row of its own, for what it is over the reference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from longspec.analysis import claims, runs, speedup, tables, verdict
from longspec.analysis.speedup_row import SpeedupRow, columns
from longspec.core.errors import UserError
from longspec.core.run_record import RunRecord
from longspec.core.spec import Grid, baseline_of

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
    "throughput_speedup",
    "throughput_speedup_low",
    "throughput_speedup_high",
    "windows_paired",
]
READ = ("timings", "lossless", "windows")


def build(grid: Grid, results: Path, folder: Path, lossless: str = "report") -> dict[str, pd.DataFrame]:
    """Make one row per model, data set and method but the baseline of our loop, from run.json and the tables in READ.

    Raises UserError where two runs' conditions differ; with `lossless="require"` also where an output is not the
    model's."""
    table = compare(grid, results, *(tables.read(folder / f"{name}.csv") for name in READ))
    if lossless == "require":
        refuse_lossy(table)
    return {"speedup": table}


def compare(
    grid: Grid, results: Path, timings: pd.DataFrame, lossless: pd.DataFrame, windows: pd.DataFrame
) -> pd.DataFrame:
    """Make speedup.csv of three tables and the run.json of all jobs."""
    judged = lossless.set_index(tables.NAMES)["verdict"]
    jobs, cut = (dict(list(t.groupby(tables.NAMES, sort=False))) for t in (timings, windows))
    rows: list[SpeedupRow] = []
    for (model, dataset), records in runs.records(grid, results):
        compared = [name for name in grid["methods"] if name != grid["baseline"]]
        verdicts = {name: str(judged[model, dataset, name]) for name in compared}
        mine, slots = (
            {name: known.get((model, dataset, name), table.iloc[:0]) for name in records}
            for known, table in ((jobs, timings), (cut, windows))
        )
        rows += cell(grid, records, verdicts, mine, slots)
    made = pd.DataFrame([columns(row) for row in rows], columns=COLUMNS)
    return made.astype({"first_divergence_position": "Int64", "windows_paired": "Int64"})


def cell(
    grid: Grid,
    records: dict[str, RunRecord],
    verdicts: dict[str, str],
    timings: dict[str, pd.DataFrame],
    windows: dict[str, pd.DataFrame] | None = None,
) -> list[SpeedupRow]:
    """Make the rows of one model and data set, one for each method that has a verdict. `records`, `timings`, `windows`:
    by method, those of baselines too. Raises UserError where two runs' conditions differ."""
    known = Cell(grid, records, timings, windows or {})
    groups: dict[str, dict[str, str]] = {}
    for method, judged in verdicts.items():
        groups.setdefault(baseline_of(grid, method), {})[method] = judged
    made = {row.method: row for baseline, group in groups.items() for row in _group(known, baseline, group)}
    return [made[method] for method in verdicts]


@dataclass(frozen=True)
class Cell:
    """One model and data set: what is known of each method, baselines too."""

    grid: Grid
    records: dict[str, RunRecord]
    timings: dict[str, pd.DataFrame]
    windows: dict[str, pd.DataFrame]


def _group(known: Cell, baseline: str, verdicts: dict[str, str]) -> list[SpeedupRow]:
    """Make the rows of the methods that share a baseline, and of it where it has a verdict."""
    again = {m: m != baseline and _same_entry(known.records[m], known.records[baseline]) for m in verdicts}
    variants = sum(not same for method, same in again.items() if method != baseline)
    rows = [
        replace(
            _row(known, method, baseline, variants),
            verdict=verdict.in_its_group(method, verdicts),
            same_as_baseline=int(again[method]),
        )
        for method in verdicts
    ]
    limits = [claims.floor(row.figures.speedup.low, row.figures.speedup.high) for row in rows if row.same_as_baseline]
    floor = max((limit for limit in limits if not math.isnan(limit)), default=float("nan"))
    fastest = _fastest(rows)
    return [replace(row, noise_floor=floor, fastest=int(row is fastest)) for row in rows]


def _same_entry(run: RunRecord, baseline: RunRecord) -> bool:
    """Tell whether a variant is its baseline over again; of a served engine, wherever its server runs."""
    if run.served:
        return not run.variant.get("speculation")
    return run.variant == baseline.variant


def _row(known: Cell, method: str, baseline: str, variants: int) -> SpeedupRow:
    """Make one row, as if it stood alone. A served engine's baseline has the counts of its pairs with our loop's."""
    run, base = known.records[method], known.records[baseline]
    ours = known.grid["baseline"]
    speedup.refuse_unlike(run, known.records[ours] if method == baseline else base)
    reference = ours if run.served else known.grid.get("reference")
    plain = known.timings[reference] if reference in known.timings else known.timings[baseline].iloc[:0]
    if method == baseline:
        figures = speedup.without_ratios(speedup.compare(known.timings[method], plain, variants))
    else:
        windows = [known.windows.get(name, pd.DataFrame()) for name in (method, baseline)]
        figures = speedup.compare(known.timings[method], known.timings[baseline], variants, (windows[0], windows[1]))
    return SpeedupRow(
        model=run.model,
        dataset=run.dataset,
        method=method,
        baseline=baseline,
        figures=figures,
        verdict="",
        same_as_baseline=0,
        peer=int(run.conditions.loop != base.conditions.loop),
        machines=speedup.machines(run, base),
        number_format=verdict.other_format(run, base),
        reference=reference,
        reference_format=verdict.other_format(known.records[reference], base) if reference in known.records else None,
        over_reference=speedup.over_reference(known.timings[method], plain),
    )


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
