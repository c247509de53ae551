"""The layer by the compiled step, beside a target that runs by it: no copy of the target's keys, one call a level."""

from __future__ import annotations

import torch
from torch import nn

from longspec.decoding.tree import TokenTree
from longspec.drafters.glide.candidates import Ids
from longspec.drafters.glide.model import Glide
from longspec.models.native.architecture import Inexpressible
from longspec.models.native.cross_layer import CrossSteps, Parts
from longspec.models.native.packing import PANEL, Packed
from longspec.models.native.structs import Linear
from longspec.models.native.weights import linear
from longspec.models.target import CausalLM
from longspec.models.target_parts import TargetParts


class NativeHead(nn.Module):
    """Rows of the target's output head: of the candidates, or all. A module, so that they count as weights."""

    def __init__(self, target: CausalLM, ids: Ids | None) -> None:
        super().__init__()
        assert target.native is not None
        self._ids, self._parts = ids, TargetParts(target)
        self.packed = target.native.head
        if ids is not None:
            rows = self._parts.head_rows(torch.cat([ids.fixed, ids.fixed.new_zeros(ids.room)]))
            layer = nn.Linear(rows.shape[1], rows.shape[0], bias=False, device="meta")
            layer.weight = nn.Parameter(rows, requires_grad=False)
            self.packed = Packed(layer, half=self.packed.half or rows.dtype == torch.bfloat16)

    @property
    def columns(self) -> int:
        """Number of candidates."""
        return self.packed.rows if self._ids is None else len(self._ids.all)

    @property
    def linear(self) -> Linear:
        """Describe the panels that hold the candidates there are."""
        described = linear(self.packed)
        described.outputs = -(-self.columns // PANEL) * PANEL
        return described

    def add(self, first: int, new: torch.Tensor) -> None:
        """Take the text's own ids `new` [n] as its candidates from the `first` on."""
        assert self._ids is not None
        self.packed.put(len(self._ids.fixed) + first, self._parts.head_rows(new))


class NativeLayer:
    """Runs a Glide module's weights beside a native target. Inexpressible where the step cannot."""

    def __init__(self, target: CausalLM, model: Glide, window: int, ids: Ids | None) -> None:
        if target.native is None:
            raise Inexpressible("its target runs by another engine")
        self._parts = TargetParts(target)
        cosines, _ = self._parts.rotary(2, torch.float32)
        half = cosines.shape[1] // 2
        if not torch.equal(cosines[:, :half], cosines[:, half:]):
            raise Inexpressible("its target's rotary pairs are no halves")
        model = model.to(target.dtype).eval()
        self._steps = CrossSteps(target.native, parts(model), window + 1, cosines.shape[1])
        self.model = self._steps.weights
        self.head = NativeHead(target, ids)
        self._features: torch.Tensor | None = None
        self._positions = 0

    @property
    def bytes(self) -> int:
        """Storage of the window."""
        return self._steps.bytes

    def start(self, text: list[int], capacity: int) -> None:
        """Read the window of a new text, all but its last token."""
        if self._positions < capacity + 1:
            self._positions = capacity + 1
            tables = self._parts.rotary(self._positions, torch.float32)
            half = tables[0].shape[1] // 2
            self._steps.set_rotary(*(table[:, :half] for table in tables))
        first = max(0, len(text) - 1 - self._steps.window)
        self._steps.start(first)
        if first < len(text) - 1:
            self._steps.read(self._embed(text[first:-1]), self.head.linear)

    def take(self, features: torch.Tensor | None) -> None:
        """Take the features [layers, hidden] of the token before the text's last; drafted nodes are forgotten."""
        self._steps.drop()
        self._features = None if features is None else features.float().contiguous()

    def root(self, text: list[int]) -> torch.Tensor:
        """Read the text's new tokens; logits [1, candidates] after the last."""
        self._steps.rewind(min(self._steps.length, len(text) - 1))  # asked again: the root is read again
        if len(text) - self._steps.length > self._steps.window:
            self._steps.start(len(text) - self._steps.window)
        embedded = self._embed(text[self._steps.length :])
        return self._steps.read(embedded, self.head.linear, 1, self._features)[:, : self.head.columns]

    def below(self, tree: TokenTree, nodes: list[int], text: list[int]) -> torch.Tensor:
        """Logits [n, candidates] after drafted `nodes`."""
        embedded = self._embed([tree.tokens[node] for node in nodes])
        parents = [tree.parents[node] for node in nodes]
        return self._steps.extend(embedded, nodes, parents, self.head.linear)[:, : self.head.columns]

    def _embed(self, ids: list[int]) -> torch.Tensor:
        return self._parts.embed(torch.tensor(ids)).float().contiguous()


def parts(model: Glide) -> Parts:
    """Name a module's parts as the compiled step knows them."""
    norms = (model.input_layernorm, model.post_self_attention_layernorm, model.post_cross_attention_layernorm)
    fusion = model.fusion
    return Parts(
        query=model.self_attn.q_proj,
        key_value=model.self_attn.kv_proj,
        output=model.self_attn.o_proj,
        cross_query=model.cross_attn.q_proj,
        cross_output=model.cross_attn.o_proj,
        gate_up=model.mlp.gate_up_proj,
        down=model.mlp.down_proj,
        norms=(norms[0].weight, norms[1].weight, norms[2].weight),
        final_norm=None if model.norm is None else model.norm.weight,
        epsilon=model.sizes.eps,
        fusion=None if fusion is None else fusion.proj,
        feature_norms=None if fusion is None else torch.stack([norm.weight for norm in fusion.norms]),
        lags=None if fusion is None else model.lag_embedding,
    )
