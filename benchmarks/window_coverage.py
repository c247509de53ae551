"""How often the intervals of a loaded engine hold the true speedup, on a simulated closed loop.

    python benchmarks/window_coverage.py [--trials 1000] [--output window_coverage.json]

An engine decodes `slots` requests in lockstep; a finished one is replaced at once. A step gives a request 1 token
without speculation, and with it so many as its prompt is worth (log-normal, the same in every repeat). A step's seconds
grow with the requests in flight and follow the machine's speed, which wanders on each side by itself: within a window,
or over several of them. Every repeat has an order of its own, the same on both sides. The truth is long runs' without
their ends.

Printed is, in how many of all experiments the interval holds the truth: of the requests' own rates by windows (as
longspec-bench does), by windows without what repeats of a prompt add, and by prompts; and of the throughput while all
slots are busy, with the spread of the requests' end-to-end rates (as longspec-bench does) and with that of its own
windows. docs/decisions/0018 rests on it.
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
LOADS = ((4, 1), (4, 2), (4, 3), (16, 1), (16, 2), (16, 3))
"""(slots, repeats)"""
LONG = (64, 80)
"""Experiments that make the truth, and windows of each."""
TURNING = 0.3
"""Standard deviation of the logarithm of tokens a step, between prompts."""
WANDER = 0.06
"""Standard deviation of the logarithm of the machine's speed."""
FORGOTTEN = {"within a window": 10, "over windows": 100}
"""Over how many steps it is; a window is of about 60 without speculation."""
Runs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of each trial: decode seconds and all seconds of each request in order of admission [trials, n]; and (time, tokens)
at each admission of a window's first [trials, windows, 2]."""


def serve(
    tokens: np.ndarray, worth: np.ndarray, slots: int, cost: float, keep: float, rng: np.random.Generator
) -> Runs:
    """Answer requests of so many `tokens` [trials, n], `worth` so many tokens a step, in the order given; `keep`: share
    of the machine's speed that stays from step to step."""
    trials, n = tokens.shape
    rows, every = np.arange(trials), np.arange(trials)[:, None]
    holds = np.tile(np.arange(slots), (trials, 1))
    left = tokens[:, :slots].copy()
    sent, decode, whole = np.zeros((trials, n)), np.zeros((trials, n)), np.zeros((trials, n))
    marks = np.zeros((trials, (n - 1) // slots + 1, 2))
    now, made, following = np.zeros(trials), np.zeros(trials), np.full(trials, slots)
    first, wander = np.full((trials, n + 1), np.nan), WANDER * rng.standard_normal(trials)
    while (holds < n).any():
        active = holds < n
        wander = keep * wander + WANDER * np.sqrt(1 - keep**2) * rng.standard_normal(trials)
        now += np.where(active.any(1), (1 + cost * active.sum(1)) * np.exp(wander), 0)
        place, free = np.minimum(holds, n - 1), np.minimum(holds, n)  # a column more, for slots that hold nothing
        begun = first[every, free]
        first[every, free] = np.where(np.isnan(begun), now[:, None], begun)
        gives = np.where(active, np.minimum(worth[every, place], left), 0)
        left -= gives
        made += gives.sum(1)
        ended = active & (left <= 1e-9)
        for slot in np.flatnonzero(ended.any(0)):
            done = ended[:, slot]
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


def experiment(
    trials: int, windows: int, slots: int, repeats: int, forgotten: int, rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Simulate both sides: (decode [trials, requests, 4], end to end, windows [trials, windows, 4], both keys)."""
    n, keep = slots * (windows + 1), float(np.exp(-1 / forgotten))
    lengths = np.minimum(np.exp(rng.normal(4.0, 0.8, (trials, n))), 128).round() + 2
    worth = 1.8 * np.exp(rng.normal(0, TURNING, (trials, n)))
    parts: list[list[np.ndarray]] = [[], [], [], [], []]
    for repeat in range(repeats):
        order = rng.permuted(np.tile(np.arange(n), (trials, 1)), axis=1)
        tokens, gain = np.take_along_axis(lengths, order, 1), np.take_along_axis(worth, order, 1)
        ours = serve(tokens, gain, slots, 0.06, keep, rng)
        theirs = serve(tokens, np.ones_like(gain), slots, 0.03, keep, rng)
        decoded = tokens - np.minimum(gain, tokens), tokens - 1
        parts[0].append(np.stack([decoded[0], ours[0], decoded[1], theirs[0]], -1))
        parts[1].append(np.stack([tokens, ours[1], tokens, theirs[1]], -1))
        parts[2].append(np.concatenate([np.diff(side[2], axis=1)[..., ::-1] for side in (ours, theirs)], -1))
        parts[3].append(order)
        parts[4].append(np.tile(np.arange(n) // slots + repeat * n, (trials, 1)))
    return tuple(np.concatenate(part, 1) for part in parts)


def speedup(rows: np.ndarray) -> float:
    """Of rows [n, 4]."""
    ours, seconds, theirs, their_seconds = rows.sum(0)
    return float(ours / seconds * their_seconds / theirs)


def truths(slots: int) -> tuple[float, float]:
    """The rates' own ratio and the throughputs', of long runs without their last two windows."""
    trials, windows = LONG
    decode, _, cut, *_ = experiment(trials, windows, slots, 1, FORGOTTEN["within a window"], np.random.default_rng(7))
    return speedup(decode[:, : slots * (windows - 1)].sum(0)), speedup(cut[:, : windows - 1].sum(0))


def coverage(
    trials: int, windows: int, slots: int, repeats: int, forgotten: int, true: tuple[float, float]
) -> dict[str, float]:
    """Share of the trials in which each interval holds its truth."""
    rng = np.random.default_rng([windows, slots, repeats, forgotten])
    held = dict.fromkeys(
        ("rates", "rates without repeats", "rates by prompts", "throughput", "throughput by its windows"), 0
    )
    drawn = experiment(trials, windows // repeats, slots, repeats, forgotten, rng)
    for decode, whole, cut, prompts, numbers in zip(*drawn, strict=True):
        by_window = intervals.grouped(decode, np.unique(numbers, return_inverse=True)[1])
        end_to_end = intervals.grouped(whole, np.unique(numbers, return_inverse=True)[1])
        moved = speedup(cut) / speedup(end_to_end)
        low, high = intervals.paired(end_to_end, more=intervals.across(whole, prompts))
        found = {
            "rates": intervals.paired(by_window, more=intervals.across(decode, prompts)),
            "rates without repeats": intervals.paired(by_window),
            "rates by prompts": intervals.paired(intervals.grouped(decode, prompts)),
            "throughput": (low * moved, high * moved),
            "throughput by its windows": intervals.paired(cut),
        }
        for name, interval in found.items():
            held[name] += intervals.holds(true["throughput" in name], interval)
    return {name: count / trials for name, count in held.items()}


def figures(trials: int, slots: int, repeats: int, true: tuple[float, float]) -> list[dict[str, object]]:
    """Coverage at one load, by the noise and by the number of windows."""
    rows: list[dict[str, object]] = []
    for noise, forgotten in FORGOTTEN.items():
        for windows in (windows for windows in WINDOWS if windows >= 2 * repeats and windows % repeats == 0):
            held = coverage(trials, windows, slots, repeats, forgotten, true)
            about = {"slots": slots, "repeats": repeats, "windows": windows, "noise": noise}
            said = ", ".join(f"{name} {share:.3f}" for name, share in held.items())
            print(*(f"{name} {value}" for name, value in about.items()), said, sep=", ", flush=True)
            rows.append({**about, "true speedup": true[0], "true throughput speedup": true[1], **held})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="simulated experiments per figure")
    parser.add_argument("--output", type=Path, help="raw figures as JSON")
    args = parser.parse_args()
    rows = []
    for slots, repeats in LOADS:
        rows += figures(args.trials, slots, repeats, truths(slots))
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps({"trials": args.trials, "figures": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
