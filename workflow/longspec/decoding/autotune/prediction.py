"""Predict acceptance and seconds of a tree's shape on texts whose drafts are recorded at every position.

A chain of gamma drafts is expected to accept sum_i prod_{j<=i} a_j of them, where a_j is the acceptance at position j
(Leviathan et al. 2023, equation 1, with a_j not all equal). Instead of an expectation over independent positions we
walk through each text as the shape would, from the end of one step to the start of the next: for a chain that is what
the loop will do on this text. A tree of widths w_d is simulated by cutting the recorded one: at each depth the best w_d
nodes below kept parents. The prediction is a lower bound, since a narrow tree may also draft nodes for which the
recorded one had no room. A step costs T(q), the drafter's expansions of its levels and its commit; the method's own
computation is left out.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from longspec.decoding.tree import TokenTree


@dataclass(frozen=True)
class Step:
    """Hold the tree drafted at one position of a text, and which of its nodes the text confirms."""

    path: list[int]
    """Nodes whose tokens are the text's own, from the root on."""
    levels: list[list[tuple[int, int]]]
    """(node, parent) of every node, by depth below the root, best first."""

    def rank(self, depth: int) -> int:
        """Return the rank, among its siblings, of the confirmed node at `depth` + 1; 0 is the best."""
        siblings = [node for node, parent in self.levels[depth] if parent == self.path[depth]]
        return siblings.index(self.path[depth + 1])

    def cut(self, widths: list[int]) -> tuple[int, list[int]]:
        """Cut the tree down to these widths; returns the drafts it would accept and its nodes at each depth."""
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
    """Hold the measured median seconds of each part of a step.

    `target` by rows q of the forward (forward, verification and commit together); the drafter's `expand` by the number
    of nodes that it expands; the drafter's `commit`."""

    target: dict[int, float]
    expand: dict[int, float]
    commit: float

    def step(self, levels: list[int], depth: int) -> float:
        """Estimate the seconds of a step whose tree has `levels[d]` nodes at depth d + 1, of at most `depth` levels.

        The call that found no drafts and so ended a shorter tree is paid for too."""
        asked = [1, *levels][: min(depth, len(levels) + 1)]
        target = _interpolate(self.target, 1 + sum(levels))
        return target + sum(_interpolate(self.expand, nodes) for nodes in asked) + self.commit


@dataclass(frozen=True)
class Prediction:
    """Hold the predicted throughput of a shape; speedup is over one token a step without a drafter."""

    tokens_per_second: float
    acceptance_length: float
    speedup: float


def _interpolate(seconds: dict[int, float], count: int) -> float:
    """Interpolate linearly between measured counts; above the largest, extrapolate from the last two."""
    counts = sorted(seconds)
    if count > counts[-1] and len(counts) > 1:
        low, high = counts[-2:]
        return seconds[high] + (seconds[high] - seconds[low]) * (count - high) / (high - low)
    return float(np.interp(count, counts, [seconds[known] for known in counts]))


def recorded(tree: TokenTree, following: list[int]) -> Step:
    """Compare a drafted tree with the tokens that follow in the text."""
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
    """Compute the share of accepted nodes whose k-th child is accepted too: [depth][k], the root being depth 0."""
    table = []
    for depth in range(max((len(step.path) for step in steps), default=1) - 1):
        reached = sum(len(step.path) > depth for step in steps)
        ranks = [step.rank(depth) for step in steps if len(step.path) > depth + 1]
        table.append([ranks.count(rank) / reached for rank in range(max(ranks) + 1)])
    return table


def predict(texts: list[list[Step]], widths: list[int], costs: Costs) -> Prediction:
    """Predict the throughput of a shape on texts that were recorded at every position; `widths` by depth."""
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
    return Prediction(rate, tokens / count, rate * _interpolate(costs.target, 1))
