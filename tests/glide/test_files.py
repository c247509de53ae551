"""A checkpoint is loaded whole or refused: each tensor must be one of the layer's, of its shape, for this target."""

from __future__ import annotations

import pytest
import torch
from refusals import refused
from safetensors.torch import load_file, save_file
from tiny import VOCAB, ours

from longspec.core import registry
from longspec.drafters import glide
from longspec.drafters.glide import checkpoints
from longspec.drafters.glide.checkpoints import Checkpoint
from longspec.drafters.glide.model import Glide, Sizes
from longspec.models import target_parts


@pytest.fixture
def target():
    return ours("llama")


def published(target, folder, **changed):
    """As LongSpec's: biases, no final norm, and a cross-attention's k_proj and v_proj that nothing uses."""
    model = Glide(Sizes.of(target.config), bias=True, norm=False)
    tensors = {name: tensor.clone() for name, tensor in checkpoints.stored(model.state_dict()).items()}
    for part in "kv":
        for kind in ("weight", "bias"):
            tensors[f"cross_attn.{part}_proj.{kind}"] = tensors[f"self_attn.{part}_proj.{kind}"].clone()
    tensors |= changed
    folder.mkdir(exist_ok=True)
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return tensors


def test_every_published_tensor_ends_up_in_its_place(target, tmp_path):
    tensors = published(target, tmp_path)
    model = checkpoints.read(tmp_path, target).model
    kept = checkpoints.stored(model.state_dict())
    assert set(kept) == {name for name in tensors if not name.startswith(("cross_attn.k", "cross_attn.v"))}
    assert all(torch.equal(kept[name], tensors[name]) for name in kept)


@pytest.mark.parametrize(
    ("changed", "found", "expected"),
    [
        ({"mlp.up_proj.weight": None}, "mlp.up_proj.weight", ()),
        ({"self_attn.q_norm.weight": torch.ones(8)}, "self_attn.q_norm.weight", ()),
        ({"mlp.down_proj.weight": torch.ones(32, 47)}, ("mlp.down_proj.weight", "[32, 47]"), "[32, 48]"),
        ({"draft_ids": torch.tensor([3, VOCAB])}, VOCAB, VOCAB),
        ({"target_probe": torch.ones(8, 8)}, "target_probe", ()),
        ({"feature_layers": torch.tensor([1])}, "fusion", ()),
    ],
)
def test_what_does_not_fit_is_named(target, tmp_path, changed, found, expected):
    published(target, tmp_path, **changed)
    with refused(str(tmp_path), found, expected):
        checkpoints.read(tmp_path, target)


def test_a_layer_that_the_target_lacks_is_refused(target, tmp_path):
    model = Glide(Sizes.of(target.config), feature_layers=1)
    checkpoints.write(tmp_path, Checkpoint(model, [3], None), target.model.get_input_embeddings().weight, "{}")
    with refused(str(tmp_path), 3, target.config.num_hidden_layers):
        checkpoints.read(tmp_path, target)


def test_another_targets_drafter_is_refused_even_if_it_has_the_same_sizes(target, tmp_path):
    model = Glide(Sizes.of(target.config))
    probe = target.model.get_input_embeddings().weight
    checkpoints.write(tmp_path, Checkpoint(model, [], torch.arange(9)), probe, "{}")
    assert torch.equal(checkpoints.read(tmp_path, target).draft_ids, torch.arange(9, dtype=torch.int32))
    with refused(str(tmp_path), "target_probe"):
        checkpoints.read(tmp_path, ours("llama", seed=1))


def test_weights_that_are_no_safetensors_are_refused(target, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"no")
    (tmp_path / "config.json").write_text("{}")
    with refused("model.safetensors", "safetensors", "whole"):
        glide.make(target, weights={"path": str(tmp_path)}, window=8)


def test_no_weights_at_all_says_where_to_put_them(target):
    with refused("weights", (), ("weights", "drafter:")):
        glide.make(target, weights=None, window=8)


def test_a_checkpoint_that_was_written_is_read_again_in_bfloat16(target, tmp_path):
    model = Glide(Sizes.of(target.config), feature_layers=2)
    checkpoints.write(tmp_path, Checkpoint(model, [0, 2], None), target.model.get_input_embeddings().weight, "{}")
    again = checkpoints.read(tmp_path, target)
    assert again.feature_layers == [0, 2]
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], tensor.bfloat16().float())
    assert all(t.dtype != torch.float32 for t in load_file(tmp_path / "model.safetensors").values())


MLA = {
    "kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "n_routed_experts": 2, "num_experts_per_tok": 1, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 3,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "factor": 3.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip


@pytest.mark.parametrize("drafter", ["glide", "ngram_glide"])
@pytest.mark.parametrize(
    ("architecture", "changes", "lack"),
    [
        ("gpt2", {}, "rotary"),
        ("opt", {"ffn_dim": 48}, "rotary"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "dynamic"),
        ("phi3", {"rope_parameters": LONGROPE}, "longrope"),
        ("gemma3n_text", {"num_kv_shared_layers": 1, "head_dim": 8}, "keys"),
        ("deepseek_v2", MLA, "[4, 1, 8]"),
    ],
)
def test_a_target_that_lends_no_last_layer_is_refused_by_name(drafter, architecture, changes, lack, tmp_path):
    """And before a checkpoint is read, whose tensors would be another's."""
    made = registry.load("drafters", drafter).make
    options = registry.load("drafters", drafter).OPTIONS
    chosen = {name: option["default"] for name, option in options.items()}
    target = ours(architecture, engine="eager", **changes)
    with refused(f"drafter {drafter}", (architecture, lack)):
        made(target, **{**chosen, "weights": {"path": str(tmp_path)}})


def test_a_rotary_embedding_that_does_not_grow_is_lent(tmp_path):
    scaled = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 48}
    for architecture, changes in (("llama", {"rope_parameters": scaled}), ("gemma3_text", {}), ("gpt_neox", {})):
        target = ours(architecture, **changes)
        published(target, tmp_path / architecture)
        glide.make(target, weights={"path": str(tmp_path / architecture)}, window=8)


def test_a_size_that_a_configuration_lacks_is_named(target):
    target.config.intermediate_size = 0
    with refused("drafter d", ("llama", "intermediate_size")):
        target_parts.require_last_layer(target, "d")
