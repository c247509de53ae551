"""Runs a model's forward by the compiled step, over a cache whose tail may be a tree of drafted tokens.

Contract: a row's logits depend on its own text alone, in every bit: not on the rows beside it, nor on threads, nor on
other texts of the step, nor on whether its text was drafted or decoded token by token. The weights of the model's
linear layers move into the packed ones; its embeddings, norms and rotary module stay.
"""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from longspec.models.native import architecture, build
from longspec.models.native.packing import Packed
from longspec.models.native.row_positions import Where
from longspec.models.native.structs import Layer, Model, Rows, Text, pointer, require_sizes
from longspec.models.native.weights import Weights, linear, move

LANES = 16
"""Positions in one block of the cache."""
PIECE = 128
"""Rows of a prompt that run at once: enough to use each weight often, few enough for a processor's cache."""
CHUNK = 128
"""Positions of a chunk of attention (sources/attention.h)."""
MOST_SUMS = 2**26
"""Numbers that a piece's sums may take, while that leaves half a piece: 256 MB."""
THEN = {"silu": 2, "gelu_tanh": 3}
GROWTH = 256
"""Capacity grows by multiples of this, and by a quarter at least."""
NUMBERS = (torch.float32, torch.bfloat16)


class Cache:
    """Keys and values of one text: a committed prefix, followed by a tail of nodes that may still be rejected."""

    def __init__(self, steps: Steps, number: int) -> None:
        self._steps, self.number = steps, number
        self.committed = self.written = 0

    def get_seq_length(self) -> int:
        """Count the positions that are written, the tail included."""
        return self.written

    def reset(self) -> None:
        """Forget everything."""
        self.rewind(0)

    def rewind(self, length: int) -> None:
        """Keep the first `length` positions of the prefix and drop the tail."""
        self.committed = self.written = length

    def commit(self, path: list[int]) -> None:
        """Append these nodes of the tail, in the order of the text, to the prefix; drop the others."""
        self._steps.move(self, path)
        self.committed = self.written = self.committed + len(path)

    def last_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Copy the last layer's keys and values of the prefix, each [kv_heads, committed, head_dim]."""
        return self._steps.last_layer(self)


@dataclass(frozen=True)
class Nodes:
    """Nodes of one text's tail, from `first` on, that a step runs; `parents` [first + n] speak of the whole tail: -1 is
    the prefix's end."""

    cache: Cache
    ids: list[int]
    parents: list[int]
    first: int = 0


class Steps:
    """Runs steps of one model, with caches and watched layers of its own; weights are shared in the process."""

    def __init__(self, model: Any, numbers: torch.dtype) -> None:
        """`model`: a transformers causal LM, whose linear layers are packed and replaced; `numbers`: the number format
        of keys, values and activations. Raises NotBuilt or Inexpressible where the step cannot run it;
        the model is then unchanged."""
        if model.device.type != "cpu" or numbers not in NUMBERS:
            raise architecture.Inexpressible(f"it runs {numbers} on {model.device.type}".replace("torch.", ""))
        self.library = build.library()
        require_sizes(self.library)
        self._decoder = model.get_decoder()
        self._model = model
        weights = getattr(model, "native_weights", None)
        if weights is None:
            found = architecture.read(model)
            architecture.tables(model, found.layers, 1)  # before anything is moved
            weights = model.native_weights = Weights(found)
            move(model, weights)
        self._weights: Weights = weights
        self.numbers = numbers
        self.workspace = ctypes.c_void_p(self.library.longspec_workspace())
        self.capacity = 0
        self.caches = [Cache(self, 0)]
        """One a text."""
        self.watched: dict[int, torch.Tensor] = {}
        """Outputs [rows, hidden] of the watched layers for the rows of the last step, by layer."""

    def __del__(self) -> None:
        if hasattr(self, "workspace"):
            self.library.longspec_free(self.workspace)

    @property
    def cache(self) -> Cache:
        """The cache of the first text."""
        return self.caches[0]

    def reserve(self, capacity: int, texts: int = 1) -> None:
        """Allocate caches for `texts` texts of `capacity` positions each, and forget all texts."""
        for cache in self.caches:
            cache.reset()
        if capacity <= self.capacity and texts <= len(self.caches):
            return
        self.caches += [Cache(self, number) for number in range(len(self.caches), texts)]
        self.capacity = -(-max(capacity, self.capacity * 5 // 4) // GROWTH) * GROWTH
        c, layers = self.constants, len(self._weights.layers)
        size = (layers, len(self.caches), c.kv_heads, self.capacity * c.head_dim)
        self._keys, self._values = (torch.zeros(size, dtype=self.numbers) for _ in range(2))
        self._tables = architecture.tables(self._model, self._weights.layers, self.capacity)
        self._layers = (Layer * layers)(*(self._layer(number) for number in range(layers)))
        self._constants = self._model_struct()

    def watch(self, layers: list[int]) -> None:
        """Keep the outputs of these layers from the next step on."""
        for layer in layers:
            self.watched.setdefault(layer, torch.empty(0))

    def run(self, ids: list[int], parents: list[int], first: int, keep: int = 0) -> torch.Tensor:
        """Run nodes of the first text (see Nodes): logits [n, vocab] (float32), or of the last `keep` alone."""
        return self.run_together([Nodes(self.cache, ids, parents, first)], keep)

    @torch.inference_mode()
    def run_together(self, texts: list[Nodes], keep: int = 0) -> torch.Tensor:
        """Run nodes of several texts in one step: logits [n, vocab] (float32), text by text, or the last `keep`."""
        ids = [token for nodes in texts for token in nodes.ids]
        count, keep = len(ids), keep or len(ids)
        longest = max(nodes.cache.committed + len(nodes.parents) for nodes in texts)
        if longest > self.capacity:
            raise IndexError(f"cache of {self.capacity} positions cannot hold {longest}")
        parts = [Where.of(nodes.parents, nodes.first, nodes.cache.committed) for nodes in texts]
        ends = list(itertools.accumulate(len(nodes.ids) for nodes in texts))
        bounds = [
            Text(end - len(nodes.ids), end, nodes.cache.committed, part.tail, nodes.cache.number)
            for end, nodes, part in zip(ends, texts, parts, strict=True)
        ]
        where = Where.together(parts)
        states = self._decoder.embed_tokens(torch.tensor(ids)).float() * self.constants.embedding_scale
        logits = torch.empty(keep, self.head.outputs)
        piece = self._rows_at_once(longest)
        for begin in range(0, count, piece):
            end = min(begin + piece, count)
            self._piece(
                states[begin:end].contiguous(), where, _clipped(bounds, begin, end), begin, logits, count - keep
            )
        for nodes in texts:
            nodes.cache.written = nodes.cache.committed + len(nodes.parents)
        return logits[:, : self.head.rows]

    def _rows_at_once(self, positions: int) -> int:
        """Choose how many rows to run at once: fewer for long texts, whose attention keeps a sum per row and chunk."""
        c = self.constants
        fit = MOST_SUMS * CHUNK // (c.heads * c.head_dim * positions)
        return max(PIECE // 2, min(PIECE, fit))

    def _piece(
        self, states: torch.Tensor, where: Where, texts: list[Text], begin: int, logits: torch.Tensor, unkept: int
    ) -> None:
        """Run the rows of a step from `begin` on; logits of the rows from `unkept` on are written."""
        count = len(states)
        keep = max(0, begin + count - max(begin, unkept))
        bounds = (Text * len(texts))(*texts)
        for layer in self.watched:
            self.watched[layer] = torch.empty(count, self.constants.hidden)
            self._layers[layer].watched = pointer(self.watched[layer])
        step = Rows(
            hidden=pointer(states),
            positions=where.positions[begin:].ctypes.data,
            slots=where.slots[begin:].ctypes.data,
            shared=where.shared[begin:].ctypes.data,
            path_start=where.path_start[begin:].ctypes.data,
            path=where.path.ctypes.data,
            logits=pointer(logits[max(begin, unkept) - unkept :]) if keep else None,
            texts=ctypes.addressof(bounds),
            text_count=len(texts),
            count=count,
            keep=keep,
            threads=torch.get_num_threads(),
        )
        self.library.longspec_step(ctypes.byref(self._constants), ctypes.byref(step), self.workspace)

    def move(self, cache: Cache, path: list[int]) -> None:
        """Move the keys and values of these nodes of a text's tail to the end of its prefix."""
        if path == list(range(len(path))):
            return
        prefix = cache.committed
        slots = np.asarray(path, np.int32) + np.int32(prefix)
        self.library.longspec_commit(
            ctypes.byref(self._constants), cache.number, prefix, ctypes.c_void_p(slots.ctypes.data), len(path)
        )

    @property
    def constants(self) -> architecture.Constants:
        """The sizes and constants of the model."""
        return self._weights.constants

    @property
    def half(self) -> bool:
        """Whether keys and values are bfloat16."""
        return self.numbers == torch.bfloat16

    @property
    def head(self) -> Packed:
        """The packed output head."""
        return self._weights.head

    def last_layer_in_place(self) -> tuple[int, int, int, int]:
        """Locate the first text's keys and values in the last layer: their addresses, its committed positions, and the
        positions that there is room for."""
        return self._keys[-1].data_ptr(), self._values[-1].data_ptr(), self.cache.committed, self.capacity

    def last_layer(self, cache: Cache) -> tuple[torch.Tensor, torch.Tensor]:
        """See Cache.last_layer."""
        c, length = self.constants, cache.committed
        blocks, paired = -(-length // LANES), 2 if self.half else 1
        keys = (
            self._keys[-1, cache.number]
            .view(c.kv_heads, -1, c.head_dim // paired, LANES, paired)[:, :blocks]
            .transpose(2, 3)
        )
        values = (
            self._values[-1, cache.number]
            .view(c.kv_heads, -1, c.head_dim, paired)[:, : -(-length // paired)]
            .transpose(2, 3)
        )
        return tuple(part.reshape(c.kv_heads, -1, c.head_dim)[:, :length] for part in (keys, values))

    def _layer(self, number: int) -> Layer:
        packed, layer = self._weights.packed[number], self._weights.layers[number]
        qkv, output, gate_up, down = map(linear, packed)
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
        c = self.constants
        rotated = next((2 * cosines.shape[1] for cosines, _ in self._tables.values()), 0)
        shared = ("hidden", "inner", "heads", "kv_heads", "head_dim", "interleaved", "norm_whole", "epsilon",
                  "attention_scale", "attention_softcap", "residual_scale", "logit_scale", "logit_softcap")  # fmt: skip
        return Model(
            layers=ctypes.addressof(self._layers),
            final_norm=pointer(self._weights.final_norm),
            head=linear(self.head),
            layer_count=len(self._layers),
            rotary=rotated,
            capacity=self.capacity,
            half_cache=int(self.half),
            half_rows=int(self.half and self._weights.half),
            activation=THEN[c.activation],
            **{name: getattr(c, name) for name in shared},
        )


def _clipped(texts: list[Text], begin: int, end: int) -> list[Text]:
    """Cut the bounds of texts to the rows [begin, end), counted from `begin`."""
    return [
        Text(max(text.begin, begin) - begin, min(text.end, end) - begin, text.prefix, text.tail, text.cache)
        for text in texts
        if text.begin < end and text.end > begin
    ]
