"""Interfaces of the decoding loop's plug-ins: verifier, drafter and method.

A method decides the shape of a proposal, a drafter fills it with tokens, and a verifier decides which of them the
target keeps. Each is one file, found by its name:

- `decoding/verifiers/NAME.py` has a class `Verifier(settings, text_key, vocab_size, device)`; one object serves one
  text. Whatever was drafted, every verifier emits tokens of the target's own distribution. At temperature 0 the keyed
  verifier is always used.
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
    """Hold the outcome of one verification step."""

    path: list[int]
    """Accepted nodes, from the root on."""
    emitted: list[int]
    """New tokens: the accepted drafts and then the bonus token, cut after a stop id or at the limit."""
    accepted: int
    """How many emitted tokens had been drafted."""
    offered: int
    """How many positions had a draft to check."""
    stop_reason: str | None
    """None to go on; else "eos", "limit", or "nonfinite" (NaN or infinite logits, whose token is not emitted)."""


class Verifier(Protocol):
    """Draw drafts from the drafter's distribution q, and verify them against the target's p."""

    def start(self, prompt_ids: list[int]) -> None:
        """Begin a new text; the last id of the prompt is the root of the first tree."""
        ...

    def breadths(self, scores: list[float], width: int) -> list[int]:
        """Bound the children of each node of a level when `width` are wanted in all.

        `scores` are the nodes' cumulative log q. The method keeps the best `width` of the children drafted."""
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
        """Draft at most `width` children for each of `nodes` from a drafter's `logits` [len(nodes), columns].

        `ids` [columns]: the token of each column, no token twice; None where column i is token i.
        `informed`: use the noise of the target's own choice, if the verifier has such noise."""
        ...

    def verify(self, tree: TokenTree, logits: torch.Tensor, stop_ids: Collection[int], room: int) -> Acceptance:
        """Decide which drafts are kept and what is emitted, given the target's `logits` [len(tree), vocab].

        At most `room` >= 1 tokens are emitted."""
        ...


class Drafter(Protocol):
    """Guess continuations of a text, and follow it as it grows."""

    def prefill(self, ids: list[int], capacity: int) -> None:
        """Begin a new text (`ids`: prompt and first output token) that will grow to at most `capacity` tokens."""
        ...

    def expand(self, tree: TokenTree, nodes: list[int], width: int, verifier: Verifier) -> list[Candidates]:
        """Guess at most `width` next tokens after each of `nodes`, for each a list of candidates.

        `nodes` is the root (the last token of the text), or nodes that were added to the tree since the last call. A
        drafter with a distribution over the vocabulary lets `verifier.draft` choose from it; others return guesses."""
        ...

    def commit(self, emitted: list[int], tree: TokenTree, path: list[int]) -> None:
        """Append the tokens that the target emitted; `path` are the accepted nodes of `tree`."""
        ...


class Method(Protocol):
    """Propose one tree of draft tokens per verification step."""

    max_nodes: int
    """Most nodes that a proposal can have, root included: the cache is sized by it."""

    def propose(
        self, root: int, drafter: Drafter | None, verifier: Verifier, stop_ids: Collection[int], room: int
    ) -> TokenTree:
        """Propose a tree rooted at the last emitted token, at most `room` deep; no drafts follow a stop id."""
        ...


@dataclass(frozen=True)
class Candidate:
    """Describe a shape that `auto` may choose."""

    options: dict[str, Any]
    """All options of the method, as the configuration would give them."""
    widths: list[int]
    """Most nodes at each depth below the root."""


@runtime_checkable
class Tunable(Method, Protocol):
    """Propose trees whose shape may be left to tuning; while `auto` is true, the widest shape."""

    auto: bool

    def candidates(self, acceptance: list[list[float]]) -> list[Candidate]:
        """List the shapes to choose from, all within the widest one, the smallest first.

        `acceptance` [depth][k]: share of the accepted nodes at a depth whose k-th child was accepted too."""
        ...
