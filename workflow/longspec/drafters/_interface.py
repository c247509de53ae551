"""What a drafter is: who fills a proposal. One file per drafter, found by its name.

A drafter file has a literal `OPTIONS` (see plugins.py) and a function
`make(target: CausalLM, **options) -> Drafter`.
"""

from __future__ import annotations

from typing import Protocol

from longspec.token_tree import TokenTree
from longspec.verification._interface import Candidates, Rule


class Drafter(Protocol):
    """Guesses continuations of a text that it is told as it grows."""

    def prefill(self, ids: list[int], capacity: int) -> None:
        """Start a new text: the prompt and the first token. It will grow to at most `capacity` positions."""
        ...

    def expand(self, tree: TokenTree, nodes: list[int], width: int, rule: Rule) -> list[Candidates]:
        """At most `width` candidates below each of `nodes`, which were all added since the last call (or are
        the root). The tree's root is the last token of the text. A drafter that has a distribution over the
        vocabulary lets `rule.draft` draw from it; one that has guesses returns them."""
        ...

    def commit(self, emitted: list[int], tree: TokenTree, path: list[int]) -> None:
        """The target emitted these tokens; `path` are the accepted nodes of `tree`."""
        ...
