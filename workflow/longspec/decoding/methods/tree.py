"""Tree drafting: a beam of the most probable paths (LongSpec, arXiv 2502.17421; its `tree_shape`).

Level i takes the best `tree_shape[i]` nodes by cumulative log q among all children of level i - 1,
whichever their parents. `auto` chooses among the trees that Sequoia's dynamic programme grows
(autotune/sequoia.py), each reduced to its nodes per depth. The beam puts these nodes where the drafter is surest in
each step, not always below the same ranks; their worth is therefore predicted from recorded steps, not by the
programme.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import nlargest

from longspec.decoding.autotune.sequoia import BestTrees
from longspec.decoding.interfaces import Candidate, Drafter, Verifier
from longspec.decoding.tree import TokenTree

DRAFTS = True
BRANCHES = True
WIDTHS = "tree_shape"
OPTIONS = {
    "tree_shape": {
        "type": ["array", "string"],
        "items": {"type": "integer", "minimum": 1, "maximum": 1024},
        "minItems": 1,
        "maxItems": 64,
        "pattern": "^auto$",
        "default": [4, 16, 16, 16, 16],
        "description": "Most nodes at each depth below the root; auto chooses at most 63 in all.",
    },
}
WIDEST = [8] * 4 + [4] * 4 + [2] * 16
"""The shape that `auto` records: wide where lower ranks may pay, deep enough for text that is copied."""
NODES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 19, 23, 27, 31, 39, 47, 55, 63)
"""Numbers of draft tokens that `auto` chooses from; with the root 3, 15, 31 and 63 fill rows of a power of two."""


class Method:
    """Propose a beam of the most probable paths, `tree_shape[i]` nodes wide at depth i + 1."""

    def __init__(self, tree_shape: list[int] | str) -> None:
        self.auto = isinstance(tree_shape, str)
        self.tree_shape = WIDEST if isinstance(tree_shape, str) else tree_shape
        self.max_nodes = 1 + sum(self.tree_shape)

    def propose(
        self, root: int, drafter: Drafter | None, verifier: Verifier, stop_ids: Collection[int], room: int
    ) -> TokenTree:
        """Propose a tree; it is smaller where the drafter has fewer guesses, after stop ids, and at `room`."""
        assert drafter is not None
        tree = TokenTree.rooted_at(root)
        frontier = {0: 0.0}
        for width in self.tree_shape[:room]:
            breadths = verifier.breadths(list(frontier.values()), width)
            candidates = drafter.expand(tree, list(frontier), max(breadths), verifier)
            children = [
                (score + log_q, token, parent)
                for (parent, score), below, breadth in zip(frontier.items(), candidates, breadths, strict=True)
                for token, log_q in below[:breadth]
            ]
            best = nlargest(width, children, key=lambda child: child[0])
            added = {tree.add(token, parent): score for score, token, parent in best}
            frontier = {node: score for node, score in added.items() if tree.tokens[node] not in stop_ids}
            if not frontier:
                break
        return tree

    def candidates(self, acceptance: list[list[float]]) -> list[Candidate]:
        """List the nodes per depth of the best tree of each size (`NODES`) under each limit of its depth."""
        found: dict[tuple[int, ...], None] = {(1,): None}
        for depth in range(1, min(len(acceptance), len(WIDEST)) + 1):
            best = BestTrees(acceptance[:depth], NODES[-1])
            for nodes in NODES:
                widths = best.widths(nodes)
                found[tuple(min(pair) for pair in zip(widths, WIDEST, strict=False))] = None
        ordered = sorted(filter(None, found), key=lambda widths: (sum(widths), widths))
        return [Candidate({"tree_shape": list(widths)}, list(widths)) for widths in ordered]
