"""SmolLM2 in float32: every method gives vanilla's ids at every temperature, on the default experiment's questions."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from smollm2 import MODEL, shortened

from longspec.data import prompting
from longspec.decoding import gumbel
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.decoding.sampling import Settings
from longspec.decoding.verifiers import keyed
from longspec.drafters.causal_lm import CausalLMDrafter
from longspec.drafters.ngram import NGramDrafter
from longspec.models import model_files
from longspec.models.target import CausalLM

QUESTIONS = Path(__file__).parents[2] / "config" / "prompts" / "chat.jsonl"


@pytest.fixture(scope="module")
def target():
    return CausalLM.from_folder(model_files.folder(MODEL), torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def prompts():
    tokenizer = prompting.tokenizer(MODEL)
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    return {row["id"]: prompting.turn_ids(tokenizer, [row["question"]], [], chat=True) for row in rows}


@pytest.fixture(scope="module")
def drafter(target):
    return CausalLMDrafter(shortened(4), target.vocab_size)


@pytest.mark.parametrize(
    ("seeds", "questions", "new_tokens"),
    [
        (1, 4, 8),
        pytest.param(1, 20, 10, marks=pytest.mark.slow),
        pytest.param(14, None, 96, marks=[pytest.mark.slow, pytest.mark.timeout(6 * 3600)]),
    ],
    ids=["short", "twenty questions", "a hundred thousand tokens"],
)
@pytest.mark.parametrize("temperature", [0.0, pytest.param(0.7, marks=pytest.mark.slow), 1.0])
def test_every_method_gives_vanillas_ids(target, drafter, prompts, temperature, seeds, questions, new_tokens):
    chain, wide = sequential.Method(8), tree.Method([4, 4, 3, 2, 2, 1, 1, 1])
    lookup = NGramDrafter(4, 1)
    variants = [(chain, lookup), (wide, lookup), (tree.Method([3, 2]), drafter)]
    limits, settings = Limits(target.stop_ids, new_tokens, target.context_tokens), Settings(temperature)
    compared = accepted = 0
    some = list(prompts.items())[:questions]
    for seed, (name, ids) in itertools.product(range(seeds), some):
        key = gumbel.key(seed, name, 0)
        verifiers = (keyed.Verifier(settings, key, target.vocab_size, target.device) for _ in range(4))
        expected = generate(target, vanilla.Method(), None, ids, limits, next(verifiers))
        for method, drafter in variants:
            turn = generate(target, method, drafter, ids, limits, next(verifiers))
            assert turn.output_ids == expected.output_ids, (name, seed)
            assert turn.stop_reason == expected.stop_reason
            compared += len(turn.output_ids)
            accepted += sum(step[2] for step in turn.steps)
    assert compared > len(some) * len(variants) * 5
    assert accepted > len(some)
