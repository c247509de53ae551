"""A tiny random model of every architecture that transformers' AutoModelForCausalLM knows, and variants of some.

Sizes follow from the names of a configuration's fields: few layers, such that every kind of layer occurs, windows and
chunks that a text of 60 tokens outgrows, few experts, and so many heads of an indexer that few scores are zero, which
would be ties. What a type needs beyond that is in `CHANGES`. The weights are drawn anew, larger than transformers does,
so that every token before the last one moves the last one's logits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCAB = 160
CONTEXT = 256
LAYERS = 4

_BY_SIZE = {
    VOCAB: "vocab_size decoder_vocab_size vocab_size_per_layer_input",
    CONTEXT: "max_position_embeddings n_positions n_ctx max_seq_len context_length max_target_positions "
    "model_max_length",
    96: "intermediate_size ffn_dim ffn_hidden_size decoder_ffn_dim encoder_ffn_dim dense_intermediate_size n_inner dff "
    "dim_ff d_inner intermediate_size_mlp",
    64: "hidden_size d_model n_embd emb_dim embedding_size embedding_dim lru_width attention_hidden_size "
    "hidden_size_global input_embedding_size output_embedding_size word_embed_proj_dim linear_head_dim_total",
    48: "moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size shared_intermediate_size "
    "shared_experts_intermediate_size moe_shared_expert_intermediate_size",
    40: "encoder_hash_byte_group_vocab pronunciation_vocab_size shape_vocab_size",
    32: "original_max_position_embeddings router_hidden_size q_lora_rank",
    16: "head_dim attention_head_dim swa_head_dim v_head_dim qk_nope_head_dim kv_lora_rank mamba_d_head mamba_head_dim "
    "mamba_headdim index_head_dim index_topk linear_key_head_dim linear_value_head_dim linear_head_dim kv_channels "
    "d_head dim_head hidden_size_per_layer_input rel_extent index_n_heads",
    12: "sliding_window attention_window_size window_size sliding_window_size attention_chunk_size local_attention",
    8: "qk_rope_head_dim ssm_state_size state_size mamba_d_state chunk_size mamba_chunk_size rotary_dim time_step_rank "
    "mamba_dt_rank d_rel index_block_size laurel_rank adapter_rank block_size n_routed_experts num_experts "
    "num_local_experts moe_num_experts gated_norm_rank o_lora_rank hc_lowrank floor_scale mamba_n_heads "
    "mamba_num_heads",
    LAYERS: "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_blocks num_decoder_layers "
    "num_encoder_layers num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads "
    "num_decoder_attention_heads num_encoder_attention_heads attention_heads swa_num_attention_heads "
    "linear_num_value_heads linear_num_heads",
    2: "num_key_value_heads num_kv_heads num_query_groups swa_num_key_value_heads linear_num_key_heads "
    "num_experts_per_tok num_experts_per_token moe_topk moe_k n_groups mamba_n_groups n_group "
    "num_expert_group zero_expert_num num_dense_layers max_window_layers layer_group_size eos_token_id",
    1: "bos_token_id topk_group first_k_dense_replace",
    0: "pad_token_id",
}
SIZES = {name: size for size, names in _BY_SIZE.items() for name in names.split()}
"""Value by the name of a field; types have the fields that they have."""

UNSAID = ("num_key_value_heads", "head_dim", "n_routed_experts", "num_experts_per_tok")
"""Fields that are set where the default is None, too."""

_MIXED = ["linear_attention", "full_attention"] * 2
_LOCAL = ["sliding_attention", "full_attention"] * 2
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_MLA = {"q_lora_rank": 32, "kv_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16}
_SLIDING_MLA = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 24, **_MLA}
_WIDE = {"1": {"head_dim": 32}, "3": {"head_dim": 32}}
_LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 8,
    "long_factor": [1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0],
    "original_max_position_embeddings": 32,
}
_WINDOW = {"sliding_window": 12}
_LATE_WINDOW = {"sliding_window": 12, "use_sliding_window": True, "max_window_layers": 2}


def _scaled(kind: str, **more: Any) -> dict[str, Any]:
    """Make rope parameters of a type that stretches a context of 32 positions."""
    return {"rope_parameters": {**_ROPE, "rope_type": kind, "factor": 8.0, **more}}


_SCALES = {"original_max_position_embeddings": 32}
CHANGES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": None, "sliding_attention": _ROPE},
        "layer_types": _LOCAL,
    },
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0}},
    "dots1": {"n_shared_experts": 1},
    "dots3_note": {"vision_config": {"adapter_out_dim": 64}, "audio_config": {"adapter_out_dim": 64}},
    "dots3_note_text": {
        "layer_types": ["indexed_attention", "sliding_attention"] * 2,
        "per_layer_config": {1: _SLIDING_MLA, 3: _SLIDING_MLA},
    },
    "falcon_h1": {"mamba_d_ssm": 128},
    "gemma2": {"query_pre_attn_scalar": 16, "attn_logit_softcapping": 5.0},
    "gemma3_text": {"query_pre_attn_scalar": 16},
    "gemma3n_text": {"num_kv_shared_layers": 2},
    "gemma4_text": {"per_layer_config": _WIDE},
    "gemma4_unified_text": {"per_layer_config": _WIDE},
    "granite": {"attention_multiplier": 0.2, "residual_multiplier": 0.5, "embedding_multiplier": 6.0},
    "granitemoehybrid": {"layer_types": _MIXED},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"num_heads": 8},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 16,
        "indexer_compress_ratio": 4,
        "ple_layer_ids": [1],
        "ple_embed_dim": 32,
        "heads_per_ngram": 2,
        "ngram_vocab_size_base": 97,
        "make_ngram_vocab_size_divisible_by": 8,
        "split_ngram_parts": 2,
    },
    "reformer": {"axial_pos_embds": False},
    "vaultgemma": {"query_pre_attn_scalar": 16},
    "xlstm": {"hidden_size": 128, "embedding_dim": 128},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"attention_hidden_size": 128, "attention_head_dim": 32},
    "zamba2": {"attention_hidden_size": 128, "attention_head_dim": 32},
    "zaya": {"num_experts_per_tok": 1, "sliding_window": 12, "layer_types": ["hybrid", "hybrid_sliding"] * 2},
}
"""What a type needs, or has in its real models, beyond the sizes."""

VARIANTS: dict[str, dict[str, Any]] = {
    "deepseek_v2-lite": {"q_lora_rank": None},
    "deepseek_v3-yarn": _scaled("yarn", **_SCALES, mscale=1.0, mscale_all_dim=1.0),
    "doge-moe": {"is_moe": True, "num_experts": 16},
    "falcon-alibi": {"alibi": True},
    "falcon-new": {"new_decoder_architecture": True},
    "gemma4_text-moe": {
        "per_layer_config": _WIDE,
        "enable_moe_block": True,
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 48,
    },
    "gemma4_text-shared": {"per_layer_config": _WIDE, "num_kv_shared_layers": 2},
    "gpt2-scaled": {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    "gpt_bigcode-heads": {"multi_query": False},
    "gpt_neox-serial": {"use_parallel_residual": False},
    "llama-dynamic": {**_scaled("dynamic"), "max_position_embeddings": 32},
    "llama-linear": _scaled("linear"),
    "llama-llama3": _scaled("llama3", **_SCALES, low_freq_factor=1.0, high_freq_factor=4.0),
    "llama-yarn": _scaled("yarn", **_SCALES),
    "mistral-full": {"sliding_window": None},
    "mixtral-window": _WINDOW,
    "olmo-clipped": {"clip_qkv": 1.0},
    "opt-after": {"do_layer_norm_before": False, "word_embed_proj_dim": 32},
    "phi-norm": {"qk_layernorm": True},
    "phi3-longrope": {"rope_parameters": _LONG},
    "phi3-window": _WINDOW,
    "phimoe-longrope": {"rope_parameters": {**_LONG, "short_mscale": 1.0, "long_mscale": 1.2}},
    "phimoe-window": _WINDOW,
    "qwen2-window": _LATE_WINDOW,
    "qwen2_moe-window": _LATE_WINDOW,
    "qwen3-window": _LATE_WINDOW,
    "smollm3-window": {"sliding_window": 12, "use_sliding_window": True},
    "stablelm-norm": {"qk_layernorm": True, "use_parallel_residual": True},
    "starcoder2-window": _WINDOW,
    "zamba2-rope": {
        "use_mem_rope": True,
        "use_shared_attention_adapter": True,
        "num_mem_blocks": 2,
        "num_key_value_heads": LAYERS,
    },
}
"""Other models of a type, named TYPE-WORD."""

UNBUILT = {
    "emu3": "what is saved of it has a type that AutoModelForCausalLM does not load",
    "gemma3n": "its images need the package timm",
    "gemma4_assistant": "reads the cache of another model",
    "gemma4_unified_assistant": "reads the cache of another model",
    "mllama": "what is saved of it has a type that AutoModelForCausalLM does not load",
    "musicgen": "decodes sounds, several codes at once",
    "musicgen_melody": "decodes sounds, several codes at once",
}
"""Types that are left out, and why."""

TYPES = [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if name not in UNBUILT]
NAMES = [*TYPES, *VARIANTS]
"""All that can be made."""


def small(defaults: dict[str, Any]) -> dict[str, Any]:
    """Choose small values for a configuration's fields, from its defaults."""
    layers = next((defaults[n] for n in ("num_hidden_layers", "n_layer", "num_layers") if n in defaults), None)
    found: dict[str, Any] = {}
    for name, value in defaults.items():
        if name in SIZES and (isinstance(value, int) or name in UNSAID or name.endswith("_token_id")):
            found[name] = SIZES[name]
        elif isinstance(value, list) and len(value) == layers:
            kinds = [SIZES[name]] if name in SIZES else list(dict.fromkeys(value))
            found[name] = [kinds[layer % len(kinds)] for layer in range(LAYERS)]
        elif name.startswith("rope_") and isinstance(value, dict):
            found[name] = value | small(value)
        elif name == "text_config" and value["model_type"] in CONFIG_MAPPING:
            found[name] = config(value["model_type"]).to_dict()
        elif name.endswith("_config") and isinstance(value, dict):
            found[name] = small(value)
    if "kv_lora_rank" in found and "num_key_value_heads" in found:
        found["num_key_value_heads"] = found["num_attention_heads"]
        if defaults.get("head_dim") == defaults["qk_rope_head_dim"]:
            found["head_dim"] = found["qk_rope_head_dim"]
    if "is_decoder" in defaults:
        found["is_decoder"] = True
    return found


def config(name: str) -> Any:
    """Make the configuration of a type or variant."""
    kind = name.split("-")[0] if name in VARIANTS else name
    made = CONFIG_MAPPING[kind]
    return made(**{**small(made().to_dict()), **CHANGES.get(kind, {}), **VARIANTS.get(name, {})})


def model(name: str, seed: int = 0) -> Any:
    """Make a float32 model with random weights that are a function of the seed."""
    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config(config(name), dtype=torch.float32).eval()
    embeddings = [part for part in made.modules() if isinstance(part, torch.nn.Embedding)]
    drawn = {id(part.weight) for part in embeddings}
    for parameter_name, weights in made.named_parameters():
        _draw(parameter_name, weights.data, id(weights) in drawn)
    for part in embeddings:
        if part.padding_idx is not None:
            part.weight.data[part.padding_idx] = 0  # as some types load it
    return made


def _draw(name: str, weights: torch.Tensor, embedding: bool) -> None:
    """Draw a matrix anew; add to a vector (a norm's scale, a bias, attention's sinks), which starts where it must."""
    if name.endswith("A_log"):
        return
    if weights.shape[:-1].numel() == 1:
        weights += 0.3 * torch.randn_like(weights)
    else:
        weights.normal_(std=0.5 if embedding else 1.5 / weights[0].numel() ** 0.5)


def save(name: str, folder: Path, seed: int = 0) -> Path:
    """Save the model that `model` makes as a folder of config.json and safetensors weights."""
    model(name, seed).save_pretrained(folder)
    return folder
