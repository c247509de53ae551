"""A key/value cache that shows one branch of a tail at a time, each node at the place of its position in the text.

Contract: that of preallocated.py, but the tail that a forward meets is one path, which `show` lays out. The states of
nodes that are not on it lie aside; only they are copied, so a chain moves nothing. It does not know models.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache

from longspec.models.cache.preallocated import KVCache, PreallocatedLayer


class BranchLayer(PreallocatedLayer):
    """One layer's keys and values, and the keys of a sparse attention's indexer [1, 1, capacity, d] where it has one.

    Interface of the latter: transformers' `DynamicIndexedLayer` (5.23).
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity, grain=1)
        self._index: torch.Tensor | None = None
        self._indexed = 0

    def update_indexer(self, indexer_key_states: torch.Tensor) -> torch.Tensor:
        """Append [1, n, d] to the tail; returns a view of all that is written, [1, length, d]."""
        if self._index is None:
            self._index = indexer_key_states.new_zeros(1, 1, self.capacity, indexer_key_states.shape[2])
        end = self._indexed + indexer_key_states.shape[1]
        self._index[:, 0, self._indexed : end] = indexer_key_states
        self._indexed = end
        return self._index[:, 0, :end]

    def states(self) -> list[torch.Tensor]:
        """All that is kept of positions, in the dimension before the last."""
        return [states for states in (self.keys, self.values, self._index) if states is not None]

    def write_from(self, position: int) -> None:
        """Let the next forward write behind `position` positions."""
        self.written = self._indexed = position

    def rewind(self, length: int) -> None:
        """Keep the first `length` positions of the prefix."""
        super().rewind(length)
        self._indexed = length


class BranchCache(KVCache):
    """One BranchLayer per model layer."""

    def __init__(self, layers: int, capacity: int) -> None:
        self.branch_layers = [BranchLayer(capacity) for _ in range(layers)]
        self.stack: list[PreallocatedLayer] = list(self.branch_layers)
        Cache.__init__(self, layers=list(self.branch_layers))
        self._shown: list[int] = []
        self._aside: dict[int, list[torch.Tensor]] = {}

    def show(self, path: list[int], following: list[int]) -> None:
        """Let the nodes `path` lie behind the prefix in this order; the next forward writes `following` behind them."""
        same = 0
        while same < min(len(path), len(self._shown)) and path[same] == self._shown[same]:
            same += 1
        for place, node in enumerate(self._shown[same:], self.committed + same):
            if node not in self._aside:
                self._aside[node] = [states[:, :, place].clone() for states in self._states()]
        for place, node in enumerate(path[same:], self.committed + same):
            for states, kept in zip(self._states(), self._aside[node], strict=True):
                states[:, :, place] = kept
        for layer in self.branch_layers:
            layer.write_from(self.committed + len(path))
        self._shown = path + following

    def commit(self, path: list[int]) -> None:
        """Keep these nodes of the tail, numbered from 0, in the order of the text."""
        self.show(path, [])
        self.rewind(self.committed + len(path))

    def rewind(self, length: int) -> None:
        """Keep the first `length` positions of the prefix, and no tail."""
        super().rewind(length)
        self._shown, self._aside = [], {}

    def reset(self) -> None:
        """Forget the text; the storage stays."""
        self.rewind(0)

    def _states(self) -> list[torch.Tensor]:
        return [states for layer in self.branch_layers for states in layer.states()]
