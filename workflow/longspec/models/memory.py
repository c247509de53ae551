"""Counts the bytes of the target's weights and cache, and of the drafter's weights and state.

It counts all tensors that can be reached from the two objects, each storage once; tensors of a module are weights, all
others are caches or other state.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import nn


def by_part(target: Any, drafter: Any) -> dict[str, int]:
    """Count bytes of target and drafter (None: no drafter) by part; what they share counts as the target's."""
    seen: set[int] = set()
    weights, state = _held(target, seen)
    drafter_weights, drafter_state = _held(drafter, seen)
    return {
        "target_weights_bytes": weights,
        "kv_cache_bytes": state,
        "drafter_weights_bytes": drafter_weights,
        "drafter_state_bytes": drafter_state,
    }


def _held(root: Any, seen: set[int]) -> tuple[int, int]:
    """Count the bytes of (weights, other tensors) reachable from `root` that are not in `seen`, and add them to it."""
    found = [0, 0]
    waiting = [(root, False)]
    while waiting:
        thing, in_module = waiting.pop()
        if isinstance(thing, torch.Tensor):
            place, size = _storage(thing)
            if place not in seen:
                seen.add(place)
                found[0 if in_module else 1] += size
            continue
        if id(thing) in seen:
            continue
        if isinstance(thing, dict):
            below = list(thing.values())
        elif isinstance(thing, list | tuple | set | frozenset):
            below = [] if thing and isinstance(next(iter(thing)), int | str | float) else list(thing)
        elif hasattr(thing, "__dict__") and not isinstance(thing, type | ModuleType):
            below = list(vars(thing).values())
        else:
            continue
        seen.add(id(thing))
        inside = in_module or isinstance(thing, nn.Module)
        waiting += [(part, inside) for part in below]
    return found[0], found[1]


def _storage(tensor: torch.Tensor) -> tuple[int, int]:
    """Return (identity, bytes) of a tensor's storage; a tensor in a kernel's own layout has no visible storage."""
    try:
        storage = tensor.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    except (RuntimeError, NotImplementedError):
        return id(tensor), tensor.numel() * tensor.element_size()
