"""Faults planted in the code that generates, and the guard that sees them in what it writes (docs/trust.md)."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import test_audit
import test_mutants
import tiny_folder
from stage import work_here
from test_gate import samples as generated
from test_gate import spec_for, texts, verdict

from longspec.backends import job_target
from longspec.cli import gate as gate_command
from longspec.core.records import Comparison, read_records
from longspec.decoding.methods import sequential, tree
from longspec.drafters import causal_lm
from longspec.measure import supervisor
from longspec.measure.session import Runner
from longspec.models.attention import hybrid
from longspec.verify import gate

SAMPLED = {"sampling": {"temperature": 0.4}}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes the results of two jobs by the real stage, with the faults that its argument plants."""

    def make(plant, changes):
        with monkeypatch.context() as fault:
            fault.setattr(supervisor, "watch", work_here)
            plant(fault)
            try:
                return test_audit.make(tmp_path / "results", tiny_folder.make(tmp_path / "model"), changes)
            finally:
                hybrid.AttentionInterface.register(hybrid.NAME, hybrid.hybrid_attention)

    return make


def disagreeing(place):
    """Methods whose tokens are not the model's, by the audit of tokens."""
    with pytest.raises(SystemExit):
        test_audit.run(place)
    table = pd.read_csv(place / "audit_tokens.csv")
    return set(table.loc[table["verdict"] == "disagrees", "method"])


def nothing(fault):
    pass


def test_without_a_fault_the_audit_of_tokens_passes(made):
    assert set(test_audit.run(made(nothing, SAMPLED))["verdict"]) == {"agrees"}


def a_fixed_softmax_scale(fault):
    def fixed(*tensors, **options):
        return hybrid.hybrid_attention(*tensors, **{**options, "scaling": 128**-0.5})

    hybrid.AttentionInterface.register(hybrid.NAME, fixed)


def a_temperature_that_is_ignored(fault):
    test_mutants.MUTANTS["temperature_ignored"][0](fault)


@pytest.mark.parametrize("plant", [a_fixed_softmax_scale, a_temperature_that_is_ignored])
def test_a_fault_of_both_sides_is_caught_by_the_audit_of_tokens(made, plant):
    """They agree with each other; Hugging Face's model does not agree with them."""
    assert disagreeing(made(plant, SAMPLED)) == {"vanilla", "wide"}


def test_a_baseline_that_is_greedy_whatever_its_conditions_say_is_caught_twice(made):
    def plant(fault):
        real = job_target.verifier

        def greedy(spec, *rest):
            cold = {**spec, "sampling": {**spec["sampling"], "temperature": 0.0}}
            return real(cold if spec["method"]["name"] == "vanilla" else spec, *rest)

        fault.setattr(job_target, "verifier", greedy)

    place = made(plant, SAMPLED)
    assert disagreeing(place) == {"vanilla"}
    cell = place / "m" / "d"
    spec = json.loads((cell / "wide" / "run.json").read_text())["spec"]
    files = {"prompts": cell / "prompts.jsonl", "samples": cell / "wide" / "samples.jsonl",
             "run": cell / "wide" / "run.json", "vanilla-run": cell / "vanilla" / "run.json",
             "vanilla": cell / "vanilla" / "samples.jsonl", "output": cell / "wide" / "gate.jsonl"}  # fmt: skip
    arguments = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    gate_command.main(["--spec", json.dumps(spec), *arguments])
    assert verdict(read_records(files["output"], Comparison))["verdict"] == "not lossless"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    return tiny_folder.make(place / "target"), tiny_folder.make(place / "drafter", seed=3)


def test_nothing_is_warmed_up_on_a_prompt_that_is_measured(folders, monkeypatch):
    spec, prompts = spec_for(folders[0]), texts(folders[0])
    runner, asked = Runner(spec), []
    real = runner.backend.answer
    monkeypatch.setattr(runner.backend, "answer", lambda ids, *rest: asked.append(ids) or real(ids, *rest))
    assert len(runner.warm_up(prompts)) == spec["warmup"] == len(asked) > 0
    assert not [ids for ids in asked if ids in [prompt.prompt_ids for prompt in prompts]]


SAMPLING = {
    "nothing": (tree.Method([3, 2]), 3),
    "probabilities_indexed_by_node_number": (tree.Method([3, 2]), 2),
    "children_taken_by_top_k_but_tested_as_if_sampled": (tree.Method([3, 2]), 3),
    "the_chain_resampled_from_p": (sequential.Method(3), 6),
}
"""Planted in which method, and draws of six texts: p is 0.6, 1e-68, 1e-27 and 1e-10, where 1e-4 is the level."""


@pytest.mark.parametrize("name", SAMPLING)
def test_a_sampling_fault_is_caught_by_the_gate(folders, name, monkeypatch):
    method, draws = SAMPLING[name]
    spec, prompts = spec_for(folders[0], temperature=1.0, verification="residual"), texts(folders[0], draws)
    test_mutants.MUTANTS.get(name, (nothing,))[0](monkeypatch)
    drafter = causal_lm.make(job_target.load(spec), model={"path": str(folders[1])}, shared_noise=False)
    drawn = generated(spec, prompts, method, drafter)
    row = verdict(gate.compare(spec, prompts, drawn, drawn, method.max_nodes), "residual")
    assert row["verdict"] == ("same distribution" if name == "nothing" else "not lossless")
