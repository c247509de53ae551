"""The n-gram drafter: proposes what followed the longest earlier occurrence of the text's last tokens.

Training-free (prompt lookup decoding, A. Saxena 2023; as in transformers' `prompt_lookup_num_tokens`), over
prompt and output. Where several continuations were seen, their counts make a distribution, and shorter matches
get the probability that longer ones leave (a back-off with a fixed escape probability). `tokens_per_match` makes drafts
longer after longer matches, since a match of one token says little about the ten tokens that followed it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from longspec.core.errors import UserError
from longspec.decoding.interfaces import Candidates, Verifier
from longspec.decoding.tree import TokenTree
from longspec.models.target import CausalLM

OPTIONS = {
    "max_ngram": {
        "type": "integer",
        "minimum": 1,
        "maximum": 64,
        "default": 4,
        "description": "Longest suffix of the text that is looked up, in tokens.",
    },
    "min_ngram": {
        "type": "integer",
        "minimum": 1,
        "maximum": 64,
        "default": 2,
        "description": "Shortest suffix that counts as a match, in tokens.",
    },
    "tokens_per_match": {
        "type": ["integer", "null"],
        "minimum": 1,
        "default": None,
        "description": "Longest draft per token of the longest match; null drafts as far as the method wants.",
    },
}
ESCAPE = 0.25
"""Probability that each match length leaves to shorter matches."""


class NGramDrafter:
    """Draft tokens that followed earlier occurrences of the text's last n-gram."""

    def __init__(self, max_ngram: int, min_ngram: int, tokens_per_match: int | None = None) -> None:
        self.lengths = range(max_ngram, min_ngram - 1, -1)
        self.tokens_per_match = tokens_per_match
        self._deepest = math.inf
        self._text: list[int] = []
        self._followers: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        """By n-gram: the tokens that followed it, most recent last."""

    def prefill(self, ids: list[int], capacity: int) -> None:
        """Begin a new text, and index its n-grams."""
        self._text = []
        self._followers.clear()
        self._add(ids)

    def expand(self, tree: TokenTree, nodes: list[int], width: int, verifier: Verifier) -> list[Candidates]:
        """Guess next tokens after each of `nodes`, matching the text continued by the drafts on the node's path."""
        if nodes == [0] and self.tokens_per_match is not None:
            self._deepest = self.tokens_per_match * self._matched()
        return [self._candidates(tree, node, width) if tree.depths[node] < self._deepest else [] for node in nodes]

    def commit(self, emitted: list[int], tree: TokenTree, path: list[int]) -> None:
        """Append emitted tokens, and index their n-grams."""
        self._add(emitted)

    def _add(self, ids: list[int]) -> None:
        for token in ids:
            for length in self.lengths:
                if length <= len(self._text):
                    self._followers[tuple(self._text[-length:])].append(token)
            self._text.append(token)

    def _matched(self) -> int:
        """Return the length of the longest n-gram at the end of the text that occurs earlier in it; 0 for none."""
        known = (n for n in self.lengths if n <= len(self._text) and tuple(self._text[-n:]) in self._followers)
        return next(known, 0)

    def _candidates(self, tree: TokenTree, node: int, width: int) -> Candidates:
        drafted = [tree.tokens[n] for n in tree.path(node)[1:]]
        suffix = (self._text[-self.lengths[0] :] + drafted)[-self.lengths[0] :]
        found: dict[int, float] = {}
        left = 1.0
        for length in self.lengths:
            seen = self._followers.get(tuple(suffix[-length:])) if length <= len(suffix) else None
            if not seen:
                continue
            if width == 1:
                return [(seen[-1], 0.0)]
            # Most recent first: of equal counts, most_common takes the one that it met first.
            counts = Counter(reversed(seen))
            for token, count in counts.most_common(width):
                found.setdefault(token, left * (1 - ESCAPE) * count / len(seen))
            left *= ESCAPE
            if len(found) >= width:
                break
        best = sorted(found.items(), key=lambda item: -item[1])[:width]
        return [(token, math.log(q)) for token, q in best]


def make(target: CausalLM, *, max_ngram: int, min_ngram: int, tokens_per_match: int | None) -> NGramDrafter:
    """Make an n-gram drafter; `target` is not used. Raises UserError when min_ngram exceeds max_ngram."""
    if min_ngram > max_ngram:
        raise UserError("min_ngram", str(min_ngram), f"at most max_ngram, which is {max_ngram}")
    return NGramDrafter(max_ngram, min_ngram, tokens_per_match)
