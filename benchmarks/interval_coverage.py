"""How often a 95% interval holds the true speedup: ours beside scipy's bootstrap, on simulated pairs.

    python benchmarks/interval_coverage.py [--pairs 500] [--output interval_coverage.json]

Each population is heavy-tailed in another way, and a sample's two times are correlated, as they are when both are long
because the text is. The truth is the ratio of sums over ten million pairs of the population.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from longspec.analysis import intervals

SIZES = (12, 30, 100)
RESAMPLES = 1999
Pairs = np.ndarray
"""[n, 4]: our tokens, our seconds, vanilla's tokens, vanilla's seconds."""


def _pairs(tokens: np.ndarray, theirs: np.ndarray, spread: float, rng: np.random.Generator) -> Pairs:
    """Equal outputs; our seconds are 1.6 times less, but for a log-normal factor."""
    ours = theirs / (1.6 * np.exp(rng.normal(0, spread, len(tokens))))
    return np.stack([tokens, ours, tokens, theirs], -1)


def lognormal(n: int, rng: np.random.Generator) -> Pairs:
    """Lengths of which one in a hundred is ten times the median."""
    tokens = np.exp(rng.normal(0, 1.0, n))
    return _pairs(tokens, tokens * np.exp(rng.normal(0, 0.1, n)), 0.35, rng)


def pareto(n: int, rng: np.random.Generator) -> Pairs:
    """Lengths without a fourth moment, nor a third."""
    tokens = 1 + rng.pareto(2.5, n)
    return _pairs(tokens, tokens * np.exp(rng.normal(0, 0.05, n)), 0.3, rng)


def stalls(n: int, rng: np.random.Generator) -> Pairs:
    """Lengths cut at a limit; now and then the machine stalls, on either side."""
    tokens = np.minimum(np.exp(rng.normal(4.6, 1.0, n)), 256)
    pairs = _pairs(tokens, tokens * np.exp(rng.normal(0, 0.05, n)), 0.3, rng)
    pairs[:, 1] *= 1 + 0.1 * rng.pareto(2.5, n)
    pairs[:, 3] *= 1 + 0.1 * rng.pareto(2.5, n)
    return pairs


POPULATIONS = {draw.__name__: draw for draw in (lognormal, pareto, stalls)}


def speedup(sums: np.ndarray) -> np.ndarray:
    """From sums [..., 4]."""
    return sums[..., 0] / sums[..., 1] * sums[..., 3] / sums[..., 2]


def truth(draw: Callable[[int, np.random.Generator], Pairs]) -> float:
    """The population's own."""
    rng = np.random.default_rng(1)
    return float(speedup(sum(draw(1_000_000, rng).sum(0) for _ in range(10))))


def bootstrap(method: str) -> Callable[[Pairs], tuple[float, float]]:
    """scipy's interval of the same ratio, samples resampled as pairs."""

    def interval(pairs: Pairs) -> tuple[float, float]:
        done = stats.bootstrap(
            (np.arange(len(pairs)),),
            lambda index, axis: speedup(pairs[index].sum(-2)),
            n_resamples=RESAMPLES,
            method=method,
            rng=np.random.default_rng(0),
        )
        return done.confidence_interval

    return interval


def coverage(draw: Callable, true: float, size: int, interval: Callable, trials: int, seed: int = 0) -> float:
    """Share of `trials` in which the interval holds the truth."""
    rng, held = np.random.default_rng([seed, size]), 0
    for _ in range(trials):
        low, high = interval(draw(size, rng))
        held += low <= true <= high
    return held / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=500, help="simulated data sets per figure of a bootstrap")
    parser.add_argument("--output", type=Path, help="raw figures as JSON")
    args = parser.parse_args()
    rows = []
    rules = {
        "jackknife t": (intervals.paired, 10 * args.pairs),
        "BCa": (bootstrap("BCa"), args.pairs),
        "percentile": (bootstrap("percentile"), args.pairs),
    }
    for name, draw in POPULATIONS.items():
        true = truth(draw)
        for size in SIZES:
            for rule, (interval, trials) in rules.items():
                held = coverage(draw, true, size, interval, trials)
                rows.append({"population": name, "samples": size, "interval": rule, "coverage": held, "trials": trials})
                print(f"{name}, n = {size}, {rule}: {held:.3f}", flush=True)
    if args.output:
        args.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
