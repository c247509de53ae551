"""The keyed verifier: noise of each output position fixes the target's choice there; drafts equal to it are kept.

With Gumbel noise g keyed by (seed, sample, turn, output position), arg max(log p + g) is a sample of p (Gumbel-max)
that does not depend on what was drafted. The emitted tokens are those choices, so every method and drafter gives
vanilla's output, id for id, at every temperature (drafter-invariant decoding, Daliri et al., arXiv 2408.07978).
At temperature 0 there is no noise: greedy decoding, the lowest id among equals.
"""

from __future__ import annotations

from collections.abc import Collection

import torch

from longspec.decoding.gumbel import GumbelNoise
from longspec.decoding.interfaces import Acceptance, Candidates
from longspec.decoding.sampling import Settings, Text
from longspec.decoding.tree import TokenTree


class Verifier:
    """Accept drafts that equal the target's own choice (`decoding/interfaces.py` has the interface)."""

    def __init__(self, settings: Settings, text_key: int, vocab_size: int, device: torch.device) -> None:
        self._settings = settings
        self._vocab_size = vocab_size
        self._device = device
        self._noise = GumbelNoise(text_key, vocab_size, device) if settings.temperature > 0 else None

    def start(self, prompt_ids: list[int]) -> None:
        """Begin a new text; the last id of the prompt is the root of the first tree."""
        self._text = Text(self._settings, prompt_ids, self._vocab_size, self._device)

    def breadths(self, scores: list[float], width: int) -> list[int]:
        """Allow each node `width` children: what is drafted never changes what is emitted."""
        return [width] * len(scores)

    def draft(
        self,
        logits: torch.Tensor,
        tree: TokenTree,
        nodes: list[int],
        width: int,
        informed: bool = True,
        ids: torch.Tensor | None = None,
    ) -> list[Candidates]:
        """Choose the ids likeliest to be the target's choice: by q with the target's noise if `informed`, else by q."""
        scores = self._text.scores(logits, tree, nodes, ids).float()
        if informed:
            scores = self._noised(scores, tree, nodes, ids)
        best = scores.log_softmax(-1).topk(min(width, scores.shape[-1]))
        tokens = best.indices if ids is None else ids[best.indices]
        rows = zip(tokens.tolist(), best.values.tolist(), strict=True)
        return [[(t, s) for t, s in zip(*row, strict=True) if s > float("-inf")] for row in rows]

    def verify(self, tree: TokenTree, logits: torch.Tensor, stop_ids: Collection[int], room: int) -> Acceptance:
        """Emit the target's choices along the drafted path that they follow, and the choice after it."""
        nodes = list(range(len(tree)))
        chosen, finite = choices(self._noised(self._text.scores(logits, tree, nodes), tree, nodes))
        acceptance = descend(tree, chosen, finite, stop_ids, room)
        self._text.grow(acceptance.emitted)
        if self._noise is not None:
            self._noise.forget(self._text.position)
        return acceptance

    def _noised(
        self, scores: torch.Tensor, tree: TokenTree, nodes: list[int], ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Add the noise of the position after each node to scores [n, columns]."""
        if self._noise is None:
            return scores
        rows = self._noise.rows([self._text.position + tree.depths[node] for node in nodes])
        return scores + (rows[:, : scores.shape[-1]] if ids is None else rows[:, ids])


def choices(scores: torch.Tensor) -> tuple[list[int], list[bool]]:
    """Return the best id of each row of `scores` [n, vocab], and if its score is finite.

    NaN counts as the best of all; of equal scores the lowest id is taken. Both results come in one transfer to the
    host. On a CPU, max is five times as fast as argmax.
    """
    best = scores.max(-1)
    chosen, finite = torch.stack([best.indices, best.values.isfinite().long()]).tolist()
    return chosen, [bool(flag) for flag in finite]


def descend(tree: TokenTree, chosen: list[int], finite: list[bool], stop_ids: Collection[int], room: int) -> Acceptance:
    """Follow the target's choices (`chosen` [n], the token after each node) down the tree as far as they were drafted.

    Children of one node must carry different tokens. A node whose `finite` [n] is false ends the text before its token.
    """
    children = {
        (parent, token): node for node, (parent, token) in enumerate(zip(tree.parents, tree.tokens, strict=True))
    }
    has_child = set(tree.parents)
    path, offered = [0], 0
    emitted: list[int] = []
    while True:
        node, token = path[-1], chosen[path[-1]]
        if not finite[node]:
            return Acceptance(path, emitted, len(emitted), offered, "nonfinite")
        emitted.append(token)
        offered += node in has_child
        child = children.get((node, token))
        stop_reason = "eos" if token in stop_ids else "limit" if len(emitted) == room else None
        if child is None:
            return Acceptance(path, emitted, len(emitted) - 1, offered, stop_reason)
        if stop_reason:
            return Acceptance(path, emitted, len(emitted), offered, stop_reason)
        path.append(child)
