"""Divide a method's throughput by vanilla's, on the same samples under the same conditions, or not at all.

Contract: samples are paired by id and repeat; a ratio of sums, never a mean of ratios; its 95% interval is over
samples, a sample's repeats taken together (intervals.py). Refused, with the differing key named, when prompts,
sampling, dtype, attention, device, limits or warm-up differ; a peer's attention is its own. Beside the speedup over all
pairs stand those over another library's plain decoding (the reference), over pairs of equal length, and over looping
and other outputs apart (repetition.py; a pair loops where either output does).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from longspec.analysis import intervals, verdict
from longspec.analysis.repetition import LOOPING
from longspec.analysis.speedup_row import Figure, PairFigures
from longspec.analysis.timings import finished
from longspec.core.errors import UserError
from longspec.core.run_record import RunRecord

KEY = ["sample_id", "repeat"]
SIDES = ("", "_baseline")
OF_A_LOOP = {"loop", "attention", "engine", "numerics", "verification"}
"""Conditions in which a peer's loop may differ from ours: they are what makes it another."""


def refuse_unlike(run: RunRecord, baseline: RunRecord) -> None:
    """Refuse two runs, by the first condition in which they differ and must not."""
    for key, ours, theirs in unlike(run, baseline):
        method, other = run.method, baseline.method
        raise UserError(
            f"{run.model}/{run.dataset}",
            f"no speedup of {method} over {other}: {key} is {ours!r} for {method} and {theirs!r} for {other}",
            "the same",
        )


def unlike(run: RunRecord, baseline: RunRecord) -> list[tuple[str, object, object]]:
    """List every condition that differs and must not, as (key, our value, their value).

    A peer that was told its number format may have another: it is a reference of speed alone (verdict.py)."""
    free = set(OF_A_LOOP) if run.conditions.loop != baseline.conditions.loop else set()
    if verdict.other_format(run, baseline):
        free.add("dtype")
    ours, theirs = run.conditions.stated(), baseline.conditions.stated()
    keys = sorted({*ours, *theirs} - free)
    return [(key, ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)]


def compare(timings: pd.DataFrame, base_timings: pd.DataFrame, variants: int = 1) -> PairFigures:
    """Compare the rows of timings.csv of a method with those of its baseline. `variants`: how many are compared with
    this baseline, for the interval that holds for all of them at once."""
    pairs = _paired(finished(timings), finished(base_timings))
    all_pairs = _paired(timings, base_timings)
    equal = pairs[pairs["output_tokens"] == pairs["output_tokens_baseline"]]
    loops = (pairs[["repeated_4gram_share", "repeated_4gram_share_baseline"]] >= LOOPING).any(axis=1)
    looping, others = decode(pairs[loops]), decode(pairs[~loops])
    return PairFigures(
        samples_paired=len(pairs),
        samples_missing=len(timings) - len(pairs),
        samples_slower=int((pairs["decode_seconds"] > pairs["decode_seconds_baseline"]).sum()),
        prompts_paired=int(pairs["sample_id"].nunique()),
        speedup=decode(pairs),
        variants=variants,
        simultaneous=decode(pairs, intervals.simultaneous(variants)),
        end_to_end_speedup=end_to_end(pairs),
        identical_outputs=int(all_pairs["identical"].sum()),
        first_divergence_position=all_pairs["divergence_position"].min(),
        equal_length_pairs=len(equal),
        equal_length_speedup=decode(equal),
        looping_pairs=int(loops.sum()),
        looping_speedup=looping,
        other_speedup=others,
        looping_differs=int(looping.low > others.high or looping.high < others.low),
        tainted_pairs=int(pairs[["tainted", "tainted_baseline"]].notna().any(axis=1).sum()),
    )


def over_reference(timings: pd.DataFrame, reference: pd.DataFrame) -> Figure:
    """Divide by the plain decoding of a peer instead, which says whether the baseline is weak."""
    return decode(_paired(finished(timings), finished(reference)))


def _paired(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Make a row for each sample and repeat that both have: our columns, and theirs with the second of SIDES."""
    keys = [[side[key].to_numpy() for key in KEY] for side in (ours, theirs)]
    if len(ours) == len(theirs) and all((mine == other).all() for mine, other in zip(*keys, strict=True)):
        beside = theirs.drop(columns=KEY).add_suffix(SIDES[1]).set_axis(ours.index)
        return pd.concat([ours, beside], axis=1)
    return ours.merge(theirs, on=KEY, suffixes=SIDES)


def machines(*runs: RunRecord) -> int:
    """Count the (host, device) that made the samples of these runs. More than one, and a ratio mixes machines."""
    return len({(piece.host, piece.environment.device_name) for run in runs for piece in run.pieces})


def decode(pairs: pd.DataFrame, level: float = intervals.LEVEL) -> Figure:
    """Divide decode throughputs; the interval is at `level`."""
    return _ratio(
        pairs,
        [
            (_of(pairs, s, "output_tokens") - _of(pairs, s, "prefill_tokens"), _of(pairs, s, "decode_seconds"))
            for s in SIDES
        ],
        level,
    )


def end_to_end(pairs: pd.DataFrame) -> Figure:
    """Divide output tokens by all seconds, ours by theirs."""
    parts = ("prefill_seconds", "drafter_prefill_seconds", "decode_seconds")
    return _ratio(pairs, [(_of(pairs, s, "output_tokens"), sum(_of(pairs, s, part) for part in parts)) for s in SIDES])


def _ratio(pairs: pd.DataFrame, sides: list[tuple[Any, Any]], level: float = intervals.LEVEL) -> Figure:
    """(tokens, seconds) of ours and theirs to a figure; repeats of a sample are summed first."""
    columns: NDArray[np.float64] = np.column_stack([column for side in sides for column in side])
    if len(pairs) and pairs["repeat"].any():
        codes, ids = pd.factorize(pairs["sample_id"])
        summed = np.zeros((len(ids), 4))
        np.add.at(summed, codes, columns)
        columns = summed
    ours, seconds, theirs, their_seconds = columns.sum(0)
    known = min(ours, seconds, theirs, their_seconds) > 0
    value = (ours / seconds) / (theirs / their_seconds) if known else float("nan")
    return Figure(float(value), *intervals.paired(columns, level))


def _of(pairs: pd.DataFrame, side: str, column: str) -> NDArray[np.float64]:
    return pairs[column + side].to_numpy(float)
