"""How often the intervals of a loaded engine hold the true speedup, on a simulated closed loop.

    python benchmarks/window_coverage.py [--trials 1000] [--output window_coverage.json]

An engine decodes `slots` requests in lockstep; a finished one is replaced at once. A step gives a request 1 token
without speculation, and with it so many as its prompt is worth (log-normal, the same in every repeat). A step's seconds
grow with the requests in flight and follow the machine's speed, which wanders (correlated over about a window, apart on
the two sides). Every repeat has an order of its own, the same on both sides. The truth is a run of 20,000 prompts.

Printed is, in how many of all experiments the interval holds the truth: of the requests' own rates by windows (what
longspec-bench does), by windows without what repeats of a prompt add, and by prompts; and of the throughput while all
slots are busy. docs/decisions/0018 rests on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

from longspec.analysis import intervals

WINDOWS = (4, 6, 8, 12, 24)
"""Busy windows, over all repeats."""
LOADS = ((4, 1), (4, 3), (16, 1), (16, 3))
"""(slots, repeats)"""
TURNING = 0.3
"""Standard deviation of the logarithm of tokens a step, between prompts."""
WANDER, STEPS_OF_WANDER = 0.06, 100
"""Standard deviation of the logarithm of the machine's speed, and over how many steps it is forgotten."""
Runs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of each trial: decode seconds and all seconds of each request in order of admission [trials, n]; and (time, tokens)
at each admission of a window's first [trials, windows, 2]."""


def serve(tokens: np.ndarray, worth: np.ndarray, slots: int, cost: float, rng: np.random.Generator) -> Runs:
    """Answer requests of so many `tokens` [trials, n], `worth` so many tokens a step, in the order given."""
    trials, n = tokens.shape
    rows, every = np.arange(trials), np.arange(trials)[:, None]
    holds = np.tile(np.arange(slots), (trials, 1))
    left = tokens[:, :slots].copy()
    sent, decode, whole = np.zeros((trials, n)), np.zeros((trials, n)), np.zeros((trials, n))
    marks = np.zeros((trials, (n - 1) // slots + 1, 2))
    now, made, following = np.zeros(trials), np.zeros(trials), np.full(trials, slots)
    first, wander = np.full((trials, n), np.nan), WANDER * rng.standard_normal(trials)
    keep = np.exp(-1 / STEPS_OF_WANDER)
    while (holds < n).any():
        active = holds < n
        wander = keep * wander + WANDER * np.sqrt(1 - keep**2) * rng.standard_normal(trials)
        now += np.where(active.any(1), (1 + cost * active.sum(1)) * np.exp(wander), 0)
        place = np.minimum(holds, n - 1)
        begun = np.where(np.isnan(first[every, place]), now[:, None], first[every, place])
        first[every, place] = np.where(active, begun, first[every, place])
        gives = np.where(active, np.minimum(worth[every, place], left), 0)
        left -= gives
        made += gives.sum(1)
        for slot in range(slots):
            done = active[:, slot] & (left[:, slot] <= 1e-9)
            at, which = rows[done], holds[done, slot]
            decode[at, which] = now[at] - first[at, which]
            whole[at, which] = now[at] - sent[at, which]
            holds[at, slot] = following[at]
            more = at[following[at] < n]
            sent[more, following[more]] = now[more]
            left[more, slot] = tokens[more, following[more]]
            new = more[following[more] % slots == 0]
            marks[new, following[new] // slots] = np.stack([now[new], made[new]], -1)
            following[at] += 1
    return decode, whole, marks


def experiment(trials: int, windows: int, slots: int, repeats: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Simulate both sides: (decode [trials, requests, 4], end to end, windows [trials, windows, 4], both keys)."""
    n = slots * (windows + 1)
    lengths = np.minimum(np.exp(rng.normal(4.0, 0.8, (trials, n))), 128).round() + 2
    worth = 1.8 * np.exp(rng.normal(0, TURNING, (trials, n)))
    parts: list[list[np.ndarray]] = [[], [], [], [], []]
    for repeat in range(repeats):
        order = rng.permuted(np.tile(np.arange(n), (trials, 1)), axis=1)
        tokens, gain = np.take_along_axis(lengths, order, 1), np.take_along_axis(worth, order, 1)
        ours = serve(tokens, gain, slots, 0.06, rng)
        theirs = serve(tokens, np.ones_like(gain), slots, 0.03, rng)
        decoded = tokens - np.minimum(gain, tokens), tokens - 1
        parts[0].append(np.stack([decoded[0], ours[0], decoded[1], theirs[0]], -1))
        parts[1].append(np.stack([tokens, ours[1], tokens, theirs[1]], -1))
        parts[2].append(np.concatenate([np.diff(side[2], axis=1)[..., ::-1] for side in (ours, theirs)], -1))
        parts[3].append(order)
        parts[4].append(np.tile(np.arange(n) // slots + repeat * n, (trials, 1)))
    return tuple(np.concatenate(part, 1) for part in parts)


def truths(slots: int) -> tuple[float, float]:
    """The rates' own ratio and the throughputs', of one long run."""
    decode, _, windows, *_ = experiment(1, 20_000 // slots, slots, 1, np.random.default_rng(7))
    sums = (part[0].sum(0) for part in (decode, windows))
    first, second = (float(s[0] / s[1] * s[3] / s[2]) for s in sums)
    return first, second


def coverage(trials: int, windows: int, slots: int, repeats: int, true: tuple[float, float]) -> dict[str, float]:
    """Share of the trials in which each interval holds its truth."""
    rng = np.random.default_rng([windows, slots, repeats])
    held = dict.fromkeys(("rates", "rates without repeats", "rates by prompts", "throughput", "its without"), 0)
    drawn = experiment(trials, windows // repeats, slots, repeats, rng)
    for decode, whole, cut, prompts, numbers in zip(*drawn, strict=True):
        by_window = intervals.grouped(decode, np.unique(numbers, return_inverse=True)[1])
        more, end_to_end = intervals.across(decode, prompts), intervals.across(whole, prompts)
        found = {
            "rates": intervals.paired(by_window, more=more),
            "rates without repeats": intervals.paired(by_window),
            "rates by prompts": intervals.paired(intervals.grouped(decode, prompts)),
            "throughput": intervals.paired(cut, more=end_to_end),
            "its without": intervals.paired(cut),
        }
        for name, interval in found.items():
            held[name] += intervals.holds(true["its" in name or name == "throughput"], interval)
    return {name: count / trials for name, count in held.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="simulated experiments per figure")
    parser.add_argument("--output", type=Path, help="raw figures as JSON")
    args = parser.parse_args()
    rows = []
    for slots, repeats in LOADS:
        true = truths(slots)
        for windows in WINDOWS:
            if windows < 2 * repeats:
                continue
            held = coverage(args.trials, windows, slots, repeats, true)
            about = {"slots": slots, "repeats": repeats, "windows": windows // repeats * repeats, "trials": args.trials}
            rows.append({**about, "true_speedup": true[0], "true_throughput_speedup": true[1], **held})
            print(f"{slots} slots, {repeats} repeats, {windows // repeats * repeats} windows: "
                  + ", ".join(f"{name} {share:.3f}" for name, share in held.items()), flush=True)  # fmt: skip
    if args.output:
        args.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
