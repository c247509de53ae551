"""What a shape would do on a text of which every position's drafts are known, and what its steps would cost.

A chain of gamma drafts is expected to accept sum_i prod_{j<=i} a_j of them, where a_j is the acceptance at position j
(Leviathan et al. 2023, equation 1, with a_j not all equal). Instead of an expectation over independent positions we
walk through each text as the shape would, from the end of one step to the start of the next: for a chain that is what
the loop will do on this text. A tree of widths w_d is the recorded one with only the best w_d nodes of each depth below
those kept above; it accepts at least that much, since what the wide tree had dropped may find room. A step costs T(q),
the drafter's expansions of its levels and its commit; what a method computes itself is left out. This module does not
know how any of it was measured.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from longspec.decoding.tree import TokenTree


@dataclass(frozen=True)
class Step:
    """What could have been accepted at one position of a text."""

    path: list[int]
    """Nodes that say what the text says, from the root on."""
    levels: list[list[tuple[int, int]]]
    """By depth below the root: each node with its parent, in the order in which the method preferred them."""

    def rank(self, depth: int) -> int:
        """Of the path's node at `depth` + 1, among its siblings."""
        siblings = [node for node, parent in self.levels[depth] if parent == self.path[depth]]
        return siblings.index(self.path[depth + 1])

    def cut(self, widths: list[int]) -> tuple[int, list[int]]:
        """Drafts accepted, and nodes at each depth, in a shape of these widths."""
        kept, accepted, sizes = {0}, 0, []
        for depth, (width, level) in enumerate(zip(widths, self.levels, strict=False), start=1):
            kept = set(itertools.islice((node for node, parent in level if parent in kept), width))
            if not kept:
                break
            sizes.append(len(kept))
            accepted += depth < len(self.path) and self.path[depth] in kept
        return accepted, sizes


@dataclass(frozen=True)
class Costs:
    """Median seconds: `target` by rows (forward, verification and commit), the drafter's `expand` by the number of
    nodes below which it looks, and its `commit`."""

    target: dict[int, float]
    expand: dict[int, float]
    commit: float

    def step(self, levels: list[int], depth: int) -> float:
        """Seconds of a step whose tree has `levels` nodes at each depth, when the method wants `depth` of them.

        A level that the drafter had nothing for was asked for too."""
        asked = [1, *levels][: min(depth, len(levels) + 1)]
        return _at(self.target, 1 + sum(levels)) + sum(_at(self.expand, nodes) for nodes in asked) + self.commit


@dataclass(frozen=True)
class Prediction:
    """What a shape is expected to do; speedup is over one token a step, without a drafter."""

    tokens_per_second: float
    acceptance_length: float
    speedup: float


def _at(seconds: dict[int, float], count: int) -> float:
    """Interpolated; past the last measured count, along the last two."""
    counts = sorted(seconds)
    if count > counts[-1] and len(counts) > 1:
        low, high = counts[-2:]
        return seconds[high] + (seconds[high] - seconds[low]) * (count - high) / (high - low)
    return float(np.interp(count, counts, [seconds[known] for known in counts]))


def recorded(tree: TokenTree, following: list[int]) -> Step:
    """The step with this tree, where these tokens follow in the text."""
    path = [0]
    children = {(tree.parents[node], tree.tokens[node]): node for node in range(1, len(tree))}
    for token in following:
        if (path[-1], token) not in children:
            break
        path.append(children[path[-1], token])
    levels: list[list[tuple[int, int]]] = [[] for _ in range(max(tree.depths))]
    for node in range(1, len(tree)):
        levels[tree.depths[node] - 1].append((node, tree.parents[node]))
    return Step(path, levels)


def acceptance_by_rank(steps: list[Step]) -> list[list[float]]:
    """[depth][k]: of the accepted nodes at this depth (the root: all), the share whose k-th child is accepted."""
    table = []
    for depth in range(max((len(step.path) for step in steps), default=1) - 1):
        reached = sum(len(step.path) > depth for step in steps)
        ranks = [step.rank(depth) for step in steps if len(step.path) > depth + 1]
        table.append([ranks.count(rank) / reached for rank in range(max(ranks) + 1)])
    return table


def predict(texts: list[list[Step]], widths: list[int], costs: Costs) -> Prediction:
    """What a shape of these widths does on texts, of each of which every position is given."""
    count, seconds = 0, 0.0
    for steps in texts:
        at = 0
        while at < len(steps):
            accepted, sizes = steps[at].cut(widths)
            seconds += costs.step(sizes, len(widths))
            count += 1
            at += accepted + 1
    tokens = sum(map(len, texts))
    rate = tokens / seconds
    return Prediction(rate, tokens / count, rate * _at(costs.target, 1))
