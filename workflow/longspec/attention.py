"""One attention function for prefill, vanilla steps, drafted chains and drafted trees.

Registered with transformers as an attention implementation, so that it runs inside unmodified models.
Every query sees the whole prefix; a mask is needed only for the tail (the idea of LongSpec's hybrid tree
attention, arXiv 2502.17421), and for none at all when one token is decoded. Grouped heads are not repeated.
It does not know which model calls it, nor how the tree was drafted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
    memo: dict[Any, tuple[int, torch.Tensor | None]] = field(default_factory=dict)
    """Masks that layers of one kind share within a forward."""


def _hidden(layout: Layout, queries: int, keys: int, window: int | None) -> tuple[int, torch.Tensor | None]:
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


def _added(hidden: torch.Tensor, keys: int, groups: int, dtype: torch.dtype) -> torch.Tensor:
    """The same as what is added to the scores: [groups * n, keys], 0 where seen, else -inf.

    Made once a forward: torch would make it from booleans in every layer.
    """
    added = torch.zeros(hidden.shape[0], keys, dtype=dtype, device=hidden.device)
    added[:, keys - hidden.shape[1] :].masked_fill_(hidden, float("-inf"))
    return added.repeat(groups, 1)


def softcapped_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    softcap: float,
    added: torch.Tensor | None,
) -> torch.Tensor:
    """Attention whose scores pass through softcap * tanh(x / softcap) (Gemma 2), which torch has no kernel for.

    query [1, kv_heads, rows, d], key and value [1, kv_heads, l, d], `added` [rows, l]. Softmax in float32.
    """
    scores = torch.tanh(query @ key.transpose(2, 3) * (scaling / softcap)).float() * softcap
    if added is not None:
        scores = scores + added
    return torch.softmax(scores, dim=-1).to(value.dtype) @ value


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
    """transformers' attention interface; `layout` arrives as a keyword argument of `model(...)`.

    query [1, heads, n, d], key and value [1, kv_heads, l, d]; returns [1, n, heads, d].
    """
    assert layout is not None
    assert attention_mask is None
    _, heads, n, d = query.shape
    groups, length = heads // key.shape[1], key.shape[2]
    scaling = d**-0.5 if scaling is None else scaling
    sees_all = sliding_window is None or length <= sliding_window
    if n == length > 1 and layout.hidden is None and softcap is None and sees_all:
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=groups > 1)
        return mixed.transpose(1, 2), None
    memo = (length, sliding_window, groups)
    if memo not in layout.memo:
        first, hidden = _hidden(layout, n, length, sliding_window)
        layout.memo[memo] = first, None if hidden is None else _added(hidden, length - first, groups, query.dtype)
    first, added = layout.memo[memo]
    # The heads of a group become further query rows of their shared key head: nothing is repeated.
    rows = query.reshape(1, heads // groups, groups * n, d)
    key, value = key[:, :, first:], value[:, :, first:]
    if softcap is not None:
        mixed = softcapped_attention(rows, key, value, scaling, softcap, added)
    else:
        mixed = scaled_dot_product_attention(rows, key, value, attn_mask=added, scale=scaling)
    return mixed.view(1, heads, n, value.shape[3]).transpose(1, 2), None


AttentionInterface.register(NAME, hybrid_attention)
