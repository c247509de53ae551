"""Weights laid out as the products read them: panels of 32 outputs (sources/products.h).

They are stored as bfloat16 where every weight is a bfloat16 number, which is exact at half the bytes; else as float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

PANEL = 32


class Packed:
    """Packed weights and bias of linear layers that share an input, as one matrix [outputs, inputs]."""

    def __init__(self, *linears: nn.Linear, gated: bool = False, half: bool | None = None) -> None:
        """`gated`: the first half of the outputs goes through the activation and is multiplied with the second; 16 of
        each share a panel. `half`: whether they are bfloat16 numbers, where that is known."""
        weights = torch.cat([linear.weight.detach() for linear in linears])
        rows, self.inputs = weights.shape
        self.half = exact_in_half(weights) if half is None else half
        self.outputs = -(-rows // PANEL) * PANEL
        """Filled up to whole panels; a gated matrix has whole ones."""
        self.rows = rows
        self.gated = gated
        self.words = _panels(self._ordered(weights), self.half)
        self.bias: torch.Tensor | None = None
        if any(linear.bias is not None for linear in linears):
            self.bias = self._ordered(torch.cat([_bias(linear) for linear in linears])).reshape(-1).contiguous()

    def __deepcopy__(self, memo: Any) -> Packed:
        return self  # nothing of it ever changes, and a model's users share it

    def _ordered(self, values: torch.Tensor) -> torch.Tensor:
        """Order values by panel, [panels, 2, 16, ...]; in a gated matrix, a panel's second half holds the factors."""
        rest = values.shape[1:]
        filled = torch.cat([values, values.new_zeros(self.outputs - self.rows, *rest)])
        if self.gated:
            return filled.view(2, -1, PANEL // 2, *rest).transpose(0, 1)
        return filled.view(-1, 2, PANEL // 2, *rest)

    def put(self, first: int, weights: torch.Tensor) -> None:
        """Write the weights [n, inputs] of the outputs from `first` on; not of a gated matrix."""
        rows = torch.arange(first, first + len(weights))
        numbers = weights.bfloat16().contiguous().view(torch.int32) if self.half else weights.float()
        self.words[rows // PANEL, :, rows % PANEL] = numbers

    def to_dense(self) -> torch.Tensor:
        """Unpack the weights to float32 [outputs, inputs]."""
        pairs = self.words.transpose(1, 2)  # [panels, 32, inputs / 2] words, or [panels, 32, inputs] floats
        ordered = pairs.contiguous().view(torch.bfloat16).float() if self.half else pairs
        ordered = ordered.unflatten(1, (2, PANEL // 2))
        ordered = ordered.transpose(0, 1) if self.gated else ordered
        return ordered.reshape(-1, self.inputs)[: self.rows]


def _bias(linear: nn.Linear) -> torch.Tensor:
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().float()


def exact_in_half(weights: torch.Tensor) -> bool:
    """Tell whether every weight is a bfloat16 number."""
    if weights.dtype == torch.bfloat16:
        return True
    return bool(torch.equal(weights.bfloat16().to(weights.dtype), weights))


def _panels(ordered: torch.Tensor, half: bool) -> torch.Tensor:
    """[panels, 2, 16, inputs] as words of two features [panels, inputs / 2, 32], or floats [panels, inputs, 32]."""
    panels = ordered.flatten(1, 2)
    numbers = panels.bfloat16().contiguous().view(torch.int32) if half else panels.float()
    return numbers.transpose(1, 2).contiguous()
