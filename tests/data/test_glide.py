"""The shipped drafter on the real model: float32 ids stay Hugging Face's, and it reads the target's keys."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from smollm2 import MODEL

from longspec.data import prompting
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.drafters import glide
from longspec.models import model_files
from longspec.models.target import CausalLM

WEIGHTS = Path(__file__).parents[2] / "config" / "drafters" / "smollm2-135m-hybrid"


def tokens_per_step(target, drafter, prompts, tokens):
    turns = [generate(target, sequential.Method(4), drafter, ids, Limits((), tokens)) for ids in prompts]
    return sum(len(turn.output_ids) - 1 for turn in turns) / sum(len(turn.steps) for turn in turns)


@pytest.mark.slow
def test_float32_ids_are_vanillas_and_drafts_are_accepted():
    folder = model_files.folder(MODEL)
    target, tokenizer = CausalLM.from_folder(folder, torch.device("cpu"), torch.float32), model_files.tokenizer(folder)
    drafter = glide.make(target, weights={"path": str(WEIGHTS)}, window=512)
    for question in ("Why is the sky blue?", "Write a Python function that adds two numbers."):
        ids = prompting.turn_ids(tokenizer, [question], [], True)
        limits = Limits(target.stop_ids, 64)
        expected = generate(target, vanilla.Method(), None, ids, limits).output_ids
        for method in (sequential.Method(4), tree.Method([4, 4, 4])):
            turn = generate(target, method, drafter, ids, limits)
            assert turn.output_ids == expected
            assert len(turn.steps) < 0.75 * len(expected)


@pytest.mark.slow
def test_without_cross_attention_fewer_drafts_are_accepted_on_long_prompts():
    """Negative control, on meetings with a question: the answers copy from far behind the window."""
    place = os.environ.get("LONGSPEC_TEST_DATA")
    if not place:
        pytest.skip("LONGSPEC_TEST_DATA names no folder with qmsum.jsonl")
    folder = model_files.folder(MODEL)
    target, tokenizer = CausalLM.from_folder(folder, torch.device("cpu"), torch.float32), model_files.tokenizer(folder)
    rows = [json.loads(line) for line in (Path(place) / "qmsum.jsonl").read_text(encoding="utf-8").splitlines()][::4]
    prompts = []
    for row in rows:
        meeting = tokenizer.decode(tokenizer(row["context"])["input_ids"][:1500])
        prompts.append(prompting.turn_ids(tokenizer, [f"{meeting}\n\n{row['input']}"], [], True))
    drafter = glide.make(target, weights={"path": str(WEIGHTS)}, window=512)
    seeing = tokens_per_step(target, drafter, prompts, 48)
    drafter.model.cross_attn.o_proj = torch.nn.Linear(576, 576, bias=False).requires_grad_(False)
    drafter.model.cross_attn.o_proj.weight.zero_()
    blind = tokens_per_step(target, drafter, prompts, 48)
    assert seeing > 1.05 * blind
    print(f"tokens per step {seeing:.2f}, without cross-attention {blind:.2f}")
