"""Runs transformers' own attention over our cache, for models whose attention cannot be replaced by ours.

Masks are computed by transformers' own mask functions, from positions instead of slots, and from the tail's shape. It
is slow, since the whole mask is made for every forward.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionMaskInterface

from longspec.models.attention.hybrid import Layout

NAME = "eager"
"""transformers' name for what each model's own code does."""
OWN = (NAME, "sdpa")
"""What may run: a model that branches on the name of its attention itself keeps the one that it came with."""
GRAIN = 1
"""Keys are shown as many as there are."""


@contextmanager
def laid_out(layout: Layout) -> Iterator[Layout]:
    """Run a forward whose queries see the cache in this way."""
    masks = AttentionMaskInterface._global_mapping
    before = {name: masks[name] for name in OWN}
    masks.update(dict.fromkeys(OWN, functools.partial(_mask, layout)))
    try:
        yield layout
    finally:
        masks.update(before)


def _mask(
    layout: Layout, *, kv_length: int, mask_function: Callable[..., torch.Tensor], dtype: torch.dtype, **_: Any
) -> torch.Tensor:
    """Make what is added to scores [1, 1, queries, keys], 0 where a key is seen, by transformers' mask interface."""
    prefix = kv_length - len(layout.tail_positions)
    positions = layout.positions
    keys = torch.cat([torch.arange(prefix, device=positions.device), layout.tail_positions])
    seen = mask_function(0, 0, positions[:, None], keys[None]).expand(len(positions), kv_length).clone()
    if layout.hidden is not None:
        seen[:, prefix:] &= ~layout.hidden
    return torch.where(seen, 0.0, torch.finfo(dtype).min).to(dtype)[None, None]
