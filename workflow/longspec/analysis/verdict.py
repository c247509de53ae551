"""Verdicts on losslessness from the comparisons of one job.

Keyed rule (and greedy): `identical`; `ties only`, when every first divergence is one where the gap between the two
tokens is within the rounding measured there, or where the target alone makes vanilla's choice in steps of one token and
the method's in steps of another length; else `not lossless`. Other rules (residual, and whatever a peer draws): outputs
differ by design, so the places of the output tokens in the target's distribution are tested for being uniform: `same
distribution`, or `not lossless`.
"""

from __future__ import annotations

from collections import Counter

from scipy import optimize, stats

from longspec.analysis.runs import Run
from longspec.core.records import Comparison

BINS = 20
LEVEL = 1e-4
"""Chance that a lossless job is called `not lossless` by the distribution test."""
POWER = 0.9
COLUMNS = [
    "model",
    "dataset",
    "method",
    "samples",
    "identical",
    "first_divergence_position",
    "top2_logit_gap",
    "verdict",
    "ties",
    "rounding",
    "worst_sample",
    "tokens_tested",
    "p_value",
    "detectable_shift",
]


def row(run: Run, comparisons: list[Comparison]) -> dict[str, object]:
    """One row of lossless.csv. Samples without an outcome are in no figure."""
    comparisons = [comparison for comparison in comparisons if not comparison.lost]
    parted = [c for c in comparisons if not c.identical]
    quantiles = [q for c in comparisons for q in c.quantiles]
    facts = {
        **run.names,
        "samples": len(comparisons),
        "identical": len(comparisons) - len(parted),
        "first_divergence_position": min((c.position for c in parted if c.position is not None), default=None),
    }
    if run.facts["conditions"]["verification"] != "keyed":
        p_value, shift = uniform(quantiles)
        verdict = "same distribution" if p_value >= LEVEL else "not lossless"
        tested = {"tokens_tested": len(quantiles), "p_value": p_value, "detectable_shift": shift}
        return {**facts, "verdict": verdict, **tested}
    ties = [c for c in parted if tie(c)]
    worst = max(parted, key=lambda c: (not tie(c), c.gap is None, c.gap or 0), default=None)
    return {
        **facts,
        "top2_logit_gap": worst.gap if worst else None,
        "verdict": "identical" if not parted else "ties only" if len(ties) == len(parted) else "not lossless",
        "ties": len(ties),
        "rounding": worst.rounding if worst else None,
        "worst_sample": worst.sample_id if worst else None,
    }


def tie(comparison: Comparison) -> bool:
    """Whether rounding alone explains a divergence."""
    if comparison.rounding is None:
        return False  # one output ends where the other goes on
    if comparison.gap is not None and comparison.gap < -comparison.rounding:
        return False  # vanilla's own token is not the target's choice: to part from it proves nothing
    # Equal is close enough: such a move makes the two scores equal, and then the lower id wins.
    close = comparison.gap is not None and abs(comparison.gap) <= comparison.rounding and comparison.rounding > 0
    return close or bool(comparison.flips)


def uniform(quantiles: list[float]) -> tuple[float, float]:
    """p-value of the hypothesis that the quantiles are uniform (chi-squared, BINS bins), and the smallest shift that
    would have been found: in total variation of the quantiles, spread over the bins, with probability POWER."""
    if not quantiles:
        return 1.0, 1.0
    counts = Counter(min(int(q * BINS), BINS - 1) for q in quantiles)
    p_value = float(stats.chisquare([counts[number] for number in range(BINS)]).pvalue)
    edge = stats.chi2.isf(LEVEL, BINS - 1)
    # A shift of d moves 2 d / BINS into or out of each bin: noncentrality 4 n d^2.
    needed = optimize.brentq(lambda x: stats.ncx2.sf(edge, BINS - 1, x) - POWER, 1e-6, 1e4)
    return p_value, min(1.0, float((needed / (4 * len(quantiles))) ** 0.5))
