"""GLIDE and the hybrid: a drafter of one layer over the target's keys and values (drafter.py), and its parts."""

from __future__ import annotations

from longspec.core.errors import UserError
from longspec.core.spec import ModelSpec
from longspec.drafters.glide import checkpoints
from longspec.drafters.glide.drafter import GlideDrafter
from longspec.models import lending
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
    """Load the checkpoint for this target. UserError when it is none, another target's, or the target lends nothing."""
    return loaded(target, weights, window, "glide")


def loaded(target: CausalLM, weights: ModelSpec | None, window: int, drafter: str) -> GlideDrafter:
    """The same for a drafter of that name."""
    if weights is None:
        raise UserError("weights", "none for this model", "weights on the method, or `drafter:` on the model")
    lending.require_last_layer(target, drafter)
    read = checkpoints.load(weights, target)
    return GlideDrafter(target, read.model, window, read.draft_ids, read.feature_layers)
