"""N-grams where the text repeats itself, a GLIDE layer everywhere else: one draft of both.

Below a node whose last tokens were seen before stand the tokens that followed them; below any other, what the layer
expects. The layer runs at every node, so that its cache is whole, but draws only where its draws are used: a rule that
samples must not count on a draw whose place in the tree another drafter decided (tests/lossless shows the bias).
"""

from __future__ import annotations

from typing import Any, cast

import torch

from longspec.core.spec import ModelSpec
from longspec.decoding.interfaces import Candidates, Drafter, Rule
from longspec.decoding.tree import TokenTree
from longspec.drafters import glide, ngram
from longspec.models.target import CausalLM

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
}


class _Elsewhere:
    """A rule that draws for the nodes of `places` alone."""

    def __init__(self, rule: Rule, places: set[int]) -> None:
        self._rule, self._places = rule, places

    def draft(
        self, logits: torch.Tensor, tree: TokenTree, nodes: list[int], *how: Any, **named: Any
    ) -> list[Candidates]:
        """As Rule.draft; nothing below the other nodes."""
        rows = [row for row, node in enumerate(nodes) if node in self._places]
        drawn: dict[int, Candidates] = {}
        if rows:
            found = self._rule.draft(logits[rows], tree, [nodes[row] for row in rows], *how, **named)
            drawn = dict(zip(rows, found, strict=True))
        return [drawn.get(row, []) for row in range(len(nodes))]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rule, name)


class Both:
    """Asks the first drafter, and the second where the first knows nothing."""

    def __init__(self, lookup: Drafter, layer: Drafter) -> None:
        self.lookup, self.layer = lookup, layer

    def prefill(self, ids: list[int], capacity: int) -> None:
        """Both read the prompt."""
        self.lookup.prefill(ids, capacity)
        self.layer.prefill(ids, capacity)

    def expand(self, tree: TokenTree, nodes: list[int], width: int, rule: Rule) -> list[Candidates]:
        """One drafter's candidates below each node."""
        found = self.lookup.expand(tree, nodes, width, rule)
        open_nodes = {node for node, candidates in zip(nodes, found, strict=True) if not candidates}
        expected = self.layer.expand(tree, nodes, width, cast(Rule, _Elsewhere(rule, open_nodes)))
        return [mine or other for mine, other in zip(found, expected, strict=True)]

    def commit(self, emitted: list[int], tree: TokenTree, path: list[int]) -> None:
        """Both are told."""
        self.lookup.commit(emitted, tree, path)
        self.layer.commit(emitted, tree, path)


def make(target: CausalLM, *, weights: ModelSpec | None, window: int, max_ngram: int, min_ngram: int) -> Both:
    """Both drafters. UserError as each of them has it."""
    lookup = ngram.make(target, max_ngram=max_ngram, min_ngram=min_ngram, tokens_per_match=None)
    return Both(lookup, glide.loaded(target, weights, window, "ngram_glide"))
