"""Attention of a tree's nodes over a cache whose lengths are known on the device only, and its fallbacks.

The same function is computed in three ways: a Triton kernel (triton_kernel.py); torch's own flash attention over the
prefix and a masked tail, merged by log-sum-exp, where the host knows the prefix's length; and plain torch, which is the
reference.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

import torch

HAS_TRITON = importlib.util.find_spec("triton") is not None
FLASH_DTYPES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class StaticLayout:
    """Describe which slots of the cache's storage the rows of one forward see, in tensors that each step refills.

    `lengths` [2] (integers): positions of the prefix, and nodes of the tail behind it that are written when attention
    is reached. `hidden` [n, tail] (bool): the tail's nodes that each row must not see. `positions` [n]: the rows'
    positions in the text; `tail_positions` [tail]: the nodes'. A prefix position is its slot in the cache.
    """

    lengths: torch.Tensor
    hidden: torch.Tensor
    positions: torch.Tensor
    tail_positions: torch.Tensor


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: StaticLayout,
    scaling: float,
    window: int | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """Compute attention over the whole storage, by the Triton kernel where there is one.

    query [1, heads, n, d], key and value [1, kv_heads, capacity, d]; returns [1, n, heads, d]."""
    if HAS_TRITON and (query.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"):
        from longspec.models.attention import triton_kernel

        lengths, hidden, positions, tail = layout.lengths, layout.hidden, layout.positions, layout.tail_positions
        return triton_kernel.attend(query, key, value, hidden, lengths, positions, tail, scaling, window, softcap)
    return reference(query, key, value, layout, scaling, window, softcap)


def reference(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: StaticLayout,
    scaling: float,
    window: int | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """Compute `attend` in plain torch, with the softmax in float32; its cost is that of the whole capacity."""
    _, heads, n, d = query.shape
    kv_heads, capacity = key.shape[1:3]
    rows = query.reshape(1, kv_heads, heads // kv_heads * n, d)
    scores = (rows @ key.transpose(2, 3)).float().view(1, heads, n, capacity) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~_seen(layout, capacity, window), float("-inf"))
    weights = torch.softmax(scores, -1).to(value.dtype).view(1, kv_heads, heads // kv_heads * n, capacity)
    # A slot that was never written may hold NaN, and 0 times NaN is NaN.
    written = torch.arange(capacity, device=key.device) < layout.lengths.sum()
    mixed = weights @ value.masked_fill(~written[:, None], 0)
    return mixed.view(1, heads, n, value.shape[3]).transpose(1, 2)


def _seen(layout: StaticLayout, capacity: int, window: int | None) -> torch.Tensor:
    """Return the mask [n, capacity] (bool) of the slots that each row sees."""
    prefix, tail = layout.lengths[0], layout.lengths[1]
    slot = torch.arange(capacity, device=layout.hidden.device)
    node = (slot - prefix).clamp(0, layout.hidden.shape[1] - 1)
    in_tail = (slot >= prefix) & (slot < prefix + tail)
    seen = (slot < prefix) | (in_tail & ~layout.hidden[:, node])
    if window is not None:
        key_positions = torch.where(in_tail, layout.tail_positions[node], slot)
        seen = seen & (layout.positions[:, None] - key_positions < window)
    return seen


def prefix_and_tail(
    rows: torch.Tensor, key: torch.Tensor, value: torch.Tensor, added: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Compute flash attention over the keys that all rows see and a masked softmax over the others, and merge both.

    rows [1, kv_heads, r, d], key and value [1, kv_heads, l, d]; `added` [r, tail], 0 or -inf, is for the last keys,
    of which each row must see at least one. Returns [1, kv_heads, r, d].
    """
    prefix = key.shape[2] - added.shape[1]
    scores = (rows @ key[:, :, prefix:].transpose(2, 3)).float() * scaling + added
    tail = torch.softmax(scores, -1).to(value.dtype) @ value[:, :, prefix:]
    if prefix == 0:
        return tail
    front, front_lse = flash(rows, key[:, :, :prefix], value[:, :, :prefix], scaling)
    return merge(front, front_lse, tail, scores.logsumexp(-1))


def merge(a: torch.Tensor, a_lse: torch.Tensor, b: torch.Tensor, b_lse: torch.Tensor) -> torch.Tensor:
    """Merge results a, b [.., r, d] of attention over different keys, by the log-sum-exp [.., r] of their scores."""
    share = torch.sigmoid(a_lse - b_lse)[..., None]
    return (a * share + b * (1 - share)).to(a.dtype)


def flash(
    rows: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute torch's own attention without a mask, and the log-sum-exp [1, kv_heads, r] of its scores (float32)."""
    aten = torch.ops.aten
    if not rows.is_cuda:
        return aten._scaled_dot_product_flash_attention_for_cpu(rows, key, value, scale=scaling)[:2]
    if rows.dtype in FLASH_DTYPES and rows.shape[3] % 8 == 0 and rows.shape[3] <= 256:
        return aten._scaled_dot_product_flash_attention(rows, key, value, scale=scaling)[:2]
    mixed, lse, *_ = aten._scaled_dot_product_efficient_attention(rows, key, value, None, True, scale=scaling)
    return mixed, lse[:, :, : rows.shape[2]]  # the kernel pads it to a multiple of 32
