"""GLIDE (LongSpec, arXiv 2502.17421) and the hybrid: one small layer over the target's own keys and values.

What a draft step costs does not grow with the text, but for reading the target's last keys and values; what the
drafter keeps is constant. A checkpoint decides which of the two it is, and which ids it drafts; the text's own ids
are candidates too. The text's keys are made when its tokens are certain, drafted nodes' when they are expanded: so a
step whose drafts were all accepted starts with two tokens. The cross-attention sees verified keys only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from longspec.decoding.interfaces import Candidates, Verifier
from longspec.decoding.tree import TokenTree
from longspec.drafters.glide.model import LAGS, Glide
from longspec.drafters.glide.window_cache import Ring
from longspec.models import packed_linear
from longspec.models.lending import Lending
from longspec.models.target import CausalLM

OWN_IDS = 1024
"""Most ids of the text beside the draft vocabulary, and rows of the head kept for what it will yet add."""


class Head:
    """The target's output head for the draft vocabulary and the text's own ids; without a vocabulary, for all."""

    def __init__(self, target: CausalLM, lending: Lending, draft_ids: torch.Tensor | None) -> None:
        self._lending = lending
        self.ids: torch.Tensor | None = None
        self._full: Any = target.model.get_output_embeddings()
        if draft_ids is None:
            return
        self._known = frozenset(draft_ids.tolist())
        rows = lending.head_rows(draft_ids)
        self._main = nn.Sequential(nn.Linear(rows.shape[1], rows.shape[0], bias=False, dtype=rows.dtype))
        self._main[0].weight = nn.Parameter(rows, requires_grad=False)
        self._main.to(target.device)
        if target.engine in ("packed", "native"):
            packed_linear.pack(self._main, lambda: None)
        self._own = rows.new_zeros(2 * OWN_IDS, rows.shape[1])
        self._ids = torch.cat([draft_ids, draft_ids.new_zeros(2 * OWN_IDS)])
        self._base, self._seen = len(draft_ids), set[int]()

    def start(self, text: list[int]) -> None:
        """A new text: its latest ids become candidates."""
        if hasattr(self, "_seen"):
            self._seen = set()
            self.add(list(dict.fromkeys(token for token in reversed(text) if token not in self._known))[:OWN_IDS])

    def add(self, tokens: list[int]) -> None:
        """These ids came up in the text."""
        if not hasattr(self, "_seen"):
            return
        new = [t for t in dict.fromkeys(tokens) if t not in self._known and t not in self._seen]
        first = len(self._seen)
        new = new[: len(self._own) - first]
        end = first + len(new)
        if new:
            ids = torch.tensor(new, device=self._ids.device)
            self._own[first:end] = self._lending.head_rows(ids)
            self._ids[self._base + first : self._base + end] = ids
            self._seen.update(new)
        self.ids = self._ids[: self._base + end]

    def __call__(self, h: torch.Tensor) -> torch.Tensor:
        """h [n, hidden] -> logits [n, columns], whose tokens are `ids`."""
        if self.ids is None:
            logits: torch.Tensor = self._full(h)
            return logits
        main: torch.Tensor = self._main(h)
        own = len(self.ids) - self._base
        return torch.cat([main, h @ self._own[:own].T], dim=-1) if own else main


class GlideDrafter:
    """Drafts a level of a tree at a time."""

    def __init__(
        self,
        target: CausalLM,
        model: Glide,
        window: int = 512,
        draft_ids: torch.Tensor | None = None,
        feature_layers: list[int] | None = None,
    ) -> None:
        """`model` is changed into the target's dtype, device and engine."""
        self.target, self.model = target, model.to(target.device, target.dtype).eval()
        self.layers = feature_layers or []
        target.watch(self.layers)
        if target.engine in ("packed", "native"):
            packed_linear.pack(self.model, lambda: None)
        sizes = model.sizes
        self.ring = Ring(sizes.kv_heads, sizes.head_dim, window, target.dtype, target.device)
        self.lending = Lending(target)
        self.head = Head(target, self.lending, None if draft_ids is None else draft_ids.to(target.device))
        self._text: list[int] = []
        self._rotary: tuple[torch.Tensor, torch.Tensor] = self.lending.rotary(1)
        self._fused: torch.Tensor | None = None

    @torch.inference_mode()
    def prefill(self, ids: list[int], capacity: int) -> None:
        """The window's keys of all but the last token; a hybrid takes the features of the prompt's last token."""
        if len(self._rotary[0]) < capacity + 1:
            self._rotary = self.lending.rotary(capacity + 1)
        self._text = list(ids)
        self.ring.reset()
        self.ring.length = max(0, len(ids) - 1 - self.ring.size)
        self._read(ids[self.ring.length : -1])
        self.head.start(ids)
        self._fuse(-1)

    @torch.inference_mode()
    def expand(self, tree: TokenTree, nodes: list[int], width: int, verifier: Verifier) -> list[Candidates]:
        """One pass for all `nodes`, which all see the same verified keys of the target."""
        if nodes == [0]:
            self.ring.length = min(self.ring.length, len(self._text) - 1)  # asked again: the root is read again
            h = self._read(self._text[self.ring.length :])[:, -1:]
        else:
            h = self.lending.embed(torch.tensor([[tree.tokens[node] for node in nodes]], device=self.target.device))
        depths = [tree.depths[node] for node in nodes]
        rotary = self._rotary_at([len(self._text) - 1 + depth for depth in depths])
        if nodes != [0]:
            keys, values = self.model.keys_values(h, *rotary)
            self.ring.extend(nodes, [tree.parents[node] for node in nodes], keys, values)
        if self._fused is not None:
            h = h + self._fused[[min(depth, LAGS - 1) for depth in depths]]
        keys, values = self.target.last_layer()
        window = (*self.ring.view(), self._added(self.ring.hidden(nodes, depths)))
        h = self.model(h, rotary, window, (keys[None], values[None], None))
        return verifier.draft(self.head(h[0]), tree, nodes, width, ids=self.head.ids)

    @torch.inference_mode()
    def commit(self, emitted: list[int], tree: TokenTree, path: list[int]) -> None:
        """The text goes on; drafted nodes are forgotten."""
        self._text += emitted
        self.ring.drop()
        self.head.add(emitted)
        self._fuse(path[-1])

    def _read(self, ids: list[int]) -> torch.Tensor:
        """Put the text's next tokens into the ring; returns their embeddings [1, n, hidden]."""
        embedded = self.lending.embed(torch.tensor([ids], dtype=torch.long, device=self.target.device))
        if ids:
            first = self.ring.length
            rotary = self._rotary_at(range(first, first + len(ids)))
            self.ring.append(*self.model.keys_values(embedded, *rotary))
        return embedded

    def _fuse(self, node: int) -> None:
        """What a hybrid adds at each depth below the text's last token: [LAGS, hidden]."""
        if self.model.fusion is not None:
            self._fused = self.model.fusion(self.target.features(self.layers, node)[None]) + self.model.lag_embedding

    def _rotary_at(self, positions: list[int] | range) -> tuple[torch.Tensor, torch.Tensor]:
        cos, sin = self._rotary
        if len(positions) == 1 or isinstance(positions, range):
            return cos[positions[0] : positions[-1] + 1], sin[positions[0] : positions[-1] + 1]
        rows = torch.tensor(positions, device=cos.device)
        return cos[rows], sin[rows]

    def _added(self, hidden: Any) -> torch.Tensor | None:
        if hidden is None:
            return None
        added = torch.zeros(1, 1, *hidden.shape, dtype=self.target.dtype, device=self.target.device)
        return added.masked_fill_(torch.from_numpy(hidden).to(self.target.device), float("-inf"))
