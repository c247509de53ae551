"""Shares one model's weights among several modules in a process, each with its own state over the same tensors.

Hooks, attention settings and caches of one module do not affect another; weights, which nothing changes, are held once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any


def with_shared_weights(model: Any) -> Any:
    """Copy a module in all but its parameters and buffers, which are the same tensors."""
    held = (part for module in model.modules() for part in (module._parameters, module._buffers))
    same = {id(tensor): tensor for part in held for tensor in part.values() if tensor is not None}
    return copy.deepcopy(model, same)


class Shared:
    """Hold models by name, and hand out copies that share their weights; the originals are never run or changed."""

    def __init__(self) -> None:
        self._models: dict[str, Any] = {}

    def model(self, name: str, load: Callable[[], Any]) -> Any:
        """Return a copy of the model of that name, which `load` loads when it is first asked for."""
        if name not in self._models:
            self._models[name] = load()
        return with_shared_weights(self._models[name])
