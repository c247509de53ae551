"""Attention of our engine, for prefill, vanilla steps, drafted chains and drafted trees alike.

It is registered with transformers as an attention implementation, so that it runs inside unmodified models.
Every query sees the whole prefix; only the tail needs a mask (the idea of LongSpec's hybrid tree attention,
arXiv 2502.17421), and not even that when one token is decoded. Keys of grouped heads are not repeated.

On a CPU it is two matrix products around a softmax. torch's flash kernel takes 1.5 to 3 times as long there
(bfloat16, 4,096 positions, 1 to 64 queries), if the keys are stored as the first product reads them (preallocated.py).
Scores are rounded to the model's number format before the softmax, as in Hugging Face's `eager` attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from longspec.models.attention import on_device

NAME = "longspec_hybrid"
GRAIN = 32
"""Keys are run in multiples of this number on a CPU; those beyond the last one are masked. Softmax and products then
sum in the same order however many keys follow, so that a token's output has the same bits alone or with others."""
PREFILL_ROWS = 256
"""Queries of a prefill that are run together on a CPU: few enough that masked products cost little."""


@dataclass(frozen=True)
class Layout:
    """Describe which positions of the cache the queries of one forward see.

    `hidden` [n, tail] (bool): the tail nodes that each query must not see; None when one query sees all, and
    for the plain causal order of a prefill. `positions` [n]: the queries' positions in the text.
    `tail_positions` [tail]: those of the tail's nodes.
    """

    hidden: torch.Tensor | None
    positions: torch.Tensor
    tail_positions: torch.Tensor
    memo: dict[Any, list[Block]] = field(default_factory=dict)
    """Blocks of this layout, computed once for all layers of one kind."""


@dataclass(frozen=True)
class Local:
    """Limit what a layer's queries see to the last `size` positions, or (`chunked`) to their own chunk of that size."""

    size: int
    chunked: bool = False

    def first(self, position: int) -> int:
        """Return the first position that a query at `position` sees."""
        return position // self.size * self.size if self.chunked else max(0, position - self.size + 1)

    def hides(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Return the mask [n, m] of positions `keys` [m] that are too far before each of `queries` [n]."""
        if self.chunked:
            return (queries // self.size)[:, None] != (keys // self.size)[None]
        return queries[:, None] - keys[None] >= self.size


@dataclass(frozen=True)
class Block:
    """Run queries `rows` over the keys `seen`; `added` [groups * queries, last keys] is added to scores: 0 or -inf."""

    rows: slice
    seen: slice
    added: torch.Tensor | None


def causal_mask(n: int, device: torch.device) -> torch.Tensor:
    """Make the mask [n, n] (bool) of what is hidden in a chain of n nodes: all later nodes."""
    return torch.ones(n, n, dtype=torch.bool, device=device).triu(1)


def _blocks(layout: Layout, keys: int, local: Local | None, on_cpu: bool) -> Iterator[Block]:
    """Yield blocks of a forward, with masks [queries, last keys] (bool) or None; on a CPU, a prefill gives several."""
    positions, tail = layout.positions, layout.tail_positions
    if not on_cpu:
        plain = layout.hidden is None and len(positions) > 1
        hidden = causal_mask(len(positions), positions.device) if plain else layout.hidden
        yield _block(slice(0, len(positions)), positions, tail, hidden, keys - len(tail), local, 1)
    elif layout.hidden is not None or len(positions) == 1:
        yield _block(slice(0, len(positions)), positions, tail, layout.hidden, int(tail[0]), local, GRAIN)
    else:
        for start in range(0, len(positions), PREFILL_ROWS):
            rows = slice(start, min(start + PREFILL_ROWS, len(positions)))
            part = positions[rows]
            yield _block(rows, part, part, causal_mask(len(part), part.device), start, local, GRAIN)


def _block(
    rows: slice,
    positions: torch.Tensor,
    tail: torch.Tensor,
    hidden: torch.Tensor | None,
    prefix: int,
    local: Local | None,
    grain: int,
) -> Block:
    """Make a block of queries at `positions`, over `prefix` committed keys and a tail at the positions `tail`.

    Its keys begin and end at multiples of `grain`."""
    keys = prefix + len(tail)
    first, end = 0, -(-keys // grain) * grain
    if local is not None and keys <= local.size:
        local = None
    if hidden is None and (local or end > keys):
        hidden = torch.zeros(len(positions), len(tail), dtype=torch.bool, device=tail.device)
    if local is not None and hidden is not None:
        first = local.first(prefix) // grain * grain
        key_positions = torch.cat([torch.arange(first, prefix, device=tail.device), tail])
        hidden = torch.nn.functional.pad(hidden, (prefix - first, 0))
        hidden = hidden | local.hides(positions, key_positions)
    if end > keys and hidden is not None:
        hidden = torch.nn.functional.pad(hidden, (0, end - keys), value=True)
    return Block(rows, slice(first, end), hidden)


def _added(hidden: torch.Tensor, groups: int, dtype: torch.dtype) -> torch.Tensor:
    """Turn a mask [n, m] into what is added to the scores of the last keys [groups * n, m]: 0 where seen, else -inf."""
    return torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, float("-inf")).repeat(groups, 1)


def products(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float,
    added: torch.Tensor | None,
    softcap: float | None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute softmax(scaling * query keyᵀ + added) value by two matrix products.

    query [kv_heads, rows, d], key and value [kv_heads, l, d], `added` [rows, last keys]. With `softcap`, scores pass
    through softcap * tanh(x / softcap). `sinks` [kv_heads, rows]: scores of a further key without a value. Returns
    [kv_heads, rows, d].
    """
    start = query.new_empty(1, 1, 1)  # baddbmm needs it, and does not read it since beta is 0
    scores = torch.baddbmm(start, query, key.transpose(1, 2), beta=0, alpha=scaling / (softcap or 1))
    if softcap is not None:
        scores = scores.tanh_().mul_(softcap)
    if added is not None:
        scores[..., scores.shape[-1] - added.shape[-1] :] += added
    if sinks is not None:
        scores = torch.cat([scores, sinks[..., None].to(scores.dtype)], dim=-1).softmax(-1)[..., :-1]
        return torch.bmm(scores, value)
    return torch.bmm(scores.softmax(-1), value)


def _flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, added: torch.Tensor | None
) -> torch.Tensor:
    """Compute attention by torch's fused kernels.

    Their masks span all keys; where the tail is short against the prefix, it is therefore computed separately."""
    if added is not None and added.shape[1] * 2 < key.shape[1] and query.shape[2] % 8 == 0:
        return on_device.prefix_and_tail(query[None], key[None], value[None], added, scaling)[0]
    if added is not None:
        added = torch.nn.functional.pad(added, (key.shape[1] - added.shape[1], 0))
    return scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=added, scale=scaling)[0]


_running: Layout | on_device.StaticLayout | None = None
Laid = TypeVar("Laid", Layout, on_device.StaticLayout)


@contextmanager
def laid_out(layout: Laid) -> Iterator[Laid]:
    """Make attention use this layout within the block.

    It is global state, since not every model passes further arguments on to its attention."""
    global _running
    before, _running = _running, layout
    try:
        yield layout
    finally:
        _running = before


def hybrid_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Local | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention by transformers' interface; call it within `laid_out`.

    query [1, heads, n, d], key and value [1, kv_heads, l, d]; `attention_mask`: what `local` returned in place of the
    model's masks; `s_aux` [heads]: scores of a key without a value. Returns [1, n, heads, d].
    """
    assert _running is not None
    layout, near = _running, Local(sliding_window) if sliding_window else attention_mask
    scaling = query.shape[3] ** -0.5 if scaling is None else scaling
    if isinstance(layout, on_device.StaticLayout):
        if s_aux is not None or (near is not None and near.chunked):
            raise NotImplementedError("no graph runs attention with sinks or chunks")
        window = None if near is None else near.size
        return on_device.attend(query, key, value, layout, scaling, window, softcap), None
    return _attended(layout, query, key, value, near, scaling, softcap, s_aux), None


def _attended(
    layout: Layout,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    near: Local | None,
    scaling: float,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    _, heads, n, d = query.shape
    kv_heads, length = key.shape[1:3]
    groups = heads // kv_heads
    on_cpu = query.device.type == "cpu"
    plain = softcap is None and sinks is None
    sees_all = near is None or length <= near.size
    if not on_cpu and n == length > 1 and layout.hidden is None and plain and sees_all:
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=groups > 1)
        return mixed.transpose(1, 2).contiguous()
    memo = (length, near, groups)
    if memo not in layout.memo:
        layout.memo[memo] = [
            Block(b.rows, b.seen, None if b.added is None else _added(b.added, groups, query.dtype))
            for b in _blocks(layout, length, near, on_cpu)
        ]
    parts = []
    for block in layout.memo[memo]:
        # The heads of a group become further query rows of their shared key head, so that no key is repeated.
        rows = query[0, :, block.rows].reshape(kv_heads, -1, d)
        seen = key[0, :, block.seen], value[0, :, block.seen]
        if on_cpu or not plain:
            # A group's rows are ordered head by head, and so are their sinks.
            mine = None if sinks is None else sinks.view(kv_heads, groups).repeat_interleave(rows.shape[1] // groups, 1)
            part = products(rows, *seen, scaling, block.added, softcap, mine)
        else:
            part = _flash(rows, *seen, scaling, block.added)
        parts.append(part.view(1, heads, -1, value.shape[3]).transpose(1, 2))
    return parts[0].contiguous() if len(parts) == 1 else torch.cat(parts, dim=1)


def local(
    mask_function: Callable[..., torch.Tensor], local_size: int | None = None, config: Any = None, **_: Any
) -> Local | None:
    """Describe a layer's window or chunk in place of its mask; None where it sees all of the text.

    Called by transformers' mask interface (5.23)."""
    if local_size is None:
        return None
    window, chunk = (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size"))
    if window != chunk:
        return Local(local_size, chunked=local_size == chunk)
    far, one = torch.tensor([local_size]), torch.tensor([1])
    return Local(local_size, chunked=not bool(mask_function(0, 0, far, one)))


AttentionInterface.register(NAME, hybrid_attention)
AttentionMaskInterface.register(NAME, local)
