"""N-grams where the text repeats itself, a GLIDE layer everywhere else: one tree with branches of both.

Where the last tokens were seen before, q is a mixture of what followed them and of what the layer expects; elsewhere
it is the layer's. The layer runs at every node, so that its cache is whole. The output stays the target's under each
rule: a branch that a rule did not draw itself is only ever taken when the target's own choice falls on it.
"""

from __future__ import annotations

import math
from typing import Any

from longspec.drafters import glide, ngram
from longspec.drafters._interface import Drafter
from longspec.target import CausalLM
from longspec.token_tree import TokenTree
from longspec.verification._interface import Candidates, Rule

OPTIONS = {
    "weights": {
        "type": ["object", "null"],
        "anyOf": [{"$ref": "#/$defs/model"}, {"type": "null"}],
        "default": None,
        "description": "The layer's checkpoint: hub (with revision) or path; by default the target's own `drafter`.",
    },
    "window": {
        "type": "integer",
        "minimum": 1,
        "default": 512,
        "description": "How many earlier tokens the layer's self-attention sees.",
    },
    "max_ngram": {
        "type": "integer",
        "minimum": 1,
        "maximum": 64,
        "default": 6,
        "description": "Longest suffix of the text that is looked up, in tokens.",
    },
    "min_ngram": {
        "type": "integer",
        "minimum": 1,
        "maximum": 64,
        "default": 3,
        "description": "Shortest suffix that counts as a match, in tokens.",
    },
    "trust": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.75,
        "description": "Share of q that a match gets; the layer has the rest.",
    },
}


class Both:
    """Asks both drafters for every node."""

    def __init__(self, lookup: Drafter, layer: Drafter, trust: float) -> None:
        self.lookup, self.layer, self.trust = lookup, layer, trust

    def prefill(self, ids: list[int], capacity: int) -> None:
        """Both read the prompt."""
        self.lookup.prefill(ids, capacity)
        self.layer.prefill(ids, capacity)

    def expand(self, tree: TokenTree, nodes: list[int], width: int, rule: Rule) -> list[Candidates]:
        """The mixture's best below each node."""
        found = self.lookup.expand(tree, nodes, width, rule)
        expected = self.layer.expand(tree, nodes, width, rule)
        return [self._mixed(*pair)[:width] for pair in zip(found, expected, strict=True)]

    def commit(self, emitted: list[int], tree: TokenTree, path: list[int]) -> None:
        """Both are told."""
        self.lookup.commit(emitted, tree, path)
        self.layer.commit(emitted, tree, path)

    def _mixed(self, found: Candidates, expected: Candidates) -> Candidates:
        if not found:
            return expected
        q: dict[int, float] = {}
        for share, candidates in ((self.trust, found), (1 - self.trust, expected)):
            for token, log_q in candidates:
                q[token] = q.get(token, 0.0) + share * math.exp(log_q)
        best = sorted(q.items(), key=lambda item: -item[1])
        return [(token, math.log(share)) for token, share in best if share > 0]


def make(
    target: CausalLM, *, weights: dict[str, Any] | None, window: int, max_ngram: int, min_ngram: int, trust: float
) -> Both:
    """Both drafters. UserError as each of them has it."""
    lookup = ngram.make(target, max_ngram=max_ngram, min_ngram=min_ngram, tokens_per_match=None)
    return Both(lookup, glide.make(target, weights=weights, window=window), trust)
