"""One model's weights for several users in a process: modules of their own over the same tensors.

Contract: hooks, attention settings, caches and whatever else a user does to its module stay its own, so that nobody
pays for a neighbour; weights, which nobody changes, are held once. It does not know models.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any


def twin(model: Any) -> Any:
    """A copy of a module in all but its parameters and buffers, which are the same tensors."""
    held = (part for module in model.modules() for part in (module._parameters, module._buffers))
    same = {id(tensor): tensor for part in held for tensor in part.values() if tensor is not None}
    return copy.deepcopy(model, same)


class Shared:
    """The models that the users hold in common, by name. What lies here is never run, so that copies start clean."""

    def __init__(self) -> None:
        self._models: dict[str, Any] = {}

    def twin(self, name: str, load: Callable[[], Any]) -> Any:
        """A copy of the model of that name, which is loaded when it is first asked for."""
        if name not in self._models:
            self._models[name] = load()
        return twin(self._models[name])
