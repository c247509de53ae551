"""A model's weights for the native step: packed once, and shared by all who run the model in a process."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from longspec.models.native import architecture, build
from longspec.models.native.packing import Packed
from longspec.models.native.structs import Linear, pointer

MATRICES = ("qkv", "output", "gate_up", "down")


class Moved(nn.Module):
    """Replaces a linear layer whose weights were packed; computes the same product in float32."""

    def __init__(self, packed: Packed) -> None:
        super().__init__()
        self.packed = packed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [..., inputs] to [..., outputs] in float32."""
        rows = x.reshape(-1, x.shape[-1]).float().contiguous()
        y = torch.empty(len(rows), self.packed.outputs)
        matrix, threads = ctypes.byref(linear(self.packed)), torch.get_num_threads()
        build.library().longspec_product(
            matrix, ctypes.c_void_p(pointer(rows)), len(rows), ctypes.c_void_p(pointer(y)), threads
        )
        return y[:, : self.packed.rows].reshape(*x.shape[:-1], self.packed.rows)


class Gone(nn.Module):
    """Replaces a linear layer whose weights were packed together with others; running it is an error."""

    def forward(self, *_: Any) -> torch.Tensor:
        """Raise RuntimeError: the layer has no weights of its own."""
        raise RuntimeError("the weights of this layer are packed for the native step")


class Weights(nn.Module):
    """Packed weights of a model, shared by all who run the model in a process (models/shared.py)."""

    def __init__(self, found: architecture.Architecture) -> None:
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
    """Describe a packed matrix to the compiled step; the caller keeps it alive."""
    return Linear(
        weights=pointer(packed.words),
        bias=pointer(packed.bias),
        inputs=packed.inputs,
        outputs=packed.outputs,
        half=int(packed.half),
    )


def move(model: Any, weights: Weights) -> None:
    """Pack all matrices of a model, layer by layer, and release the originals."""
    mapped = _mapped_files()
    _forget([model.get_output_embeddings().weight], mapped)
    for number, layer in enumerate(weights.layers):
        parts = [Packed(*getattr(layer, name), gated=name == "gate_up") for name in MATRICES]
        weights.packed.append(tuple(parts))
        _forget((linear.weight for name in MATRICES for linear in getattr(layer, name)), mapped)
        weights.layers[number] = replace(layer, qkv=(), output=(), gate_up=(), down=())  # lets the modules go
        source = model.get_decoder().layers[number]
        for parent in (source.self_attn, source.mlp):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear:
                    setattr(parent, name, Gone())
    model.set_output_embeddings(Moved(weights.head))


def _mapped_files() -> list[tuple[int, int]]:
    """List the addresses [begin, end) at which safetensors files are mapped into this process."""
    if sys.platform != "linux":
        return []
    lines = [line.split() for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()]
    ranges = [line[0].split("-") for line in lines if line[-1].endswith(".safetensors")]
    return [(int(begin, 16), int(end, 16)) for begin, end in ranges]


def _forget(tensors: Iterable[torch.Tensor], mapped: list[tuple[int, int]]) -> None:
    """Release the memory pages of weights that lie in a mapped file; reading them again loads them from it."""
    for tensor in tensors:
        begin, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
        begin, end = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        if any(first <= begin < end <= last for first, last in mapped):
            ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)
