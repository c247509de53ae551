"""Compute where a step's time goes, what memory is held, and the speedup that the cost model makes of it.

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
from dataclasses import dataclass

from longspec.analysis.tables import NAMES
from longspec.core.records import STEP_PARTS
from longspec.core.run_record import RunRecord

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


@dataclass(frozen=True)
class Accepted:
    """What the acceptance tables say of a job. `reached`: steps that accepted a draft, by its depth."""

    depth: int | None
    acceptance_length: float | None
    verification_steps: int | None
    reached: list[int]


def row(run: RunRecord, baseline: RunRecord, accepted: Accepted, speedup: float | None) -> dict[str, object]:
    """Make one row of costs.csv. `speedup`: as measured. None stands for unknown, and unknown columns are left out."""
    memory = run.memory or {}
    made: dict[str, object] = {
        **run.names,
        **{name: memory.get(name) for name in HELD},
        "peak_memory_bytes": run.peak_memory_bytes,
        "measured_speedup": speedup,
    }
    mine, theirs = _per_step(run.profile), _per_step(baseline.profile)
    if mine is None or theirs is None:
        return made
    made["profiled_steps"] = sum(int(one["steps"]) for one in run.profile or [])
    made |= {f"{part}_seconds_per_step": mine[part] for part in STEP_PARTS}
    depth, length = accepted.depth, accepted.acceptance_length
    if not depth or length is None:
        return made
    unit = sum(theirs.values())
    c = mine["draft"] / unit / depth
    v = (sum(mine.values()) - mine["draft"]) / unit
    predicted = length / (depth * c + v)
    made |= {
        "draft_cost": c,
        "verify_cost": v,
        "depth": depth,
        "acceptance_length": length,
        "predicted_speedup": predicted,
        "prediction_gap": predicted / speedup - 1 if speedup else None,
    }
    return made | _best(run.widths, accepted, c, v)


def _best(widths: list[int], accepted: Accepted, c: float, v: float) -> dict[str, object]:
    """Fill the columns of the best depth; of a draft without branches that is the best gamma. Empty where nobody knows
    how many nodes were drafted at each depth that was reached."""
    reached, steps = accepted.reached, accepted.verification_steps
    nodes = widths[: len(reached)]
    if not reached or not steps or len(nodes) < len(reached):
        return {}
    depth, speedup = best_depth([count / steps for count in reached], nodes, c, v)
    name = "best_gamma" if max(nodes) == 1 else "best_depth"
    return {name: depth, f"{name}_speedup": speedup}


def _per_step(profile: list[dict[str, int | float]] | None) -> dict[str, float] | None:
    """Average the seconds of each part over all profiled steps; None where there is none."""
    steps = sum(one["steps"] for one in profile or [])
    if not profile or not steps:
        return None
    return {part: sum(one[f"{part}_seconds"] for one in profile) / steps for part in STEP_PARTS}


def best_depth(reached: Sequence[float], nodes: Sequence[int], c: float, v: float) -> tuple[int, float]:
    """Find the best cut: (depth, predicted speedup); (0, 1.0) where no draft pays. `reached`: share of all steps that
    accepted a draft of each depth; `nodes`: of each depth."""
    best, length, drafted = (0, 1.0), 1.0, 0
    for depth, (share, width) in enumerate(zip(reached, nodes, strict=True), start=1):
        length, drafted = length + share, drafted + width
        predicted = length / (depth * c + 1 + (v - 1) * drafted / sum(nodes))
        best = max(best, (depth, predicted), key=lambda pair: pair[1])
    return best
