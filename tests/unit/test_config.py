"""The configuration: complete after loading, refused with one message that names the key, the value and the cure."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml
from refusals import refused

from longspec.analysis import claim_thresholds
from longspec.cli import status
from longspec.config import specs
from longspec.config.load import load
from longspec.config.plan.plan import Plan

REPOSITORY = Path(__file__).parents[2]
SMALL = {
    "models": {"m": {"path": "model"}},
    "datasets": {"d": {"source": "jsonl", "path": "d.jsonl", "template": "{q}", "max_new_tokens": 4}},
    "methods": {
        "vanilla": {"method": "vanilla"},
        "chain": {"method": "sequential", "drafter": "ngram"},
        "wide": {"method": "tree", "drafter": "ngram"},
    },
}


def changed(path, value):
    raw = copy.deepcopy(SMALL)
    *parents, last = path.split(".")
    entry = raw
    for parent in parents:
        entry = entry[parent]
    if value is None:
        del entry[last]
    else:
        entry[last] = value
    return raw


def test_defaults_are_filled_in_and_the_input_is_left_alone():
    before = copy.deepcopy(SMALL)
    complete = load(SMALL)
    assert complete.repeats == 1
    assert complete.methods["chain"].gamma == 4
    assert complete.methods["chain"].max_ngram == 4
    assert complete.methods["wide"].tree_shape == [4, 16, 16, 16, 16]
    assert complete.datasets["d"].too_long == "truncate"
    assert before == SMALL


@pytest.mark.parametrize("name", ["config.yaml", "paper.yaml", "peers.yaml", "smoke.yaml", "train.yaml"])
def test_the_experiments_of_the_repository_are_valid(name):
    file = REPOSITORY / "config" / name
    load(yaml.safe_load(file.read_text(encoding="utf-8")), [file])


@pytest.mark.parametrize(("name", "hindered"), [("config", 0), ("paper", 0), ("peers", 0), ("smoke", 3), ("train", 1)])
def test_the_experiments_of_the_repository_can_make_claims_but_for_the_smallest(name, hindered):
    """smoke.yaml: each of its data sets is too small; train.yaml is there for the drafter."""
    file = REPOSITORY / "config" / f"{name}.yaml"
    plan = Plan(load(yaml.safe_load(file.read_text(encoding="utf-8")), [file]))
    prompts = {name: entry.samples for name, entry in plan.config.datasets.items()}
    assert len(claim_thresholds.hindrances(prompts, plan.without_noise())) == hindered


def test_the_paper_is_26_cells_of_three_methods_and_the_baseline_again():
    raw = yaml.safe_load((REPOSITORY / "config" / "paper.yaml").read_text(encoding="utf-8"))
    grid = specs.grid(load(raw))
    assert sum(len(datasets) for datasets in grid["cells"].values()) == 26
    assert grid["methods"] == ["vanilla", "vanilla-again", "sequential", "tree"]


WHENCE = ("package", "hub", "path")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("methods.chain.gamma", 0, 1),
        ("datasets.d.path", "a\0", ()),
        ("methods.chain.gamma", "4", "auto"),
        ("methods.chain.gamma", 4.0, "integer"),
        ("methods.chain.gamma", True, "integer"),
        ("datasets.d.samples", 2.0, ("integer", "null")),
        ("methods.wide.tree_shape", [], ()),
        ("methods.chain.drafter", "ngrams", "ngram"),
        ("methods.vanilla.drafter", "ngram", "vanilla"),
        ("methods.chain.method", "serial", "sequential"),
        ("datasets.d.source", "jsnl", "jsonl"),
        ("datasets.d.template", "{q.x}", "{field}"),
        ("datasets.d.template", "{q", "{field}"),
        ("datasets.d.max_new_tokens", 0, 1),
        ("datasets.d.too_long", "cut", ("truncate", "drop")),
        ("dtype", "int4", ("auto", "float32")),
        ("device", "tpu", ("auto", "cpu", "gpu")),
        ("threads", 0, 1),
        ("results", "../elsewhere", ()),
        ("results", "/tmp/elsewhere", ()),
        ("reports", "a/../..", ()),
        ("results", "a{model}", ()),
        ("results", "~/out", "~"),
        ("reports", "a\nb", ()),
        ("prompt_templates", "nowhere.json", "JSON"),
        ("models", {}, 1),
    ],
)
def test_bad_values_are_named(path, value, expected):
    with refused(path, repr(value), expected):
        load(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "where", "found", "expected"),
    [
        ("metods", {}, "metods", (), "methods"),
        ("methods.chain.gama", 3, "methods.chain.gama", (), "gamma"),
        ("datasets.d.sample", 3, "datasets.d.sample", (), "samples"),
        ("models.m.hubs", "x", "models.m.hubs", (), "hub"),
        ("methods.wide.tree_shape", [4, 0], "methods.wide.tree_shape.1", 0, 1),
        ("methods.chain.drafter", None, "methods.chain.drafter", (), "ngram"),
        ("methods.vanilla", None, "methods", ("chain", "wide"), "vanilla"),
        ("datasets.d.path", None, "datasets.d.path", (), "source"),
        ("datasets.d.template", None, "datasets.d.template", (), "turns_field"),
        ("models.m.datasets", ["e"], "models.m.datasets", "'e'", "d"),
        ("models.m.hub", "a/b", "models.m", ("path", "hub"), WHENCE),
        ("models.m", {}, "models.m", (), WHENCE),
    ],
)
def test_and_so_are_the_keys_that_are_missing_unknown_or_beside_each_other(path, value, where, found, expected):
    with refused(where, found, expected):
        load(changed(path, value))


@pytest.mark.parametrize("name", ["../x", "a/b", "a;b", "a b", "$(x)", "", ".hidden", "x" * 65, "a\n", 1, None])
@pytest.mark.parametrize("kind", ["models", "datasets", "methods"])
def test_names_are_plain(kind, name):
    raw = copy.deepcopy(SMALL)
    raw[kind][name] = next(iter(raw[kind].values()))
    with refused(kind, repr(name)):
        load(raw)


def test_a_name_given_twice_is_found_with_its_line(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("methods:\n  a: {method: vanilla}\n  b: {method: vanilla}\n  a: {method: tree}\n")
    with refused("c.yaml, line 4", "'a'"):
        load(SMALL, [file])


def test_a_name_given_twice_is_found_below_a_list(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("a:\n- b: 1\n  b: 2\n")
    with refused("c.yaml, line 3", "'b'"):
        load(SMALL, [file])


def test_an_anchor_may_be_merged_and_overridden(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n")
    load(SMALL, [file])


@pytest.mark.parametrize(
    ("content", "where", "found"),
    [
        (b"? [a, b]\n: 1\n", "c.yaml, line 1", ()),
        (b"a: \xff\n", "c.yaml", "0xff"),
        (b"a: [\n", "c.yaml", "line 2"),
        (b"a: " + b"9" * 5000, "c.yaml", "digits"),
        (b"a: " + b"[" * 5000, "c.yaml", "recursion"),
        (b"a: !!python/name:os.system x\n", "c.yaml", ("line 1", "tag:yaml.org,2002:python/name:os.system")),
    ],
)
def test_a_file_that_cannot_be_read_is_one_message(tmp_path, content, where, found):
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    with refused(where, found):
        load(SMALL, [file])
    with refused("c.yaml", found):
        status.read_config([file])


def test_the_order_of_a_models_data_sets_means_nothing():
    raw = changed("models.m.datasets", ["d", "e"])
    raw["datasets"]["e"] = raw["datasets"]["d"]
    other = copy.deepcopy(raw)
    other["models"]["m"]["datasets"].reverse()
    assert load(raw) == load(other)


@pytest.mark.parametrize(
    ("model", "where", "found", "expected"),
    [
        ({}, "methods.x.model", (), WHENCE),
        ({"pth": "m"}, "methods.x.model.pth", (), "path"),
        ({"path": "m", "hub": "a/b"}, "methods.x.model", ("path", "hub"), WHENCE),
        ("m", "methods.x.model", "'m'", "object"),
    ],
)
def test_a_drafter_model_is_checked_like_a_target(model, where, found, expected):
    raw = copy.deepcopy(SMALL)
    raw["methods"]["x"] = {"method": "sequential", "drafter": "causal_lm", "model": model}
    with refused(where, found, expected):
        load(raw)


def test_a_jobs_spec_holds_its_own_slice_only():
    complete = load(SMALL)
    text = str(specs.generate_spec(complete, "m", "d", "chain"))
    assert "tree_shape" not in text
    assert "template" not in text
