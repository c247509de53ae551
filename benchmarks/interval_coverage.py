"""How often a 95% interval holds the true speedup, on simulated pairs.

    python benchmarks/interval_coverage.py [--pairs 500] [--output interval_coverage.json]

Four questions: our interval beside scipy's bootstraps; how few prompts are too few; what it takes for work of others on
the machine to mislead; and what choosing the fastest of several variants does to its interval. The first gives the
reasons of docs/decisions/0007, the others those of docs/decisions/0013.

Each population is heavy-tailed in another way, and a sample's two times are correlated, as they are when both are long
because the text is. The truth is the ratio of sums over ten million pairs of the population.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from longspec.analysis import intervals

SIZES = (12, 30, 100)
FEW = (2, 4, 8, 12, 16, 20, 24, 30, 48)
"""Numbers of prompts of which the smallest that is enough is sought."""
BUSY = (0.0, 0.05, 0.1, 0.2, 0.5)
"""Shares of pairs whose one side was slowed by others."""
SLOWED = 1.5
"""By this factor."""
VARIANTS = (1, 2, 4, 8, 16)
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


def kinds(share: float, factor: float) -> Callable[[int, np.random.Generator], Pairs]:
    """Two kinds of prompts: a `share` is drafted `factor` times as well as the others, as looping outputs are."""

    def draw(n: int, rng: np.random.Generator) -> Pairs:
        better = rng.random(n) < share
        tokens = np.where(better, 256, np.minimum(np.exp(rng.normal(4.6, 1.0, n)), 256))
        pairs = _pairs(tokens, tokens * np.exp(rng.normal(0, 0.05, n)), 0.15, rng)
        pairs[:, 1] /= np.where(better, factor, 1)
        return pairs

    return draw


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
        held += intervals.holds(true, interval(draw(size, rng)))
    return held / trials


def few_prompts(trials: int) -> list[dict[str, object]]:
    """Coverage of our interval by the number of prompts, where prompts are of one kind and of two."""
    mixed = {f"{s:.0%} drafted {f} times as well": kinds(s, f) for s in (0.05, 0.1, 0.2, 0.4) for f in (1.5, 2, 3)}
    rows: list[dict[str, object]] = []
    for name, draw in {**POPULATIONS, **mixed}.items():
        true = truth(draw)
        held = {size: coverage(draw, true, size, intervals.paired, trials) for size in FEW}
        print(f"{name}: " + ", ".join(f"n = {size} {share:.3f}" for size, share in held.items()), flush=True)
        rows += [{"population": name, "samples": n, "coverage": share, "trials": trials} for n, share in held.items()]
    return rows


def busy_machine(trials: int) -> list[dict[str, object]]:
    """Coverage where some pairs, all on the method's side, were slowed by others: a job that ran while they did."""
    true = truth(stalls)
    rows: list[dict[str, object]] = []
    for size in (24, 100, 400):
        for share in BUSY:

            def draw(n: int, rng: np.random.Generator, share: float = share) -> Pairs:
                pairs = stalls(n, rng)
                pairs[:, 1] *= np.where(np.arange(n) < round(share * n), SLOWED, 1)
                return pairs

            held = coverage(draw, true, size, intervals.paired, trials)
            rows.append({"population": "stalls", "samples": size, "slowed": share, "coverage": held, "trials": trials})
            print(f"{share:.0%} of {size} pairs slowed by {SLOWED}: {held:.3f}", flush=True)
    return rows


def fastest(variants: int, rng: np.random.Generator, size: int = 24) -> tuple[float, Pairs]:
    """The largest of the speedups of variants that are equally fast in truth, and its pairs; one baseline."""
    tokens = np.minimum(np.exp(rng.normal(4.6, 1.0, size)), 256)
    theirs = tokens * np.exp(rng.normal(0, 0.05, size))
    drawn = (_pairs(tokens, theirs, 0.3, rng) for _ in range(variants))
    return max(((float(speedup(pairs.sum(0))), pairs) for pairs in drawn), key=lambda pair: pair[0])


def selection(trials: int, counts: Sequence[int] = VARIANTS) -> list[dict[str, object]]:
    """Coverage of the fastest variant's own speedup by its 95% interval, and by the one that knows of the choice."""
    rng, many = np.random.default_rng(1), 1_000_000
    tokens = np.minimum(np.exp(rng.normal(4.6, 1.0, many)), 256)
    true = float(speedup(_pairs(tokens, tokens * np.exp(rng.normal(0, 0.05, many)), 0.3, rng).sum(0)))
    rows: list[dict[str, object]] = []
    for variants in counts:
        rng, plain, corrected, inflated = np.random.default_rng([0, variants]), 0, 0, 0.0
        for _ in range(trials):
            found, pairs = fastest(variants, rng)
            plain += intervals.holds(true, intervals.paired(pairs))
            corrected += intervals.holds(true, intervals.paired(pairs, intervals.simultaneous(variants)))
            inflated += found / true
        row = {"variants": variants, "samples": 24, "coverage": plain / trials, "corrected": corrected / trials}
        rows.append({**row, "inflation": inflated / trials, "trials": trials})
        print(f"fastest of {variants}: {plain / trials:.3f}, corrected {corrected / trials:.3f}, "
              f"shown {inflated / trials:.3f} times the truth", flush=True)  # fmt: skip
    return rows


def beside_bootstraps(pairs: int) -> list[dict[str, object]]:
    """Coverage of our interval and of two bootstraps."""
    rules = {
        "jackknife t": (intervals.paired, 10 * pairs),
        "BCa": (bootstrap("BCa"), pairs),
        "percentile": (bootstrap("percentile"), pairs),
    }
    rows: list[dict[str, object]] = []
    for name, draw in POPULATIONS.items():
        true = truth(draw)
        for size in SIZES:
            for rule, (interval, trials) in rules.items():
                held = coverage(draw, true, size, interval, trials)
                rows.append({"population": name, "samples": size, "interval": rule, "coverage": held, "trials": trials})
                print(f"{name}, n = {size}, {rule}: {held:.3f}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=500, help="simulated data sets per figure of a bootstrap")
    parser.add_argument("--output", type=Path, help="raw figures as JSON")
    args = parser.parse_args()
    rows = {
        "few prompts": few_prompts(10 * args.pairs),
        "busy machine": busy_machine(10 * args.pairs),
        "selection": selection(10 * args.pairs),
        "beside bootstraps": beside_bootstraps(args.pairs),
    }
    if args.output:
        args.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
