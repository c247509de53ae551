"""Compute timings and throughput from raw samples.

Formulas (decoded tokens are output tokens without those of prefill: each turn's first, but for some peers, and of a
served engine those of the first chunk): throughput = sum of decoded tokens / sum of decode_seconds; end to end = sum of
output tokens / sum of all seconds. Counts of steps and drafts are empty where an engine does not tell them. `window`:
of several requests in flight, the number of the window of admissions within the repeat (windows.py).
"""

from __future__ import annotations

import pandas as pd

from longspec.analysis import intervals, taint, windows
from longspec.analysis.repetition import share
from longspec.analysis.runs import Run
from longspec.analysis.tables import NAMES
from longspec.core.records import Sample

TIMING_COLUMNS = [
    *NAMES,
    "sample_id",
    "repeat",
    "prompt_tokens",
    "output_tokens",
    "verification_steps",
    "drafted_tokens",
    "accepted_tokens",
    "prefill_seconds",
    "drafter_prefill_seconds",
    "decode_seconds",
    "stop_reason",
    "turns",
    "prefill_tokens",
    "unanswered_turns",
    "failed",
    "repeated_4gram_share",
    "identical",
    "divergence_position",
    "tainted",
    "window",
    "line_sha256",
]
REPEAT_COLUMNS = [
    *NAMES,
    "sample_id",
    "repeats",
    "decode_seconds_least",
    "decode_seconds_median",
    "decode_seconds_spread",
]
COUNTED = ("verification_steps", "drafted_tokens", "accepted_tokens")
"""Columns that may be unknown of a served engine."""
SUMMED = ["output_tokens", "prefill_tokens", "verification_steps", "drafted_tokens", "accepted_tokens",
          "prefill_seconds", "drafter_prefill_seconds", "decode_seconds", "unanswered_turns"]  # fmt: skip


def timings(run: Run, baseline: Run | None = None) -> pd.DataFrame:
    """Make one row per sample and repeat, in the order in which they ran; the sums over its turns.

    Beside a baseline: whether the sample's ids are the baseline's, and the first output position where they part.
    """
    theirs = {} if baseline is None else {(s.sample_id, s.repeat): s for s in baseline.samples}
    numbers = windows.numbers(run) if run.record.concurrency > 1 else [None] * len(run.samples)
    rows = [
        (*run.record.names.values(), *_counts(sample), len(run.prompts[sample.sample_id].turns) - len(sample.turns),
         int(sample.failed), share([turn.output_ids for turn in sample.turns]),
         *_parting(sample, theirs.get((sample.sample_id, sample.repeat))), "; ".join(reasons) or None, window, digest)
        for sample, digest, reasons, window in zip(run.samples, run.digests, taint.reasons(run), numbers, strict=True)
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=TIMING_COLUMNS)
    whole = ("identical", "divergence_position", "window", *COUNTED)
    return table.astype({**dict.fromkeys(whole, "Int64"), "repeated_4gram_share": float, "tainted": object})


def _counts(sample: Sample) -> tuple[object, ...]:
    """Make the columns from sample_id to prefill_tokens."""
    prompt = output = in_prefill = 0
    prefill = drafter = decode = 0.0
    counts: tuple[int, int, int] | None = (0, 0, 0)
    for turn in sample.turns:
        prompt += turn.prompt_tokens
        output += len(turn.output_ids)
        in_prefill += turn.prefill_tokens
        more = turn.counts
        counts = (counts[0] + more[0], counts[1] + more[1], counts[2] + more[2]) if counts and more else None
        prefill += turn.prefill_seconds
        drafter += turn.drafter_prefill_seconds
        decode += turn.decode_seconds
    reasons = "+".join([turn.stop_reason for turn in sample.turns])
    tokens = (prompt, output, *(counts or (None, None, None)))
    return (sample.sample_id, sample.repeat, *tokens, prefill, drafter, decode, reasons, len(sample.turns), in_prefill)


def _parting(ours: Sample, theirs: Sample | None) -> tuple[int | None, int | None]:
    """(1 if all turns have the same ids, else 0; the first output position, over all turns, that differs)"""
    if theirs is None:
        return None, None
    pairs = [[turn.output_ids for turn in sample.turns] for sample in (ours, theirs)]
    if pairs[0] == pairs[1]:
        return 1, None
    mine, other = ([token for ids in turns for token in ids] for turns in pairs)
    shorter = min(len(mine), len(other))
    return 0, next((n for n, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), shorter)


def repeats(timings: pd.DataFrame) -> pd.DataFrame:
    """Compute least, median and spread (largest minus least, over the median) of each sample's decode seconds.

    Only samples that ran more than once have a row.
    """
    if not timings["repeat"].any():
        return pd.DataFrame(columns=REPEAT_COLUMNS)
    groups = finished(timings).groupby([*NAMES, "sample_id"], sort=False)["decode_seconds"]
    least, median = groups.min(), groups.median()
    table = pd.DataFrame(
        {
            "repeats": groups.size(),
            "decode_seconds_least": least,
            "decode_seconds_median": median,
            "decode_seconds_spread": (groups.max() - least) / median,
        }
    )
    return table[table["repeats"] > 1].reset_index()[REPEAT_COLUMNS]


def throughput(timings: pd.DataFrame, run: Run) -> dict[str, object]:
    """Make one row of throughput.csv. Failed samples are counted, and in no figure."""
    counted = finished(timings)
    sums = _sums(counted)
    rates = _rates(sums)
    return {
        **run.record.names,
        "samples": len(counted),
        "output_tokens": int(sums["output_tokens"]),
        "decode_seconds": sums["decode_seconds"],
        "throughput_tokens_per_second": rates["decode"],
        "end_to_end_tokens_per_second": rates["end_to_end"],
        "peak_memory_bytes": run.record.peak_memory_bytes,
        "prefill_seconds": sums["prefill_seconds"],
        "drafter_prefill_seconds": sums["drafter_prefill_seconds"],
        "unanswered_turns": int(sums["unanswered_turns"]),
        "failed_samples": len(timings) - len(counted),
        "tainted_samples": int(timings["tainted"].notna().sum()),
        **drift(timings),
    }


def drift(timings: pd.DataFrame) -> dict[str, float]:
    """Divide seconds per verification step in the second half of a run by those in the first; with its interval.

    A step's price hardly depends on what is drafted, so that a run of other samples can still be compared. A sample's
    repeats within a half are one; samples whose steps an engine does not tell are none."""
    columns = ["decode_seconds", "verification_steps"]
    timings = timings[timings["verification_steps"].notna()]
    middle = len(timings) // 2
    halves = [
        finished(half).groupby("sample_id", sort=False)[columns].sum().to_numpy(float)
        for half in (timings[middle:], timings[:middle])
    ]
    (seconds, steps), (seconds_before, steps_before) = (half.sum(0) for half in halves)
    known = min(seconds, steps, seconds_before, steps_before) > 0
    low, high = intervals.apart(*halves)
    value = (seconds / steps) / (seconds_before / steps_before) if known else float("nan")
    return {"drift": value, "drift_low": low, "drift_high": high}


def finished(timings: pd.DataFrame) -> pd.DataFrame:
    """Keep the samples that count: those that did not fail."""
    return timings[timings["failed"] == 0] if timings["failed"].any() else timings


def _sums(timings: pd.DataFrame) -> dict[str, float]:
    """Sum the counts and seconds; 0 where there are no rows."""
    return dict(zip(SUMMED, timings[SUMMED].to_numpy(float, na_value=float("nan")).sum(0).tolist(), strict=True))


def _rates(sums: dict[str, float]) -> dict[str, float | None]:
    """Tokens per second, decoding and end to end; None where there was nothing to time."""
    seconds = sums["prefill_seconds"] + sums["drafter_prefill_seconds"] + sums["decode_seconds"]
    decoded = sums["output_tokens"] - sums["prefill_tokens"]
    return {
        "decode": decoded / sums["decode_seconds"] if decoded and sums["decode_seconds"] else None,
        "end_to_end": sums["output_tokens"] / seconds if seconds else None,
    }
