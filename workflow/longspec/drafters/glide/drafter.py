"""Drafts with GLIDE (LongSpec, arXiv 2502.17421) or its hybrid: one layer over the keys and values of the target.

The drafter's memory is constant, and a draft step costs the same however long the text is, but for reading the
target's keys and values. The checkpoint decides which of the two it is and which ids it drafts; ids of the text itself
are candidates too. Keys of the text are computed when its tokens are certain, keys of drafted nodes when these are
expanded: after a step whose drafts were all accepted, two tokens are read. The cross-attention sees verified keys only.
"""

from __future__ import annotations

import torch

from longspec.decoding.interfaces import Candidates, Verifier
from longspec.decoding.tree import TokenTree
from longspec.drafters.glide.candidates import Ids
from longspec.drafters.glide.model import Glide
from longspec.drafters.glide.native_layer import NativeLayer
from longspec.drafters.glide.torch_layer import TorchLayer
from longspec.models.native import Inexpressible
from longspec.models.target import CausalLM


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
        """`model` is changed into the target's dtype, device and engine, or its weights move into the compiled step."""
        self._target, self._feature_layers = target, feature_layers or []
        target.watch(self._feature_layers)
        self._ids = None if draft_ids is None else Ids(draft_ids.to(target.device))
        self.layer: NativeLayer | TorchLayer
        try:
            self.layer = NativeLayer(target, model, window, self._ids)
        except Inexpressible:
            self.layer = TorchLayer(target, model, window, self._ids)
        self._text: list[int] = []

    @torch.inference_mode()
    def prefill(self, ids: list[int], capacity: int) -> None:
        """Read the window of a prompt, all but its last token, and the features of the prompt's last."""
        self._text = list(ids)
        self.layer.start(self._text, capacity)
        if self._ids is not None:
            self.layer.head.add(0, self._ids.start(ids))
        self.layer.take(self._features(-1))

    @torch.inference_mode()
    def expand(self, tree: TokenTree, nodes: list[int], width: int, verifier: Verifier) -> list[Candidates]:
        """Draft below all `nodes` in one pass; they all see the same verified keys of the target."""
        logits = self.layer.root(self._text) if nodes == [0] else self.layer.below(tree, nodes, self._text)
        return verifier.draft(logits, tree, nodes, width, ids=None if self._ids is None else self._ids.all)

    @torch.inference_mode()
    def commit(self, emitted: list[int], tree: TokenTree, path: list[int]) -> None:
        """Go on with the text, and forget drafted nodes."""
        self._text += emitted
        if self._ids is not None:
            first, new = self._ids.own, self._ids.add(emitted)
            if len(new):
                self.layer.head.add(first, new)
        self.layer.take(self._features(path[-1]))

    def _features(self, node: int) -> torch.Tensor | None:
        """Read the target's features [layers, hidden] of a node, if the layer is a hybrid."""
        return self._target.features(self._feature_layers, node) if self._feature_layers else None
