"""What a verification rule is: how drafts are drawn and which of them the target keeps. One file per rule.

A rule file has a class `Rule(settings, text_key, vocab_size, device)`; one object serves one text. Every rule emits
tokens of the target's own distribution, whatever was drafted. At temperature 0 all rules are one: the keyed rule.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import torch

from longspec.token_tree import TokenTree

Candidates = list[tuple[int, float]]
"""Possible next tokens, best first, each with the log of the drafter's probability q; no token twice."""


@dataclass(frozen=True)
class Acceptance:
    """`path`: accepted nodes from the root on. `emitted`: new tokens, the accepted drafts and then the bonus
    token, cut after a stop id or at the limit. `accepted`: how many of them had been drafted. `offered`: how
    many positions had a draft to check. `stop_reason`: "eos", "limit", "nonfinite" (the target's logits are not
    numbers: nothing more was emitted), or None to go on."""

    path: list[int]
    emitted: list[int]
    accepted: int
    offered: int
    stop_reason: str | None


class Rule(Protocol):
    """Draws drafts from q and verifies them against p."""

    def start(self, prompt_ids: list[int]) -> None:
        """A new text begins; the last id of the prompt is the root of the first tree."""
        ...

    def breadths(self, scores: list[float], width: int) -> list[int]:
        """How many children each node of a level may get, by their cumulative log q, if `width` are wanted in all.

        The best `width` of all of them may then be kept."""
        ...

    def draft(
        self,
        logits: torch.Tensor,
        tree: TokenTree,
        nodes: list[int],
        width: int,
        informed: bool = True,
        ids: torch.Tensor | None = None,
    ) -> list[Candidates]:
        """At most `width` children for each of `nodes` from a drafter's `logits` [len(nodes), vocab or less].

        `ids` [columns]: the tokens that the columns stand for, each once; without, the first of the vocabulary.
        `informed`: the drafter may use the noise that the target's choice will use, if the rule has such."""
        ...

    def verify(self, tree: TokenTree, logits: torch.Tensor, stop_ids: Collection[int], room: int) -> Acceptance:
        """What the target emits, from its `logits` [len(tree), vocab]; at most `room` >= 1 tokens."""
        ...
