"""How a model's linear layers are run: as written (`eager`), or with weights packed once for the CPU (`packed`).

Plain torch lays the weights out for oneDNN again in every call; for one token that costs as much as the product
itself. Packing keeps the laid-out copy instead, through the operators that torch's own inductor uses. It is a
transformation of the loaded module: the modelling code stays transformers'. This module does not know models.
"""

from __future__ import annotations

import functools

import torch
from torch import nn

from longspec.errors import UserError

ROWS = 16
"""Rows that oneDNN optimises the layout for; more or fewer may come. Without the hint float32 is a quarter slower."""


class PackedLinear(nn.Module):
    """x [..., in_features] -> [..., out_features], like the nn.Linear that it is made from."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return result


def resolve(wanted: str, device: torch.device, dtype: torch.dtype) -> str:
    """`eager` or `packed`; `auto` packs where that is possible. UserError when packing is asked for where it isn't."""
    possible = device.type == "cpu" and _packs(dtype)
    if wanted == "packed" and not possible:
        name = str(dtype).removeprefix("torch.")
        raise UserError(f"engine: packed, but {name} weights cannot be packed on {device.type} here; expected eager")
    return "packed" if possible and wanted != "eager" else "eager"


@functools.cache
def _packs(dtype: torch.dtype) -> bool:
    """Whether torch was built with the operators, and this processor runs them in `dtype`: tried on a small layer."""
    linear = nn.Linear(32, 32, dtype=dtype)
    try:
        with torch.inference_mode():
            PackedLinear(linear)(torch.ones(1, 32, dtype=dtype))
    except (AttributeError, RuntimeError):  # no such operator; NotImplementedError is a RuntimeError
        return False
    return True


def pack(module: nn.Module) -> None:
    """Replace every plain linear layer below `module`. Tied embeddings keep their own, unpacked weights."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, PackedLinear(child))
        else:
            pack(child)
