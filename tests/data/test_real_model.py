"""The real default model: float32 ids equal Hugging Face's for every method, and real rows run end to end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from smollm2 import MODEL, shortened
from transformers import AutoModelForCausalLM

from longspec.cli import generate as generate_stage
from longspec.cli import prepare
from longspec.config import specs
from longspec.config.load import load
from longspec.core.records import Prompt, Sample, read_records
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.drafters.causal_lm import CausalLMDrafter
from longspec.drafters.ngram import NGramDrafter
from longspec.models import model_files
from longspec.models.target import CausalLM

REPOSITORY = Path(__file__).parents[2]


CODE = "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n\ndef mul(a, b):\n"
COLOURS = "The three primary colours are red, blue and"
COUNTING = "one two three, one two three, one two three, one two"
"""Whose continuation n-grams find in few tokens."""


@pytest.mark.parametrize(
    ("texts", "new_tokens"),
    [([COUNTING], 12), pytest.param([CODE, COLOURS], 40, marks=pytest.mark.slow)],
    ids=["short", "long"],
)
def test_float32_ids_equal_hugging_faces(texts, new_tokens):
    folder = model_files.folder(MODEL)
    tokenizer = model_files.tokenizer(folder)
    target = CausalLM.from_folder(folder, torch.device("cpu"), torch.float32)
    reference, twin = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval() for _ in range(2))
    limits = Limits(target.stop_ids, new_tokens, target.context_tokens)
    models = (shortened(8), CausalLM(twin))  # another model with the same tokenizer, and the target itself
    drafters = [NGramDrafter(3, 1)] + [CausalLMDrafter(model, target.vocab_size) for model in models]
    accepted = dict.fromkeys(drafters, 0)
    for prompt in texts:
        ids = tokenizer(prompt)["input_ids"]
        mask = torch.ones(1, len(ids), dtype=torch.long)
        out = reference.generate(torch.tensor([ids]), attention_mask=mask, max_new_tokens=new_tokens, do_sample=False)
        expected = out[0, len(ids) :].tolist()
        assert generate(target, vanilla.Method(), None, ids, limits).output_ids == expected
        for method in (sequential.Method(6), tree.Method([3, 3, 2])):
            for drafter in drafters:
                turn = generate(target, method, drafter, ids, limits)
                assert turn.output_ids == expected
                accepted[drafter] += sum(step[2] for step in turn.steps)
                if drafter is drafters[-1]:
                    assert all(accepted == offered for _, offered, accepted in turn.steps)
    ngram, other, itself = accepted.values()
    assert ngram > new_tokens // 2
    assert 0 < other < itself


def test_conversion_happens_once():
    folder = model_files.folder(MODEL)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert model_files.folder(MODEL) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


QMSUM = {"source": "longbench", "task": "qmsum", "path": "qmsum.jsonl", "template": "{context}\n\n{input}"}
AIME = {"source": "jsonl", "path": "aime24.jsonl", "id_field": "id", "template": "{problem}"}
SPEC_BENCH = {"source": "jsonl", "path": "spec_bench.jsonl", "id_field": "question_id", "turns_field": "turns"}


SHORT = {"samples": 1, "max_prompt_tokens": 300, "max_new_tokens": 5}
LONG = {"samples": 2, "max_prompt_tokens": 1500, "max_new_tokens": 8}


@pytest.mark.parametrize(
    ("size", "schedule"),
    [(SHORT, "interleaved"), pytest.param(LONG, "blocked", marks=pytest.mark.slow)],
    ids=["short", "long"],
)
@pytest.mark.parametrize(
    ("entry", "turns"),
    [pytest.param(QMSUM, 1, id="qmsum"), pytest.param(AIME, 1, id="aime", marks=pytest.mark.slow),
     pytest.param(SPEC_BENCH, 2, id="turns")],
)  # fmt: skip
def test_real_rows_run_through_prepare_and_generate(entry, turns, size, schedule, tmp_path):
    """Interleaved, both methods share a process and the weights that it loads."""
    rows = os.environ.get("LONGSPEC_TEST_DATA")
    if not rows:
        pytest.skip("LONGSPEC_TEST_DATA names no folder with qmsum.jsonl, aime24.jsonl and spec_bench.jsonl")
    entry = {**entry, "path": str(Path(rows) / entry["path"]), **size}
    raw = yaml.safe_load((REPOSITORY / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    complete = load(
        {
            "models": raw["models"],
            "datasets": {"d": entry},
            "methods": {"vanilla": {"method": "vanilla"}, "chain": {"method": "sequential", "drafter": "ngram"}},
            **{"dtype": "float32", "schedule": schedule},
        }
    )
    model = next(iter(raw["models"]))
    prompts = tmp_path / "prompts.jsonl"
    given = [json.dumps(spec) for spec in (specs.model_spec(complete, model), specs.dataset_spec(complete, "d"))]
    prepare.main(["--model-spec", given[0], "--dataset-spec", given[1], "--output", str(prompts)])
    expected_turns = [len(prompt.turns) for prompt in read_records(prompts, Prompt)]
    assert len(expected_turns) == size["samples"]
    assert max(expected_turns) == turns
    outputs = []
    for methods in [["vanilla", "chain"]] if schedule == "interleaved" else [["vanilla"], ["chain"]]:
        job = [json.dumps(specs.generate_spec(complete, model, "d", method)) for method in methods]
        files = {name: [str(tmp_path / f"{method}.{name}") for method in methods] for name in ("samples", "run")}
        arguments = [part for name, paths in files.items() for part in (f"--{name}", *paths)]
        arguments += ["--prompts", str(prompts), "--tuning", str(tmp_path / "prompts_tuning.jsonl")]
        generate_stage.main(["--spec", *job, *arguments, "--log", str(tmp_path / f"{methods[-1]}.log")])
        for file in files["samples"]:
            samples = read_records(Path(file), Sample)
            assert [len(sample.turns) for sample in samples] == expected_turns
            outputs.append([[turn.output_ids for turn in sample.turns] for sample in samples])
    assert len(outputs) == 2
    assert outputs[0] == outputs[1]


@pytest.mark.skipif(not torch.cpu.get_capabilities().get("avx512_bf16"), reason="bfloat16 is not native here")
def test_bfloat16_logits_are_the_same_bits_alone_and_in_a_draft():
    """A chain of 24, and the main path of a tree that has side branches, against one token at a time."""
    folder = model_files.folder(MODEL)
    target = CausalLM.from_folder(folder, torch.device("cpu"), torch.bfloat16)
    if target.numerics != "invariant":
        pytest.skip("this processor's kernels do not allow it")
    ids = model_files.tokenizer(folder)(Path(__file__).read_text(encoding="utf-8"))["input_ids"]
    prefix, drafted = 200, 24
    target.reset(prefix + 2 * drafted)
    target.append(ids[:prefix])
    alone = []
    for token in ids[prefix : prefix + drafted]:
        alone.append(target.extend([token], [-1])[0])
        target.commit([0])
    target.rewind(prefix)
    chain = target.extend(ids[prefix : prefix + drafted], list(range(-1, drafted - 1)))
    target.commit([])
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(chain, alone, strict=True))
    tokens, parents, main = [ids[prefix]], [-1], [0]
    for depth in range(1, 8):  # each main node has a sibling, numbered between it and its child
        tokens += [ids[prefix + depth], ids[depth]]
        parents += [main[-1], main[-1]]
        main.append(len(tokens) - 2)
    in_tree = target.extend(tokens, parents)
    assert all(torch.equal(in_tree[node], alone[depth]) for depth, node in enumerate(main))
