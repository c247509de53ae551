"""Collates answers into batches for training the drafter's layer.

A batch holds whole sequences. Every position whose successor is an answer token but the first is a query, with a lag of
its own (flash noisy training, arXiv 2502.17421) that hides the target's last `lag` positions from it. Some sequences
are shifted to later positions, but for their first few (anchor-offset indices, the same paper): their keys, computed
without the shift, are rotated by it, which is exact for rotary embeddings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from longspec.drafters.glide.model import LAGS, rotate
from longspec.training.shards import Sequence

LAG_WEIGHTS = (0.36, 0.24, 0.17, 0.13, 0.10)
"""Shares of lags 1, 2, … in training: a first draft is always used, a later one only if those before were accepted."""
ANCHORS = 4
"""Most positions that stay at the start (attention sinks) when the others are shifted."""


@dataclass
class Batch:
    """Hold b sequences, padded to l positions and q queries each; `real` [b, q] is false for padding.

    `ids` [b, l] (-1 is padding) at `positions` [b, l]; `at` [b, q]: the queries' indices; `lags` [b, q];
    `features` [b, q, layers, hidden]; `keys`, `values` [b, kv_heads, l, d]; `top_ids`, `top_p` [b, q, TOP]: of the
    next token.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    at: torch.Tensor
    real: torch.Tensor
    lags: torch.Tensor
    features: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    top_ids: torch.Tensor
    top_p: torch.Tensor


def collate(
    sequences: list[Sequence],
    lags: list[torch.Tensor],
    shift: int = 0,
    anchors: int = 0,
    rotary: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None,
) -> Batch:
    """Collate sequences into a batch, with the lags [queries] of each.

    `shift` > 0 is added to all but the first `anchors` positions; `rotary(positions)` then returns cos and sin."""
    pad = torch.nn.utils.rnn.pad_sequence
    n = [len(s.ids) - 1 for s in sequences]
    ats = [torch.arange(s.prompt, length) for s, length in zip(sequences, n, strict=True)]
    lags = [torch.minimum(lag, at) for lag, at in zip(lags, ats, strict=True)]  # there is nothing before the text
    keys = pad([s.keys for s in sequences], batch_first=True).transpose(1, 2)
    positions = torch.arange(max(n)).expand(len(n), -1)
    if shift:
        assert rotary is not None
        positions = positions + shift * (positions >= anchors)
        moved = torch.where(torch.arange(max(n)) >= anchors, shift, 0)
        cos, sin = rotary(moved)
        # Some rotary embeddings also scale, which the keys are already.
        scale = torch.sqrt(cos**2 + sin**2)
        keys = rotate(keys.float(), cos / scale, sin / scale).to(keys.dtype)
    return Batch(
        ids=pad([s.ids[:length].long() for s, length in zip(sequences, n, strict=True)], True, -1),
        positions=positions,
        at=pad(ats, batch_first=True),
        real=pad([torch.ones(len(at), dtype=torch.bool) for at in ats], batch_first=True),
        lags=pad(lags, True, 1),
        features=pad(
            [s.features[at - lag - s.features_from] for s, at, lag in zip(sequences, ats, lags, strict=True)], True
        ),
        keys=keys,
        values=pad([s.values for s in sequences], batch_first=True).transpose(1, 2),
        top_ids=pad([s.top_ids[at].long() for s, at in zip(sequences, ats, strict=True)], True),
        top_p=pad([s.top_log_p[at].float().exp() for s, at in zip(sequences, ats, strict=True)], True),
    )


def random_lags(queries: int, random: np.random.Generator) -> torch.Tensor:
    """Draw a lag for each query, by `LAG_WEIGHTS`."""
    return torch.from_numpy(1 + random.choice(len(LAG_WEIGHTS), size=queries, p=LAG_WEIGHTS))


def grouped(sequences: list[Sequence], tokens: int, random: np.random.Generator) -> list[list[Sequence]]:
    """Group all sequences into batches of about `tokens` queries, in random order; lengths in a batch are similar."""
    order = random.permutation(len(sequences))
    groups: list[list[Sequence]] = []
    for chunk in range(0, len(order), 256):
        part = sorted((sequences[i] for i in order[chunk : chunk + 256]), key=lambda s: s.queries)
        batch: list[Sequence] = []
        for sequence in part:
            batch.append(sequence)
            if sum(s.queries for s in batch) >= tokens:
                groups.append(batch)
                batch = []
        if batch:
            groups.append(batch)
    return [groups[i] for i in random.permutation(len(groups))]


assert len(LAG_WEIGHTS) <= LAGS
