"""A key/value cache whose storage never moves, and that can be written at positions which only the device knows.

It behaves as preallocated.py describes, but while `slots` is set, `update` writes row i to position slots[i] and
returns the whole storage, and the host's counters do not change until `advance`. All layers lie in one block, so that
`commit` moves the accepted nodes of all of them at once.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache

from longspec.models.attention.hybrid import GRAIN
from longspec.models.cache.preallocated import KVCache, PreallocatedLayer

POSITIONS = 3
"""Index of the block's dimension of positions."""


class StaticLayer(PreallocatedLayer):
    """Cache one layer's keys and values, each [1, kv_heads, capacity, head_dim], in its part of the block."""

    def __init__(self, cache: StaticCache, number: int, capacity: int) -> None:
        super().__init__(capacity)
        self._cache = cache
        self._number = number

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Take this layer's part of the block, which the first layer allocates."""
        self._grain = GRAIN if key_states.device.type == "cpu" else 1
        capacity = self._up(self.capacity)
        self.keys, self.values = self._cache.storage(self._number, capacity, key_states, value_states)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [1, kv_heads, n, head_dim] to the slots, or without slots, after what is written."""
        if self._cache.slots is None:
            return super().update(key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        self.keys.index_copy_(2, self._cache.slots, key_states)
        self.values.index_copy_(2, self._cache.slots, value_states)
        return self.keys, self.values


class StaticCache(KVCache):
    """Cache the keys and values of all layers in one block; `capacity` must include the padding of the last step."""

    def __init__(self, layers: int, capacity: int) -> None:
        self.slots: torch.Tensor | None = None
        self.blocks: list[torch.Tensor] = []
        self.stack: list[PreallocatedLayer] = [StaticLayer(self, number, capacity) for number in range(layers)]
        Cache.__init__(self, layers=list(self.stack))

    def storage(
        self, number: int, capacity: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return storage for the keys and values of layer `number`, each [1, kv_heads, capacity, head_dim].

        It is a view of a block [2, layers, kv_heads, capacity, head_dim]. A layer of another shape than the first gets
        blocks of its own.
        """
        if not self.blocks and key.shape == value.shape:
            self.blocks.append(key.new_zeros(2, len(self.stack), key.shape[1], capacity, key.shape[3]))
        first = self.blocks[0] if self.blocks else None
        if first is not None and key.shape == value.shape and first.shape[2::2] == key.shape[1::2]:
            return first[0, number, None], first[1, number, None]
        own = [states.new_zeros(1, 1, states.shape[1], capacity, states.shape[3]) for states in (key, value)]
        self.blocks += own
        return own[0][0], own[1][0]

    @property
    def tensors(self) -> list[torch.Tensor]:
        """List every layer's keys and values, as attention receives them."""
        return [states for layer in self.stack for states in (layer.keys, layer.values) if states is not None]

    def advance(self, count: int) -> None:
        """Count `count` nodes as written, after they went through the slots to the positions that follow."""
        for layer in self.stack:
            layer.written += count

    def commit(self, path: list[int]) -> None:
        """Keep these nodes of the tail, numbered from 0, in the order of the text; the host does not wait for it."""
        start, count = self.committed, len(path)
        if path != list(range(count)) and self.blocks:
            moves = torch.tensor([path, list(range(count))]) + start
            device = self.blocks[0].device
            if device.type == "cuda":
                moves = moves.pin_memory()
            source, destination = moves.to(device, non_blocking=True)
            for block in self.blocks:
                block.index_copy_(POSITIONS, destination, block.index_select(POSITIONS, source))
        self.rewind(start + count)
