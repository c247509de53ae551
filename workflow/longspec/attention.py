"""One attention function for prefill, vanilla steps, drafted chains and drafted trees.

Registered with transformers as an attention implementation, so that it runs inside unmodified models.
Every query sees the whole prefix; a mask is needed only for the tail (the idea of LongSpec's hybrid tree
attention, arXiv 2502.17421), and for none at all when one token is decoded. Grouped heads are not repeated.
It does not know which model calls it, nor how the tree was drafted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "longspec_hybrid"


@dataclass(frozen=True)
class Layout:
    """How the queries of one forward see the cache.

    `hidden` [n, tail] (bool): the tail nodes that each query must not see; None when one query sees all, and
    for the plain causal order of a prefill. `positions` [n]: the queries' positions in the text.
    `tail_positions` [tail]: those of the tail's nodes.
    """

    hidden: torch.Tensor | None
    positions: torch.Tensor
    tail_positions: torch.Tensor


def _mask(layout: Layout, queries: int, keys: int, window: int | None) -> tuple[int, torch.Tensor | None]:
    """First key that any query sees, and what is hidden among the last keys ([n, m] bool), or None."""
    hidden = layout.hidden
    if hidden is None and queries == 1:
        return max(0, keys - window) if window else 0, None
    if hidden is None:
        hidden = causal_mask(queries, layout.positions.device)
    if window is None or keys <= window:
        return 0, hidden
    prefix = keys - hidden.shape[1]
    first = max(0, prefix - window + 1)
    key_positions = torch.cat([torch.arange(first, prefix, device=hidden.device), layout.tail_positions])
    hidden = torch.cat([hidden.new_zeros(queries, prefix - first), hidden], dim=1)
    return first, hidden | (layout.positions[:, None] - key_positions[None] >= window)


def causal_mask(n: int, device: torch.device) -> torch.Tensor:
    """What is hidden in a chain of n nodes, [n, n] bool: all that comes later."""
    return torch.ones(n, n, dtype=torch.bool, device=device).triu(1)


def grouped_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    hidden: torch.Tensor | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """softmax(scaling q k) v for one sequence, each group of heads as one matrix product.

    query [1, heads, n, d], key and value [1, kv_heads, l, d]; `hidden` [n, m] (bool) hides some of the last m keys;
    the others are seen by all. Returns [1, n, heads, d]. Softmax in float32.
    """
    _, heads, n, d = query.shape
    kv_heads, length = key.shape[1], key.shape[2]
    rows = query.reshape(kv_heads, heads // kv_heads * n, d) * scaling
    scores = torch.bmm(rows, key[0].transpose(1, 2)).float()
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if hidden is not None:
        tail = scores.view(kv_heads, -1, n, length)[..., length - hidden.shape[1] :]
        tail.masked_fill_(hidden, float("-inf"))
    weights = torch.softmax(scores, dim=-1).to(value.dtype)
    mixed = torch.bmm(weights, value[0])
    return mixed.view(1, heads, n, value.shape[3]).transpose(1, 2)


def hybrid_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    layout: Layout | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface; `layout` arrives as a keyword argument of `model(...)`."""
    assert layout is not None and attention_mask is None
    n, length = query.shape[2], key.shape[2]
    scaling = query.shape[3] ** -0.5 if scaling is None else scaling
    sees_all = sliding_window is None or length <= sliding_window
    if n == length > 1 and layout.hidden is None and softcap is None and sees_all:
        mixed = scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
        )
        return mixed.transpose(1, 2), None
    first, hidden = _mask(layout, n, length, sliding_window)
    mixed = grouped_attention(query, key[:, :, first:], value[:, :, first:], scaling, hidden, softcap)
    return mixed, None


AttentionInterface.register(NAME, hybrid_attention)
