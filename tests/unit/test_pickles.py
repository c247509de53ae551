"""Weights that exist as pickles alone are converted where the entry asks for it: once, whole, and to the very bits."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import tiny_folder
import torch
from refusals import refused
from safetensors.torch import load_file

from longspec.models import convert_pickles, model_files

COMMIT = "0123456789" * 4
ONE, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LONGSPEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_folder.make(tmp_path_factory.mktemp("model"))


@pytest.fixture
def place(made, tmp_path):
    """The model's folder, with safetensors."""
    return shutil.copytree(made, tmp_path / "place")


@pytest.fixture
def written(tmp_path):
    """Converts in this process, which need not load torch again."""

    def convert(place):
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        convert_pickles.write(place, fresh)
        return fresh

    return convert


def half(weights, number):
    names = sorted(weights)
    return {name: weights[name] for name in names[number * len(names) // 2 : (number + 1) * len(names) // 2]}


def pickled(place, shards=1, **options):
    """Put pickles, and an index of several, in the place of a folder's safetensors; returns the weights."""
    weights = load_file(place / "model.safetensors")
    (place / "model.safetensors").unlink()
    if shards == 1:
        torch.save(weights, place / ONE, **options)
        return weights
    named = {}
    for number in range(2):
        part, file = half(weights, number), f"pytorch_model-0000{number + 1}-of-00002.bin"
        torch.save(part, place / file, **options)
        named |= dict.fromkeys(part, file)
    (place / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": named}))
    return weights


def entry(place, **more):
    return {"path": str(place), "convert_pickles": True, **more}


def stored(folder):
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("zipped", [True, False])
def test_converted_weights_are_the_pickles_to_the_bit(place, shards, zipped, made, written):
    weights = pickled(place, shards, _use_new_zipfile_serialization=zipped)
    folder = written(place)
    found = stored(folder)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert len(list(folder.glob("*.safetensors"))) == shards
    loaded = model_files.causal_lm(folder, torch.float32).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in weights.items())
    assert model_files.tokenizer(folder)("abc")["input_ids"] == model_files.tokenizer(made)("abc")["input_ids"]


def test_number_formats_stay_and_tied_or_transposed_tensors_are_stored(place, written):
    pickled(place)
    square = torch.arange(6, dtype=torch.float16).reshape(2, 3)
    wanted = {
        "a": square,
        "tied": square,
        "turned": square.T,
        "part": square[1:],
        "own": torch.rand(2, 3).T,
        "b": square.to(torch.bfloat16),
    }
    torch.save(wanted, place / ONE)
    found = stored(written(place))
    assert {name: tensor.dtype for name, tensor in found.items()} == {n: t.dtype for n, t in wanted.items()}
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_a_conversion_is_made_once_and_again_when_the_folder_changes_and_is_said(place, cache):
    plain = model_files.resolved(entry(place))
    assert not cache.exists(), "safetensors are read where there are any"
    pickled(place)
    first, said = model_files.folder(entry(place)), model_files.resolved(entry(place))
    assert said.endswith("converted from pickles")
    assert plain not in said
    (first / "seen").touch()
    assert model_files.folder(entry(place)) == first
    assert (first / "seen").exists()
    (place / "generation_config.json").write_text("{}")
    second = model_files.folder(entry(place))
    assert second != first
    assert (second / "generation_config.json").read_text() == "{}"


def test_planning_sees_that_pickles_changed(place):
    pickled(place)
    before = model_files.fingerprint(entry(place))
    torch.save({"other": torch.zeros(2)}, place / ONE)
    assert model_files.fingerprint(entry(place)) != before


@pytest.mark.parametrize("asked", [False, True])
def test_pickles_beside_safetensors_are_never_opened(place, asked, cache):
    (place / ONE).write_bytes(b"no pickle")
    (place / INDEX).write_text(json.dumps({"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}))
    assert model_files.folder(entry(place, convert_pickles=asked)) == place
    assert not cache.exists()


def test_safetensors_that_are_not_all_there_are_not_replaced_by_pickles(place):
    (place / "model.safetensors").rename(place / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    torch.save({}, place / ONE)
    with refused("model.safetensors.index.json", "model-00002-of-00002.safetensors"):
        model_files.folder(entry(place))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (torch.zeros(2), "Tensor"),
        ({"state_dict": {"a": torch.zeros(2)}}, "'state_dict'"),
        ({"a": 3}, "int"),
        ({3: torch.zeros(2)}, "3"),
        ({"a": torch.zeros(2, layout=torch.sparse_coo)}, "'a'"),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse")
def test_a_pickle_of_something_else_is_refused(place, content, found, written):
    pickled(place)
    torch.save(content, place / ONE)
    with refused(ONE, found, "tensors"):
        written(place)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04 cut"])
def test_a_pickle_that_is_not_whole_is_refused(place, content, written):
    pickled(place)
    (place / ONE).write_bytes(content)
    with refused(ONE, (), "tensors"):
        written(place)


@pytest.mark.parametrize("name", ["pytorch_model-00003-of-00002.bin", "../place/pytorch_model-00001-of-00002.bin"])
def test_an_index_names_pickles_beside_it(place, name):
    pickled(place, shards=2)
    (place / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    with refused(INDEX, name):
        model_files.folder(entry(place))


def test_a_folder_without_any_weights_is_refused(place):
    (place / "model.safetensors").unlink()
    with refused(str(place), ("*.safetensors", "pytorch_model*.bin")):
        model_files.folder(entry(place))


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
    ],
)
def test_the_converting_process_may_use_no_network_and_start_no_program(attempt):
    code = (
        f"import sys; from longspec.models import convert_pickles; sys.addaudithook(convert_pickles._refuse); {attempt}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "PermissionError" in done.stderr
