"""Compute intervals of ratios of sums, 95% unless another level is asked for.

Contract: closed formulas, so the same numbers give the same interval; nothing is drawn. A row is one sample, repeats
summed: samples vary, a sample's repeats are no further samples.

The logarithm of the ratio is estimated with the jackknife's standard error (each sample left out once; Efron and
Stein 1981) and Student's t at n' - 1 degrees of freedom, where n' = 1 / sum of squared weights (Kish 1965) and a
sample's weight is its mean share of the sums: a few long samples carry less evidence than their number says. Coverage
is 93 to 97% with 12, 30 and 100 heavy-tailed pairs, where a BCa bootstrap's is 85 to 93% (docs/decisions/0007).

Of several requests in flight a row is a window of admissions. Its prompts stand in other windows too, once a repeat:
what windows do not see of that is a Spread to be added (`across`; docs/decisions/0018).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

LEVEL = 0.95
Interval = tuple[float, float]
NONE: Interval = (float("nan"), float("nan"))


class Spread(NamedTuple):
    """A variance of the logarithm of a ratio, to be added to that of the rows; `samples`: how many it rests on (n')."""

    variance: float
    samples: float


NOTHING_MORE = Spread(0.0, float("inf"))


def simultaneous(count: int) -> float:
    """Return the level at which each of `count` intervals must be made so that all of them hold at LEVEL (Bonferroni).

    The interval of whichever of them is chosen afterwards, the largest say, then holds at LEVEL at least.
    """
    return 1 - (1 - LEVEL) / max(count, 1)


def holds(value: float, interval: Interval) -> bool:
    """Tell whether an interval contains a value; one that is NaN contains none."""
    return interval[0] <= value <= interval[1]


def paired(pairs: NDArray[np.float64], level: float = LEVEL, more: Spread = NOTHING_MORE) -> Interval:
    """Estimate (sum a / sum b) / (sum c / sum d); `pairs` [n, 4] has one sample a row. NaN where there is none.

    `more`: variance that the rows do not show."""
    pairs = pairs[pairs.any(axis=1)]
    if len(pairs) < 2:
        return NONE
    sums = pairs.sum(0)
    rest = sums - pairs
    if (sums <= 0).any() or (rest <= 0).any():
        return NONE
    freedom = min(_samples(pairs / sums), more.samples) - 1
    return _around(_log(sums), _variance(_log(rest)) + more.variance, freedom, level)


def across(pairs: NDArray[np.float64], prompts: NDArray[np.integer]) -> Spread:
    """Estimate what a jackknife over rows in which each prompt stands once misses, where a prompt stands in several.

    `pairs` [n, 4]: one request a row; `prompts` [n]: the number of its prompt. By the rule for two crossed groupings
    (Cameron, Gelbach and Miller 2011), V = V of rows + V of prompts - V of requests; it is the last two, and never
    below zero. Nothing where every prompt stands once, or where there is no such estimate."""
    summed = grouped(pairs, prompts)
    estimates = []
    for parts in (summed, pairs):
        sums = parts.sum(0)
        if len(parts) < 2 or (sums <= 0).any() or (sums - parts <= 0).any():
            return NOTHING_MORE
        estimates.append(_variance(_log(sums - parts)))
    if len(summed) == len(pairs):
        return NOTHING_MORE
    return Spread(max(estimates[0] - estimates[1], 0.0), _samples(summed / summed.sum(0)))


def grouped(pairs: NDArray[np.float64], numbers: NDArray[np.integer]) -> NDArray[np.float64]:
    """Sum the rows [n, 4] of each group; `numbers` [n]: from 0 on, of each row's."""
    summed = np.zeros((int(numbers.max(initial=-1)) + 1, pairs.shape[1]))
    np.add.at(summed, numbers, pairs)
    return summed


def apart(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Interval:
    """Estimate (sum a / sum b) / (sum c / sum d) from samples that are not pairs; `ours` [n, 2], `theirs` [m, 2]."""
    parts = [part for part in (ours, theirs) if len(part) >= 2]
    sums = [part.sum(0) for part in parts]
    rests = [total - part for part, total in zip(parts, sums, strict=True)]
    if len(parts) < 2 or any((values <= 0).any() for values in (*sums, *rests)):
        return NONE
    logs = [float(np.log(total[0] / total[1])) for total in sums]
    variances = [_variance(np.log(rest[:, 0] / rest[:, 1])) for rest in rests]
    counts = [_samples(part / total) for part, total in zip(parts, sums, strict=True)]
    # Welch's degrees of freedom.
    total = sum(variances)
    freedom = total**2 / sum(v**2 / max(n - 1, 1) for v, n in zip(variances, counts, strict=True)) if total else 1.0
    return _around(logs[0] - logs[1], total, freedom)


def _log(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the ratio of `sums` [..., 4]."""
    result: NDArray[np.float64] = np.log(sums[..., 0] / sums[..., 1]) - np.log(sums[..., 2] / sums[..., 3])
    return result


def _variance(left_out: NDArray[np.float64]) -> float:
    """Estimate a variance by the jackknife, from the estimates with each sample left out."""
    return float((len(left_out) - 1) * left_out.var())


def _samples(shares: NDArray[np.float64]) -> float:
    """How many samples of equal weight carry as much evidence; `shares` [n, k] sums to 1 in each column."""
    return float(1 / (shares.mean(1) ** 2).sum())


def _around(log: NDArray[np.float64] | float, variance: float, freedom: float, level: float = LEVEL) -> Interval:
    half = float(special.stdtrit(max(freedom, 1.0), (1 + level) / 2)) * variance**0.5
    return float(np.exp(log - half)), float(np.exp(log + half))
