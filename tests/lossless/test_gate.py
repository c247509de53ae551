"""The gate: identical outputs cost nothing, rounding is called a tie, and a fault is not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tiny_folder
import torch
from refusals import refused

from longspec.analysis import verdict as verdicts
from longspec.analysis.runs import Run
from longspec.backends import job_target
from longspec.cli import gate as gate_command
from longspec.config import specs
from longspec.config.load import load
from longspec.core.records import Comparison, Prompt, Sample, Turn, ids_sha256, read_records, to_line
from longspec.decoding import gumbel
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.drafters.ngram import NGramDrafter
from longspec.models import model_files
from longspec.verify import divergence, gate

SAMPLES = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_folder.make(tmp_path_factory.mktemp("model"))


def spec_for(folder, dtype="float32", temperature=0.0, verification="keyed"):
    complete = load(
        {
            "models": {"tiny": {"path": str(folder)}},
            "datasets": {"d": {"source": "pydocs", "template": "{text}", "max_new_tokens": 60}},
            "methods": {"vanilla": {"method": "vanilla"}},
            "dtype": dtype,
            "device": "cpu",
            "threads": 1,
            "sampling": {"temperature": temperature},
            "verification": verification,
        }
    )
    return specs.generate_spec(complete, "tiny", "d", "vanilla")


def texts(folder):
    tokenizer = model_files.tokenizer(folder)
    words = ["abc abc", "one two one", "xyz", "0 1 2 0 1", "hello?", "a.b.c."]
    return [Prompt(f"s{n}", [w], tokenizer(w)["input_ids"], False) for n, w in enumerate(words[:SAMPLES])]


def samples(spec, prompts, method, drafter=None, repeat=0):
    """What a generate job would have recorded."""
    target = job_target.load(spec)
    made = []
    for prompt in prompts:
        rule = job_target.rule(spec, target, prompt.sample_id, 0)
        turn = generate(target, method, drafter, prompt.prompt_ids, Limits(frozenset(), 60, 256), rule)
        made.append(Sample(prompt.sample_id, repeat, [turn], [""]))
    return made


def verdict(comparisons, verification="keyed"):
    run = Run("m", "d", "x", {"conditions": {"verification": verification}}, [], {})
    return verdicts.row(run, comparisons)


def test_identical_outputs_need_no_model(folder, monkeypatch):
    spec, prompts = spec_for(folder), texts(folder)
    plain = samples(spec, prompts, vanilla.Method())
    monkeypatch.setattr(job_target, "load", lambda spec: pytest.fail("a model was loaded"))
    found = gate.compare(spec, prompts, plain, plain, 9)
    assert verdict(found)["verdict"] == "identical"
    assert [c.sample_id for c in found] == [p.sample_id for p in prompts]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_divergences_by_rounding_are_ties(folder, temperature):
    """bfloat16, and vanilla's text against one whose every step had other shapes."""
    spec, prompts = spec_for(folder, "bfloat16", temperature), texts(folder)
    plain = samples(spec, prompts, vanilla.Method())
    drafter = NGramDrafter(3, 1)
    for name, method in (("sequential", sequential.Method(8)), ("tree", tree.Method([4, 4, 2]))):
        drafted = samples(spec, prompts, method, drafter)
        of_method = {**spec, "method": {"method": name}}
        row = verdict(gate.compare(of_method, prompts, drafted, plain, method.max_nodes))
        assert row["verdict"] in ("identical", "ties only")


@pytest.mark.parametrize("length", [1, 2, 3, 4, 9, 30])
def test_behind_other_branches_the_text_is_the_same_but_for_rounding(folder, length):
    spec, (prompt, *_) = spec_for(folder), texts(folder)
    meter = divergence.Meter({**spec, "method": {"method": "tree"}}, [prompt], 4)
    ids = [3 + n * n % 17 for n in range(length)]
    meter.target.reset(200)
    with torch.inference_mode():
        meter.after_prompt = meter.target.append(prompt.prompt_ids)
        alone = meter.logits(prompt.prompt_ids, ids, 1)
        for shape in meter.branched:
            assert torch.allclose(meter.branched_logits(prompt.prompt_ids, ids, *shape), alone, atol=1e-5)
    assert divergence.Meter(spec, [prompt], 4).branched == (), "vanilla has no branches"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("position", [0, 1, 30])
def test_another_token_than_the_targets_is_not_lossless(folder, dtype, temperature, position):
    spec, prompts = spec_for(folder, dtype, temperature), texts(folder)
    plain = samples(spec, prompts, vanilla.Method())
    lying = []
    for sample in plain:
        turn = sample.turns[0]
        wrong = [*turn.output_ids]
        wrong[position] = (wrong[position] + 1) % 20
        lying.append(replace(sample, turns=[replace(turn, output_ids=wrong)]))
    row = verdict(gate.compare(spec, prompts, lying, plain, 9))
    assert row["verdict"] == "not lossless"
    assert row["identical"] == 0
    assert row["first_divergence_position"] == position
    assert row["top2_logit_gap"] > row["rounding"]


def test_one_fault_among_ties_is_enough(folder):
    tied = Comparison("a", 0, False, 0, 5, 0.1, 0.2, False)
    assert verdict([tied])["verdict"] == "ties only"
    wrong = Comparison("b", 0, False, 0, 9, 0.3, 0.2, False)
    row = verdict([tied, wrong])
    assert (row["verdict"], row["worst_sample"], row["first_divergence_position"], row["ties"]) == (
        "not lossless", "b", 5, 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gap", "rounding", "flips", "tie"),
    [
        (0.1, 0.2, False, True),
        (0.2, 0.2, False, True),
        (0.21, 0.2, False, False),
        (-0.3, 0.2, False, False),
        (-0.3, 0.2, True, False),
        (-0.1, 0.2, True, True),
        (0.3, 0.2, True, True),
        (None, 0.2, True, True),
        (None, 0.2, False, False),
        (None, None, None, False),
        (0.0, 0.0, False, False),
    ],
)
def test_what_a_tie_is(gap, rounding, flips, tie):
    assert verdicts.tie(Comparison("a", 0, False, 0, 5, gap, rounding, flips)) == tie


def test_a_text_that_stops_early_or_goes_on_is_not_lossless(folder):
    spec, prompts = spec_for(folder), texts(folder)[:1]
    plain = samples(spec, prompts, vanilla.Method())
    for edit in (lambda ids: ids[:-3], lambda ids: [*ids, 4]):
        turn = replace(plain[0].turns[0], output_ids=edit(plain[0].turns[0].output_ids))
        row = verdict(gate.compare(spec, prompts, [replace(plain[0], turns=[turn])], plain, 9))
        assert row["verdict"] == "not lossless"


def test_a_wrong_mask_in_the_product_is_not_lossless(folder, monkeypatch):
    """The fault is in the engine that the gate uses too: chains do not go through it, trees do."""
    from longspec.models.attention import hybrid

    spec, prompts = spec_for(folder), texts(folder)
    plain = samples(spec, prompts, vanilla.Method())
    real = hybrid.Layout

    def blind(hidden, positions, tail_positions):
        is_tree = len(positions) > 1 and bool((positions[1:] <= positions[:-1]).any())
        return real(torch.zeros_like(hidden) if is_tree else hidden, positions, tail_positions)

    monkeypatch.setattr(hybrid, "Layout", blind)
    drafted = samples(spec, prompts, tree.Method([4, 4, 2]), NGramDrafter(3, 1))
    assert verdict(gate.compare(spec, prompts, drafted, plain, 11))["verdict"] == "not lossless"


def test_a_prompt_that_was_not_the_one_answered_is_refused(folder):
    spec, prompts = spec_for(folder), texts(folder)[:1]
    plain = samples(spec, prompts, vanilla.Method())
    lying = [replace(plain[0], turns=[replace(plain[0].turns[0], output_ids=[3])])]
    other = [replace(prompts[0], prompt_ids=[7, 8])]
    with refused("sample 's0', turn 0", ids_sha256([7, 8]), ids_sha256(prompts[0].prompt_ids)):
        gate.compare(spec, other, lying, plain, 9)


def test_the_residual_rule_is_tested_for_its_distribution(folder):
    spec, prompts = spec_for(folder, temperature=1.0, verification="residual"), texts(folder)
    drawn = []
    for repeat in range(8):
        noisy = {**spec, "seed": repeat}
        drawn += samples(noisy, prompts, tree.Method([3, 3]), NGramDrafter(3, 1), repeat)
    row = verdict(gate.compare(spec, prompts, drawn, drawn, 7), "residual")
    assert row["verdict"] == "same distribution"
    assert row["tokens_tested"] == 8 * SAMPLES * 60
    assert row["detectable_shift"] < 0.08


@pytest.mark.parametrize("wrong", [0.8, 1.25])
def test_tokens_of_another_temperature_are_seen(folder, wrong):
    spec, prompts = spec_for(folder, temperature=1.0, verification="residual"), texts(folder)
    other = {**spec, "sampling": {**spec["sampling"], "temperature": wrong}}
    drawn = []
    for repeat in range(5):
        drawn += samples({**other, "seed": repeat}, prompts, vanilla.Method(), None, repeat)
    assert verdict(gate.compare(spec, prompts, drawn, drawn, 1), "residual")["verdict"] == "not lossless"


def test_the_stated_power_is_the_power():
    """Quantiles with the stated shift are called not lossless about as often as stated."""
    count, found = 2000, 0
    _, shift = verdicts.uniform([0.5] * count)
    for number in range(60):
        draws = gumbel.Draws(number)
        moved = [
            u + 0.5 if u < 0.5 and draws.uniform() < 2 * shift else u for u in (draws.uniform() for _ in range(count))
        ]
        found += verdicts.uniform(moved)[0] < verdicts.LEVEL
    assert found / 60 > verdicts.POWER - 0.12


def test_the_stage_reads_and_writes(folder, tmp_path):
    spec, prompts = spec_for(folder), texts(folder)
    plain = samples(spec, prompts, vanilla.Method())
    for name, records in (("prompts", prompts), ("samples", plain), ("vanilla", plain)):
        (tmp_path / name).write_text("".join(map(to_line, records)), encoding="utf-8")
    files = [part for name in ("prompts", "samples", "vanilla") for part in (f"--{name}", str(tmp_path / name))]
    gate_command.main(["--spec", json.dumps(spec), *files, "--output", str(tmp_path / "gate.jsonl")])
    assert [c.identical for c in read_records(tmp_path / "gate.jsonl", Comparison)] == [True] * SAMPLES
    with refused("sample 's0', repeat 0", "vanilla", "samples.jsonl"):
        gate.compare(spec, prompts, plain, [], 9)


def test_a_later_turn_parts_in_that_turn():
    def turns(*outputs):
        return Sample("a", 0, [Turn(1, ids_sha256([1]), ids, [], 0, 0, 0, "limit") for ids in outputs], [""] * 2)

    assert gate.first_divergence(turns([1, 2], [3, 4]), turns([1, 2], [3, 5])) == (1, 1)
    assert gate.first_divergence(turns([1, 2]), turns([1, 2], [3])) == (1, 0)
    assert gate.first_divergence(turns([1, 2]), turns([1, 2])) is None
