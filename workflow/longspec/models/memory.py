"""Bytes held, by what holds them: the target's weights and cache, the drafter's weights and state.

Contract: whatever tensors can be reached from the two objects, each storage once; what belongs to a module is weights,
all else is a cache or other state. It knows no drafter.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import nn


def by_part(target: Any, drafter: Any) -> dict[str, int]:
    """`drafter` may be None; what it shares with the target counts as the target's."""
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
    """(bytes of weights, of other tensors) reachable from `root` and not in `seen`, which grows."""
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
    """(what names the tensor's storage, its bytes); a kernel's own layout has no storage that can be seen."""
    try:
        storage = tensor.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    except (RuntimeError, NotImplementedError):
        return id(tensor), tensor.numel() * tensor.element_size()
