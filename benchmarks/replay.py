"""Speedup at any acceptance, without a drafter: recorded outputs are drafted again, right with a set probability.

    python benchmarks/replay.py [--context 256] [--rounds 3] [--output replay.json] [--figure replay.svg]

Vanilla's own output is recorded first. Then each draft token is the recorded one with probability `acceptance`, given
that those before it were, and a wrong one otherwise; drafting itself costs nothing. Beside each measured speedup
stands the cost model's: acceptance length times T(1) / T(q), both forwards measured in the same process.
"""

from __future__ import annotations

import random
import statistics
from pathlib import Path

import setup
import torch
from engine import forward_seconds
from matplotlib.figure import Figure

from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.models.target import CausalLM

NEW_TOKENS = 97
ACCEPTANCE = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0)
METHODS = {
    "sequential 4": sequential.Method(4),
    "sequential 8": sequential.Method(8),
    "tree 4-4-3-2": tree.Method([4, 4, 3, 2]),
    "tree 4-16-16-16-16": tree.Method([4, 16, 16, 16, 16]),
}


class Replay:
    """Drafts the recorded output; at each position it has the right token with probability `acceptance`."""

    def __init__(self, recorded: list[int], acceptance: float, vocab_size: int) -> None:
        rng = random.Random(0)
        self.hits = [rng.random() < acceptance for _ in recorded]
        self.recorded, self.vocab_size, self.emitted = recorded, vocab_size, 0

    def prefill(self, ids, capacity):
        self.emitted = 1

    def expand(self, tree, nodes, width, verifier):
        """Below a node of the recorded path the recorded token comes first, or is missing; all others are wrong."""
        found = []
        for node in nodes:
            path = [tree.tokens[step] for step in tree.path(node)]
            at = self.emitted + tree.depths[node]
            on_record = path == self.recorded[self.emitted - 1 : at] and at < len(self.recorded)
            true = self.recorded[at] if on_record else 0
            wrong = [((true + 1 + n) % self.vocab_size, -5.0 - n) for n in range(width)]
            right = [(true, 0.0)] if on_record and self.hits[at] else []
            found.append([*right, *wrong][:width])
        return found

    def commit(self, emitted, tree, path):
        self.emitted += len(emitted)


@torch.inference_mode()
def price(target: CausalLM, ids: list[int], queries: int) -> float:
    """T(q) / T(1) behind this context."""
    target.reset(len(ids) + queries)
    target.append(ids)
    one = forward_seconds(target, len(ids), 1)
    return forward_seconds(target, len(ids), queries) / one


def one_round(target: CausalLM, ids: list[int]) -> list[dict]:
    """Every method at every acceptance, each beside a vanilla of its own."""
    limits, rows = Limits((), NEW_TOKENS), []
    recorded = generate(target, vanilla.Method(), None, ids, limits).output_ids
    for name, method in METHODS.items():
        forward = price(target, ids, method.max_nodes)
        for acceptance in ACCEPTANCE:
            plain = generate(target, vanilla.Method(), None, ids, limits).decode_seconds
            drafter = Replay(recorded, acceptance, target.vocab_size)
            turn = generate(target, method, drafter, ids, limits)
            length = (len(turn.output_ids) - 1) / len(turn.steps)
            row = {"method": name, "acceptance": acceptance, "acceptance_length": length}
            rows.append({**row, "speedup": plain / turn.decode_seconds, "predicted": length / forward})
    return rows


def draw(table: dict[str, list[tuple[float, float, float]]], path: Path) -> None:
    """Measured speedup as marks, the cost model's as lines."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, points) in enumerate(table.items()):
        acceptance, measured, predicted = zip(*points, strict=True)
        axes.plot(acceptance, predicted, color=f"C{number}", linewidth=1)
        axes.plot(acceptance, measured, "osD^"[number % 4], color=f"C{number}", label=name)
    axes.axhline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set(xlabel="probability that the next draft token is right", ylabel="speedup over vanilla")
    axes.legend(title="measured; lines: cost model")
    figure.savefig(path)


def main() -> None:
    parser = setup.arguments(__doc__)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    target, ids = setup.target(args.dtype), setup.text_ids(__file__, 4)[: args.context]
    raw = [{"round": number, **row} for number in range(args.rounds) for row in one_round(target, ids)]
    table: dict[str, list[tuple[float, float, float]]] = {}
    for name in METHODS:
        for acceptance in ACCEPTANCE:
            rows = [row for row in raw if (row["method"], row["acceptance"]) == (name, acceptance)]
            figures = [statistics.median(row[key] for row in rows) for key in ("speedup", "predicted")]
            length = statistics.median(row["acceptance_length"] for row in rows)
            table.setdefault(name, []).append((acceptance, *figures))
            measured, predicted = figures
            print(f"{name}, {acceptance:.1f}: length {length:.2f}, measured {measured:.2f}, predicted {predicted:.2f}")
    setup.keep(args.output, target, rows=raw)
    if args.figure:
        draw(table, args.figure)


if __name__ == "__main__":
    main()
