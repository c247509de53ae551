"""Tiny random models of real architectures: all of their code paths with a few thousand weights."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from longspec.drafters.glide.drafter import GlideDrafter
from longspec.drafters.glide.model import Glide, Sizes
from longspec.models.target import CausalLM

VOCAB = 24
"""Small, so that random models repeat themselves and drafts are accepted and rejected alike."""
CONTEXT = 96

_COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
ARCHITECTURES = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "gemma3_text": {
        "num_key_value_heads": 1,
        "head_dim": 8,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "query_pre_attn_scalar": 8,
        "final_logit_softcapping": 20.0,
    },
    "gemma2": {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "sliding_window": 8,
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 20.0,
    },
    "phi3": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 16},
    "gpt_neox": {"rotary_pct": 0.25},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 8},
}


WHOLE_OR_CORNERS = [
    pytest.param(name, whole, id=f"{name}-{'whole' if whole else 'corners'}", marks=[pytest.mark.slow] * slow)
    for number, name in enumerate(ARCHITECTURES)
    for whole, slow in ([(True, False)] if number == 0 else [(False, False), (True, True)])
]
"""(architecture, whether every combination is tried): all of one architecture, of the others `paired` ones. `make
test-slow` tries all of all."""


def paired(methods: dict, drafters: dict, number: int, whole: bool) -> list[tuple]:
    """List combinations of a method and a drafter: all, or a third, where three successive numbers give each once."""
    named = [(m, d) for m in range(len(methods)) for d in range(len(drafters)) if whole or (m + d + number) % 3 == 0]
    kinds, makers = list(methods), list(drafters)
    return [(kinds[m], methods[kinds[m]], makers[d], drafters[makers[d]]) for m, d in named]


def hf_model(architecture: str, seed: int = 0, **changes: object) -> torch.nn.Module:
    """Make a float32 transformers model with random weights that are a function of the seed."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(architecture, **{**_COMMON, **ARCHITECTURES.get(architecture, {}), **changes})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def ours(architecture: str, seed: int = 0, engine: str = "auto", numerics: str = "auto", **changes: object) -> CausalLM:
    """Make the model of `hf_model` as our CausalLM."""
    return CausalLM(hf_model(architecture, seed, **changes), engine=engine, numerics=numerics)


def glide(target: CausalLM, hybrid: bool, seed: int = 3) -> GlideDrafter:
    """Make a GLIDE drafter of random weights, with a short window, half of the ids and the text's own."""
    torch.manual_seed(seed)
    layers = [0, 2] if hybrid else []
    model = Glide(Sizes.of(target.config), bias=not hybrid, norm=hybrid, feature_layers=len(layers))
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return GlideDrafter(target, model, 8, torch.arange(0, target.vocab_size, 2), layers)
