"""Makes the drafter that training starts from: copies of the target's own layers.

Training from a copied start is several times as fast as from a random one.
"""

from __future__ import annotations

from typing import Any

import torch

from longspec.drafters.glide.model import Glide, Sizes
from longspec.models.target import CausalLM

QUIET = 0.06
"""Scale of the copied layers' output where no norm follows; unscaled, the logits would be far too large."""
QUIET_NORM = 0.25
"""Scale of the copied final norm."""


def untrained(target: CausalLM, feature_layers: int, norm: bool) -> Glide:
    """Make a drafter of the target's sizes: self-attention copied from its first layer, the rest from its last.

    Weights whose shapes differ stay random."""
    model = Glide(Sizes.of(target.config), norm=norm, feature_layers=feature_layers)
    decoder = target.model.get_decoder()
    first, last = decoder.layers[0], decoder.layers[-1]
    with torch.no_grad():
        _attention(model.self_attn, first)
        _attention(model.cross_attn, last)
        _copy(model.mlp.gate_up_proj, last, "mlp.gate_proj", "mlp.up_proj")
        _copy(model.mlp.down_proj, last, "mlp.down_proj")
        _copy(model.input_layernorm, first, "input_layernorm")
        _copy(model.post_self_attention_layernorm, last, "input_layernorm")
        _copy(model.post_cross_attention_layernorm, last, "post_attention_layernorm")
        if model.norm is not None:
            _copy(model.norm, decoder, "norm")
            model.norm.weight.mul_(QUIET_NORM)
        else:
            for layer in (model.self_attn.o_proj, model.cross_attn.o_proj, model.mlp.down_proj):
                layer.weight.mul_(QUIET)
        if model.fusion is not None:
            model.fusion.proj.weight.zero_()
    return model


def _attention(ours: Any, layer: Any) -> None:
    _copy(ours.q_proj, layer, "self_attn.q_proj")
    _copy(ours.o_proj, layer, "self_attn.o_proj")
    if hasattr(ours, "kv_proj"):
        _copy(ours.kv_proj, layer, "self_attn.k_proj", "self_attn.v_proj")


def _copy(ours: Any, source: Any, *names: str) -> None:
    """Copy the concatenated weights of the named parts of `source`, if they exist and fit; else ours stay random."""
    try:
        weights = torch.cat([source.get_submodule(name).weight for name in names])
    except AttributeError:
        return
    if weights.shape == ours.weight.shape:
        ours.weight.copy_(weights)
