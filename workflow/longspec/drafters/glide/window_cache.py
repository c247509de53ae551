"""The GLIDE drafter's key/value cache: a ring buffer over the last tokens of the text, and the nodes of one draft.

Storage does not grow with the text: a token overwrites the one that has left the window. Drafted nodes are stored
apart, so that rejected ones leave nothing behind. The order in memory does not matter to attention; `hidden` is the
mask of what a node must not see.
"""

from __future__ import annotations

import numpy as np
import torch

NODES = 1024
"""Drafted nodes that a cache has room for at first; it doubles when a draft needs more."""


class Ring:
    """Cache keys and values, each [1, kv_heads, nodes + window + 1, head_dim]; nodes fill their part from its end."""

    def __init__(
        self, kv_heads: int, head_dim: int, window: int, dtype: torch.dtype, device: torch.device, nodes: int = NODES
    ) -> None:
        """Allocate storage for a window in which a token sees itself and the `window` tokens before it."""
        self.window, self.size, self.nodes = window, window + 1, nodes
        # Transposed as attention's first product reads them: see models/cache/preallocated.py.
        self.keys = torch.zeros(1, kv_heads, head_dim, nodes + self.size, dtype=dtype, device=device).transpose(2, 3)
        self.values = torch.zeros(1, kv_heads, nodes + self.size, head_dim, dtype=dtype, device=device)
        self.reset()

    def reset(self) -> None:
        """Begin a new text in the same storage."""
        self.length = 0
        self.drop()

    def drop(self) -> None:
        """Forget the drafted nodes."""
        self._columns: dict[int, int] = {}
        self._rows: dict[int, np.ndarray] = {}

    @property
    def bytes(self) -> int:
        """Return the size of the storage in bytes."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Append keys and values [1, kv_heads, n, head_dim] of the text's next tokens."""
        n = keys.shape[2]
        kept = min(n, self.size)
        places = self.nodes + torch.arange(self.length + n - kept, self.length + n, device=keys.device) % self.size
        self.keys[:, :, places] = keys[:, :, n - kept :]
        self.values[:, :, places] = values[:, :, n - kept :]
        self.length += n

    def extend(self, nodes: list[int], parents: list[int], keys: torch.Tensor, values: torch.Tensor) -> None:
        """Append keys and values of drafted `nodes`, children of `parents`.

        A parent that is not a drafted node is the text's last token."""
        first = self.nodes - len(self._columns) - len(nodes)
        if first < 0:
            self._grow()
            first += self.nodes // 2
        self.keys[:, :, first : first + len(nodes)] = keys
        self.values[:, :, first : first + len(nodes)] = values
        for place, (node, parent) in enumerate(zip(nodes, parents, strict=True)):
            self._columns[node] = self.nodes - first - place  # counted from the end, which growth does not move
            self._rows[node] = np.append(self._rows.get(parent, np.zeros(0, dtype=int)), self._columns[node])

    def _grow(self) -> None:
        for name in ("keys", "values"):
            states = getattr(self, name)
            setattr(self, name, torch.cat([torch.zeros_like(states[:, :, : self.nodes]), states], dim=2))
        self.nodes *= 2

    def view(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys and values in use: views [1, kv_heads, l, head_dim]."""
        here = slice(self.nodes - len(self._columns), self.nodes + min(self.length, self.size))
        return self.keys[:, :, here], self.values[:, :, here]

    def hidden(self, nodes: list[int], depths: list[int]) -> np.ndarray | None:
        """Return the mask [n, l] of what each node must not see of `view`; None where each sees everything.

        `depths` of the nodes count from the text's last token."""
        drafted, filled = len(self._columns), min(self.length, self.size)
        branches = any(len(self._rows[node]) < drafted for node in nodes if node in self._rows)
        expired = self.length - 1 + max(depths) > self.window
        if not branches and not (expired and max(depths)):
            return None
        hidden = np.zeros((len(nodes), drafted + filled), dtype=bool)
        for row, (node, depth) in enumerate(zip(nodes, depths, strict=True)):
            hidden[row, :drafted] = True
            if node in self._rows:
                hidden[row, drafted - self._rows[node]] = False
            oldest = max(0, self.length - self.size)
            gone = np.arange(oldest, max(oldest, self.length - 1 + depth - self.window))
            hidden[row, drafted + gone % self.size] = True
        return hidden
