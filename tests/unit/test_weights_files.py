"""Weights that are not all there, not the model's, or not to be read: refused in a line, never filled at random."""

from __future__ import annotations

import json

import pytest
import tiny_folder
import torch
from refusals import refused
from safetensors.torch import load_file, save_file

from longspec.models import model_files


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_folder.make(tmp_path_factory.mktemp("model"))


@pytest.fixture
def place(made, tmp_path):
    for file in made.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def load(place):
    return model_files.causal_lm(model_files.folder({"path": str(place)}), torch.float32)


def rewrite(place, change):
    weights = load_file(place / "model.safetensors")
    save_file(change(weights), place / "model.safetensors", metadata={"format": "pt"})


def configure(place, **entries):
    file = place / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def test_the_models_own_weights_are_read(place):
    rewrite(place, lambda w: {**w, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)})  # as old ones have
    assert load(place).config.model_type == "llama"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            lambda w: {k: v for k, v in w.items() if "layers.1.mlp.up" not in k},
            "lack model.layers.1.mlp.up_proj.weight",
        ),
        (lambda w: {f"other.{k}": v for k, v in w.items()}, "lack"),
        (lambda w: {**w, "model.layers.9.mlp.up_proj.weight": torch.zeros(2)}, "model.layers.9.mlp.up_proj.weight"),
        (lambda w: {**w, "model.norm.weight": torch.zeros(3)}, "other shapes"),
    ],
)
def test_weights_that_are_not_the_configurations_are_refused(place, change, found):
    rewrite(place, change)
    with refused(str(place), found):
        load(place)


@pytest.mark.parametrize("layers", [1, 9])
def test_as_many_layers_as_the_configuration_says(place, layers):
    configure(place, num_hidden_layers=layers)
    with refused(str(place), "more"):
        load(place)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", "Git LFS"),
        (b"", "no whole safetensors file"),
        (None, "no whole safetensors file"),  # the first half
    ],
)
def test_a_file_that_is_not_whole_is_refused_before_anything_is_loaded(place, content, found):
    file = place / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content is None else content)
    with refused(str(file), found):
        model_files.folder({"path": str(place)})


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8"])
def test_quantised_weights_are_refused(place, method):
    configure(place, quantization_config={"quant_method": method})
    with refused(str(place / "config.json"), method):
        model_files.folder({"path": str(place)})


def test_a_shard_that_is_not_there_is_refused(place):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    with refused(str(place / "model.safetensors.index.json"), "model-00002-of-00002.safetensors"):
        model_files.folder({"path": str(place)})


@pytest.mark.parametrize("weight_map", [["model.safetensors"], None, 3])
def test_an_index_that_names_no_files_is_no_traceback(place, weight_map):
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert model_files.folder({"path": str(place)}) == place


def test_weights_that_transformers_does_not_read_need_not_be_whole(place):
    """Mistral's repositories have the same weights twice."""
    weights = load_file(place / "model.safetensors")
    (place / "model.safetensors").rename(place / "model-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "model-00001-of-00001.safetensors")}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    (place / "consolidated.safetensors").write_bytes(b"half")
    assert load(place).config.model_type == "llama"
    assert model_files.stored_dtype(place) is torch.float32
