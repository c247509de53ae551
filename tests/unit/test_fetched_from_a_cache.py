"""Of a hub's repository only what is read is fetched.

No network: the cache knows what a repository lists, and huggingface_hub refuses a snapshot that lacks a listed file
which it was asked for. So what a cache may lack was not asked for.
"""

from __future__ import annotations

import json
import shutil

import paper_hub
import pytest
import tiny_folder
from refusals import refused

from longspec.models import model_files

COMMIT = "0123456789" * 4
PICKLES = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
NEVER = (*paper_hub.OTHERS, "model.onnx", "model.gguf", "tf_model.h5", "training_args.bin", "code.py")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_folder.make(tmp_path_factory.mktemp("model"))


@pytest.fixture
def snapshot(made, tmp_path, monkeypatch):
    """A commit of owner/name in the cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("LONGSPEC_CACHE", str(tmp_path / "cache"))
    place = paper_hub.snapshot(tmp_path / "hub", {"hub": "owner/name", "revision": COMMIT})
    return shutil.copytree(made, place, dirs_exist_ok=True)


def folder(**more):
    return model_files.folder({"hub": "owner/name", "revision": COMMIT, **more})


@pytest.mark.parametrize("asked", [{}, {"convert_pickles": True}])
def test_beside_safetensors_no_other_weights_are_fetched(snapshot, asked):
    paper_hub.list_files(snapshot, (*NEVER, *PICKLES))
    assert folder(**asked) == snapshot


@pytest.mark.parametrize("name", ["generation_config.json", "vocab.txt"])
def test_a_file_that_is_read_is_fetched(snapshot, name):
    (snapshot / name).unlink(missing_ok=True)
    paper_hub.list_files(snapshot, [name])
    with refused(f"model owner/name@{COMMIT}"):
        folder()


def test_pickles_are_fetched_where_the_entry_wants_them_converted(snapshot):
    (snapshot / "model.safetensors").unlink()
    (snapshot / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": PICKLES[0]}}))
    paper_hub.list_files(snapshot, (*NEVER, *PICKLES))
    with refused(str(snapshot), "*.safetensors", "convert_pickles"):
        folder()
    with refused(f"model owner/name@{COMMIT}"):
        folder(convert_pickles=True)
