"""What a decoder is made of, read from the model that transformers built: its weights, sizes and constants.

A model type that is not listed, or a part that is not where it should be, raises `Inexpressible` with the reason;
nothing is guessed. The check at load (verify/engine/) decides whether what was read is right. The model is unchanged.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

GRAINS = {"hidden": 32, "head": 16, "inner": 16}
"""Sizes are multiples of these."""


class Inexpressible(Exception):
    """Raised when the native step cannot run a model; its text says why, in one line."""


@dataclass(frozen=True)
class Family:
    """Facts of a model type that its modules do not state. `norms`: those before and after attention and MLP."""

    norms: tuple[str | None, str | None, str | None, str | None] = (
        "input_layernorm", None, "post_attention_layernorm", None,
    )  # fmt: skip
    one_added: bool = False
    """Whether norms scale by 1 + weight."""
    interleaved: bool = False
    """Whether rotary pairs are neighbours."""
    window_of_config: bool = False
    """Whether all layers have the configuration's sliding window, instead of one of their own."""


_SANDWICH = (
    "input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm",
)  # fmt: skip
_BEHIND = (None, "post_attention_layernorm", None, "post_feedforward_layernorm")
_GLM4 = ("input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm")

FAMILIES = {
    **dict.fromkeys(("llama", "qwen2", "qwen3", "seed_oss", "smollm3", "granite", "ministral", "cwm"), Family()),
    **dict.fromkeys(("mistral", "phi3"), Family(window_of_config=True)),
    **dict.fromkeys(("glm", "helium", "ernie4_5"), Family(interleaved=True)),
    **dict.fromkeys(("olmo2", "olmo3", "exaone4"), Family(_BEHIND)),
    **dict.fromkeys(("gemma2", "gemma3_text"), Family(_SANDWICH, one_added=True)),
    "gemma": Family(one_added=True),
    "glm4": Family(_GLM4, interleaved=True),
}
ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh"}
GROWING = ("dynamic", "longrope")

Linears = tuple[nn.Linear, ...]
"""Layers whose outputs stand one after another."""


@dataclass(frozen=True)
class LayerParts:
    """One layer: its matrices, float32 scales of its norms or None, and what its attention sees."""

    qkv: Linears
    output: Linears
    gate_up: Linears
    down: Linears
    norms: tuple[torch.Tensor | None, ...]
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    rotary: str | None
    """Which of the model's rotary tables; "" the only one, None: no rotary positions."""
    window: int


@dataclass(frozen=True)
class Constants:
    """Numbers that all layers share."""

    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    interleaved: bool
    activation: str
    norm_whole: bool
    epsilon: float
    attention_scale: float
    attention_softcap: float
    residual_scale: float
    embedding_scale: float
    logit_scale: float
    logit_softcap: float


@dataclass(frozen=True)
class Architecture:
    """A decoder."""

    constants: Constants
    layers: list[LayerParts]
    final_norm: torch.Tensor
    head: nn.Linear


def read(model: Any) -> Architecture:
    """Read a causal LM of transformers. Inexpressible where the step cannot run it."""
    config = model.config.get_text_config()
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise Inexpressible(f"model type {config.model_type} is not one that the native step knows")
    decoder = model.get_decoder()
    layers = [_layer(layer, family, config) for layer in decoder.layers]
    return Architecture(
        _constants(model, layers), layers, _scale(decoder.norm, family), _linear(model.get_output_embeddings())
    )


def _layer(layer: nn.Module, family: Family, config: Any) -> LayerParts:
    attention, mlp = _part(layer, "self_attn"), _part(layer, "mlp")
    fused = hasattr(attention, "qkv_proj"), hasattr(mlp, "gate_up_proj")
    qkv = ("qkv_proj",) if fused[0] else ("q_proj", "k_proj", "v_proj")
    gate_up = ("gate_up_proj",) if fused[1] else ("gate_proj", "up_proj")
    norms = tuple(None if name is None else _scale(_part(layer, name), family) for name in family.norms)
    own = [_scale(norm, family) if (norm := getattr(attention, f"{n}_norm", None)) else None for n in ("q", "k")]
    window = config.sliding_window if family.window_of_config else _window(attention)
    return LayerParts(
        tuple(_linear(_part(attention, name)) for name in qkv),
        (_linear(_part(attention, "o_proj")),),
        tuple(_linear(_part(mlp, name)) for name in gate_up),
        (_linear(_part(mlp, "down_proj")),),
        norms,
        own[0],
        own[1],
        _rotary(attention, config),
        window or 0,
    )


def _window(attention: nn.Module) -> int | None:
    """Read the sliding window of a layer's attention; None if it sees all positions."""
    window: int | None = getattr(attention, "sliding_window", None)
    return window if getattr(attention, "is_sliding", True) else None


def _rotary(attention: nn.Module, config: Any) -> str | None:
    if not getattr(attention, "use_rope", True):
        return None
    if config.model_type == "exaone4" and attention.sliding_window is not None and not attention.is_sliding:
        return None
    kind = getattr(attention, "layer_type", None) or getattr(attention, "attention_type", None)
    return kind or ""


def tables(model: Any, layers: list[LayerParts], positions: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Cosines and sines [positions, rotated / 2] (float32) of each rotary table that the layers use."""
    rotary: Any = getattr(model.get_decoder(), "rotary_emb", None)
    kinds = {layer.rotary for layer in layers if layer.rotary is not None}
    if kinds and rotary is None:
        raise Inexpressible("it has no rotary module")
    by_kind = "layer_type" in inspect.signature(rotary.forward).parameters if kinds else False
    found = {}
    for kind in kinds:
        stated = getattr(rotary, "rope_type", None)
        if (stated.get(kind) if isinstance(stated, dict) else stated) in GROWING:
            raise Inexpressible("its rotary table depends on the longest text so far")
        named = {"layer_type": kind} if by_kind else {}
        at = torch.arange(positions)[None]
        cosines, sines = rotary(torch.zeros(1, 1, 1), at, **named)
        half = cosines.shape[-1] // 2
        found[kind] = (cosines[0, :, :half].contiguous(), sines[0, :, :half].contiguous())
    return found


def _constants(model: Any, layers: list[LayerParts]) -> Constants:
    config = model.config.get_text_config()
    attention = model.get_decoder().layers[0].self_attn
    head_dim = int(attention.head_dim)
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    kind = str(getattr(config, "hidden_activation", None) or config.hidden_act)
    if kind not in ACTIVATIONS:
        raise Inexpressible(f"activation {kind}")
    softcap = getattr(attention, "attn_logit_softcapping", None)
    whole = layers[0].query_norm is not None and len(layers[0].query_norm) != head_dim
    found = Constants(
        hidden=config.hidden_size,
        inner=layers[0].down[0].in_features,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        interleaved=FAMILIES[config.model_type].interleaved,
        activation=ACTIVATIONS[kind],
        norm_whole=whole,
        epsilon=config.rms_norm_eps,
        attention_scale=float(attention.scaling),
        attention_softcap=softcap or 0.0,
        residual_scale=float(getattr(config, "residual_multiplier", None) or 1.0),
        embedding_scale=float(getattr(config, "embedding_multiplier", None) or 1.0),
        logit_scale=1 / float(getattr(config, "logits_scaling", None) or 1.0),
        logit_softcap=getattr(config, "final_logit_softcapping", None) or 0.0,
    )
    _require_sizes(found, layers)
    return found


def _require_sizes(found: Constants, layers: list[LayerParts]) -> None:
    sizes = {"hidden": found.hidden, "head": found.head_dim, "inner": found.inner}
    if odd := [f"{name} {size} of {GRAINS[name]}" for name, size in sizes.items() if size % GRAINS[name]]:
        raise Inexpressible(f"sizes that are no multiples: {', '.join(odd)}")
    width = (found.heads + 2 * found.kv_heads) * found.head_dim
    for layer in layers:
        parts = (layer.qkv, layer.output, layer.gate_up, layer.down)
        shapes = [(sum(linear.out_features for linear in part), part[0].in_features) for part in parts]
        wanted = [
            (width, found.hidden),
            (found.hidden, found.heads * found.head_dim),
            (2 * found.inner, found.hidden),
            (found.hidden, found.inner),
        ]
        if shapes != wanted:
            raise Inexpressible(f"a layer's weights are {shapes}, not {wanted}")


def _part(module: nn.Module, name: str) -> Any:
    found = getattr(module, name, None)
    if found is None:
        raise Inexpressible(f"{type(module).__name__} has no {name}")
    return found


def _linear(module: Any) -> nn.Linear:
    if type(module) is not nn.Linear:
        raise Inexpressible(f"{type(module).__name__} in the place of a linear layer")
    return module


def _scale(norm: Any, family: Family) -> torch.Tensor:
    if "RMSNorm" not in type(norm).__name__ or getattr(norm, "bias", None) is not None:
        raise Inexpressible(f"{type(norm).__name__} in the place of an RMS norm")
    weight: torch.Tensor = norm.weight.detach().float()
    return (weight + 1.0 if family.one_added else weight).contiguous()
