"""Find the tree of n draft tokens with the most expected acceptances, given acceptance by depth and rank.

Sequoia's dynamic programme (Chen et al. 2024, arXiv 2402.12374, section 4.1), with an acceptance vector for each
depth and so with a limit of depth. A node's children are its first, second, ... candidates without a gap, and the
expected number of accepted drafts is the sum over nodes of the product of acceptance along their path. It ignores what
a tree costs, and that a drafter may have fewer candidates.
"""

from __future__ import annotations

import numpy as np


class BestTrees:
    """Find the best tree of every size up to `nodes` draft tokens (the root is not counted)."""

    def __init__(self, acceptance: list[list[float]], nodes: int) -> None:
        """Find the trees; `acceptance` [depth][k]: probability that an accepted node's k-th child is accepted."""
        sizes = np.arange(nodes + 1)
        below = np.zeros(nodes + 1)  # expected accepted drafts below a node, by the number of drafts there
        self._taken: list[list[np.ndarray]] = []
        """[depth][rank][n]: of n drafts for this child and its later siblings, how many its own subtree gets."""
        for row in reversed(acceptance):
            later, taken = np.zeros(nodes + 1), []
            for share in reversed(row):
                own = share * (1 + below)
                value, take = np.zeros(nodes + 1), np.zeros(nodes + 1, dtype=int)
                for n in sizes[1:]:
                    totals = own[:n] + later[n - 1 :: -1]  # this child's subtree has 1 to n drafts
                    best = int(totals.argmax())
                    if totals[best] > 0:
                        value[n], take[n] = totals[best], best + 1
                later = value
                taken.append(take)
            below = later
            self._taken.append(taken[::-1])
        self._taken.reverse()
        self._expected = below

    def expected(self, nodes: int) -> float:
        """Return the expected number of accepted drafts of the best tree of at most `nodes` drafts."""
        return float(self._expected[nodes])

    def parents(self, nodes: int) -> list[int]:
        """Return each node's parent in the best tree of at most `nodes` drafts; the root's is -1, siblings by rank."""
        parents = [-1]
        waiting = [(0, 0, 0, nodes)]  # parent, its depth, rank of the next child, drafts for it and later ones
        while waiting:
            parent, depth, rank, left = waiting.pop()
            taken = 0
            if depth < len(self._taken) and rank < len(self._taken[depth]):
                taken = int(self._taken[depth][rank][left])
            if taken:
                parents.append(parent)
                waiting.append((len(parents) - 1, depth + 1, 0, taken - 1))
                waiting.append((parent, depth, rank + 1, left - taken))
        return parents

    def widths(self, nodes: int) -> list[int]:
        """Count the nodes at each depth below the root in the best tree of at most `nodes` drafts."""
        depths = [0]
        for parent in self.parents(nodes)[1:]:
            depths.append(depths[parent] + 1)
        counts: list[int] = np.bincount(depths)[1:].tolist()
        return counts
