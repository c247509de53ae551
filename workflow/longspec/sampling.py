"""From logits to the token that the target emits. Greedy: the arg max, the lowest id among equals.

This module does not know whether a row of logits belongs to a vanilla step or to a node of a tree; that is
what makes every method's output the same.
"""

from __future__ import annotations

import torch

RULE = "greedy"
"""Recorded with each run; runs under different rules are never compared."""


def choose(logits: torch.Tensor) -> list[int]:
    """The target's token for each row of `logits` [n, vocab]. One transfer to the host."""
    chosen: list[int] = logits.argmax(dim=-1).tolist()
    return chosen
