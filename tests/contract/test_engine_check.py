"""The check of an engine finds every fault planted in it, falls back to other engines, and caches its record."""

from __future__ import annotations

import json
import shutil

import pytest
import tiny_folder
import torch
from engine_faults import (
    a_kernel_that_depends_on_the_steps_length,
    a_window_off_by_one,
    half_the_output,
    no_window,
    restore,
    siblings_see_each_other,
)
from refusals import refused, says
from stage import Stage
from tiny import CONTEXT, hf_model

from longspec.core import fingerprint
from longspec.core.errors import UserError
from longspec.models import packed_linear
from longspec.models.attention import hybrid
from longspec.models.cache.preallocated import PreallocatedLayer
from longspec.models.target import CausalLM
from longspec.verify.engine import checked, jobs, judge, ours, text, transformers_own
from longspec.verify.engine.check import check

SPEC = {"seed": 0, "threads": 1, "device": "cpu", "dtype": "float32", "engine": "eager", "numerics": "auto"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with windows that the text outgrows only when they are shortened."""
    place = tmp_path_factory.mktemp("model")
    hf_model("mistral", sliding_window=48).save_pretrained(place)
    return place


def spec_of(folder, **changes):
    return {**SPEC, "model": {"name": "m", "path": str(folder)}, **changes}


def rejected_nodes_stay(fault):
    def commit(self, path, nodes):
        self.committed = self.written = self.committed + len(path)

    fault.setattr(PreallocatedLayer, "commit", commit)


def later_blocks_of_a_prompt_see_too_little(fault):
    real = hybrid._block

    def block(rows, positions, tail, hidden, prefix, window, grain):
        return real(rows, positions, tail, hidden, min(prefix, 8) if rows.start else prefix, window, grain)

    fault.setattr(hybrid, "_block", block)


PLANTS = {
    half_the_output: ours.WHOLE,
    a_window_off_by_one: ours.WHOLE,
    no_window: ours.WHOLE,
    a_kernel_that_depends_on_the_steps_length: ours.SEVERAL,
    siblings_see_each_other: ours.TREES,
    rejected_nodes_stay: ours.TREES,
    later_blocks_of_a_prompt_see_too_little: ours.WHOLE,
}
"""What is planted, and the first way in which it is seen."""


@pytest.fixture
def fault(monkeypatch):
    yield monkeypatch
    restore()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_right_engine_passes(folder, dtype):
    found = check(spec_of(folder, dtype=dtype))
    assert found["distance"] <= found["bound"]
    assert found["steady_positions"] is None
    assert found["passed_over"] == {}
    assert found["max_difference"] > 0


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_seen_where_it_first_shows(folder, fault, plant):
    plant(fault)
    with refused("models.m", ("MistralForCausalLM", "mistral", PLANTS[plant])):
        check(spec_of(folder))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("plant", [half_the_output, no_window, siblings_see_each_other, rejected_nodes_stay])
def test_gross_faults_are_seen_in_16_bits_too(folder, fault, plant, dtype):
    plant(fault)
    with refused("models.m", "mistral"):
        check(spec_of(folder, dtype=dtype))


def test_state_that_survives_a_text_is_seen(folder, fault):
    """Here a rotary table that stretches once a text is longer than the prompt, for good."""

    def stretched(self, model, *rest, real=CausalLM.__init__, **options):
        real(self, model, *rest, **options)
        rotary, longest = model.model.rotary_emb, [0]
        forward = rotary.forward

        def longer(x, position_ids):
            longest[0] = max(longest[0], int(position_ids.max()))
            return forward(x, position_ids * (1.0 if longest[0] < text.PROMPT else 1.5))

        rotary.forward = longer

    fault.setattr(CausalLM, "__init__", stretched)
    with refused("models.m", "mistral"):
        check(spec_of(folder))


def test_auto_falls_back_to_eager_where_only_packing_is_wrong(folder, fault):
    real = packed_linear.PackedLinear._product
    fault.setattr(packed_linear.PackedLinear, "_product", lambda self, x: real(self, x) * 1.01)
    found = check(spec_of(folder, engine="auto"))
    assert found["engine"] == "eager"
    assert any(says(name, "packed") for name in found["passed_over"])
    with refused("models.m", ("packed", "mistral")):
        check(spec_of(folder, engine="packed"))


def test_a_text_stays_within_the_context():
    for context in (CONTEXT, 20, text.ROOM + 1):
        made = text.Text.made(50, context)
        assert len(made.prompt) + text.ROOM <= context
    with pytest.raises(ValueError, match=str(text.ROOM)):
        text.Text.made(50, text.ROOM)


def test_a_distance_is_of_probabilities():
    """Adding one number to all logits changes nothing; NaN and a forbidden id that is none are infinitely far."""
    rows = torch.randn(3, 10)
    assert judge.distances(rows + 5.0, rows).max() < 1e-6
    assert judge.distances(rows * 1.1, rows) == pytest.approx(torch.full((3,), 0.1), abs=1e-5)
    forbidden = rows.clone()
    forbidden[:, 3] = float("-inf")
    assert judge.distances(forbidden, forbidden).max() == 0
    assert judge.distances(rows, forbidden).isinf().all()
    assert judge.distances(rows * float("nan"), rows).isinf().all()


def test_transformers_own_ways_have_every_row(folder):
    model = hf_model("mistral", sliding_window=21)
    made = text.Text.made(model.config.vocab_size, CONTEXT)
    tables = transformers_own.tables(model, made)
    assert sorted(tables[transformers_own.STEPS].rows) == list(range(len(made.prompt) + text.NODES))
    assert set(tables) == {"eager", "sdpa", transformers_own.STEPS}


class Counted:
    """`check`, counting."""

    def __init__(self):
        self.calls = 0

    def __call__(self, spec):
        self.calls += 1
        return {**check(spec), "call": self.calls}


def test_a_record_is_kept_for_what_it_depends_on(folder, tmp_path, monkeypatch):
    counted = Counted()
    monkeypatch.setenv("LONGSPEC_CACHE", str(tmp_path))
    monkeypatch.setattr(checked, "_in_its_own_process", counted)
    other = tiny_folder.make(tmp_path / "other")
    for spec in (spec_of(folder), spec_of(folder), spec_of(folder, threads=2), spec_of(folder), spec_of(other)):
        checked.checked(spec)
    assert counted.calls == 3
    for changed in (spec_of(folder, dtype="bfloat16"), spec_of(folder, engine="auto")):
        checked.checked(changed)
    assert counted.calls == 5
    real = fingerprint.digest
    monkeypatch.setattr(fingerprint, "digest", lambda *modules, **files: real(*modules, **files)[::-1])
    checked.checked(spec_of(folder))
    assert counted.calls == 6


def test_our_own_attention_is_in_the_key():
    code = {str(path.relative_to(fingerprint.PACKAGE)) for path in fingerprint.closure(("verify.engine.check",))}
    assert {"models/attention/hybrid.py", "models/cache/preallocated.py", "models/target.py"} <= code
    assert {"verify/engine/judge.py", "models/packed_linear.py", "models/cuda_graphs.py"} <= code


def test_a_failure_is_not_kept(folder, tmp_path, monkeypatch, fault):
    monkeypatch.setenv("LONGSPEC_CACHE", str(tmp_path))
    monkeypatch.setattr(checked, "_in_its_own_process", check)
    half_the_output(fault)
    with refused("models.m", "mistral"):
        checked.checked(spec_of(folder))
    restore()
    assert checked.checked(spec_of(folder))["engine"] == "eager"


def test_texts_beyond_a_steady_rotary_table_are_refused(monkeypatch, tmp_path):
    """They name the limit; with it as the model's context, or shorter texts, the job runs. Where there are two tables,
    it also runs with prompts that are all longer."""
    from longspec.core.records import Prompt

    record = {"engine": "eager", "numerics": "fast", "steady_positions": 40}
    monkeypatch.setattr(jobs, "checked", lambda spec: record)
    method = {"name": "v", "method": "vanilla"}
    spec = {**spec_of(tmp_path), "dataset": {"name": "d", "max_new_tokens": 8}, "method": method}

    def job(length, turns=1, **model):
        prompt = Prompt("a", ["x"] * turns, [1] * length, False)
        return jobs.with_engines([{**spec, "model": {**spec["model"], **model}}], [prompt])

    assert job(32)[0]["engine_checks"]["target"]["steady_positions"] == 40
    assert job(90, context=40)
    for length, turns, model in ((33, 1, {}), (3, 2, {}), (33, 1, {"context": 41}), (41, 1, {})):
        with refused("models.m.context", 40, 40):
            job(length, turns, **model)
    record["steady_beyond"] = True
    assert job(41, 2)
    for length, turns in ((33, 1), (40, 1), (3, 2)):
        with refused("models.m.context", 40, 40):
            job(length, turns)


def test_a_job_notes_its_check_and_a_wrong_model_is_refused_before_it_runs(tmp_path):
    stage = Stage(tmp_path, [5, 9], {"method": "sequential", "drafter": "causal_lm", "gamma": 2})
    stage.spec["method"] |= {"model": {"path": "model"}, "shared_noise": True}
    code, printed = stage.run(LONGSPEC_CACHE=str(tmp_path / "cache"))
    assert code == 0, printed
    for facts in (stage.facts, *stage.facts["pieces"]):
        assert set(facts["engine_checks"]) == {"target", "model"}
    kept = [json.loads(file.read_text()) for file in (tmp_path / "cache" / "engine-checks").glob("*.json")]
    assert stage.facts["engine_checks"]["target"] in kept
    hf_model("gptj", vocab_size=42, n_embd=32, n_head=4, n_layer=2, rotary_dim=8).save_pretrained(tmp_path / "model")
    shutil.rmtree(stage.job)
    code, printed = stage.run(LONGSPEC_CACHE=str(tmp_path / "cache"))
    assert code == 2, printed
    assert "Traceback" not in printed
    line = next(line for line in printed.splitlines() if "models.tiny" in line)
    assert says(line, "GPTJForCausalLM", "gptj")


def test_a_user_error_of_the_check_crosses_its_process(tmp_path, monkeypatch):
    monkeypatch.setenv("LONGSPEC_CACHE", str(tmp_path / "cache"))
    hf_model("gptj", n_embd=32, n_head=4, n_layer=2, rotary_dim=8).save_pretrained(tmp_path / "model")
    with pytest.raises(UserError) as caught:
        checked.checked(spec_of(tmp_path / "model"))
    assert says(caught.value.found, "gptj")
