"""Runs a drafter's layer by the compiled step: attention over a window of its own and over the target's last layer.

Memory is constant: a buffer of two windows and the nodes of one draft. Tokens lie in the order of the text, so a slot
is a position counted from the buffer's first; when the buffer is full, its last window moves to the front.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import nn

from longspec.models.native.architecture import Inexpressible
from longspec.models.native.engine import GROWTH, LANES, THEN, Steps
from longspec.models.native.packing import PANEL, Packed
from longspec.models.native.row_positions import Where
from longspec.models.native.structs import CrossLayer, CrossRows, Layer, Linear, Model, Rows, Text, pointer
from longspec.models.native.weights import linear


@dataclass(frozen=True)
class Parts:
    """Weights of a layer. Both attentions have the target's sizes, and the MLP is a SwiGLU.

    `feature_norms` [layers, hidden], `fusion` and `lags` [distances, hidden]: how features of the target are added to
    its input; all None for a layer that reads none."""

    query: nn.Linear
    key_value: nn.Linear
    output: nn.Linear
    cross_query: nn.Linear
    cross_output: nn.Linear
    gate_up: nn.Linear
    down: nn.Linear
    norms: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    """Scales before the window's attention, the target's, and the MLP."""
    final_norm: torch.Tensor | None
    epsilon: float
    fusion: nn.Linear | None = None
    feature_norms: torch.Tensor | None = None
    lags: torch.Tensor | None = None


MATRICES = ("query", "key_value", "output", "cross_query", "cross_output", "gate_up", "down", "fusion")


class CrossWeights(nn.Module):
    """Packed matrices of a layer, and its norms' scales in float32."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        if parts.query.out_features % PANEL or parts.down.out_features % PANEL:
            sizes = (parts.query.out_features, parts.down.out_features)
            raise Inexpressible(f"a layer's sizes {sizes} are no multiples of {PANEL}")
        self.packed: dict[str, Packed] = {}
        for name in MATRICES:
            matrix = getattr(parts, name)
            if matrix is not None:
                self.packed[name] = Packed(matrix, gated=name == "gate_up")
        self.norms = tuple(_numbers(norm) for norm in parts.norms)
        self.final_norm = _numbers(parts.final_norm)
        self.feature_norms, self.lags = _numbers(parts.feature_norms), _numbers(parts.lags)
        self.epsilon = parts.epsilon


def _numbers(scale: torch.Tensor | None) -> torch.Tensor | None:
    return None if scale is None else scale.detach().float().contiguous()


class CrossSteps:
    """Runs one layer beside one target, and holds its window of the text."""

    def __init__(self, target: Steps, parts: Parts, window: int, rotary: int, nodes: int = 1024) -> None:
        """`window`: tokens that one sees, itself included; `rotary`: features of a head that are rotated."""
        self._target, self.weights, self.window, self._rotary = target, CrossWeights(parts), window, rotary
        self._text_slots = -(-(2 * window + LANES) // LANES) * LANES
        self._fused = torch.zeros(target.constants.hidden)
        self._stored = torch.empty(2, target.constants.kv_heads, 0, dtype=target.numbers)
        self._allocate(self._text_slots + nodes)
        self.start(0)

    @property
    def bytes(self) -> int:
        """Bytes of the window's buffer."""
        return self._stored.nbytes

    @property
    def length(self) -> int:
        """Number of tokens of the text that were read."""
        return self._first + self._filled

    def start(self, length: int) -> None:
        """Forget everything; the tokens read next are those of the text from `length` on."""
        self._first, self._filled = length, 0
        self.drop()

    def rewind(self, length: int) -> None:
        """Go back to a text of `length` tokens, of which the last are still in the window."""
        self._filled = max(0, min(length, self.length) - self._first)
        self.drop()

    def drop(self) -> None:
        """Forget the drafted nodes."""
        self._nodes: dict[int, int] = {}
        self._parents: list[int] = []

    def set_rotary(self, cosines: torch.Tensor, sines: torch.Tensor) -> None:
        """Take the tables [positions, rotary / 2] of all positions that will come."""
        self._cosines, self._sines = (table.float().contiguous() for table in (cosines, sines))

    @torch.inference_mode()
    def read(
        self, embedded: torch.Tensor, head: Linear, keep: int = 0, features: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Read the text's next tokens, `embedded` [n, hidden] (float32), at most a window of them; returns the logits
        [keep, outputs] of the last. `features` [layers, hidden] (float32): of the token before the last."""
        count = len(embedded)
        if self._filled + count > self._text_slots:
            self._slide(self.window - 1)
        where = Where.of(list(range(-1, count - 1)), 0, self._filled)
        self._filled += count
        return self._run(embedded, where, self._filled - count, keep, head, features)

    @torch.inference_mode()
    def extend(self, embedded: torch.Tensor, nodes: list[int], parents: list[int], head: Linear) -> torch.Tensor:
        """Run drafted `nodes`, `embedded` [n, hidden]; a parent that was not run is the text's last token."""
        first = len(self._parents)
        self._parents += [self._nodes.get(parent, -1) for parent in parents]
        self._nodes |= {node: first + place for place, node in enumerate(nodes)}
        if (end := self._filled + len(self._parents)) > self._capacity:
            self._allocate(max(end, self._capacity + self._capacity // 2))
        where = Where.of(self._parents, first, self._filled)
        return self._run(embedded, where, self._filled, len(nodes), head, None)

    def _run(
        self,
        embedded: torch.Tensor,
        where: Where,
        prefix: int,
        keep: int,
        head: Linear,
        features: torch.Tensor | None,
    ) -> torch.Tensor:
        logits = torch.empty(keep, head.outputs)
        keys, values, seen, capacity = self._target.last_layer_in_place()
        text = Text(0, len(embedded), prefix, where.tail, 0)
        rows = Rows(
            hidden=pointer(embedded),
            positions=where.positions.ctypes.data,
            slots=where.slots.ctypes.data,
            shared=where.shared.ctypes.data,
            path_start=where.path_start.ctypes.data,
            path=where.path.ctypes.data,
            logits=pointer(logits) if keep else None,
            texts=ctypes.addressof(text),
            text_count=1,
            count=len(embedded),
            keep=keep,
            threads=torch.get_num_threads(),
        )
        step = CrossRows(
            rows=rows,
            keys=keys,
            values=values,
            seen=seen,
            capacity=capacity,
            features=pointer(features),
            fused=pointer(self._fused),
            last=self._filled - 1,
        )
        model, layer = self._model(head), self._layer()
        self._target.library.longspec_cross_step(
            ctypes.byref(model), ctypes.byref(layer), ctypes.byref(step), self._target.workspace
        )
        return logits

    def _model(self, head: Linear) -> Model:
        """Describe the layer's sizes, which are the target's, and its head to the compiled step."""
        c, parts = self._target.constants, [*map(linear, self.weights.packed.values()), head]
        return Model(
            final_norm=pointer(self.weights.final_norm),
            head=head,
            hidden=c.hidden,
            inner=self.weights.packed["down"].inputs,
            heads=c.heads,
            kv_heads=c.kv_heads,
            head_dim=c.head_dim,
            rotary=self._rotary,
            capacity=self._capacity,
            half_cache=int(self._target.half),
            half_rows=int(self._target.half and all(part.half for part in parts)),
            activation=THEN["silu"],
            epsilon=self.weights.epsilon,
            attention_scale=c.head_dim**-0.5,
            residual_scale=1.0,
            logit_scale=1.0,
        )

    def _layer(self) -> CrossLayer:
        packed = {name: linear(part) for name, part in self.weights.packed.items()}
        first = self._first * (self._rotary // 2) * self._cosines.element_size()
        attention_norm, cross_norm, mlp_norm = map(pointer, self.weights.norms)
        own = Layer(
            qkv=packed["key_value"],
            **{name: packed[name] for name in ("output", "gate_up", "down")},
            attention_norm=attention_norm,
            mlp_norm=mlp_norm,
            cosines=self._cosines.data_ptr() + first,
            sines=self._sines.data_ptr() + first,
            keys=pointer(self._keys),
            values=pointer(self._values),
            window=self.window,
        )
        fusion = {} if "fusion" not in packed else {"fusion": packed["fusion"]}
        return CrossLayer(
            own=own,
            **{name: packed[name] for name in ("query", "cross_query", "cross_output")},
            **fusion,
            cross_norm=cross_norm,
            feature_norms=pointer(self.weights.feature_norms),
            lags=pointer(self.weights.lags),
            features=0 if self.weights.feature_norms is None else len(self.weights.feature_norms),
            lag_count=0 if self.weights.lags is None else len(self.weights.lags),
        )

    def _slide(self, kept: int) -> None:
        """Move the last tokens, at least `kept` of them, to the front of the buffer."""
        by = max(0, self._filled - kept) // LANES * LANES
        end = -(-self._filled // LANES) * LANES  # whole blocks: a block's numbers lie feature by feature
        width = self._target.constants.head_dim
        for part in (self._keys, self._values):
            part[:, : (end - by) * width] = part[:, by * width : end * width].clone()
        self._first, self._filled = self._first + by, self._filled - by

    def _allocate(self, slots: int) -> None:
        """Allocate `slots` slots, and copy what the present ones hold."""
        c = self._target.constants
        self._capacity = -(-slots // GROWTH) * GROWTH
        grown = torch.zeros(2, c.kv_heads, self._capacity * c.head_dim, dtype=self._target.numbers)
        grown[..., : self._stored.shape[-1]] = self._stored
        self._stored = grown
        self._keys, self._values = grown[0], grown[1]
