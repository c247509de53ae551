"""Shards of answers on disk, and batches of them as the drafter's layer takes them.

Contract: a batch holds whole sequences; every position whose successor is an answer token but the first is a query,
with a lag of its own (flash noisy training, arXiv 2502.17421) that hides the target's last `lag` positions from it.
A part of the sequences is moved far along, but for their first few positions (anchor-offset indices): the keys that
were computed without are rotated on, which for a rotary embedding is the same. It does not know the drafter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from longspec.glide_model import LAGS, rotate

LAG_WEIGHTS = (0.36, 0.24, 0.17, 0.13, 0.10)
"""How often lags 1, 2, … are trained on: the first drafts are always used, later ones if those were accepted."""
ANCHORS = 4
"""Most positions that stay at the start (attention sinks) when the rest is moved."""


@dataclass
class Sequence:
    """One answer; tensors as in answers.Answer, memory-mapped where the system can. `first`: position whose features
    come first."""

    ids: torch.Tensor
    prompt: int
    top_ids: torch.Tensor
    top_log_p: torch.Tensor
    features: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor

    @property
    def queries(self) -> int:
        """Positions that are trained on: the answer's tokens that have a successor."""
        return len(self.ids) - 1 - self.prompt


def read_shard(file: Path) -> list[Sequence]:
    """The sequences of one shard."""
    content = load_file(file)
    sequences, start, run = [], 0, 0
    for length, prompt in zip(content["lengths"].tolist(), content["prompts"].tolist(), strict=True):
        n = length - 1
        rows = {k: content[k][run : run + n] for k in ("top_ids", "top_log_p", "features", "keys", "values")}
        sequences.append(Sequence(ids=content["ids"][start : start + length], prompt=prompt, **rows))
        start, run = start + length, run + n
    return [s for s in sequences if s.queries > 0]


@dataclass
class Batch:
    """b sequences, padded to l positions and to q queries of each, of which `real` [b, q] are some.

    `ids` [b, l] (-1 is padding) at `positions` [b, l]; `at` [b, q]: the queries' indices; `lags` [b, q];
    `features` [b, q, layers, hidden]; `keys`, `values` [b, kv_heads, l, d]; `top_ids`, `top_p` [b, q, TOP] of the next token.
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
    rotary: Any = None,
) -> Batch:
    """A batch with the lags [queries] of each sequence. `shift` > 0 moves all but the first `anchors` positions;
    `rotary(positions)` then gives cos and sin."""
    pad = torch.nn.utils.rnn.pad_sequence
    n = [len(s.ids) - 1 for s in sequences]
    ats = [torch.arange(s.prompt, length) for s, length in zip(sequences, n, strict=True)]
    keys = pad([s.keys for s in sequences], batch_first=True).transpose(1, 2)
    positions = torch.arange(max(n)).expand(len(n), -1)
    if shift:
        positions = positions + shift * (positions >= anchors)
        moved = torch.where(torch.arange(max(n)) >= anchors, shift, 0)
        cos, sin = rotary(moved)
        keys = rotate(keys.float(), cos, sin).to(keys.dtype)
    return Batch(
        ids=pad([s.ids[:length].long() for s, length in zip(sequences, n, strict=True)], True, -1),
        positions=positions,
        at=pad(ats, batch_first=True),
        real=pad([torch.ones(len(at), dtype=torch.bool) for at in ats], batch_first=True),
        lags=pad(lags, True, 1),
        features=pad([s.features[at - lag] for s, at, lag in zip(sequences, ats, lags, strict=True)], True),
        keys=keys,
        values=pad([s.values for s in sequences], batch_first=True).transpose(1, 2),
        top_ids=pad([s.top_ids[at].long() for s, at in zip(sequences, ats, strict=True)], True),
        top_p=pad([s.top_log_p[at].float().exp() for s, at in zip(sequences, ats, strict=True)], True),
    )


def random_lags(queries: int, random: np.random.Generator) -> torch.Tensor:
    """A lag for each query."""
    return torch.from_numpy(1 + random.choice(len(LAG_WEIGHTS), size=queries, p=LAG_WEIGHTS))


def grouped(sequences: list[Sequence], tokens: int, random: np.random.Generator) -> list[list[Sequence]]:
    """All sequences in random batches of about `tokens` queries, each of sequences that are about as long."""
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
