"""The seams of the decoding loop: what a verification rule, a drafter and a method are.

A method is the shape of a proposal, a drafter is who fills it, a rule decides what the target keeps; each is one file,
found by its name.

- `decoding/verifiers/NAME.py` has a class `Rule(settings, text_key, vocab_size, device)`; one object serves one text.
  Every rule emits tokens of the target's own distribution, whatever was drafted. At temperature 0 all rules are one:
  the keyed rule.
- `drafters/NAME.py` has a literal `OPTIONS` (see core/registry.py) and `make(target: CausalLM, **options) -> Drafter`.
- `decoding/methods/NAME.py` has the literals `OPTIONS`, `DRAFTS` (does it need a drafter?), `BRANCHES` (does it verify
  more than one path?) and `WIDTHS` (the option that holds the most nodes of each depth below the root: a list, or the
  number of depths with one node each; None where nothing is drafted), and a class `Method` whose constructor takes its
  options by keyword.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from longspec.decoding.tree import TokenTree

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


class Method(Protocol):
    """Proposes one tree per verification step."""

    max_nodes: int
    """Most nodes that a proposal can have, root included: the cache is sized by it."""

    def propose(
        self, root: int, drafter: Drafter | None, rule: Rule, stop_ids: Collection[int], room: int
    ) -> TokenTree:
        """A tree rooted at the last emitted token, at most `room` deep; nothing is drafted past a stop id."""
        ...


@dataclass(frozen=True)
class Candidate:
    """A shape to choose from. `options`: all options of the method, as the configuration would give them;
    `widths`: most nodes at each depth below the root."""

    options: dict[str, Any]
    widths: list[int]


@runtime_checkable
class Tunable(Method, Protocol):
    """A method with an option that may be `auto`; while it is, it proposes the widest shape, to be measured."""

    auto: bool

    def candidates(self, acceptance: list[list[float]]) -> list[Candidate]:
        """Shapes within the widest one, the smallest first. `acceptance` [depth][k] is the share of the nodes at a
        depth, all of them accepted, whose k-th child was accepted too."""
        ...
