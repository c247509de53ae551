"""Code that a model brings runs only where its entry trusts it and names one state of it, wherever the entry stands."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import tiny_folder
import torch
from refusals import refused
from safetensors.torch import load_file
from tiny import ours

from longspec.config.load import load
from longspec.core import registry
from longspec.data import prompting
from longspec.drafters import causal_lm
from longspec.models import model_files

COMMIT = "0123456789" * 4
CODE = """
from pathlib import Path
Path({marker!r}).write_text("ran")
from transformers import LlamaConfig, LlamaForCausalLM
class Config(LlamaConfig):
    model_type = "with_code_of_its_own"
class Model(LlamaForCausalLM):
    config_class = Config
"""


def config(**changes):
    """A configuration in which every place that takes a model's entry has one."""
    return {
        "models": {"m": {"package": "some-model"}},
        "datasets": {"d": {"source": "jsonl", "path": "d.jsonl", "template": "{q}", "max_new_tokens": 4}},
        "methods": {"vanilla": {"method": "vanilla"}},
        **changes,
    }


PLACES = {
    "models.m": lambda e: config(models={"m": e}),
    "models.m.drafter": lambda e: config(models={"m": {"package": "some-model", "drafter": e}}),
    "methods.v.model": lambda e: _method({"method": "sequential", "drafter": "causal_lm", "gamma": 3, "model": e}),
    "methods.v.weights": lambda e: _method({"method": "sequential", "drafter": "glide", "gamma": 3, "weights": e}),
    "methods.v.assistant": lambda e: _method({"method": "hf_assisted", "assistant": e}),
}


def _method(entry):
    return config(methods={"vanilla": {"method": "vanilla"}, "v": entry})


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:7]])
def test_no_entry_trusts_code_that_no_commit_pins(where, revision):
    entry = {"hub": "a/b", "trust_remote_code": True, **({"revision": revision} if revision else {})}
    with refused(f"{where}.trust_remote_code", repr(revision), ("revision", 40)):
        load(PLACES[where](entry))
    load(PLACES[where]({"hub": "a/b", "trust_remote_code": True, "revision": COMMIT}))
    load(PLACES[where]({"path": "some/folder", "trust_remote_code": True}))
    load(PLACES[where]({"hub": "a/b"}))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A repository of the hub whose folder brings code, and the file which that code writes when it runs."""
    marker, place = tmp_path / "ran", tiny_folder.make(tmp_path / "theirs")
    (place / "theirs.py").write_text(CODE.format(marker=str(marker)))
    said = json.loads((place / "config.json").read_text())
    code = {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model"}
    (place / "config.json").write_text(json.dumps({**said, "model_type": "with_code_of_its_own", "auto_map": code}))
    monkeypatch.setattr(model_files, "_downloaded", lambda *asked: place)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    return marker


LOADERS = {
    "plain": lambda e: model_files.plain(e, torch.float32, "cpu"),
    "assistant": lambda e: registry.load("peers", "hf_assisted").make(ours("llama").model, e, 4, 0.0),
    "drafter": lambda e: causal_lm.make(ours("llama"), model=e, shared_noise=False),
    "tokenizer": prompting.tokenizer,
}


@pytest.mark.parametrize("loader", LOADERS)
def test_where_code_is_loaded_the_rule_holds_without_the_configurations_check(loader, hub):
    with refused("model.trust_remote_code", "'main'", ("revision", 40)):
        LOADERS[loader]({"hub": "a/b", "revision": "main", "trust_remote_code": True})
    with refused("config.json", "auto_map", "trust_remote_code"):
        LOADERS[loader]({"hub": "a/b", "revision": COMMIT})
    assert not hub.exists()


def test_without_a_fault_trusted_code_of_a_commit_runs(hub):
    """The control: what must not run above is code that runs where it may."""
    model_files.plain({"hub": "a/b", "revision": COMMIT, "trust_remote_code": True}, torch.float32, "cpu")
    assert hub.exists()


@pytest.mark.parametrize("loader", ["plain", "drafter", "tokenizer"])
def test_code_for_what_transformers_has_by_now_neither_runs_nor_refuses_the_model(loader, hub, tmp_path):
    file = tmp_path / "theirs" / "config.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "model_type": "llama"}))
    entry = {"hub": "a/b", "revision": COMMIT}
    LOADERS[loader](entry)
    assert not hub.exists()
    file.write_text(json.dumps({**said, "model_type": "llama", "architectures": ["LlamaWithChanges"]}))
    with refused("config.json", "auto_map", "trust_remote_code"):
        LOADERS[loader](entry)


class Planted:
    """A tensor's place in a pickle, where unpickling writes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_holds_code_is_refused_and_none_of_it_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("LONGSPEC_CACHE", str(tmp_path / "cache"))
    marker, place = tmp_path / "ran", tiny_folder.make(tmp_path / "theirs")
    weights, file = load_file(place / "model.safetensors"), place / "pytorch_model.bin"
    (place / "model.safetensors").unlink()
    for zipped in (True, False):
        torch.save({**weights, "planted": Planted(marker)}, file, _use_new_zipfile_serialization=zipped)
        with refused(str(file), "posix.system"):
            model_files.folder({"path": str(place), "convert_pickles": True, "trust_remote_code": True})
        with refused(str(place), "*.safetensors", "convert_pickles"):
            model_files.folder({"path": str(place), "trust_remote_code": True})
    assert not marker.exists()
    assert not [left for left in (tmp_path / "cache").iterdir() if left.is_dir()]
    pickle.loads(pickle.dumps(Planted(marker)))
    assert marker.exists(), "what must not run above is code that runs where it may"


def test_code_of_another_repository_is_pinned_by_no_commit_of_this_one(hub, tmp_path):
    file = tmp_path / "theirs" / "config.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({**said, "auto_map": {"AutoModelForCausalLM": "c/d--theirs.Model"}}))
    with refused("config.json", "c/d--theirs.Model"):
        model_files.folder({"hub": "a/b", "revision": COMMIT, "trust_remote_code": True})
