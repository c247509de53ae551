"""The layer by torch, on any device: its window is a ring, its candidates are scored by a matrix of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from longspec.decoding.tree import TokenTree
from longspec.drafters.glide.candidates import Ids
from longspec.drafters.glide.model import LAGS, Glide
from longspec.drafters.glide.window_cache import Ring
from longspec.models import packed_linear
from longspec.models.target import CausalLM
from longspec.models.target_parts import TargetParts


class Head:
    """Scores states by the target's output head: for the candidates, or all ids."""

    def __init__(self, target: CausalLM, ids: Ids | None) -> None:
        self._ids, self._parts = ids, TargetParts(target)
        self._full: Any = target.model.get_output_embeddings()
        if ids is None:
            return
        rows = self._parts.head_rows(ids.fixed)
        self._main = nn.Sequential(nn.Linear(rows.shape[1], rows.shape[0], bias=False, dtype=rows.dtype))
        self._main[0].weight = nn.Parameter(rows, requires_grad=False)
        self._main.to(target.device)
        if target.engine in ("packed", "native"):
            packed_linear.pack(self._main, lambda: None)
        self._own = rows.new_zeros(ids.room, rows.shape[1])

    def add(self, first: int, new: torch.Tensor) -> None:
        """Take the text's own ids `new` [n] as its candidates from the `first` on."""
        self._own[first : first + len(new)] = self._parts.head_rows(new)

    def __call__(self, h: torch.Tensor) -> torch.Tensor:
        """h [n, hidden] -> logits [n, candidates]."""
        if self._ids is None:
            logits: torch.Tensor = self._full(h)
            return logits
        main: torch.Tensor = self._main(h)
        own = self._ids.own
        return torch.cat([main, h @ self._own[:own].T], dim=-1) if own else main


class TorchLayer:
    """Runs a Glide module beside a target."""

    def __init__(self, target: CausalLM, model: Glide, window: int, ids: Ids | None) -> None:
        """`model` is changed into the target's dtype, device and engine."""
        self._target, self.model = target, model.to(target.device, target.dtype).eval()
        if target.engine in ("packed", "native"):
            packed_linear.pack(self.model, lambda: None)
        sizes = model.sizes
        self._ring = Ring(sizes.kv_heads, sizes.head_dim, window, target.dtype, target.device)
        self._parts = TargetParts(target)
        self.head = Head(target, ids)
        self._rotary: tuple[torch.Tensor, torch.Tensor] = self._parts.rotary(1)
        self._fused: torch.Tensor | None = None

    @property
    def bytes(self) -> int:
        """Storage of the window."""
        return self._ring.bytes

    def start(self, text: list[int], capacity: int) -> None:
        """Read the window of a new text, all but its last token."""
        if len(self._rotary[0]) < capacity + 1:
            self._rotary = self._parts.rotary(capacity + 1)
        self._ring.reset()
        self._ring.length = max(0, len(text) - 1 - self._ring.size)
        self._read(text[self._ring.length : -1])

    def take(self, features: torch.Tensor | None) -> None:
        """Take the features [layers, hidden] of the token before the text's last; drafted nodes are forgotten."""
        self._ring.drop()
        if features is not None and self.model.fusion is not None:
            self._fused = self.model.fusion(features[None]) + self.model.lag_embedding

    def root(self, text: list[int]) -> torch.Tensor:
        """Read the text's new tokens; logits [1, candidates] after the last."""
        self._ring.length = min(self._ring.length, len(text) - 1)  # asked again: the root is read again
        h = self._read(text[self._ring.length :])[:, -1:]
        return self._logits(h, self._rotary_at([len(text) - 1]), [0], [0])

    def below(self, tree: TokenTree, nodes: list[int], text: list[int]) -> torch.Tensor:
        """Logits [n, candidates] after drafted `nodes`."""
        h = self._parts.embed(torch.tensor([[tree.tokens[node] for node in nodes]], device=self._target.device))
        depths = [tree.depths[node] for node in nodes]
        rotary = self._rotary_at([len(text) - 1 + depth for depth in depths])
        keys, values = self.model.keys_values(h, *rotary)
        self._ring.extend(nodes, [tree.parents[node] for node in nodes], keys, values)
        return self._logits(h, rotary, nodes, depths)

    def _logits(
        self, h: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor], nodes: list[int], depths: list[int]
    ) -> torch.Tensor:
        if self._fused is not None:
            h = h + self._fused[[min(depth, LAGS - 1) for depth in depths]]
        keys, values = self._target.last_layer()
        window = (*self._ring.view(), self._added(self._ring.hidden(nodes, depths)))
        return self.head(self.model(h, rotary, window, (keys[None], values[None], None))[0])

    def _read(self, ids: list[int]) -> torch.Tensor:
        """Put the text's next tokens into the ring; returns their embeddings [1, n, hidden]."""
        embedded = self._parts.embed(torch.tensor([ids], dtype=torch.long, device=self._target.device))
        if ids:
            first = self._ring.length
            rotary = self._rotary_at(range(first, first + len(ids)))
            self._ring.append(*self.model.keys_values(embedded, *rotary))
        return embedded

    def _rotary_at(self, positions: list[int] | range) -> tuple[torch.Tensor, torch.Tensor]:
        cos, sin = self._rotary
        if len(positions) == 1 or isinstance(positions, range):
            return cos[positions[0] : positions[-1] + 1], sin[positions[0] : positions[-1] + 1]
        rows = torch.tensor(positions, device=cos.device)
        return cos[rows], sin[rows]

    def _added(self, hidden: Any) -> torch.Tensor | None:
        if hidden is None:
            return None
        added = torch.zeros(1, 1, *hidden.shape, dtype=self._target.dtype, device=self._target.device)
        return added.masked_fill_(torch.from_numpy(hidden).to(self._target.device), float("-inf"))
