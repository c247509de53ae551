"""A drafter that combines two: n-grams where the text repeats itself, and a GLIDE layer everywhere else.

Below a node whose last tokens were seen before, it proposes the tokens that followed them; below any other, the layer's
candidates. The layer runs at every node, so that its cache is complete, but draws only where its draws are used: a
verifier that samples must not record a draw that another drafter's candidates replace (tests/lossless shows the bias).
"""

from __future__ import annotations

from typing import Any, cast

import torch

from longspec.core.spec import ModelSpec
from longspec.decoding.interfaces import Candidates, Drafter, Verifier
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


class _RestrictedVerifier:
    """Wrap a verifier so that it drafts below the given nodes only."""

    def __init__(self, verifier: Verifier, nodes: set[int]) -> None:
        self._verifier, self._nodes = verifier, nodes

    def draft(
        self, logits: torch.Tensor, tree: TokenTree, nodes: list[int], *how: Any, **named: Any
    ) -> list[Candidates]:
        """Draft below those of `nodes` that are allowed, as the wrapped verifier does; nothing below the others."""
        rows = [row for row, node in enumerate(nodes) if node in self._nodes]
        drawn: dict[int, Candidates] = {}
        if rows:
            found = self._verifier.draft(logits[rows], tree, [nodes[row] for row in rows], *how, **named)
            drawn = dict(zip(rows, found, strict=True))
        return [drawn.get(row, []) for row in range(len(nodes))]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._verifier, name)


class NGramGlideDrafter:
    """Draft with the first drafter, and with the second below nodes for which the first has no candidates."""

    def __init__(self, lookup: Drafter, layer: Drafter) -> None:
        self.lookup, self.layer = lookup, layer

    def prefill(self, ids: list[int], capacity: int) -> None:
        """Begin a new text in both drafters."""
        self.lookup.prefill(ids, capacity)
        self.layer.prefill(ids, capacity)

    def expand(self, tree: TokenTree, nodes: list[int], width: int, verifier: Verifier) -> list[Candidates]:
        """Guess next tokens after each of `nodes`: the n-grams' candidates, or the layer's where there are none."""
        found = self.lookup.expand(tree, nodes, width, verifier)
        open_nodes = {node for node, candidates in zip(nodes, found, strict=True) if not candidates}
        expected = self.layer.expand(tree, nodes, width, cast(Verifier, _RestrictedVerifier(verifier, open_nodes)))
        return [mine or other for mine, other in zip(found, expected, strict=True)]

    def commit(self, emitted: list[int], tree: TokenTree, path: list[int]) -> None:
        """Append the emitted tokens in both drafters."""
        self.lookup.commit(emitted, tree, path)
        self.layer.commit(emitted, tree, path)


def make(
    target: CausalLM, *, weights: ModelSpec | None, window: int, max_ngram: int, min_ngram: int
) -> NGramGlideDrafter:
    """Make an n-gram drafter and load a GLIDE layer; raises the UserErrors of both."""
    lookup = ngram.make(target, max_ngram=max_ngram, min_ngram=min_ngram, tokens_per_match=None)
    return NGramGlideDrafter(lookup, glide.loaded(target, weights, window, "ngram_glide"))
