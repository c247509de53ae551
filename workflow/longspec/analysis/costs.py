"""Where a step's time goes, what memory is held, and the speedup that the cost model makes of it.

Formulas, from the profiled pass (profiling.py), in units of the baseline's step: c = seconds of drafting a step over
depth; v = all other seconds of a step; predicted speedup = acceptance length / (depth * c + v) (Leviathan et al. 2023,
theorem 3.8, with v for 1). Depth is the longest path that any step had to check. The best gamma of a chain takes the
conditional acceptance at each position, c as it is, and v growing evenly from 1; it looks at nothing longer than what
was drafted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from longspec.analysis.tables import NAMES
from longspec.records import STEP_PARTS

HELD = ("target_weights_bytes", "kv_cache_bytes", "drafter_weights_bytes", "drafter_state_bytes")
COLUMNS = [
    *NAMES,
    "profiled_steps",
    *(f"{part}_seconds_per_step" for part in STEP_PARTS),
    "draft_cost",
    "verify_cost",
    "depth",
    "acceptance_length",
    "predicted_speedup",
    "measured_speedup",
    "prediction_gap",
    "best_gamma",
    "best_gamma_speedup",
    *HELD,
    "peak_memory_bytes",
]
Row = dict[str, Any]


def row(facts: Row, baseline: Row, accepted: Row, rates: Sequence[float], speedup: float | None) -> Row:
    """One row of costs.csv. `facts`, `baseline`: run.json of the job and of its cell's baseline; `accepted`: its row of
    acceptance.csv; `rates`: conditional acceptance by position; `speedup` as measured. None stands for unknown."""
    made: Row = {
        **{name: facts[name] for name in NAMES},
        **{name: (facts.get("memory") or {}).get(name) for name in HELD},
        "peak_memory_bytes": facts["peak_memory_bytes"],
        "measured_speedup": speedup,
    }
    mine, theirs = (_per_step(one.get("profile")) for one in (facts, baseline))
    if mine is None or theirs is None:
        return made
    made |= {"profiled_steps": mine.pop("steps"), **{f"{part}_seconds_per_step": mine[part] for part in STEP_PARTS}}
    unit = sum(theirs[part] for part in STEP_PARTS)
    depth, length = accepted.get("depth"), accepted.get("acceptance_length")
    if not depth or pd.isna(depth) or pd.isna(length):
        return made
    c, v = mine["draft"] / unit / depth, (sum(mine.values()) - mine["draft"]) / unit
    predicted = length / (depth * c + v)
    gap = predicted / speedup - 1 if speedup else None
    made |= {"draft_cost": c, "verify_cost": v, "depth": depth, "acceptance_length": length}
    made |= {"predicted_speedup": predicted, "prediction_gap": gap}
    chain = accepted["drafted_per_step"] <= depth
    return made | (best_gamma(rates, c, v) if chain and rates else {})


def _per_step(profile: list[Row] | None) -> dict[str, float] | None:
    """Seconds of each part a step, and `steps`, over all profiled answers; None where there is no step."""
    steps = sum(one["steps"] for one in profile or [])
    if not profile or not steps:
        return None
    return {"steps": steps, **{part: sum(one[f"{part}_seconds"] for one in profile) / steps for part in STEP_PARTS}}


def best_gamma(rates: Sequence[float], c: float, v: float) -> Row:
    """The drafting length with the best predicted speedup, up to the one that was drafted."""
    best, length, reached = (0, 1.0), 1.0, 1.0
    for gamma, rate in enumerate(rates, start=1):
        reached *= rate
        length += reached
        predicted = length / (gamma * c + 1 + (v - 1) * gamma / len(rates))
        best = max(best, (gamma, predicted), key=lambda pair: pair[1])
    return {"best_gamma": best[0], "best_gamma_speedup": best[1]}
