"""Throughput and acceptance from raw samples.

Formulas (decoded tokens are output tokens without each turn's first, which belongs to prefill):
throughput = sum of decoded tokens / sum of decode_seconds; end to end = sum of output tokens / sum of all
seconds; acceptance rate = accepted / drafted; acceptance length = decoded tokens / verification steps;
acceptance at position i, conditional = steps that accepted i drafts / steps that had an i-th draft to check.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from longspec.analysis.runs import Run
from longspec.analysis.tables import NAMES, TEXT_COLUMNS

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
    "unanswered_turns",
    "failed",
]
POSITION_COLUMNS = [*NAMES, "position", "offered", "accepted", "acceptance_rate"]


def timings(run: Run) -> pd.DataFrame:
    """One row per sample and repeat; the sums over its turns."""
    rows = []
    for sample in run.samples:
        turns = sample.turns
        steps = [step for turn in turns for step in turn.steps]
        rows.append(
            {
                **run.names,
                "sample_id": sample.sample_id,
                "repeat": sample.repeat,
                "prompt_tokens": sum(turn.prompt_tokens for turn in turns),
                "output_tokens": sum(len(turn.output_ids) for turn in turns),
                "verification_steps": len(steps),
                "drafted_tokens": sum(drafted for drafted, _, _ in steps),
                "accepted_tokens": sum(accepted for _, _, accepted in steps),
                "prefill_seconds": sum(turn.prefill_seconds for turn in turns),
                "drafter_prefill_seconds": sum(turn.drafter_prefill_seconds for turn in turns),
                "decode_seconds": sum(turn.decode_seconds for turn in turns),
                "stop_reason": "+".join(turn.stop_reason for turn in turns),
                "turns": len(turns),
                "failed": int(sample.failed),
                "unanswered_turns": len(run.prompts[sample.sample_id].turns) - len(turns),
            }
        )
    return pd.DataFrame(rows, columns=TIMING_COLUMNS)


def throughput(timings: pd.DataFrame, run: Run) -> dict[str, object]:
    """One row of throughput.csv. Failed samples are counted, and in no figure."""
    counted = finished(timings)
    sums = _sums(counted)
    rates = rates_of(counted)
    return {
        **run.names,
        "samples": len(counted),
        "output_tokens": int(sums.output_tokens),
        "decode_seconds": sums.decode_seconds,
        "throughput_tokens_per_second": rates["decode"],
        "end_to_end_tokens_per_second": rates["end_to_end"],
        "peak_memory_bytes": run.facts["peak_memory_bytes"],
        "prefill_seconds": sums.prefill_seconds,
        "drafter_prefill_seconds": sums.drafter_prefill_seconds,
        "unanswered_turns": int(sums.unanswered_turns),
        "failed_samples": len(timings) - len(counted),
    }


def finished(timings: pd.DataFrame) -> pd.DataFrame:
    """The samples that count: those that did not fail."""
    return timings[timings["failed"] == 0]


def _sums(timings: pd.DataFrame) -> pd.Series[float]:
    """The sum of every column of numbers; 0 where there are no rows."""
    return timings.drop(columns=[name for name in timings if name in TEXT_COLUMNS]).astype(float).sum()


def rates_of(timings: pd.DataFrame) -> dict[str, float | None]:
    """Tokens per second of these samples, decoding and end to end; None where there was nothing to time."""
    sums = _sums(timings)
    seconds = sums.prefill_seconds + sums.drafter_prefill_seconds + sums.decode_seconds
    decoded = sums.output_tokens - sums.turns
    return {
        "decode": decoded / sums.decode_seconds if decoded and sums.decode_seconds else None,
        "end_to_end": sums.output_tokens / seconds if seconds else None,
    }


def acceptance(timings: pd.DataFrame, run: Run, drafts: bool) -> dict[str, object]:
    """One row of acceptance.csv; a method without a drafter has empty counts, and not 0."""
    sums = _sums(finished(timings))
    steps = int(sums.verification_steps)
    drafted, accepted = int(sums.drafted_tokens), int(sums.accepted_tokens)
    counts = {
        "drafted_tokens": drafted,
        "accepted_tokens": accepted,
        "acceptance_rate": accepted / drafted if drafted else None,
        "acceptance_length": (sums.output_tokens - sums.turns) / steps if steps else None,
        "verification_steps": steps,
        "drafted_per_step": drafted / steps if steps else None,
    }
    return {**run.names, **(counts if drafts else dict.fromkeys(counts))}


def acceptance_by_position(run: Run) -> pd.DataFrame:
    """Conditional acceptance at each position of the draft."""
    offered: Counter[int] = Counter()
    accepted: Counter[int] = Counter()
    for sample in run.samples:
        for turn in [] if sample.failed else sample.turns:
            for _, seen, taken in turn.steps:
                offered.update(range(1, seen + 1))
                accepted.update(range(1, taken + 1))
    return pd.DataFrame(
        [
            {
                **run.names,
                "position": position,
                "offered": offered[position],
                "accepted": accepted[position],
                "acceptance_rate": accepted[position] / offered[position],
            }
            for position in sorted(offered)
        ],
        columns=POSITION_COLUMNS,
    )
