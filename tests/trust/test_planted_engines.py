"""Faults planted in our engine, and what the gate says of real runs with them (docs/losslessness.md).

The gate runs the faulty engine too. Where vanilla and drafts are wrong alike, only another library's engine sees it.
"""

from __future__ import annotations

import json

import analysis_steps
import pytest
import test_audit
import tiny_folder
from engine_faults import (
    a_kernel_that_depends_on_the_steps_length,
    a_window_off_by_one,
    half_the_output,
    restore,
    siblings_see_each_other,
)
from refusals import refused
from stage import work_here
from tiny import hf_model

from longspec.analysis import runs, speedup, speedup_table, tables
from longspec.cli import gate
from longspec.core import run_record
from longspec.measure import supervisor
from longspec.models.target import CausalLM
from longspec.verify import audit_rules
from longspec.verify.engine import jobs

PASSED = {"engine": "eager", "numerics": "fast", "steady_positions": None, "distance": 0.0, "bound": 1e-4}
DRAFTED = {"drafter": "ngram", "min_ngram": 1}
METHODS = {
    "vanilla": {"method": "vanilla"},
    "chain": {"method": "sequential", "gamma": 4, **DRAFTED},
    "wide": {"method": "tree", "tree_shape": [3, 2], **DRAFTED},
    "hf": {"method": "hf_generate"},
}
GRID = {"cells": {"m": ["d"]}, "methods": list(METHODS), "baseline": "vanilla", "reference": "hf"}


def nothing(fault):
    pass


def a_rope_of_the_longest_text_so_far(fault):
    real = CausalLM.__init__

    def stretched(self, model, *rest, **options):
        real(self, model, *rest, **options)
        rotary, longest = model.model.rotary_emb, [0]
        forward = rotary.forward

        def longer(x, position_ids):
            longest[0] = max(longest[0], int(position_ids.max()))
            return forward(x, position_ids / (1 + longest[0] / 8))

        rotary.forward = longer

    fault.setattr(CausalLM, "__init__", stretched)


@pytest.fixture
def verdicts(tmp_path, monkeypatch):
    """The verdicts of lossless.csv and of speedup.csv of a real run, by method."""

    def run(plant=nothing, dtype="float32", temperature=0.0, **changes):
        results, model = tmp_path / "results", tiny_folder.make(tmp_path / "model")
        size = {"vocab_size": len(tiny_folder.WORDS), "max_position_embeddings": 256}
        hf_model("mistral", **size).save_pretrained(model)
        methods = {name: {**entry, **changes.get(name, {})} for name, entry in METHODS.items()}
        with monkeypatch.context() as fault:
            fault.setattr(supervisor, "watch", work_here)
            fault.setattr(jobs, "checked", lambda spec: dict(PASSED))  # which would refuse most of the faults
            plant(fault)
            try:
                test_audit.make(
                    results, model, {"dtype": dtype, "sampling": {"temperature": temperature}, "methods": methods}
                )
                judge(results)
            finally:
                restore()
        read = (tables.read(results / f"{name}.csv") for name in ("lossless", "speedup"))
        return tuple(dict(zip(table["method"], table["verdict"], strict=True)) for table in read)

    return run


def judge(results):
    """The gate of each method, and the tables, as the workflow makes them."""
    cell = results / "m" / "d"
    for name in [name for name in METHODS if name != "vanilla"]:
        spec = json.loads((cell / name / "run.json").read_text())["spec"]
        files = {"prompts": cell / "prompts.jsonl", "output": cell / name / "gate.jsonl"}
        for prefix, method in (("", name), ("vanilla-", "vanilla")):
            files[f"{prefix}run"] = cell / method / "run.json"
        files |= {"samples": cell / name / "samples.jsonl", "vanilla": cell / "vanilla" / "samples.jsonl"}
        arguments = [part for key, file in files.items() for part in (f"--{key}", str(file))]
        gate.main(["--spec", json.dumps(spec), *arguments])
    analysis_steps.run(results, GRID, "metrics", "lossless", "speedup")


def read(results, method):
    return runs.read(results, "m", "d", method)


EXACT = {"identical", "ties only"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_without_a_fault_everything_is_the_models(verdicts, dtype):
    judged, in_speedups = verdicts(nothing, dtype)
    assert set(judged.values()) <= EXACT
    assert in_speedups == judged


@pytest.mark.parametrize(
    ("plant", "dtype"),
    [(half_the_output, "float32"), (half_the_output, "bfloat16"), (a_window_off_by_one, "float32")],
)
def test_a_fault_of_all_our_methods_is_seen_by_a_peer_and_stands_at_each(verdicts, plant, dtype):
    judged, in_speedups = verdicts(plant, dtype)
    assert judged == {"chain": "identical", "wide": "identical", "hf": "engines differ"}
    assert set(in_speedups.values()) == {"engines differ"}


@pytest.mark.parametrize(("plant", "said"), [(nothing, "same distribution"), (half_the_output, "engines differ")])
def test_a_peer_that_samples_is_held_against_its_own_model_and_that_against_ours(verdicts, plant, said):
    judged, _ = verdicts(plant, temperature=0.8)
    assert judged == {"chain": "identical", "wide": "identical", "hf": said}


def test_a_mask_that_is_missing_in_trees_is_the_trees(verdicts):
    judged, in_speedups = verdicts(siblings_see_each_other)
    assert judged == in_speedups == {"chain": "identical", "wide": "not lossless", "hf": "identical"}


def test_a_kernel_that_depends_on_the_steps_length_is_no_rounding(verdicts):
    judged, _ = verdicts(a_kernel_that_depends_on_the_steps_length)
    assert judged == {"chain": "not lossless", "wide": "not lossless", "hf": "identical"}


def test_a_run_that_must_be_lossless_is_refused_where_engines_differ(verdicts, tmp_path):
    verdicts(half_the_output)
    table = tables.read(tmp_path / "results" / "speedup.csv")
    with refused("lossless.csv", ("m/d/chain", "engines differ"), "lossless: require"):
        speedup_table.refuse_lossy(table)


def test_a_peer_in_a_format_of_its_own_is_a_reference_of_speed_alone(verdicts, tmp_path):
    judged, _ = verdicts(hf={"dtype": "bfloat16"})
    assert judged == {"chain": "identical", "wide": "identical", "hf": "other number format"}
    place = tmp_path / "results"
    jobs = {name: run_record.read(place / "m" / "d" / name / "run.json") for name in METHODS}
    assert jobs["hf"].conditions.dtype == "bfloat16"
    assert all(not finding for finding in audit_rules.job(*(read(place, name) for name in ("hf", "vanilla"))).values())
    rows = tables.read(place / "speedup.csv").set_index("method")
    assert list(rows["number_format"].dropna().items()) == [("hf", "bfloat16")]
    assert set(rows["reference_format"]) == {"bfloat16"}
    # A run in another format that was not told to be is refused as ever, and so is one of ours.
    jobs["hf"].spec["method"]["dtype"] = None
    in_another = {"conditions": jobs["wide"].conditions.model_copy(update={"dtype": "bfloat16"})}
    jobs["wide"] = jobs["wide"].model_copy(update=in_another)
    for name in ("hf", "wide"):
        with refused("m/d", ("dtype", f"'bfloat16' for {name}")):
            speedup.refuse_unlike(jobs[name], jobs["vanilla"])


def test_a_peer_that_is_told_the_experiments_own_format_is_judged(verdicts):
    assert verdicts(half_the_output, hf={"dtype": "float32"})[0]["hf"] == "engines differ"


def test_a_rope_of_the_longest_text_so_far_is_convicted_twice(verdicts):
    judged, in_speedups = verdicts(a_rope_of_the_longest_text_so_far)
    assert judged == {"chain": "not lossless", "wide": "not lossless", "hf": "engines differ"}
    assert set(in_speedups.values()) == {"not lossless", "engines differ"}
