"""Peers answer what the model answers, and are recorded as our loop is."""

from __future__ import annotations

import pytest
import torch
from refusals import refused
from tiny import ARCHITECTURES, CONTEXT, hf_model, ours

from longspec.backends.peers import hf_generate, hf_prompt_lookup
from longspec.backends.peers._huggingface import Generate, step
from longspec.core import registry
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import vanilla
from longspec.decoding.sampling import GREEDY, Settings
from longspec.verify import audit_rules

LIMITS = Limits(frozenset({2}), 40, CONTEXT)
PROMPTS = [[3], [5, 9, 9, 9], [4, 7, 4, 7, 4, 7, 4], list(range(3, 24))]


def peers(architecture: str) -> dict[str, Generate]:
    """Each over a model of its own."""
    assisted = Generate(hf_model(architecture), {}, hf_model(architecture, num_hidden_layers=2))
    return {
        "plain": hf_generate.make(hf_model(architecture)),
        "lookup": hf_prompt_lookup.make(hf_model(architecture), 4, 2),
        "assisted": assisted,
    }


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt_neox"])
def test_greedy_answers_are_vanillas_and_steps_account_for_them(architecture: str) -> None:
    assert architecture in ARCHITECTURES
    target, accepted = ours(architecture), 0
    for name, peer in peers(architecture).items():
        for prompt in PROMPTS:
            expected = generate(target, vanilla.Method(), None, prompt, LIMITS)
            turn = peer.answer(prompt, LIMITS, GREEDY, 0)
            assert turn.output_ids == expected.output_ids, name
            assert (turn.stop_reason, turn.prompt_sha256) == (expected.stop_reason, expected.prompt_sha256)
            assert [rule(turn) for rule in (audit_rules._tokens, audit_rules._order, audit_rules._times)] == [""] * 3
            assert (name == "plain") == (sum(drafted for drafted, _, _ in turn.steps) == 0) or not turn.steps
            accepted += sum(step[2] for step in turn.steps)
    assert accepted > 0


def test_drafts_that_prefill_verified_are_not_counted_as_decoding() -> None:
    peer = hf_prompt_lookup.make(hf_model("llama"), 4, 2)
    turns = [peer.answer([token, other] * 5, LIMITS, GREEDY, 0) for token in range(3, 12) for other in range(12, 20)]
    assert {turn.prefill_tokens for turn in turns} - {1}, "no prompt whose first step accepted a draft"
    assert all(audit_rules._tokens(turn) == "" for turn in turns)


def test_the_limits_are_ours() -> None:
    peer = hf_generate.make(hf_model("llama"))
    peer.model.generation_config.max_new_tokens = 7  # what a model's folder says means nothing
    assert len(peer.answer([5, 6], Limits((), 12), GREEDY, 0).output_ids) == 12
    full = peer.answer([5, 6, 7], Limits((), 50, 10), GREEDY, 0)
    assert (len(full.output_ids), full.stop_reason) == (8, "context")
    (first, *_) = peer.answer([5, 6], Limits((), 12), GREEDY, 0).output_ids
    stopped = peer.answer([5, 6], Limits(frozenset({first}), 12), GREEDY, 0)
    assert (stopped.output_ids, stopped.stop_reason, stopped.steps) == ([first], "eos", [])


def test_sampling_follows_the_settings_and_the_seed() -> None:
    peer, hot = hf_generate.make(hf_model("llama")), Settings(temperature=1.5)
    drawn = [peer.answer([5, 6], Limits((), 30), hot, seed).output_ids for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    one = peer.answer([5, 6], Limits((), 30), Settings(temperature=1.5, top_k=1), 3)
    assert one.output_ids == peer.answer([5, 6], Limits((), 30), GREEDY, 0).output_ids


@pytest.mark.parametrize(
    ("drafted", "emitted", "counted"),
    [
        ([], [7], (0, 0, 0)),
        ([1, 2, 3], [1, 2, 9], (3, 3, 2)),
        ([1, 2, 3], [9], (3, 1, 0)),
        ([1, 2], [1, 2, 9], (2, 2, 2)),
        ([1, 2, 3], [1, 2], (3, 2, 2)),  # ended by a drafted stop id, or the limit
    ],
)
def test_steps_are_counted_as_ours(drafted: list[int], emitted: list[int], counted: tuple[int, int, int]) -> None:
    assert step(drafted, emitted) == counted


def test_the_assistants_vocabulary_must_be_the_targets(tmp_path) -> None:
    hf_model("llama", vocab_size=30).save_pretrained(tmp_path)
    make = registry.load("peers", "hf_assisted").make
    model = hf_model("llama")
    with refused("assistant", 30, 24):
        make(model, {"path": str(tmp_path)}, 4, 0.0)
    hf_model("llama", num_hidden_layers=1).save_pretrained(tmp_path)
    peer = make(model, {"path": str(tmp_path)}, 4, 0.0)
    with torch.inference_mode():
        turn = peer.answer([5, 9, 9], LIMITS, GREEDY, 0)
    assert turn.output_ids == generate(ours("llama"), vanilla.Method(), None, [5, 9, 9], LIMITS).output_ids
    assert {drafted for drafted, _, _ in turn.steps} <= set(range(5))
