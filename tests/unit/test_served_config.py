"""Served engines in the configuration: their options, their loads, and the baseline that each variant has."""

from __future__ import annotations

import pytest
from refusals import refused

from longspec.config import specs
from longspec.config.load import load

NGRAM = {"spec-type": "ngram-simple"}
METHODS = {
    "vanilla": {"method": "vanilla"},
    "llamacpp": {"method": "llamacpp"},
    "llamacpp-ngram": {"method": "llamacpp", "speculation": NGRAM},
}


def experiment(concurrency=(1,), gpus=1, **methods):
    return {
        "models": {"m": {"path": "model", "resources": {"gpus": gpus}}},
        "datasets": {"d": {"source": "jsonl", "path": "d.jsonl", "template": "{q}", "max_new_tokens": 4}},
        "methods": {name: entry for name, entry in {**METHODS, **methods}.items() if entry},
        "concurrency": list(concurrency),
    }


def grid(*given, **methods):
    return specs.grid(load(experiment(*given, **methods)))


def spec(method, **changes):
    return specs.generate_spec(load(experiment(**changes)), "m", "d", method)


@pytest.mark.parametrize(
    ("concurrency", "where", "found", "expected"),
    [
        ([], "concurrency", "[]", 1),
        ([1, 0], "concurrency.1", 0, 1),
        ([True], "concurrency.0", "True", "integer"),
        ([1.0], "concurrency.0", 1.0, "integer"),
        (["4"], "concurrency.0", "'4'", "integer"),
        ([4, 1, 4], "concurrency", "[4, 1, 4]", "once"),
    ],
)
def test_a_load_is_a_number_of_requests_and_stands_once(concurrency, where, found, expected):
    with refused(where, found, expected):
        load(experiment(concurrency))


def test_the_order_of_loads_means_nothing():
    assert load(experiment([16, 1, 4])) == load(experiment([1, 4, 16]))


def test_one_request_at_a_time_is_the_default():
    raw = experiment()
    del raw["concurrency"]
    assert load(raw).concurrency == [1]


@pytest.mark.parametrize(
    ("entry", "where", "found", "expected"),
    [
        ({"method": "lamacpp"}, "x.method", "'lamacpp'", "llamacpp"),
        ({"method": "llamacpp", "drafter": "ngram"}, "x.drafter", "'ngram'", "llamacpp"),
        ({"method": "llamacpp", "speculations": NGRAM}, "x.speculations", (), "speculation"),
        ({"method": "llamacpp", "speculation": "ngram"}, "x.speculation", "'ngram'", "null"),
        ({"method": "llamacpp", "arguments": "-fa on"}, "x.arguments", "'-fa on'", "list"),
        ({"method": "llamacpp", "arguments": ["-b", 512]}, "x.arguments.1", 512, "text"),
        ({"method": "llamacpp", "environment": {"A": 1}}, "x.environment.A", 1, "text"),
        ({"method": "llamacpp", "environment": {"A": True}}, "x.environment.A", "True", "text"),
        ({"method": "llamacpp", "environment": {"A": None}}, "x.environment.A", "None", "text"),
    ],
)
def test_a_wrong_option_of_an_engine_is_named(entry, where, found, expected):
    with refused(f"methods.{where}", found, expected):
        load(experiment(x=entry))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("program", "nice llama-server"),
        ("arguments", ["-fa", "on"]),
        ("environment", {"A": "1"}),
        ("gguf", "other.gguf"),
    ],
)
def test_what_differs_from_the_baseline_beside_speculation_is_named(key, value):
    with refused(f"methods.llamacpp-ngram.{key}", (repr(value), "llamacpp"), ()):
        load(experiment(**{"llamacpp-ngram": {**METHODS["llamacpp-ngram"], key: value}}))


def test_of_several_engines_without_speculation_the_nearest_is_named():
    near, far = {"environment": {"A": "1"}}, {"arguments": ["-b", "9"], "program": "nice llama-server"}
    named = {"far": {"method": "llamacpp", **far}, "near": {"method": "llamacpp", **near}}
    speculating = {"method": "llamacpp", "speculation": NGRAM, "arguments": ["-fa"], **near}
    with refused("methods.speculating.arguments", "near"):
        load(experiment(**named, speculating=speculating))


def test_an_engine_that_speculates_needs_itself_without():
    with refused("methods.llamacpp-ngram", (), "llamacpp"):
        load(experiment(llamacpp=None))
    with refused("methods.vllm-ngram", (), "vllm"):
        load(experiment(**{"vllm-ngram": {"method": "vllm", "speculation": {"method": "ngram"}}}))


def test_an_engine_alone_has_no_baseline_of_ours():
    with refused("methods", "llamacpp", "vanilla"):
        load(experiment(vanilla=None))


def test_engines_run_at_every_load_and_all_others_at_one():
    found = grid([1, 4], chain={"method": "sequential", "drafter": "ngram"}, peer={"method": "hf_generate"})
    assert found["methods"] == [
        *("vanilla", "llamacpp", "llamacpp@4", "llamacpp-ngram", "llamacpp-ngram@4", "chain", "peer")
    ]
    assert grid([16])["methods"] == ["vanilla", "llamacpp@16", "llamacpp-ngram@16"]


def test_each_is_compared_with_the_same_engine_at_the_same_load():
    others = {
        "again": METHODS["llamacpp"],
        "vllm": {"method": "vllm"},
        "tuned": {"method": "vllm", "arguments": ["-x"]},
    }
    found = grid([1, 4], **others)["baselines"]
    assert {label: found[label] for label in found if "@" not in label} == {
        "llamacpp": "llamacpp",
        "llamacpp-ngram": "llamacpp",
        "again": "llamacpp",
        "vllm": "vllm",
        "tuned": "tuned",
    }
    assert {f"{label}@4": f"{other}@4" for label, other in found.items() if "@" not in label} == {
        label: other for label, other in found.items() if "@" in label
    }


def test_without_engines_the_grid_names_no_baselines_and_no_load():
    raw = experiment([1, 4], llamacpp=None, **{"llamacpp-ngram": None})
    found = specs.grid(load(raw))
    assert found["methods"] == ["vanilla"]
    assert "baselines" not in found


def test_our_own_specs_know_nothing_of_loads_and_gpus():
    assert spec("vanilla", concurrency=[1, 4], gpus=4) == spec("vanilla")
    assert not {"concurrency", "gpus"} & spec("vanilla").keys()


def test_an_engines_spec_holds_its_label_its_own_load_and_the_gpus():
    found = spec("llamacpp-ngram@4", concurrency=[1, 4, 16], gpus=2)
    assert (found["method"]["name"], found["concurrency"], found["gpus"]) == ("llamacpp-ngram@4", 4, 2)
    assert spec("llamacpp", concurrency=[1, 4]) == spec("llamacpp"), "another load touches none that was measured"
