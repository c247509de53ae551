"""Finds a model that takes a token's position from how much the cache holds, which in a tree is not its position.

The effect on logits may be less than a 16-bit format tells (a learned position of PLBart, Llama 4's temperature), so
it isn't measured: the cache is made to lie about its length, and not one bit may change. Contract: what is known of the
text stays as it was; the target is not changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from longspec.models.cache.preallocated import PreallocatedLayer
from longspec.models.target import CausalLM
from longspec.verify.engine.text import Text

LIES = (1, 2**20)
"""Tokens that the cache claims beyond those it holds. A table of positions notices the first; the second, behind any
table's end, is for Llama 4's scale, which changes each 8,192 positions."""


@torch.inference_mode()
def counted(target: CausalLM, text: Text) -> bool:
    """Tell whether logits depend on the length that the cache states, all else being equal."""
    honest = _row(target, text, 0)
    if not torch.equal(honest, _row(target, text, 0)):
        return False  # kernels that don't repeat themselves: nothing can be told
    return any(not torch.equal(honest, _row(target, text, lie)) for lie in LIES)


def _row(target: CausalLM, text: Text, lie: int) -> torch.Tensor:
    target.rewind(len(text.prompt))
    with _claiming(lie):
        return target.extend(text.ids[:1], [-1]).clone()


@contextmanager
def _claiming(more: int) -> Iterator[None]:
    honest = PreallocatedLayer.get_seq_length

    def get_seq_length(self: PreallocatedLayer) -> int:
        return honest(self) + more

    PreallocatedLayer.get_seq_length = get_seq_length  # type: ignore[method-assign]
    try:
        yield
    finally:
        PreallocatedLayer.get_seq_length = honest  # type: ignore[method-assign]
