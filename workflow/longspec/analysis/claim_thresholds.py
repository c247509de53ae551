"""Numbers that a claim needs: how many prompts, how few tainted pairs. claims.py has the other conditions.

docs/decisions/0013 has the simulations behind them. This file imports nothing of the project, so that a plan can say
before the first job what its results will lack.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

LEAST_PROMPTS = 24
"""Paired prompts. With fewer, a kind of prompt that is one in ten is often not seen at all, and intervals that should
hold in 95 of 100 experiments hold in as few as 82."""
LEAST_WINDOWS = 8
"""Paired windows of admissions in which all slots were busy, where several requests are in flight. With fewer,
intervals that should hold in 95 of 100 experiments hold in as few as 85 (docs/decisions/0018)."""
TAINTED_AT_MOST = 0.05
"""Share of pairs of which a side was timed while the machine did something else. Where that slows one method by half,
this share moves its speedup by 2.5%, which neither an interval nor the noise floor sees."""


def hindrances(prompts: Mapping[str, int | None], without_noise: Iterable[str]) -> list[str]:
    """Return, in words, on what or over what an experiment can print no claim whatever it measures, and why; mostly
    nothing.

    `prompts`: how many each data set has at most (None: all of its source); `without_noise`: the baselines whose entry
    no second variant has.
    """
    small = {name: count for name, count in prompts.items() if count is not None and count < LEAST_PROMPTS}
    return [
        *(f"on {name}: it has {count} prompts, fewer than {LEAST_PROMPTS}" for name, count in small.items()),
        *(f"over {name}: no second variant has its entry, so no noise floor is measured" for name in without_noise),
    ]
