"""Batched decoding of texts of different lengths: a cache whose rows (slots) have their own lengths, and its attention.

A batch of prompts fills the slots that `filling` names; otherwise every slot gets one token. The model is transformers'
own, used through its interfaces for caches and attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin

NAME = "longspec_slots"


class SlotLayer(CacheLayerMixin):
    """Cache one layer's keys and values of all slots, each [slots, kv_heads, capacity, head_dim]."""

    is_sliding = False

    def __init__(self, view: SlotCache) -> None:
        super().__init__()
        self.view = view

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate storage at the first update, when sizes and number format are known."""

        def storage(states: torch.Tensor) -> torch.Tensor:
            return states.new_zeros(self.view.slots, states.shape[1], self.view.capacity, states.shape[3])

        self.keys, self.values = storage(key_states), storage(value_states)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store new keys and values; returns those that attention reads: the prompts' own, or all up to `longest`."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        n = key_states.shape[2]
        if self.view.filling is not None:
            self.keys[self.view.filling, :, :n] = key_states
            self.values[self.view.filling, :, :n] = value_states
            return key_states, value_states
        rows, at = self.view.rows, self.view.lengths
        self.keys[rows, :, at] = key_states[:, :, 0]
        self.values[rows, :, at] = value_states[:, :, 0]
        longest = self.view.longest
        return self.keys[:, :, :longest], self.values[:, :, :longest]

    def get_seq_length(self) -> int:
        """Return 0: slots have different lengths, and positions are given to the model."""
        return 0

    def get_max_length(self) -> int:
        """Return the capacity of a slot, in tokens."""
        return self.view.capacity

    def get_max_cache_shape(self) -> int:
        """Return the capacity of a slot, in tokens."""
        return self.view.capacity

    def get_mask_sizes(self, query_length: Any) -> tuple[int, int]:
        """Return the length and offset of the keys that transformers' own mask would cover."""
        return int(query_length), 0


class SlotCache(Cache):
    """Hold the cache of all layers, the slots' lengths, and which slots are being filled with prompts."""

    def __init__(self, layers: int, slots: int, capacity: int, device: torch.device) -> None:
        self.slots, self.capacity = slots, capacity
        self.rows = torch.arange(slots, device=device)
        self.lengths = torch.zeros(slots, dtype=torch.long, device=device)
        self.longest = 1
        self.filling: torch.Tensor | None = None
        super().__init__(layers=[SlotLayer(self) for _ in range(layers)])


def slot_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    scaling: float | None = None,
    hidden: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention over slots, by transformers' attention interface; query [slots, heads, n, d].

    `hidden` [slots, 1, 1, keys] is added to the scores when every slot decodes one token; None for a batch of prompts.
    """
    slots, heads, _, d = query.shape
    kv_heads = key.shape[1]
    if hidden is None:
        mixed = scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=heads > kv_heads
        )
        return mixed.transpose(1, 2), None
    rows = query.reshape(slots, kv_heads, heads // kv_heads, d)
    mixed = scaled_dot_product_attention(rows, key, value, attn_mask=hidden, scale=scaling)
    return mixed.reshape(slots, 1, heads, d), None


AttentionInterface.register(NAME, slot_attention)
