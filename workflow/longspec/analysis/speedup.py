"""Speedup: a method's throughput over vanilla's, on the same samples under the same conditions, or not at all.

Contract: samples are paired by id and repeat; a ratio of sums, never a mean of ratios. Refused, with the
differing key named, when prompts, sampling, dtype, attention, device, limits or warm-up differ.
"""

from __future__ import annotations

import pandas as pd

from longspec.analysis.metrics import finished, rates_of
from longspec.analysis.runs import Run
from longspec.errors import UserError

KEY = ["sample_id", "repeat"]


def refuse_unlike(run: Run, baseline: Run) -> None:
    """UserError naming the first condition in which two runs differ."""
    ours, theirs = run.facts["conditions"], baseline.facts["conditions"]
    for key in sorted(set(ours) | set(theirs)):
        if ours.get(key) != theirs.get(key):
            raise UserError(
                f"{run.model}/{run.dataset}: no speedup of {run.method} over {baseline.method}: {key} is "
                f"{ours.get(key)!r} for {run.method} and {theirs.get(key)!r} for {baseline.method}; expected the same"
            )


def compare(run: Run, timings: pd.DataFrame, baseline: Run, base_timings: pd.DataFrame) -> dict[str, object]:
    """One row of speedup.csv."""
    refuse_unlike(run, baseline)
    timings, base_timings = map(finished, (timings, base_timings))
    pairs = timings.merge(base_timings, on=KEY, suffixes=("", "_baseline"))
    ours = rates_of(timings.merge(pairs[KEY], on=KEY))
    theirs = rates_of(base_timings.merge(pairs[KEY], on=KEY))
    same, first = _identical(run, baseline)
    return {
        **run.names,
        "samples_paired": len(pairs),
        "speedup": _ratio(ours["decode"], theirs["decode"]),
        "end_to_end_speedup": _ratio(ours["end_to_end"], theirs["end_to_end"]),
        "identical_outputs": same,
        "baseline": baseline.method,
        "first_divergence_position": first,
        "samples_slower": int((pairs["decode_seconds"] > pairs["decode_seconds_baseline"]).sum()),
        "samples_missing": len(run.samples) - len(pairs),
        "machines": len(machines(run) | machines(baseline)),
    }


def machines(run: Run) -> set[tuple[str, str]]:
    """(host, device) of every process that made samples of a run. More than one, and a ratio mixes machines."""
    return {(piece["host"], piece["environment"]["device_name"]) for piece in run.facts["pieces"]}


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours and theirs else None


def _identical(run: Run, baseline: Run) -> tuple[int, int | None]:
    """How many pairs have the same ids in every turn, and the earliest position at which any other differs."""
    outputs = {(s.sample_id, s.repeat): [turn.output_ids for turn in s.turns] for s in baseline.samples if not s.lost}
    same, positions = 0, []
    for sample in run.samples:
        ours, theirs = [turn.output_ids for turn in sample.turns], outputs.get((sample.sample_id, sample.repeat))
        if theirs is None or sample.lost:
            continue
        if ours == theirs:
            same += 1
            continue
        flat_ours = [token for turn in ours for token in turn]
        flat_theirs = [token for turn in theirs for token in turn]
        pairs = zip(flat_ours, flat_theirs, strict=False)
        shorter = min(len(flat_ours), len(flat_theirs))
        positions.append(next((n for n, (a, b) in enumerate(pairs) if a != b), shorter))
    return same, min(positions, default=None)
