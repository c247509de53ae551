"""Turn logits into the scores that a token is sampled by: penalty, temperature, top-k, top-p, min-p, in this order.

The order and the meaning of each are those of transformers' logits processors (5.23, `generation/logits_process.py`),
with one difference: ids that are equal at the edge of top-p are all kept, where transformers keeps whichever its
sort puts first. So a row's result does not depend on the order of the sort. Drawing tokens is the verifiers' work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from longspec.decoding.tree import TokenTree

FEW = 1024
"""Best ids that top-p tries before it sorts the whole vocabulary."""


@dataclass(frozen=True)
class Settings:
    """Hold the sampling settings that turn logits into the distribution p; temperature 0 is greedy decoding."""

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


GREEDY = Settings()


def warp(logits: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Apply temperature, top-k, top-p and min-p; the softmax of the float32 scores [n, vocab] is the distribution."""
    scores = logits.float()
    if settings.temperature != 1:
        scores = scores / settings.temperature
    if settings.top_k is not None and settings.top_k < scores.shape[-1]:
        scores = _cut(scores, scores.topk(settings.top_k).values[..., -1:])
    if settings.top_p < 1:
        scores = _cut(scores, _top_p_edge(scores, settings.top_p))
    if settings.min_p > 0:
        probabilities = scores.softmax(-1)
        scores = scores.masked_fill(probabilities < settings.min_p * probabilities.amax(-1, True), float("-inf"))
    return scores


def _cut(scores: torch.Tensor, edge: torch.Tensor) -> torch.Tensor:
    return scores.masked_fill(scores < edge, float("-inf"))


def _top_p_edge(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return the lowest score [n, 1] within the smallest set of best ids whose probability reaches top_p."""
    for width in (min(FEW, scores.shape[-1]), scores.shape[-1]):
        best = scores.topk(width).values
        mass = (best - scores.logsumexp(-1, keepdim=True)).exp()
        kept = (mass.cumsum(-1) - mass < top_p).sum(-1, keepdim=True).clamp_(min=1)
        if int(kept.max()) < width:
            break
    return best.gather(-1, kept - 1)


def penalise(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """Apply the repetition penalty (Keskar et al. 2019) to the logits of the ids in `seen` [n, vocab] (bool)."""
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


class Text:
    """Track one text: the ids seen in it, on which later scores depend, and the next output position."""

    def __init__(self, settings: Settings, prompt_ids: list[int], vocab_size: int, device: torch.device) -> None:
        self.settings = settings
        self.position = 0
        self._seen: torch.Tensor | None = None
        if settings.repetition_penalty != 1:
            self._seen = torch.zeros(vocab_size, dtype=torch.bool, device=device)
            self._seen[prompt_ids] = True

    def grow(self, emitted: list[int]) -> None:
        """Append the tokens that were emitted."""
        self.position += len(emitted)
        if self._seen is not None:
            self._seen[emitted] = True

    def scores(
        self, logits: torch.Tensor, tree: TokenTree, nodes: list[int], ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Score the tokens that may follow each of `nodes`: warped scores [n, columns] of `logits` [n, columns].

        At temperature 0 these are the logits after the repetition penalty. `ids` [columns]: the token of each column;
        None where column i is token i.
        """
        if self._seen is not None:
            seen = self._seen.repeat(len(nodes), 1)
            for row, node in enumerate(nodes):
                seen[row, [tree.tokens[step] for step in tree.path(node)]] = True
            seen = seen[:, : logits.shape[-1]] if ids is None else seen[:, ids]
            logits = penalise(logits.float(), seen, self.settings.repetition_penalty)
        return warp(logits, self.settings) if self.settings.temperature > 0 else logits
