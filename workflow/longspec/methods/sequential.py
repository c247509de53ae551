"""Sequential drafting: one chain of at most gamma tokens (Leviathan et al. 2023, algorithm 1)."""

from __future__ import annotations

from collections.abc import Collection

from longspec.drafters._interface import Drafter
from longspec.token_tree import TokenTree
from longspec.verification._interface import Rule

DRAFTS = True
OPTIONS = {
    "gamma": {
        "type": "integer",
        "minimum": 1,
        "maximum": 1024,
        "default": 4,
        "description": "Most draft tokens per verification step.",
    },
}


class Method:
    """The drafter's best token, again and again."""

    def __init__(self, gamma: int) -> None:
        self.gamma = gamma
        self.max_nodes = 1 + gamma

    def propose(
        self, root: int, drafter: Drafter | None, rule: Rule, stop_ids: Collection[int], room: int
    ) -> TokenTree:
        """A chain; shorter where the drafter has no guess, at a stop id, and at the limit."""
        assert drafter is not None
        tree, node = TokenTree.rooted_at(root), 0
        for _ in range(min(self.gamma, room)):
            best = drafter.expand(tree, [node], 1, rule)[0]
            if not best:
                break
            node = tree.add(best[0][0], node)
            if tree.tokens[node] in stop_ids:
                break
        return tree
