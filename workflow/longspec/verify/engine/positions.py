"""Finds how long a text may grow before a model's rotary table changes for the tokens that are already in it.

Tables that depend on the longest text so far (LongRoPE at its original length, dynamic NTK) make a token's keys depend
on when they were computed: no cache can follow, transformers' own neither. Contract: the model is not changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch


def steady_positions(model: Any, context_tokens: int) -> int | None:
    """Count the positions up to which every rotary table of `model` stays what it is for shorter texts.

    None where that is all of the context."""
    if not context_tokens:
        return None
    limits = [_steady(ask, context_tokens) for ask in _tables(model)]
    least = min(limits, default=context_tokens)
    return least if least < context_tokens else None


def steady_beyond(model: Any, positions: int, context_tokens: int) -> bool:
    """Tell whether texts that are longer than `positions` from their prompt on share one table, up to the context: as
    with LongRoPE, which has two."""
    return all(torch.equal(ask([1, positions]), ask([1, context_tokens - 1])) for ask in _tables(model))


Ask = Callable[[list[int]], torch.Tensor]
"""Compute a fresh rotary table for the positions of a text; returns its entries at position 1."""


def _tables(model: Any) -> list[Ask]:
    """List a function for each rotary module and each kind of layer that it has a table for."""
    found: list[Ask] = []
    for module in model.modules():
        rotary = any(name.endswith("inv_freq") for name in module._buffers)
        kinds: list[Any] = [None, *(getattr(module, "layer_types", None) or ())] if rotary else []
        for kind in kinds:
            ask = _asking(module, kind, model.device)
            try:
                ask([1])
            except Exception:  # not a module of that interface, or none for this kind of layer
                continue
            found.append(ask)
    return found


def _asking(module: Any, kind: str | None, device: torch.device) -> Ask:
    @torch.inference_mode()
    def ask(positions: list[int]) -> torch.Tensor:
        given = torch.tensor([positions], device=device)
        named = {} if kind is None else {"layer_type": kind}
        cosines, sines = copy.deepcopy(module)(torch.zeros(1, 1, 1, device=device), given, **named)
        return torch.cat([cosines[0, 0], sines[0, 0]])

    return ask


def _steady(ask: Ask, context_tokens: int) -> int:
    """Find the longest text whose table is that of the shortest, by bisection: a longer text changes it for good."""
    short = ask([1])

    def same(tokens: int) -> bool:
        return torch.equal(ask([1, tokens - 1]), short)

    if same(context_tokens):
        return context_tokens
    steady, changed = 2, context_tokens
    while changed - steady > 1:
        middle = (steady + changed) // 2
        steady, changed = (middle, changed) if same(middle) else (steady, middle)
    return steady
