"""Runs a model's steps by the compiled step: packed weights, a cache with a tail, rows of any tree.

Contract: a row's logits depend on its own text alone, in every bit: not on the rows beside it, nor on threads, nor on
whether its text was drafted or decoded token by token. The weights of the model's linear layers move into the packed
ones; its embeddings, norms and rotary module stay. One sequence at a time.
"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from longspec.models.native import build, plan
from longspec.models.native.layout import Layer, Linear, Model, Rows, pointer, require_sizes
from longspec.models.native.packing import Packed

LANES = 16
"""Positions of a block of the cache."""
PIECE = 128
"""Rows of a prompt that run at once: enough to use each weight often, few enough for a processor's cache."""
MATRICES = ("qkv", "output", "gate_up", "down")
THEN = {"silu": 2, "gelu_tanh": 3}
GROWTH = 256
"""Capacity grows by multiples of this, and by a quarter at least."""
NUMBERS = (torch.float32, torch.bfloat16)


class Moved(nn.Module):
    """Stands where a linear layer stood whose weights were packed, and computes what it computed, in float32."""

    def __init__(self, packed: Packed) -> None:
        super().__init__()
        self.packed = packed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).float().contiguous()
        y = torch.empty(len(rows), self.packed.outputs)
        linear, threads = ctypes.byref(_linear(self.packed)), torch.get_num_threads()
        build.library().longspec_product(
            linear, ctypes.c_void_p(pointer(rows)), len(rows), ctypes.c_void_p(pointer(y)), threads
        )
        return y[:, : self.packed.rows].reshape(*x.shape[:-1], self.packed.rows)


class Weights(nn.Module):
    """A model's packed weights; users of one model in a process share them (models/shared.py)."""

    def __init__(self, found: plan.Plan) -> None:
        super().__init__()
        self.constants = found.constants
        self.layers = found.layers
        self.final_norm = found.final_norm
        self.packed: list[tuple[Packed, ...]] = []
        self.head = Packed(found.head)

    @property
    def half(self) -> bool:
        """Whether all of them are bfloat16 numbers."""
        return all(part.half for parts in [*self.packed, (self.head,)] for part in parts)

    def __deepcopy__(self, memo: Any) -> Weights:
        return self  # nothing of it ever changes


class Cache:
    """Keys and values of a committed prefix and, behind it, of a tail of nodes not yet decided on."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.committed = self.written = 0

    def get_seq_length(self) -> int:
        """Positions that are written, the tail's included."""
        return self.written

    def reset(self) -> None:
        """Forget everything."""
        self.rewind(0)

    def rewind(self, length: int) -> None:
        """Keep the first `length` positions of the prefix, and no tail."""
        self.committed = self.written = length

    def commit(self, path: list[int]) -> None:
        """Keep these nodes of the tail, numbered from 0, in the order of the text."""
        self._steps.move(path)
        self.committed = self.written = self.committed + len(path)

    def last_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The last layer's keys and values of the prefix, each [kv_heads, committed, head_dim]."""
        return self._steps.last_layer(self.committed)


class Steps:
    """The state of one user of a model: its cache, its tables, what it watches."""

    def __init__(self, model: Any) -> None:
        """`model`: a transformers causal LM, whose linear layers' weights move; keys and values are kept in its number
        format. build.NotBuilt and plan.Inexpressible where that cannot be; the model is then as it was."""
        if model.device.type != "cpu" or model.dtype not in NUMBERS:
            raise plan.Inexpressible(f"it runs {model.dtype} on {model.device.type}".replace("torch.", ""))
        self._library = build.library()
        require_sizes(self._library)
        self._decoder = model.get_decoder()
        self._model = model
        weights = getattr(model, "native_weights", None)
        if weights is None:
            found = plan.read(model)
            plan.tables(model, found.layers, 1)  # before anything is moved
            weights = model.native_weights = Weights(found)
            _move(model, weights)
        self._weights: Weights = weights
        self._numbers = model.dtype
        self._workspace = ctypes.c_void_p(self._library.longspec_workspace())
        self.capacity = 0
        self.cache = Cache(self)
        self.watched: dict[int, torch.Tensor] = {}
        """What layers put out for the rows of the last step, by layer; filled for the keys that it has."""

    def __del__(self) -> None:
        if hasattr(self, "_workspace"):
            self._library.longspec_free(self._workspace)

    def reserve(self, capacity: int) -> None:
        """Make room for texts of so many positions, and forget the text."""
        self.cache.reset()
        if capacity <= self.capacity:
            return
        self.capacity = -(-max(capacity, self.capacity * 5 // 4) // GROWTH) * GROWTH
        c, layers = self._weights.constants, len(self._weights.layers)
        size = (layers, c.kv_heads, self.capacity * c.head_dim)
        self._keys, self._values = (torch.zeros(size, dtype=self._numbers) for _ in range(2))
        self._tables = plan.tables(self._model, self._weights.layers, self.capacity)
        self._layers = (Layer * layers)(*(self._layer(number) for number in range(layers)))
        self._constants = self._model_struct()

    def watch(self, layers: list[int]) -> None:
        """Keep what these layers put out from the next step on."""
        for layer in layers:
            self.watched.setdefault(layer, torch.empty(0))

    @torch.inference_mode()
    def run(self, ids: list[int], parents: list[int], first: int, keep: int = 0) -> torch.Tensor:
        """Logits [n, vocab] (float32) of `ids` [n], the tail's nodes from `first` on, or of the last `keep` alone.

        `parents` [first + n] speak of the whole tail: -1 is the prefix's end."""
        count, keep = len(ids), keep or len(ids)
        if (end := self.cache.committed + len(parents)) > self.capacity:
            raise IndexError(f"cache of {self.capacity} positions cannot hold {end}")
        where = Where.of(parents, first, self.cache.committed)
        states = self._decoder.embed_tokens(torch.tensor(ids)).float() * self._weights.constants.embedding_scale
        logits = torch.empty(keep, self._weights.head.outputs)
        for begin in range(0, count, PIECE):
            end = min(begin + PIECE, count)
            self._piece(states[begin:end].contiguous(), where, begin, end, logits, count - keep)
        self.cache.written = self.cache.committed + len(parents)
        return logits[:, : self._weights.head.rows]

    def _piece(
        self, states: torch.Tensor, where: Where, begin: int, end: int, logits: torch.Tensor, unkept: int
    ) -> None:
        """Rows [begin, end) of a step, of which the logits from row `unkept` on are wanted."""
        keep = max(0, end - max(begin, unkept))
        for layer in self.watched:
            self.watched[layer] = torch.empty(end - begin, self._weights.constants.hidden)
            self._layers[layer].watched = pointer(self.watched[layer])
        step = Rows(
            hidden=pointer(states),
            positions=where.positions[begin:].ctypes.data,
            slots=where.slots[begin:].ctypes.data,
            shared=where.shared[begin:].ctypes.data,
            path_start=where.path_start[begin:].ctypes.data,
            path=where.path.ctypes.data,
            logits=pointer(logits[max(begin, unkept) - unkept :]) if keep else None,
            count=end - begin,
            keep=keep,
            prefix=self.cache.committed,
            tail=where.tail,
            threads=torch.get_num_threads(),
        )
        self._library.longspec_step(ctypes.byref(self._constants), ctypes.byref(step), self._workspace)

    def move(self, path: list[int]) -> None:
        """Bring the keys and values of these nodes of the tail to the end of the prefix."""
        if path == list(range(len(path))):
            return
        prefix = self.cache.committed
        slots = np.asarray(path, np.int32) + np.int32(prefix)
        self._library.longspec_commit(
            ctypes.byref(self._constants), ctypes.c_int32(prefix), ctypes.c_void_p(slots.ctypes.data), len(path)
        )

    def last_layer(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See Cache.last_layer."""
        c = self._weights.constants
        blocks = -(-length // LANES)
        keys = self._keys[-1].view(c.kv_heads, -1, c.head_dim, LANES)[:, :blocks].transpose(2, 3)
        values = self._values[-1].view(c.kv_heads, -1, c.head_dim)[:, :length]
        return keys.reshape(c.kv_heads, -1, c.head_dim)[:, :length], values

    def _layer(self, number: int) -> Layer:
        packed, layer = self._weights.packed[number], self._weights.layers[number]
        qkv, output, gate_up, down = map(_linear, packed)
        cosines, sines = self._tables.get(layer.rotary, (None, None)) if layer.rotary is not None else (None, None)
        names = ("attention_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm", "query_norm", "key_norm")
        norms = zip(names, (*layer.norms, layer.query_norm, layer.key_norm), strict=True)
        return Layer(
            qkv=qkv,
            output=output,
            gate_up=gate_up,
            down=down,
            **{name: pointer(norm) for name, norm in norms},
            cosines=pointer(cosines),
            sines=pointer(sines),
            keys=pointer(self._keys[number]),
            values=pointer(self._values[number]),
            watched=None,
            window=layer.window,
        )

    def _model_struct(self) -> Model:
        c = self._weights.constants
        rotated = next((2 * cosines.shape[1] for cosines, _ in self._tables.values()), 0)
        shared = ("hidden", "inner", "heads", "kv_heads", "head_dim", "interleaved", "norm_whole", "epsilon",
                  "attention_scale", "attention_softcap", "residual_scale", "logit_scale", "logit_softcap")  # fmt: skip
        return Model(
            layers=ctypes.addressof(self._layers),
            final_norm=pointer(self._weights.final_norm),
            head=_linear(self._weights.head),
            layer_count=len(self._layers),
            rotary=rotated,
            capacity=self.capacity,
            half_cache=int(self._numbers == torch.bfloat16),
            half_rows=int(self._numbers == torch.bfloat16 and self._weights.half),
            activation=THEN[c.activation],
            **{name: getattr(c, name) for name in shared},
        )


class Where:
    """Where the rows of a step stand: arrays of int32, see Rows in sources/model.h."""

    def __init__(self, tail: int, positions: np.ndarray, slots: np.ndarray, shared: np.ndarray) -> None:
        self.tail = tail
        self.positions, self.slots, self.shared = positions, slots, shared
        self.path_start = np.zeros_like(positions)
        self.path = np.zeros(1, np.int32)

    @classmethod
    def of(cls, parents: list[int], first: int, prefix: int) -> Where:
        """From the parents of all nodes of a tail behind `prefix` positions; the rows are the nodes from `first` on."""
        count = len(parents)
        slots = np.arange(prefix, prefix + count, dtype=np.int32)
        if all(parent == node - 1 for node, parent in enumerate(parents)):
            return cls(count, slots[first:], slots[first:], slots[first:] + 1)
        depths, straight, paths = np.zeros(count, np.int32), np.zeros(count, np.int32), [[0]] * count
        for node, parent in enumerate(parents):
            depths[node] = depths[parent] + 1 if parent >= 0 else 0
            above = straight[parent] if parent >= 0 else 0
            whole = above == depths[node] == node  # so many nodes of the path lie where their positions are
            straight[node] = above + 1 if whole else above
            paths[node] = [] if whole else [*(paths[parent] if parent >= 0 else []), prefix + node]
        found = cls(count, prefix + depths[first:], slots[first:], prefix + straight[first:])
        mine = paths[first:]
        ends = np.cumsum([len(path) for path in mine])
        found.path_start = np.asarray([0, *ends[:-1]], np.int32)
        found.path = np.asarray([slot for path in mine for slot in path] or [0], np.int32)
        return found


def _linear(packed: Packed) -> Linear:
    return Linear(
        weights=pointer(packed.words),
        bias=pointer(packed.bias),
        inputs=packed.inputs,
        outputs=packed.outputs,
        half=int(packed.half),
    )


def _move(model: Any, weights: Weights) -> None:
    """Pack all matrices, layer by layer, and let go of the originals."""
    for number, layer in enumerate(weights.layers):
        parts = [Packed(*getattr(layer, name), gated=name == "gate_up") for name in MATRICES]
        weights.packed.append(tuple(parts))
        weights.layers[number] = replace(layer, qkv=(), output=(), gate_up=(), down=())  # lets the modules go
        source = model.get_decoder().layers[number]
        for parent in (source.self_attn, source.mlp):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear:
                    setattr(parent, name, nn.Identity())
    model.set_output_embeddings(Moved(weights.head))
