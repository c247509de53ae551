"""The configuration: complete after loading, refused with one message that names the key, the value and the cure."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from longspec.config import specs
from longspec.config.load import SCHEMA, load
from longspec.core import registry
from longspec.core.errors import UserError

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
    assert complete["repeats"] == 1
    assert complete["methods"]["chain"]["gamma"] == 4
    assert complete["methods"]["chain"]["max_ngram"] == 4
    assert complete["methods"]["wide"]["tree_shape"] == [4, 16, 16, 16, 16]
    assert complete["datasets"]["d"]["too_long"] == "truncate"
    assert before == SMALL


@pytest.mark.parametrize("name", ["config.yaml", "paper.yaml", "peers.yaml", "smoke.yaml", "train.yaml"])
def test_the_experiments_of_the_repository_are_valid(name):
    file = REPOSITORY / "config" / name
    load(yaml.safe_load(file.read_text(encoding="utf-8")), [file])


def test_the_paper_is_26_cells_of_three_methods():
    raw = yaml.safe_load((REPOSITORY / "config" / "paper.yaml").read_text(encoding="utf-8"))
    grid = specs.grid(load(raw))
    assert sum(len(datasets) for datasets in grid["cells"].values()) == 26
    assert len(grid["methods"]) == 3


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("metods", {}, r"metods: unknown key; did you mean methods\?"),
        ("methods.chain.gama", 3, r"methods.chain.gama: unknown key; did you mean gamma\?"),
        ("datasets.d.sample", 3, r"datasets.d.sample: unknown key; did you mean samples\?"),
        ("models.m.hubs", "x", r"models.m.hubs: unknown key"),
        ("methods.chain.gamma", 0, "methods.chain.gamma: 0; expected at least 1"),
        ("datasets.d.path", "a\0", r"datasets.d.path: 'a\\x00'; expected text without null characters"),
        ("methods.chain.gamma", "4", "methods.chain.gamma: '4'; expected a text of the form .auto"),
        ("methods.chain.gamma", 4.0, "methods.chain.gamma: 4.0; expected integer"),
        ("methods.chain.gamma", True, "methods.chain.gamma: True; expected integer"),
        ("datasets.d.samples", 2.0, "datasets.d.samples: 2.0; expected integer or null"),
        ("methods.wide.tree_shape", [4, 0], r"methods.wide.tree_shape.1: 0; expected at least 1"),
        ("methods.wide.tree_shape", [], "methods.wide.tree_shape"),
        ("methods.chain.drafter", "ngrams", r"methods.chain.drafter: 'ngrams' is not known; did you mean ngram\?"),
        ("methods.chain.drafter", None, "methods.chain.drafter: missing"),
        ("methods.vanilla.drafter", "ngram", "method vanilla takes no drafter"),
        ("methods.chain.method", "serial", "methods.chain.method: 'serial' is not known"),
        ("methods.vanilla", None, "none is vanilla"),
        ("datasets.d.source", "jsnl", r"did you mean jsonl\?"),
        ("datasets.d.path", None, "datasets.d.path: missing"),
        ("datasets.d.template", None, "datasets.d.template: missing"),
        ("datasets.d.template", "{q.x}", r"datasets.d.template '\{q.x\}'.*expected plain \{field\} names"),
        ("datasets.d.template", "{q", "datasets.d.template '{q'"),
        ("datasets.d.max_new_tokens", 0, "expected at least 1"),
        ("datasets.d.too_long", "cut", "expected one of truncate, drop"),
        ("models.m.datasets", ["e"], "models.m.datasets: 'e' is not known"),
        ("models.m.hub", "a/b", "expected exactly one of package, hub, path"),
        ("models.m", {}, "expected exactly one of package, hub, path"),
        ("dtype", "int4", "dtype: 'int4'; expected one of auto, float32"),
        ("device", "tpu", "device: 'tpu'"),
        ("threads", 0, "threads: 0"),
        ("results", "../elsewhere", "expected a folder inside the working directory"),
        ("results", "/tmp/elsewhere", "expected a folder inside the working directory"),
        ("reports", "a/../..", "expected a folder inside the working directory"),
        ("results", "a{model}", "results: 'a{model}'; expected a plain path"),
        ("results", "~/out", "results: '~/out'; expected a plain path"),
        ("reports", "a\nb", "reports: .*expected a plain path"),
        ("prompt_templates", "nowhere.json", "prompt_templates: 'nowhere.json'; expected a JSON file"),
        ("models", {}, "models"),
    ],
)
def test_bad_values_are_named(path, value, message):
    with pytest.raises(UserError, match=message):
        load(changed(path, value))


@pytest.mark.parametrize("name", ["../x", "a/b", "a;b", "a b", "$(x)", "", ".hidden", "x" * 65, "a\n", 1, None])
@pytest.mark.parametrize("kind", ["models", "datasets", "methods"])
def test_names_are_plain(kind, name):
    raw = copy.deepcopy(SMALL)
    raw[kind][name] = next(iter(raw[kind].values()))
    with pytest.raises(UserError, match=kind):
        load(raw)


def test_a_name_given_twice_is_found_with_its_line(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("methods:\n  a: {method: vanilla}\n  b: {method: vanilla}\n  a: {method: tree}\n")
    with pytest.raises(UserError, match=r"c.yaml, line 4: 'a' stands twice"):
        load(SMALL, [file])


def test_a_name_given_twice_is_found_below_a_list(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("a:\n- b: 1\n  b: 2\n")
    with pytest.raises(UserError, match=r"c.yaml, line 3: 'b' stands twice"):
        load(SMALL, [file])


def test_an_anchor_may_be_merged_and_overridden(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n")
    load(SMALL, [file])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"? [a, b]\n: 1\n", "line 1: a list or mapping as a key"),
        (b"a: \xff\n", "not YAML"),
        (b"a: [\n", "not YAML"),
        (b"a: !!python/name:os.system x\n", "not YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_message(tmp_path, content, message):
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"c\.yaml.*{message}"):
        load(SMALL, [file])


def test_the_order_of_a_models_data_sets_means_nothing():
    raw = changed("models.m.datasets", ["d", "e"])
    raw["datasets"]["e"] = raw["datasets"]["d"]
    other = copy.deepcopy(raw)
    other["models"]["m"]["datasets"].reverse()
    assert load(raw) == load(other)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({}, "methods.x.model: nothing given; expected exactly one of package, hub, path"),
        ({"pth": "m"}, r"methods.x.model.pth: unknown key; did you mean path\?"),
        ({"path": "m", "hub": "a/b"}, "expected exactly one of package, hub, path"),
        ("m", "methods.x.model: 'm'; expected object"),
    ],
)
def test_a_drafter_model_is_checked_like_a_target(model, message):
    raw = copy.deepcopy(SMALL)
    raw["methods"]["x"] = {"method": "sequential", "drafter": "causal_lm", "model": model}
    with pytest.raises(UserError, match=message):
        load(raw)


def test_a_jobs_spec_holds_its_own_slice_only():
    complete = load(SMALL)
    text = str(specs.generate_spec(complete, "m", "d", "chain"))
    assert "tree_shape" not in text
    assert "template" not in text


def test_every_key_is_explained_in_the_readme():
    readme = (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8")
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    keys = list(schema["properties"])
    for definition in ("model", "dataset", "method"):
        keys += schema["$defs"][definition]["properties"]
    for kind in registry.KINDS:
        for name in registry.names(kind):
            keys += [name, *registry.options(kind, name)]
    assert [key for key in keys if f"`{key}`" not in readme] == []


def test_every_key_has_a_description():
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    described = [schema["properties"], *(schema["$defs"][d]["properties"] for d in ("model", "dataset", "method"))]
    assert all("description" in entry for properties in described for entry in properties.values())
