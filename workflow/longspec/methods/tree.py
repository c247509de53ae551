"""Tree drafting: a beam of the most probable paths (LongSpec, arXiv 2502.17421; its `tree_shape`).

Level i takes the best `tree_shape[i]` nodes by cumulative log q among all children of level i - 1,
whichever their parents.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import nlargest

from longspec.drafters._interface import Drafter
from longspec.token_tree import TokenTree
from longspec.verification._interface import Rule

DRAFTS = True
OPTIONS = {
    "tree_shape": {
        "type": "array",
        "items": {"type": "integer", "minimum": 1, "maximum": 1024},
        "minItems": 1,
        "maxItems": 64,
        "default": [4, 16, 16, 16, 16],
        "description": "Most nodes at each depth below the root.",
    },
}


class Method:
    """A beam whose width at each depth is given."""

    def __init__(self, tree_shape: list[int]) -> None:
        self.tree_shape = tree_shape
        self.max_nodes = 1 + sum(tree_shape)

    def propose(
        self, root: int, drafter: Drafter | None, rule: Rule, stop_ids: Collection[int], room: int
    ) -> TokenTree:
        """Smaller where the drafter has fewer guesses, at stop ids, and at the limit."""
        assert drafter is not None
        tree = TokenTree.rooted_at(root)
        frontier = {0: 0.0}
        for width in self.tree_shape[:room]:
            breadths = rule.breadths(list(frontier.values()), width)
            candidates = drafter.expand(tree, list(frontier), max(breadths), rule)
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
