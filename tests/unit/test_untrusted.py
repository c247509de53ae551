"""A model's folder that asks for code of its own, or for pickles, is refused before anything in it is loaded."""

from __future__ import annotations

import json

import pytest
from refusals import refused
from safetensors.numpy import save_file

from longspec.config.load import load
from longspec.models import model_files, trust


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "text_config": {"x": 1}}))
    save_file({}, tmp_path / "model.safetensors")
    return tmp_path


def change(folder, file="config.json", **entries):
    place = folder / file
    content = json.loads(place.read_text()) if place.exists() else {}
    place.write_text(json.dumps({**content, **entries}))


def test_a_plain_folder_passes(folder):
    change(folder, _attn_implementation="sdpa")
    change(folder, "tokenizer.json", model={"vocab": {"auto_map": 1}})  # a word, not a key
    change(folder, "model.safetensors.index.json", weight_map={"a": "model.safetensors"})
    change(folder, "pytorch_model.bin.index.json", weight_map={"a": "p.bin"})  # beside safetensors, and never opened
    assert model_files.folder({"path": str(folder)}) == folder


@pytest.mark.parametrize(
    ("file", "entries", "found"),
    [
        ("config.json", {"auto_map": {"AutoConfig": "evil.Config"}}, ("auto_map", "evil.Config")),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "evil.M"}}}, ("auto_map", "evil.M")),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.T", None]}}, ("auto_map", "evil.T")),
        (
            "config.json",
            {"_attn_implementation_internal": "evil/kernel"},
            ("_attn_implementation_internal", "'evil/kernel'"),
        ),
        ("config.json", {"attn_implementation": "evil/kernel:fn"}, ("attn_implementation", "'evil/kernel:fn'")),
        ("config.json", {"vision_config": {"_attn_implementation": "a|b"}}, ("_attn_implementation", "'a|b'")),
    ],
)
def test_code_is_refused_unless_the_configuration_trusts_it(folder, file, entries, found):
    change(folder, file, **entries)
    with refused(file, found, "trust_remote_code"):
        model_files.folder({"path": str(folder)})
    assert model_files.folder({"path": str(folder), "trust_remote_code": True}) == folder


@pytest.mark.parametrize("name", ["pytorch_model.bin", "../model.safetensors", "/x/model.safetensors"])
@pytest.mark.parametrize("trusted", [False, True])
def test_an_index_may_name_safetensors_beside_it_only(folder, name, trusted):
    change(folder, "model.safetensors.index.json", weight_map={"a": "model.safetensors", "b": name})
    with refused("model.safetensors.index.json", ("weight_map", repr(name)), "safetensors"):
        trust.refuse_unsafe(folder, trusted)


def test_a_pickle_is_never_a_fallback(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with refused(str(folder), "*.safetensors", "convert_pickles"):
        model_files.folder({"path": str(folder)})


def test_an_architecture_that_transformers_has_needs_no_code_of_its_own(folder):
    code = {"AutoModelForCausalLM": "theirs.Model"}
    change(folder, auto_map=code, architectures=["LlamaForCausalLM"])
    assert model_files.folder({"path": str(folder)}) == folder
    for entries in (
        {"architectures": ["TheirLlamaForCausalLM"]},
        {"architectures": ["LlamaForCausalLM"], "model_type": "theirs"},
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "text_config": {"auto_map": code}},
    ):
        change(folder, **entries)
        with refused("config.json", ("auto_map", "theirs.Model"), "trust_remote_code"):
            model_files.folder({"path": str(folder)})


def test_half_a_model_is_refused(folder):
    change(folder, "adapter_config.json", base_model_name_or_path="someone/else")
    with refused(str(folder), "adapter_config.json"):
        model_files.folder({"path": str(folder)})


def test_a_file_that_is_no_json_is_one_message(folder):
    (folder / "config.json").write_text("[" * 100_000)
    with refused("config.json", "RecursionError", "JSON"):
        model_files.folder({"path": str(folder)})


def test_trusted_code_of_the_hub_is_pinned():
    raw = {
        "models": {"m": {"hub": "a/b", "revision": "main", "trust_remote_code": True}},
        "datasets": {"d": {"source": "jsonl", "path": "d.jsonl", "template": "{q}", "max_new_tokens": 4}},
        "methods": {"vanilla": {"method": "vanilla"}},
    }
    with refused("models.m.trust_remote_code", "'main'", ("revision", 40)):
        load(raw)
    raw["models"]["m"]["revision"] = "0123456789" * 4
    assert load(raw).models["m"].resources.mem_mb == 64000
    del raw["models"]["m"]["trust_remote_code"]
    assert load(raw).models["m"].trust_remote_code is False


def test_expressions_in_a_configuration_are_refused(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("__use_yte__: true\nmodels: {}\n")
    with refused("c.yaml", "__use_yte__", "YAML"):
        load({}, [file])
