"""Hugging Face `generate` with an assistant: a smaller model of the same vocabulary drafts (Gante 2023)."""

from __future__ import annotations

from typing import Any

from longspec.backends.peers._huggingface import Generate
from longspec.core.errors import UserError
from longspec.core.spec import ModelSpec
from longspec.models import model_files

DRAFTS = True
OPTIONS = {
    "assistant": {
        "type": "object",
        "$ref": "#/$defs/model",  # checked as one, and its content reruns what uses it
        "description": "The drafting model: package, hub (with revision) or path, as under models:.",
    },
    "num_assistant_tokens": {
        "type": "integer",
        "minimum": 1,
        "default": 20,
        "description": "Most tokens drafted a step, the same in every step (generate's own default).",
    },
    "assistant_confidence_threshold": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.4,
        "description": "A draft ends at a token that the assistant holds for less likely (generate's own default).",
    },
}


def make(
    model: Any, assistant: ModelSpec, num_assistant_tokens: int, assistant_confidence_threshold: float
) -> Generate:
    """Make `generate` with this assistant; raises UserError when its vocabulary has another size than the target's."""
    helper = model_files.plain(assistant, model.dtype, model.device)
    sizes = [one.config.get_text_config().vocab_size for one in (model, helper)]
    if sizes[0] != sizes[1]:
        raise UserError("assistant", f"its vocabulary has {sizes[1]} ids", f"the target's {sizes[0]}")
    helper.generation_config.num_assistant_tokens = num_assistant_tokens
    helper.generation_config.num_assistant_tokens_schedule = "constant"
    helper.generation_config.assistant_confidence_threshold = assistant_confidence_threshold
    return Generate(model, {}, helper)
