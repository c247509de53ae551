"""Where a step's time goes, what memory is held, and the speedup that the cost model makes of it.

Formulas, from the profiled pass (profiling.py), in units of the baseline's step: c = seconds of drafting a step over
depth; v = all other seconds of a step; predicted speedup = acceptance length / (depth * c + v) (Leviathan et al. 2023,
theorem 3.8, with v for 1). Depth is the longest path that any step had to check.

The best depth d cuts every draft off below its d-th level. Tokens: 1 + sum over i <= d of (steps that accepted an i-th
draft / all steps), which a cut further down does not change. Cost: d * c + 1 + (v - 1) * (nodes down to d / all nodes),
as configured. Of a chain d is the best gamma. At full depth it is the predicted speedup, but for the last step of a
text; nothing longer than what was drafted is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from longspec.analysis.tables import NAMES
from longspec.core import registry
from longspec.core.records import STEP_PARTS

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
    "best_depth",
    "best_depth_speedup",
    *HELD,
    "peak_memory_bytes",
]
DEPTH = ("best_depth", "best_depth_speedup")
Row = dict[str, Any]


def row(facts: Row, baseline: Row, accepted: Row, reached: Sequence[int], speedup: float | None) -> Row:
    """One row of costs.csv. `facts`, `baseline`: run.json of the job and of its cell's baseline; `accepted`: its row of
    acceptance.csv; `reached`: steps that accepted an i-th draft; `speedup` as measured. None stands for unknown."""
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
    nodes = shape(facts)[: len(reached)]
    if not reached or len(nodes) < len(reached):
        return made
    best = best_depth([count / accepted["verification_steps"] for count in reached], nodes, c, v)
    # Of a tree with one branch the depth is gamma.
    return made | dict(zip(("best_gamma", "best_gamma_speedup") if max(nodes) == 1 else DEPTH, best, strict=True))


def _per_step(profile: list[Row] | None) -> dict[str, float] | None:
    """Seconds of each part a step, and `steps`, over all profiled answers; None where there is no step."""
    steps = sum(one["steps"] for one in profile or [])
    if not profile or not steps:
        return None
    return {"steps": steps, **{part: sum(one[f"{part}_seconds"] for one in profile) / steps for part in STEP_PARTS}}


def shape(facts: Row) -> list[int]:
    """Nodes at each depth of a run's drafts, as its configuration or its tuning says; empty where neither does."""
    tuned = (facts.get("tuning") or {}).get("options") or {}
    return registry.widths({**facts["spec"].get("method", {}), **tuned})


def best_depth(reached: Sequence[float], nodes: Sequence[int], c: float, v: float) -> tuple[int, float]:
    """(depth, predicted speedup) of the best cut; (0, 1.0) where no draft pays. `reached`: share of all steps that
    accepted a draft of each depth; `nodes`: of each depth."""
    best, length, drafted = (0, 1.0), 1.0, 0
    for depth, (share, width) in enumerate(zip(reached, nodes, strict=True), start=1):
        length, drafted = length + share, drafted + width
        predicted = length / (depth * c + 1 + (v - 1) * drafted / sum(nodes))
        best = max(best, (depth, predicted), key=lambda pair: pair[1])
    return best
