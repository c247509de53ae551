"""The keyed verifier: vanilla's ids for every method, drafter, tree and seed; noise that depends on its key alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import CPU, Shape, Table, TableDrafter, TableTarget
from tiny import CONTEXT, VOCAB, WHOLE_OR_CORNERS, glide, ours, paired

from longspec.decoding import gumbel
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.decoding.sampling import Settings
from longspec.decoding.tree import TokenTree
from longspec.decoding.verifiers import keyed
from longspec.drafters.causal_lm import CausalLMDrafter
from longspec.drafters.ngram import NGramDrafter

METHODS = {"sequential": sequential.Method(4), "tree": tree.Method([3, 4, 2]), "wide": tree.Method([VOCAB])}
WARPS = [
    Settings(0.0),
    Settings(0.7),
    Settings(1.0),
    Settings(1.5, top_k=5),
    Settings(1.0, top_p=0.8),
    Settings(0.9, min_p=0.1, repetition_penalty=1.3),
    Settings(0.0, repetition_penalty=1.3),
]


def verifier(warp: Settings, vocab: int = VOCAB, key: int = 7) -> keyed.Verifier:
    return keyed.Verifier(warp, key, vocab, CPU)


def assert_all_methods_give_vanillas_ids(
    architecture: str = "llama", whole: bool = True, warps: list[Settings] = WARPS
) -> None:
    """`whole`: every method with every drafter at every warping; else with a third of them at each."""
    target = ours(architecture)
    drafters = {
        "ngram": NGramDrafter(3, 1),
        "another model": CausalLMDrafter(ours(architecture, seed=1), VOCAB),
        "the target itself": CausalLMDrafter(ours(architecture), VOCAB),
        "hybrid": glide(target, hybrid=True),
        "uninformed": CausalLMDrafter(ours(architecture), VOCAB, shared_noise=False),
    }
    accepted = rejected = 0
    prompts = ([5], [3, 4, 5, 6, 7, 8, 9])
    for number, warp in enumerate(warps):
        for prompt in prompts if whole else [prompts[number % 2]]:
            limits = Limits(frozenset({2}), 20, CONTEXT)
            expected = generate(target, vanilla.Method(), None, prompt, limits, verifier(warp)).output_ids
            for _, method, _, drafter in paired(METHODS, drafters, number, whole):
                turn = generate(target, method, drafter, prompt, limits, verifier(warp))
                assert turn.output_ids == expected
                assert all(a <= o <= a + 1 and a <= d for d, o, a in turn.steps)
                # Every step emits its accepted drafts and a bonus token; a last step may end in a draft.
                assert sum(1 + a for _, _, a in turn.steps) - (len(expected) - 1) in (0, 1)
                accepted += sum(a for _, _, a in turn.steps)
                rejected += sum(d - a for d, _, a in turn.steps)
    assert accepted > 50
    assert rejected > 50


@pytest.mark.parametrize(("architecture", "whole"), WHOLE_OR_CORNERS)
def test_every_method_and_drafter_gives_vanillas_ids_at_every_temperature(architecture, whole):
    assert_all_methods_give_vanillas_ids(architecture, whole)


def parents(most: int) -> st.SearchStrategy[list[int]]:
    """A tree of 2 to `most` nodes, siblings together, levels in any order that a method could use."""

    @st.composite
    def drawn(draw: st.DrawFn) -> list[int]:
        shape = [-1]
        for _ in range(draw(st.integers(1, most - 1))):
            shape.append(draw(st.integers(max(shape[-1], 0), len(shape) - 1)))
        return shape

    return drawn()


@settings(max_examples=150, deadline=None)
@given(
    shape=parents(9),
    seeds=st.tuples(*[st.integers(0, 2**64)] * 3),
    temperature=st.sampled_from([0.0, 0.4, 1.0, 3.0]),
    informed=st.booleans(),
    vocab=st.integers(2, 9),
    stop=st.sets(st.integers(0, 8), max_size=2),
)
def test_for_any_tree_drafter_and_seed_the_output_is_vanillas(shape, seeds, temperature, informed, vocab, stop):
    target = TableTarget(Table(vocab, seeds[0]))
    drafter = TableDrafter(Table(vocab, seeds[1]), informed)
    limits, warp = Limits(frozenset(stop), 12), Settings(temperature)
    expected = generate(target, vanilla.Method(), None, [0, 1], limits, verifier(warp, vocab, seeds[2]))
    turn = generate(target, Shape(shape), drafter, [0, 1], limits, verifier(warp, vocab, seeds[2]))
    assert turn.output_ids == expected.output_ids
    assert turn.stop_reason == expected.stop_reason
    assert all(0 <= token < vocab for token in turn.output_ids)


def test_drafts_with_the_targets_noise_are_accepted_more_often():
    """Shown on the target as its own drafter: with its noise every draft is right, without it p(x)^2 of them."""
    limits = Limits(frozenset(), 60, CONTEXT)
    rates = {}
    for shared in (True, False):
        drafter = CausalLMDrafter(ours("llama"), VOCAB, shared_noise=shared)
        steps = generate(ours("llama"), METHODS["sequential"], drafter, [5], limits, verifier(Settings(1.0))).steps
        rates[shared] = sum(a for _, _, a in steps) / sum(o for _, o, _ in steps)
    assert rates[True] == 1
    assert rates[False] < 0.8


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_end_the_text_with_their_cause(bad):
    class Breaks(Table):
        def logits(self, text):
            logits = super().logits(text).clone()
            if len(text) >= self.at:
                logits[1] = bad
            return logits

    table = Breaks(5, 1)
    for warp in (Settings(0.0), Settings(1.0)):
        for method, drafter in ((vanilla.Method(), None), (sequential.Method(3), TableDrafter(Table(5, 1)))):
            table.at = 10
            turn = generate(TableTarget(table), method, drafter, [0, 1], Limits((), 30), verifier(warp, 5))
            assert (turn.stop_reason, len(turn.output_ids), turn.failed) == ("nonfinite", 8, True)
            table.at = 0
            turn = generate(TableTarget(table), method, drafter, [0, 1], Limits((), 30), verifier(warp, 5))
            assert (turn.stop_reason, turn.output_ids, turn.steps) == ("nonfinite", [], [])


def test_masked_ids_are_no_failure():
    logits = torch.tensor([[float("-inf"), 0.5, float("-inf")]])
    assert keyed.choices(logits) == ([1], [True])


def test_the_lowest_id_wins_among_equals():
    logits = torch.tensor([[0.0, 2.0, 2.0, 1.0]])
    assert keyed.choices(logits)[0] == keyed.choices(logits.bfloat16())[0] == [1]


def test_noise_is_the_same_in_another_process_and_in_any_order():
    rows = gumbel.GumbelNoise(gumbel.key(1, "s", 0), 50, CPU)
    forward = [rows.row(position) for position in range(5)]
    again = gumbel.GumbelNoise(gumbel.key(1, "s", 0), 50, CPU)
    for position in reversed(range(5)):
        assert torch.equal(again.row(position), forward[position])
    code = (
        "import torch; from longspec.decoding import gumbel; "
        "print(gumbel.GumbelNoise(gumbel.key(1, 's', 0), 50, torch.device('cpu')).row(3).tolist())"
    )
    source = str(Path(gumbel.__file__).parents[2])
    out = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": source}, capture_output=True, check=True)
    assert eval(out.stdout) == forward[3].tolist()


def test_noise_known_by_heart():
    """The first numbers of a fixed key: a change to them changes every sampled output ever published."""
    row = gumbel.GumbelNoise(gumbel.key(0, "sample", 0), 4, CPU).row(0)
    torch.testing.assert_close(row, torch.tensor([1.020785, 0.559605, 0.135228, 1.841253]), atol=1e-6, rtol=0)


def test_a_hundred_repeats_give_one_text():
    target, texts = ours("llama"), set()
    drafter = CausalLMDrafter(ours("llama", seed=1), VOCAB)
    for number in range(100):
        method = METHODS[["sequential", "tree", "wide"][number % 3]]
        turn = generate(target, method, drafter, [5, 6], Limits((), 6), verifier(Settings(1.0)))
        texts.add(tuple(turn.output_ids))
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, "a", 0, 0), (1, "a", 0, 0)),
        ((0, "a", 0, 0), (0, "b", 0, 0)),
        ((0, "a", 0, 0), (0, "a", 1, 0)),
        ((0, "a", 0, 0), (0, "a", 0, 1)),
        ((0, "1", 0, 0), (0, "", 10, 0)),
    ],
    ids=["seeds", "samples", "turns", "positions", "names that run together"],
)
def test_noise_of_different_keys_is_independent(one, other):
    rows = [gumbel.GumbelNoise(gumbel.key(*k[:3]), 200_000, CPU).row(k[3]).double() for k in (one, other)]
    correlation = torch.corrcoef(torch.stack(rows))[0, 1].item()
    assert abs(correlation) < 5 / 200_000**0.5
    assert not torch.isin(rows[0], rows[1]).float().mean() > 0.05


def test_the_root_only_tree_is_a_vanilla_step():
    made = verifier(Settings(1.0), 5)
    made.start([0])
    got = made.verify(TokenTree.rooted_at(0), torch.zeros(1, 5), (), 9)
    assert (got.path, got.accepted, got.offered, len(got.emitted)) == ([0], 0, 0, 1)
