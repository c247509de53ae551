"""One attention function for prefill, vanilla steps, drafted chains and drafted trees.

Registered with transformers as an attention implementation, so that it runs inside unmodified models.
Every query sees the whole prefix; a mask is needed only for the tail (the idea of LongSpec's hybrid tree
attention, arXiv 2502.17421), and for none at all when one token is decoded. Grouped heads are not repeated.
It does not know which model calls it, nor how the tree was drafted.

On a CPU it is two matrix products around a softmax. torch's flash kernel takes 1.5 to 3 times as long there
(bfloat16, 4,096 positions, 1 to 64 queries), if the keys are stored as the first product reads them (preallocated.py).
Scores are rounded to the model's number format before the softmax, as in Hugging Face's `eager` attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from longspec.models.attention import on_device

NAME = "longspec_hybrid"
GRAIN = 32
"""Keys are run in multiples of it on a CPU, those beyond the last one hidden. Softmax and products then add in the same
order however many keys follow, and a token's output has the same bits whether it is run alone or with others."""
PREFILL_ROWS = 256
"""Queries of a prefill that are run together on a CPU: few enough that what they don't see costs little."""


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
    memo: dict[Any, list[Block]] = field(default_factory=dict)
    """What layers of one kind share within a forward."""


@dataclass(frozen=True)
class Block:
    """Queries `rows` see the keys `seen`, but for what `added` [groups * queries, last keys] hides with -inf."""

    rows: slice
    seen: slice
    added: torch.Tensor | None


def causal_mask(n: int, device: torch.device) -> torch.Tensor:
    """What is hidden in a chain of n nodes, [n, n] bool: all that comes later."""
    return torch.ones(n, n, dtype=torch.bool, device=device).triu(1)


def _blocks(layout: Layout, keys: int, window: int | None, on_cpu: bool) -> Iterator[Block]:
    """Blocks whose `added` are bool, [queries, last keys] or None. On a CPU a prefill is cut into several."""
    positions, tail = layout.positions, layout.tail_positions
    if not on_cpu:
        plain = layout.hidden is None and len(positions) > 1
        hidden = causal_mask(len(positions), positions.device) if plain else layout.hidden
        yield _block(slice(0, len(positions)), positions, tail, hidden, keys - len(tail), window, 1)
    elif layout.hidden is not None or len(positions) == 1:
        yield _block(slice(0, len(positions)), positions, tail, layout.hidden, int(tail[0]), window, GRAIN)
    else:
        for start in range(0, len(positions), PREFILL_ROWS):
            rows = slice(start, min(start + PREFILL_ROWS, len(positions)))
            part = positions[rows]
            yield _block(rows, part, part, causal_mask(len(part), part.device), start, window, GRAIN)


def _block(
    rows: slice,
    positions: torch.Tensor,
    tail: torch.Tensor,
    hidden: torch.Tensor | None,
    prefix: int,
    window: int | None,
    grain: int,
) -> Block:
    """Queries at `positions` behind `prefix` committed keys and a tail at the positions `tail`. The keys that are
    seen begin and end at multiples of `grain`."""
    keys = prefix + len(tail)
    first, end = 0, -(-keys // grain) * grain
    if window is not None and keys <= window:
        window = None
    if hidden is None and (window or end > keys):
        hidden = torch.zeros(len(positions), len(tail), dtype=torch.bool, device=tail.device)
    if window is not None and hidden is not None:
        first = max(0, prefix - window + 1) // grain * grain
        key_positions = torch.cat([torch.arange(first, prefix, device=tail.device), tail])
        hidden = torch.nn.functional.pad(hidden, (prefix - first, 0))
        hidden = hidden | (positions[:, None] - key_positions[None] >= window)
    if end > keys and hidden is not None:
        hidden = torch.nn.functional.pad(hidden, (0, end - keys), value=True)
    return Block(rows, slice(first, end), hidden)


def _added(hidden: torch.Tensor, groups: int, dtype: torch.dtype) -> torch.Tensor:
    """The same as what is added to the scores of the last keys: [groups * n, m], 0 where seen, else -inf."""
    return torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, float("-inf")).repeat(groups, 1)


def products(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    added: torch.Tensor | None,
    softcap: float | None,
) -> torch.Tensor:
    """softmax(scaling * query keyᵀ + added) value; with `softcap` the scores pass through softcap * tanh(x / softcap).

    query [kv_heads, rows, d], key and value [kv_heads, l, d], `added` [rows, last keys]; returns [kv_heads, rows, d].
    """
    start = query.new_empty(1, 1, 1)  # never read: beta is 0
    scores = torch.baddbmm(start, query, key.transpose(1, 2), beta=0, alpha=scaling / (softcap or 1))
    if softcap is not None:
        scores = scores.tanh_().mul_(softcap)
    if added is not None:
        scores[..., scores.shape[-1] - added.shape[-1] :] += added
    return torch.bmm(scores.softmax(-1), value)


def _flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, added: torch.Tensor | None
) -> torch.Tensor:
    """The same by torch's fused kernels. Their masks span all keys: behind a longer prefix the tail is run apart."""
    if added is not None and added.shape[1] * 2 < key.shape[1] and query.shape[2] % 8 == 0:
        return on_device.prefix_and_tail(query[None], key[None], value[None], added, scaling)[0]
    if added is not None:
        added = torch.nn.functional.pad(added, (key.shape[1] - added.shape[1], 0))
    return scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=added, scale=scaling)[0]


def hybrid_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    layout: Layout | on_device.StaticLayout | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface; `layout` arrives as a keyword argument of `model(...)`.

    query [1, heads, n, d], key and value [1, kv_heads, l, d]; returns [1, n, heads, d].
    """
    assert layout is not None
    assert attention_mask is None
    _, heads, n, d = query.shape
    kv_heads, length = key.shape[1:3]
    groups = heads // kv_heads
    scaling = d**-0.5 if scaling is None else scaling
    if isinstance(layout, on_device.StaticLayout):
        return on_device.attend(query, key, value, layout, scaling, sliding_window, softcap), None
    on_cpu = query.device.type == "cpu"
    sees_all = sliding_window is None or length <= sliding_window
    if not on_cpu and n == length > 1 and layout.hidden is None and softcap is None and sees_all:
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=groups > 1)
        return mixed.transpose(1, 2), None
    memo = (length, sliding_window, groups)
    if memo not in layout.memo:
        layout.memo[memo] = [
            Block(b.rows, b.seen, None if b.added is None else _added(b.added, groups, query.dtype))
            for b in _blocks(layout, length, sliding_window, on_cpu)
        ]
    parts = []
    for block in layout.memo[memo]:
        # The heads of a group become further query rows of their shared key head: nothing is repeated.
        rows = query[0, :, block.rows].reshape(kv_heads, -1, d)
        seen = key[0, :, block.seen], value[0, :, block.seen]
        if on_cpu or softcap is not None:
            part = products(rows, *seen, scaling, block.added, softcap)
        else:
            part = _flash(rows, *seen, scaling, block.added)
        parts.append(part.view(1, heads, -1, value.shape[3]).transpose(1, 2))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1), None


AttentionInterface.register(NAME, hybrid_attention)
