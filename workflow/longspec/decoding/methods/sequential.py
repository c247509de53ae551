"""Sequential drafting: one chain of at most gamma tokens (Leviathan et al. 2023, algorithm 1)."""

from __future__ import annotations

from collections.abc import Collection

from longspec.decoding.interfaces import Candidate, Drafter, Verifier
from longspec.decoding.tree import TokenTree

DRAFTS = True
BRANCHES = False
WIDTHS = "gamma"
OPTIONS = {
    "gamma": {
        "type": ["integer", "string"],
        "minimum": 1,
        "maximum": 1024,
        "pattern": "^auto$",
        "default": 4,
        "description": "Most draft tokens per verification step; auto chooses 1 to 32.",
    },
}
LONGEST = 32
"""Most draft tokens of the chains that `auto` chooses from."""


class Method:
    """Propose a chain of at most `gamma` tokens, each the drafter's best guess after the one before."""

    def __init__(self, gamma: int | str) -> None:
        self.auto = isinstance(gamma, str)
        self.gamma = LONGEST if isinstance(gamma, str) else gamma
        self.max_nodes = 1 + self.gamma

    def propose(
        self, root: int, drafter: Drafter | None, verifier: Verifier, stop_ids: Collection[int], room: int
    ) -> TokenTree:
        """Propose a chain; it ends early where the drafter has no guess, after a stop id, and at `room`."""
        assert drafter is not None
        tree, node = TokenTree.rooted_at(root), 0
        for _ in range(min(self.gamma, room)):
            best = drafter.expand(tree, [node], 1, verifier)[0]
            if not best:
                break
            node = tree.add(best[0][0], node)
            if tree.tokens[node] in stop_ids:
                break
        return tree

    def candidates(self, acceptance: list[list[float]]) -> list[Candidate]:
        """List every length up to `LONGEST`; there are too few to need `acceptance`."""
        return [Candidate({"gamma": gamma}, [1] * gamma) for gamma in range(1, LONGEST + 1)]
