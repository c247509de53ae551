"""A decoder step in C++ for CPUs: weights read once, sums in float32, each row's bits independent of its company."""

from __future__ import annotations

from typing import Any

import torch

from longspec.core.errors import UserError
from longspec.models.native.architecture import Inexpressible
from longspec.models.native.build import NotBuilt
from longspec.models.native.engine import Cache, Steps

__all__ = ["ASKED", "Cache", "Steps", "made"]
ASKED = ("auto", "native")
"""Values of `engine` for which it is tried."""


def made(model: Any, engine: str, numbers: torch.dtype) -> tuple[Steps | None, str | None]:
    """Make a model the native step's, or return why it cannot be; a UserError where it was asked for by name."""
    try:
        return Steps(model, numbers), None
    except (NotBuilt, Inexpressible) as error:
        if engine == "native":
            raise UserError("engine", f"native, but {error}", "auto, packed or eager here") from None
        return None, f"not native: {error}"
