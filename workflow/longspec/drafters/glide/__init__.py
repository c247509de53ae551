"""GLIDE and the hybrid: drafters of one decoder layer that attends to the target's keys and values."""

from __future__ import annotations

from longspec.core.errors import UserError
from longspec.core.spec import ModelSpec
from longspec.drafters.glide import checkpoints
from longspec.drafters.glide.drafter import GlideDrafter
from longspec.models import target_parts
from longspec.models.target import CausalLM

OPTIONS = {
    "weights": {
        "type": ["object", "null"],
        "anyOf": [{"$ref": "#/$defs/model"}, {"type": "null"}],
        "default": None,
        "description": "The checkpoint: hub (with revision) or path; by default the target's own `drafter`.",
    },
    "window": {
        "type": "integer",
        "minimum": 1,
        "default": 512,
        "description": "How many earlier tokens the drafter's self-attention sees.",
    },
}


def make(target: CausalLM, *, weights: ModelSpec | None, window: int) -> GlideDrafter:
    """Load a GLIDE drafter for this target.

    Raises UserError when there are no weights, when they were not made for this target, or when the target's last
    layer does not give its keys and values."""
    return loaded(target, weights, window, "glide")


def loaded(target: CausalLM, weights: ModelSpec | None, window: int, drafter: str) -> GlideDrafter:
    """Load a GLIDE layer's checkpoint for this target; `drafter` is the name that error messages use."""
    if weights is None:
        raise UserError("weights", "none for this model", "weights on the method, or `drafter:` on the model")
    target_parts.require_last_layer(target, drafter)
    read = checkpoints.load(weights, target)
    return GlideDrafter(target, read.model, window, read.draft_ids, read.feature_layers)
