"""Penalty, temperature, top-k, top-p and min-p are transformers' own, in its order; each row sees its own path."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers import GenerationConfig, LogitsProcessorList
from transformers.generation import logits_process as hf

from longspec.decoding.sampling import GREEDY, Settings, Text, warp
from longspec.decoding.tree import TokenTree

CASES = [
    Settings(temperature, top_k, top_p, min_p)
    for temperature, top_k, top_p, min_p in itertools.product(
        (0.3, 1.0, 2.0), (None, 1, 5), (1.0, 0.9, 0.3), (0.0, 0.1)
    )
]


def theirs(settings: Settings) -> LogitsProcessorList:
    """What transformers' `generate` builds for these settings."""
    made: list[object] = []
    if settings.repetition_penalty != 1:
        made.append(hf.RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.temperature not in (0, 1):
        made.append(hf.TemperatureLogitsWarper(settings.temperature))
    if settings.top_k is not None:
        made.append(hf.TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        made.append(hf.TopPLogitsWarper(settings.top_p))
    if settings.min_p:
        made.append(hf.MinPLogitsWarper(settings.min_p))
    return LogitsProcessorList(made)


@pytest.mark.parametrize("settings", CASES, ids=str)
@pytest.mark.parametrize("vocab", [2, 11, 3000])
def test_scores_are_transformers_own(settings, vocab):
    logits = torch.randn(6, vocab, generator=torch.Generator().manual_seed(vocab)) * 3
    expected = theirs(settings)(torch.zeros(6, 1, dtype=torch.long), logits.clone())
    torch.testing.assert_close(warp(logits, settings), expected)


def test_transformers_builds_its_processors_in_this_order():
    """Held against `generate` itself, so that a change there is seen."""
    from tiny import hf_model

    model = hf_model("llama")
    config = GenerationConfig(do_sample=True, temperature=0.5, top_k=3, top_p=0.8, min_p=0.1, repetition_penalty=1.2)
    built = model._get_logits_processor(config, input_ids_seq_length=4)
    expected = theirs(Settings(0.5, 3, 0.8, 0.1, 1.2))
    assert [type(step) for step in built] == [type(step) for step in expected]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_repetition_penalty_sees_the_path_of_each_node(temperature):
    settings = Settings(temperature, repetition_penalty=1.7)
    tree = TokenTree.rooted_at(3)
    five = tree.add(5, 0)
    tree.add(6, 0)
    tree.add(7, five)
    logits = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    text = Text(settings, [1, 2, 3], 12, torch.device("cpu"))
    text.grow([4, 3])
    scores = text.scores(logits, tree, [0, 1, 2, 3])
    for node, path in enumerate([[3], [3, 5], [3, 6], [3, 5, 7]]):
        ids = torch.tensor([[1, 2, 3, 4, *path]])
        torch.testing.assert_close(scores[node], theirs(settings)(ids, logits[node : node + 1].clone())[0])


def test_top_p_keeps_ids_that_are_equal_at_its_edge():
    logits = torch.zeros(1, 4)
    assert warp(logits, Settings(1.0, top_p=0.5)).isfinite().all()


def test_top_p_over_a_flat_and_large_vocabulary_sorts_all_of_it():
    logits = torch.linspace(0, 1e-3, 5000)[None]
    expected = theirs(Settings(1.0, top_p=0.7))(torch.zeros(1, 1, dtype=torch.long), logits.clone())
    assert abs(int(warp(logits, Settings(1.0, top_p=0.7)).isfinite().sum()) - int(expected.isfinite().sum())) <= 1


def test_greedy_leaves_logits_as_they_are():
    logits = torch.randn(2, 5).bfloat16()
    text = Text(GREEDY, [1], 5, torch.device("cpu"))
    assert text.scores(logits, TokenTree.rooted_at(1), [0, 0]) is logits
