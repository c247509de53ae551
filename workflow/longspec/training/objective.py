"""The training objective of a drafter: the target's own next-token distribution, at lags that drafting will have.

The loss is the mean soft cross-entropy over a batch's queries, on the ids that the drafter drafts. The embedding and
the head are the target's, and are not trained.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from longspec.drafters.glide.model import LAGS, Glide
from longspec.training.batches import Batch, collate
from longspec.training.shards import Sequence

Rotary = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
WIDTH = 4
"""Lags that are evaluated: those of a chain of this many drafts."""


class Objective(nn.Module):
    """Compute the loss of a drafter on batches, with the target's embedding, head and rotary embedding."""

    def __init__(
        self,
        model: Glide,
        embedding: nn.Module,
        head: torch.Tensor,
        draft_ids: torch.Tensor,
        rotary: Rotary,
        window: int,
    ) -> None:
        """Prepare the loss; `head` [vocab, hidden], `draft_ids` [n]: its rows, `rotary(positions)`: cos and sin."""
        super().__init__()
        self.model = model
        self._borrowed = (embedding, rotary)  # in a tuple, lest the embedding become a parameter of this module
        self.window = window
        columns = torch.full((len(head),), -1)
        columns[draft_ids] = torch.arange(len(draft_ids))
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("draft_ids", draft_ids, persistent=False)
        self.register_buffer("head", head[draft_ids].to(torch.bfloat16), persistent=False)

    def logits(self, batch: Batch) -> torch.Tensor:
        """Compute the drafter's logits [real queries, draft ids]."""
        embedding, rotary = self._borrowed
        model, low = self.model, torch.bfloat16
        embedded = embedding(batch.ids.clamp(min=0)).float()
        cos, sin = (table[:, None] for table in rotary(batch.positions))
        at = batch.at[..., None]
        with torch.autocast(batch.ids.device.type, low):
            keys, values = model.keys_values(embedded, cos, sin)
            h = embedded.gather(1, at.expand(-1, -1, embedded.shape[-1]))
            if model.fusion is not None:
                h = h + model.fusion(batch.features) + model.lag_embedding[(batch.lags - 1).clamp(max=LAGS - 1)]
            turned = tuple(_rows(table, at).to(low) for table in (cos, sin))
            age = at - torch.arange(batch.ids.shape[1], device=at.device)
            seen = _added((age < 0) | (age > self.window)), _added(age < batch.lags[..., None])
            window = keys.to(low), values.to(low), seen[0]
            h = model(h, turned, window, (batch.keys.to(low), batch.values.to(low), seen[1]))
            logits: torch.Tensor = h[batch.real].to(low) @ self.head.T
        return logits

    def forward(self, batch: Batch) -> torch.Tensor:
        """Compute the mean soft cross-entropy over a batch's real queries."""
        logits = self.logits(batch)
        columns, p = self.columns[batch.top_ids[batch.real]], batch.top_p[batch.real]
        p = p * (columns >= 0)
        # In bfloat16: exact enough for a gradient; in float32 it would take a third of a CPU's step.
        log_q = logits.log_softmax(-1).gather(1, columns.clamp(min=0)).float()
        loss: torch.Tensor = -(p * log_q).sum(-1).mean()
        return loss

    @torch.no_grad()
    def hits(self, sequences: list[Sequence], lag: int, move: Callable[[Batch], Batch]) -> list[torch.Tensor]:
        """Compare drafts with the target's best tokens at one lag: for each sequence, a bool for each query."""
        found = []
        for start in range(0, len(sequences), 8):
            part = sequences[start : start + 8]
            batch = move(collate(part, [torch.full((s.queries,), lag) for s in part]))
            best = self.draft_ids[self.logits(batch).argmax(-1)].cpu()
            for sequence, drafted in zip(part, best.split([s.queries for s in part]), strict=True):
                found.append(drafted == sequence.top_ids[sequence.prompt :, 0])
        return found


def agreement(
    objective: Objective, sequences: list[Sequence], move: Callable[[Batch], Batch]
) -> tuple[list[float], float]:
    """Compute the share of correct drafts at each lag, and tokens per step of greedy chains of `WIDTH` drafts.

    The chains are those of decoding but for rounding: as long as drafts are accepted, the drafter has seen the text.
    """
    hits = [objective.hits(sequences, lag, move) for lag in range(1, WIDTH + 1)]
    steps = tokens = 0
    for by_lag in zip(*hits, strict=True):
        at, end = 0, len(by_lag[0])
        while at < end:
            accepted = 0
            while accepted < WIDTH and at + accepted < end and by_lag[accepted][at + accepted]:
                accepted += 1
            steps, tokens, at = steps + 1, tokens + accepted + 1, at + accepted + 1
    return [torch.cat(found).float().mean().item() for found in hits], tokens / max(steps, 1)


def _rows(table: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Gather rows `at` [b, q, 1] of a table [b or 1, 1, l, r]: [b, 1, q, r]."""
    wide = table.expand(len(at), -1, -1, -1)[:, 0]
    return wide.gather(1, at.expand(-1, -1, wide.shape[-1]))[:, None]


def _added(hidden: torch.Tensor) -> torch.Tensor:
    """Turn a mask of hidden positions [b, q, l] into what is added to scores [b, 1, q, l]: 0 or -inf."""
    added = torch.zeros(hidden.shape, dtype=torch.bfloat16, device=hidden.device)
    return added.masked_fill_(hidden, float("-inf"))[:, None]
