"""Divide a method's throughput by vanilla's, on the same samples under the same conditions, or not at all.

Contract: samples are paired by id and repeat; a ratio of sums, never a mean of ratios; its 95% interval is over
samples, a sample's repeats taken together, or over windows of admissions where several requests were in flight
(intervals.py). Refused, with the differing key named, when prompts, sampling, dtype, attention, device, limits or
warm-up differ; a peer's attention is its own; of two servers any flag but those of speculation. Beside the speedup over
all pairs stand those over another plain decoding (the reference), over pairs of equal length, and over looping and
other outputs apart (repetition.py; a pair loops where either output does). Of a served engine, throughput_speedup =
ratio of (tokens / seconds) summed over the windows in which all slots were busy on both sides (windows.py).
"""

from __future__ import annotations

from collections.abc import Sequence
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
OF_A_SERVER = {"server", "concurrency", "schedule"}
"""Conditions that a served engine has beside those, when it is held against our loop."""
NO_FIGURE = Figure(float("nan"), float("nan"), float("nan"))


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

    A peer that was told its number format may have another: it is a reference of speed alone (verdict.py). Of two
    lists of a server's flags, those that only one of them has are the values."""
    free = set(OF_A_LOOP) if run.conditions.loop != baseline.conditions.loop else set()
    if run.served:
        free = set() if baseline.served else OF_A_LOOP | OF_A_SERVER
    if verdict.other_format(run, baseline):
        free.add("dtype")
    ours, theirs = run.conditions.stated(), baseline.conditions.stated()
    keys = sorted({*ours, *theirs} - free)
    differ = [(key, ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)]
    return [_flags_apart(run, baseline) if key == "server" else (key, a, b) for key, a, b in differ]


def _flags_apart(run: RunRecord, baseline: RunRecord) -> tuple[str, object, object]:
    """Name the flags, each with its values, that one server has and the other has not; all where only their order
    differs."""
    ours, theirs = (_flags(side.conditions.server or []) for side in (run, baseline))
    mine, others = [flag for flag in ours if flag not in theirs], [flag for flag in theirs if flag not in ours]
    return ("server", mine, others) if mine or others else ("server", ours, theirs)


def _flags(words: Sequence[str]) -> list[str]:
    """Put each flag's values behind it: a word with a dash that is no number begins a flag."""
    flags: list[str] = []
    for word in words:
        if flags and not (word.startswith("-") and word[1:2] not in "0123456789."):
            flags[-1] += f" {word}"
        else:
            flags.append(word)
    return flags


def compare(
    timings: pd.DataFrame,
    base_timings: pd.DataFrame,
    variants: int = 1,
    windows: tuple[pd.DataFrame, pd.DataFrame] = (pd.DataFrame(), pd.DataFrame()),
) -> PairFigures:
    """Compare the rows of timings.csv of a method with those of its baseline. `variants`: how many are compared with
    this baseline, for the interval that holds for all of them at once. `windows`: of both, the rows of windows.csv."""
    pairs = _paired(finished(timings), finished(base_timings))
    all_pairs = _paired(timings, base_timings)
    equal = pairs[pairs["output_tokens"] == pairs["output_tokens_baseline"]]
    loops = (pairs[["repeated_4gram_share", "repeated_4gram_share_baseline"]] >= LOOPING).any(axis=1)
    looping, others = decode(pairs[loops]), decode(pairs[~loops])
    of_windows, windows_paired = throughput(pairs, *windows)
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
        throughput_speedup=of_windows,
        windows_paired=windows_paired,
    )


def without_ratios(figures: PairFigures) -> PairFigures:
    """Keep the counts alone: of an engine without speculation, which is compared with nothing but the reference."""
    kept: dict[str, Any] = {k: NO_FIGURE if isinstance(v, Figure) else v for k, v in vars(figures).items()}
    return PairFigures(**kept)


def over_reference(timings: pd.DataFrame, reference: pd.DataFrame) -> Figure:
    """Divide by another plain decoding instead: a peer's, which says whether the baseline is weak, or our loop's of
    a served engine."""
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
    sides = (
        (_of(pairs, s, "output_tokens") - _of(pairs, s, "prefill_tokens"), _of(pairs, s, "decode_seconds"))
        for s in SIDES
    )
    return _ratio(pairs, np.column_stack([column for side in sides for column in side]), level)


def end_to_end(pairs: pd.DataFrame) -> Figure:
    """Divide output tokens by all seconds, ours by theirs."""
    parts = ("prefill_seconds", "drafter_prefill_seconds", "decode_seconds")
    sides = ((_of(pairs, s, "output_tokens"), sum(_of(pairs, s, part) for part in parts)) for s in SIDES)
    return _ratio(pairs, np.column_stack([column for side in sides for column in side]))


def throughput(pairs: pd.DataFrame, windows: pd.DataFrame, base_windows: pd.DataFrame) -> tuple[Figure, int | None]:
    """Divide the tokens a second that arrived while all slots were busy; and count the pairs of windows, if any.

    `pairs`: of samples. One request at a time there is none but the sample itself: the figure is the end-to-end one.
    With several, the interval has the end-to-end one's spread around it: in a closed loop tokens a second are slots *
    tokens / seconds of the requests (Little's law). What arrives in one window depends on the next one's requests as
    well, so that a jackknife over such windows finds too little (docs/decisions/0018)."""
    known = not (windows.empty or base_windows.empty)
    whole = end_to_end(pairs)
    if not pairs["window"].notna().any():
        return whole if known else NO_FIGURE, None
    if not known:
        return NO_FIGURE, 0
    busy = [side[side["busy"] == 1] for side in (windows, base_windows)]
    both = busy[0].merge(busy[1], on=["repeat", "window"], suffixes=SIDES)
    ours, seconds, theirs, their_seconds = (_of(both, s, name).sum() for s in SIDES for name in ("tokens", "seconds"))
    if min(ours, seconds, theirs, their_seconds) <= 0:
        return NO_FIGURE, len(both)
    value = (ours / seconds) / (theirs / their_seconds)
    return Figure(*(float(value / whole.value * end) for end in whole)), len(both)


def _ratio(pairs: pd.DataFrame, columns: NDArray[np.float64], level: float = intervals.LEVEL) -> Figure:
    """(tokens, seconds) of ours and theirs to a figure. Repeats of a sample are summed first; where several requests
    were in flight, the samples of a window are."""
    more = intervals.NOTHING_MORE
    if len(pairs) and pairs["window"].notna().any():
        more = intervals.across(columns, pd.factorize(pairs["sample_id"])[0])
        columns = intervals.grouped(columns, pairs.groupby(["repeat", "window"]).ngroup().to_numpy())
    elif len(pairs) and pairs["repeat"].any():
        columns = intervals.grouped(columns, pd.factorize(pairs["sample_id"])[0])
    ours, seconds, theirs, their_seconds = columns.sum(0)
    known = min(ours, seconds, theirs, their_seconds) > 0
    value = (ours / seconds) / (theirs / their_seconds) if known else float("nan")
    return Figure(float(value), *intervals.paired(columns, level, more))


def _of(pairs: pd.DataFrame, side: str, column: str) -> NDArray[np.float64]:
    return pairs[column + side].to_numpy(float)
