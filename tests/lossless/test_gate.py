"""The gate: identical outputs load no model, rounding counts as a tie, and a fault does not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tiny_folder
import torch
from refusals import refused
from results_folder import record, write_run
from tiny import hf_model

from longspec.analysis import verdict as verdicts
from longspec.backends import job_target
from longspec.cli import gate as gate_command
from longspec.config import specs
from longspec.config.load import load
from longspec.core.records import Comparison, Prompt, Sample, Turn, ids_sha256, read_records, to_line
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.drafters.ngram import NGramDrafter
from longspec.models import model_files
from longspec.verify import divergence, gate

SAMPLES = 6
RUNS = {"run": "chain", "vanilla-run": "vanilla"}


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


def texts(folder, draws=1):
    """Prompts; each as often as wanted, under names of its own, since noise is named by sample."""
    tokenizer = model_files.tokenizer(folder)
    words = ["abc abc", "one two one", "xyz", "0 1 2 0 1", "hello?", "a.b.c."]
    return [
        Prompt(f"s{n}" + draw * "'", [w], tokenizer(w)["input_ids"], False)
        for draw in range(draws)
        for n, w in enumerate(words[:SAMPLES])
    ]


def samples(spec, prompts, method, drafter=None):
    """What a generate job would have recorded."""
    target = job_target.load(spec)
    made = []
    for prompt in prompts:
        verifier = job_target.verifier(spec, target, prompt.sample_id, 0)
        turn = generate(target, method, drafter, prompt.prompt_ids, Limits(frozenset(), 60, 256), verifier)
        made.append(Sample(prompt.sample_id, 0, [turn], [""]))
    return made


def verdict(comparisons, verification="keyed", dtype="float32"):
    job = record(verification=verification, dtype=dtype)
    return verdicts.row(job, job, comparisons)


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
        row = verdict(gate.compare(of_method, prompts, drafted, plain, method.max_nodes), dtype="bfloat16")
        assert row["verdict"] in ("identical", "ties only")


@pytest.mark.parametrize("length", [1, 2, 3, 4, 9, 30])
def test_behind_other_branches_the_text_is_the_same_but_for_rounding(folder, length):
    spec, (prompt, *_) = spec_for(folder), texts(folder)
    meter = divergence.Meter({**spec, "method": {"method": "tree"}}, [prompt], 4)
    ids = [3 + n * n % 17 for n in range(length)]
    with torch.inference_mode():
        alone, *others = meter.logits(prompt.prompt_ids, ids)
    assert len(others) == len(meter.sizes) + len(meter.branched) > len(meter.sizes)
    assert all(torch.allclose(logits, alone, atol=1e-5) for logits in others)
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
    row = verdict(gate.compare(spec, prompts, lying, plain, 9), dtype=dtype)
    assert row["verdict"] == "not lossless"
    assert row["identical"] == 0
    assert row["first_divergence_position"] == position
    assert row["top2_logit_gap"] > row["rounding"]


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
    spec, prompts = spec_for(folder, temperature=1.0, verification="residual"), texts(folder, draws=8)
    drawn = samples(spec, prompts, tree.Method([3, 3]), NGramDrafter(3, 1))
    row = verdict(gate.compare(spec, prompts, drawn, drawn, 7), "residual")
    assert row["verdict"] == "same distribution"
    assert row["tokens_tested"] == 8 * SAMPLES * 60
    assert row["detectable_shift"] < 0.08


@pytest.mark.parametrize("wrong", [0.8, 1.25])
def test_tokens_of_another_temperature_are_seen(folder, wrong):
    spec, prompts = spec_for(folder, temperature=1.0, verification="residual"), texts(folder, draws=5)
    drawn = samples({**spec, "sampling": {**spec["sampling"], "temperature": wrong}}, prompts, vanilla.Method())
    assert verdict(gate.compare(spec, prompts, drawn, drawn, 1), "residual")["verdict"] == "not lossless"


def test_the_stage_reads_and_writes(folder, tmp_path):
    spec, prompts = spec_for(folder), texts(folder)
    plain = samples(spec, prompts, vanilla.Method())
    for name, records in (("prompts", prompts), ("samples", plain), ("vanilla", plain)):
        (tmp_path / name).write_text("".join(map(to_line, records)), encoding="utf-8")
    write_run(tmp_path, "vanilla", plain)
    run = tmp_path / "m" / "d" / "vanilla" / "run.json"
    files = [part for name in ("prompts", "samples", "vanilla") for part in (f"--{name}", str(tmp_path / name))]
    files += ["--run", str(run), "--vanilla-run", str(run)]
    gate_command.main(["--spec", json.dumps(spec), *files, "--output", str(tmp_path / "gate.jsonl")])
    assert [c.identical for c in read_records(tmp_path / "gate.jsonl", Comparison)] == [True] * SAMPLES
    with refused("sample 's0', repeat 0", "vanilla", "samples.jsonl"):
        gate.compare(spec, prompts, plain, [], 9)


def test_the_gate_runs_the_engine_that_answered(folder, tmp_path, monkeypatch):
    """As run.json says, and for a peer vanilla's; whatever `auto` would be here."""
    spec, prompts = spec_for(folder), texts(folder)[:1]
    plain = samples(spec, prompts, vanilla.Method())
    turn = plain[0].turns[0]
    wrong = [replace(plain[0], turns=[replace(turn, output_ids=[*turn.output_ids[:-1], 3])])]
    engines = {"chain": ("eager", "fast"), "vanilla": ("packed", "fast")}
    for name, records in (("prompts", prompts), ("samples", wrong), ("vanilla", plain)):
        (tmp_path / name).write_text("".join(map(to_line, records)), encoding="utf-8")
    for name, (engine, numerics) in engines.items():
        write_run(tmp_path, name, plain, engine=engine, numerics=numerics, dtype="bfloat16")
    files = {name: tmp_path / name for name in ("prompts", "samples", "vanilla", "output")}
    files |= {name: tmp_path / "m" / "d" / method / "run.json" for name, method in RUNS.items()}
    loaded, real = [], job_target.load
    monkeypatch.setattr(job_target, "load", lambda spec: loaded.append(spec) or real({**spec, "engine": "eager"}))
    for method in ("sequential", "hf_generate"):
        arguments = [part for name, file in files.items() for part in (f"--{name}", str(file))]
        gate_command.main(["--spec", json.dumps({**spec, "method": {"method": method}}), *arguments])
    assert [(one["engine"], one["numerics"], one["dtype"]) for one in loaded] == [
        (*engines["chain"], "bfloat16"),
        (*engines["vanilla"], "bfloat16"),
    ]


@pytest.mark.parametrize("method", ["sequential", "tree", "hf_generate"])
def test_nothing_is_run_past_the_last_of_learned_positions(tmp_path, method):
    """GPT-2, and a text whose last token stands behind the last position of its context."""
    words = tiny_folder.WORDS
    tiny_folder.make(tmp_path)
    size = {"max_position_embeddings": 24, "vocab_size": len(words)}
    hf_model("gpt2", **size).save_pretrained(tmp_path)
    spec = {**spec_for(tmp_path), "method": {"method": method}}
    prompt = Prompt("s0", ["ab"], [5, 6], False)
    target = job_target.load(spec)
    verifier = job_target.verifier(spec, target, "s0", 0)
    turn = generate(target, vanilla.Method(), None, prompt.prompt_ids, Limits(frozenset(), 60, 24), verifier)
    assert (turn.stop_reason, len(turn.output_ids)) == ("context", 23)
    plain = Sample("s0", 0, [turn], [""])
    for position in (21, 22):
        ids = [*turn.output_ids]
        ids[position] = (ids[position] + 1) % 20
        row = verdict(gate.compare(spec, [prompt], [replace(plain, turns=[replace(turn, output_ids=ids)])], [plain], 9))
        assert (row["verdict"], row["first_divergence_position"]) == ("not lossless", position)


def test_a_later_turn_parts_in_that_turn():
    def turns(*outputs):
        return Sample("a", 0, [Turn(1, ids_sha256([1]), ids, [], 0, 0, 0, "limit") for ids in outputs], [""] * 2)

    assert gate.first_divergence(turns([1, 2], [3, 4]), turns([1, 2], [3, 5])) == (1, 1)
    assert gate.first_divergence(turns([1, 2]), turns([1, 2], [3])) == (1, 0)
    assert gate.first_divergence(turns([1, 2]), turns([1, 2])) is None
