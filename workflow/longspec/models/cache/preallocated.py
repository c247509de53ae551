"""A preallocated key/value cache: a committed prefix and, after it, a tail of nodes not yet decided on.

`update` writes in place and returns views, never copies; `commit` keeps the accepted nodes of the tail, in order, and
drops the others. On a CPU the views extend to the next multiple of attention's grain; the values there are finite and
must be masked. Interface: transformers' `Cache` and `CacheLayerMixin` (5.17 to 5.23).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from longspec.models.attention.hybrid import GRAIN


class PreallocatedLayer(CacheLayerMixin):
    """Cache one layer's keys and values, each [1, kv_heads, capacity, head_dim].

    On a CPU the keys' storage is [1, kv_heads, head_dim, capacity], as attention's first product reads them, which
    makes it two to three times as fast. The views have the same shape as elsewhere.
    """

    is_sliding = False

    def __init__(self, capacity: int, grain: int = GRAIN) -> None:
        """Prepare a cache of `capacity` positions; on a CPU, views extend to the next multiple of `grain`."""
        super().__init__()
        self.capacity = capacity
        self.committed = 0
        self.written = 0
        self._grain, self._wanted_grain = 1, grain

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate on the first update, when heads, dtype and device are known."""
        kv_heads, head_dim = key_states.shape[1], key_states.shape[3]
        if key_states.device.type == "cpu":
            self._grain = self._wanted_grain
            self.keys = key_states.new_zeros(1, kv_heads, head_dim, self._up(self.capacity)).transpose(2, 3)
        else:
            self.keys = key_states.new_zeros(1, kv_heads, self.capacity, head_dim)
        self.values = value_states.new_zeros(1, kv_heads, self._up(self.capacity), value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append [1, kv_heads, n, head_dim] to the tail; returns views of all that is written (see the module)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        end = self.written + key_states.shape[2]
        if end > self.capacity:
            raise IndexError(f"{end} positions; expected at most the cache's capacity of {self.capacity}")
        self.keys[:, :, self.written : end] = key_states
        self.values[:, :, self.written : end] = value_states
        self.written = end
        shown = self._up(end)
        return self.keys[:, :, :shown], self.values[:, :, :shown]

    def _up(self, length: int) -> int:
        return -(-length // self._grain) * self._grain

    def commit(self, path: list[int], nodes: torch.Tensor | None) -> None:
        """Keep tail nodes `path`; `nodes` is the same as a tensor, or None when they already lie in place."""
        start, end = self.committed, self.committed + len(path)
        if nodes is not None and self.is_initialized:  # a layer may read the keys of another one
            for states in (self.keys, self.values):
                assert states is not None
                states[:, :, start:end] = states[:, :, start + nodes]
        self.committed = self.written = end

    def get_seq_length(self) -> int:
        """Count the positions that are written, the tail included."""
        return self.written

    def get_max_length(self) -> int:
        """Return the capacity in positions."""
        return self.capacity

    def get_max_cache_shape(self) -> int:
        """Return the capacity in positions (the name of `get_max_length` in earlier transformers)."""
        return self.capacity

    def get_mask_sizes(self, query_length: Any) -> tuple[int, int]:
        """Return the length and offset of the keys that a mask of transformers' own covers."""
        return self.written + int(query_length), 0

    def rewind(self, length: int) -> None:
        """Keep the first `length` positions of the prefix."""
        self.committed = self.written = length

    @torch.inference_mode()
    def reset(self) -> None:
        """Drop the text and keep the storage.

        The storage is set to 0 where views extend beyond what is written: even a masked NaN would spread to all."""
        self.rewind(0)
        if self._grain > 1:
            for states in (self.keys, self.values):
                states.zero_()


class KVCache(Cache):
    """Cache the keys and values of all layers of a model, one PreallocatedLayer each."""

    def __init__(self, layers: int, capacity: int, grain: int = GRAIN) -> None:
        self.stack = [PreallocatedLayer(capacity, grain) for _ in range(layers)]
        super().__init__(layers=list(self.stack))

    @property
    def committed(self) -> int:
        """Count the positions of the prefix."""
        return self.stack[0].committed

    def last_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last layer's keys and values of the prefix: views [kv_heads, committed, head_dim]."""
        layer = self.stack[-1]
        assert layer.keys is not None and layer.values is not None
        return layer.keys[0, :, : layer.committed], layer.values[0, :, : layer.committed]

    def commit(self, path: list[int]) -> None:
        """Keep these nodes of the tail, numbered from 0, in the order of the text."""
        in_place = path == list(range(len(path)))
        keys = self.stack[0].keys
        nodes = None if in_place or keys is None else torch.tensor(path, device=keys.device)
        for layer in self.stack:
            layer.commit(path, nodes)

    def rewind(self, length: int) -> None:
        """Keep the first `length` positions of the prefix, and no tail."""
        for layer in self.stack:
            layer.rewind(length)

    def reset(self) -> None:
        """Drop the text and keep the storage."""
        for layer in self.stack:
            layer.reset()
