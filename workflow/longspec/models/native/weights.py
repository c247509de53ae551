"""A model's weights for the native step: packed once, and shared by all who run the model in a process."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from longspec.models.native import build, plan
from longspec.models.native.layout import Linear, pointer
from longspec.models.native.packing import Packed

MATRICES = ("qkv", "output", "gate_up", "down")


class Moved(nn.Module):
    """Stands where a linear layer stood whose weights were packed, and computes what it computed, in float32."""

    def __init__(self, packed: Packed) -> None:
        super().__init__()
        self.packed = packed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1]).float().contiguous()
        y = torch.empty(len(rows), self.packed.outputs)
        matrix, threads = ctypes.byref(linear(self.packed)), torch.get_num_threads()
        build.library().longspec_product(
            matrix, ctypes.c_void_p(pointer(rows)), len(rows), ctypes.c_void_p(pointer(y)), threads
        )
        return y[:, : self.packed.rows].reshape(*x.shape[:-1], self.packed.rows)


class Gone(nn.Module):
    """Stands where a linear layer stood whose weights were packed together with others': not to be run."""

    def forward(self, *_: Any) -> torch.Tensor:
        raise RuntimeError("the weights of this layer are packed for the native step")


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


def linear(packed: Packed) -> Linear:
    """Describe a packed matrix to the step; the caller keeps it alive."""
    return Linear(
        weights=pointer(packed.words),
        bias=pointer(packed.bias),
        inputs=packed.inputs,
        outputs=packed.outputs,
        half=int(packed.half),
    )


def move(model: Any, weights: Weights) -> None:
    """Pack all matrices of a model, layer by layer, and let go of the originals."""
    for number, layer in enumerate(weights.layers):
        parts = [Packed(*getattr(layer, name), gated=name == "gate_up") for name in MATRICES]
        weights.packed.append(tuple(parts))
        weights.layers[number] = replace(layer, qkv=(), output=(), gate_up=(), down=())  # lets the modules go
        source = model.get_decoder().layers[number]
        for parent in (source.self_attn, source.mlp):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear:
                    setattr(parent, name, Gone())
    model.set_output_embeddings(Moved(weights.head))
