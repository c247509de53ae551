"""Verification, and what the drafters propose, on trees small enough to check by hand."""

from __future__ import annotations

import pytest
import torch

from longspec.decoding import sampling
from longspec.decoding.methods import sequential, tree
from longspec.decoding.tree import TokenTree
from longspec.decoding.verifiers import keyed
from longspec.drafters.ngram import NGramDrafter

VERIFIER = keyed.Verifier(sampling.GREEDY, 0, 100, torch.device("cpu"))


def descend(chosen, stop_ids, room):
    return keyed.descend(small_tree(), chosen, [True] * 5, stop_ids, room)


def small_tree():
    """Root 9 with children 5 and 6; 5 has children 7 and 8."""
    shape = TokenTree.rooted_at(9)
    five = shape.add(5, 0)
    shape.add(6, 0)
    shape.add(7, five)
    shape.add(8, five)
    return shape


@pytest.mark.parametrize(
    ("chosen", "path", "emitted", "accepted", "offered"),
    [
        ([1, 0, 0, 0, 0], [0], [1], 0, 1),
        ([5, 1, 0, 0, 0], [0, 1], [5, 1], 1, 2),
        ([6, 0, 2, 0, 0], [0, 2], [6, 2], 1, 1),
        ([5, 8, 0, 0, 3], [0, 1, 4], [5, 8, 3], 2, 2),
        # A node's choice is judged by its own children: 7 is drafted below 5, not below 6.
        ([6, 7, 7, 0, 0], [0, 2], [6, 7], 1, 1),
    ],
)
def test_the_path_follows_the_targets_choices(chosen, path, emitted, accepted, offered):
    got = descend(chosen, (), 10)
    assert (got.path, got.emitted, got.accepted, got.offered) == (path, emitted, accepted, offered)
    assert got.stop_reason is None


def test_an_accepted_stop_id_ends_the_text_and_there_is_no_bonus():
    got = descend([5, 8, 0, 0, 3], {5}, 10)
    assert got.emitted == [5]
    assert got.accepted == 1
    assert got.stop_reason == "eos"


def test_the_limit_cuts_and_eos_goes_first():
    assert descend([5, 8, 0, 0, 3], (), 2).emitted == [5, 8]
    assert descend([5, 8, 0, 0, 3], (), 2).stop_reason == "limit"
    assert descend([5, 8, 0, 0, 3], {8}, 2).stop_reason == "eos"


def drafter(text, max_ngram=3, min_ngram=1):
    made = NGramDrafter(max_ngram, min_ngram)
    made.prefill(text, 100)
    return made


def test_ngram_follows_the_longest_match():
    # After "1 2" came 3, after "9 2" came 4; the text ends in "9 2".
    chain = sequential.Method(3).propose(2, drafter([1, 2, 3, 9, 2, 4, 5, 9, 2]), VERIFIER, (), 10)
    assert chain.tokens == [2, 4, 5, 9]


def test_ngram_proposes_nothing_without_a_match():
    assert sequential.Method(3).propose(3, drafter([1, 2, 3]), VERIFIER, (), 10).drafted == 0
    assert sequential.Method(3).propose(2, drafter([1, 2, 3, 1, 2], 3, 3), VERIFIER, (), 10).drafted == 0


def test_a_short_match_earns_a_short_draft():
    text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2]
    for per_match, drafted in ((None, [3, 4, 5, 6, 7, 8]), (1, [3, 4]), (2, [3, 4, 5, 6])):
        made = NGramDrafter(3, 1, per_match)
        made.prefill(text, 100)
        assert sequential.Method(6).propose(2, made, VERIFIER, (), 10).tokens[1:] == drafted
        assert tree.Method([2] * 6).propose(2, made, VERIFIER, (), 10).tokens[1:] == drafted
    made = NGramDrafter(3, 2, 1)
    made.prefill([1, 2, 3, 1], 100)
    assert sequential.Method(6).propose(1, made, VERIFIER, (), 10).drafted == 0


def test_ngram_tree_proposes_several_continuations_of_one_match():
    shape = tree.Method([2, 2]).propose(2, drafter([2, 3, 2, 4, 2]), VERIFIER, (), 10)
    assert set(shape.tokens[1:3]) == {3, 4}
    assert shape.depths == [0, 1, 1, 2, 2]


def test_ngram_learns_from_the_output():
    made = drafter([1, 2])
    made.commit([3, 1, 2], TokenTree.rooted_at(2), [0])
    assert sequential.Method(1).propose(2, made, VERIFIER, (), 10).tokens == [2, 3]


def test_nothing_is_drafted_past_a_stop_id_or_the_limit():
    made = drafter([2, 3, 4, 5, 2])
    assert sequential.Method(5).propose(2, made, VERIFIER, {4}, 10).tokens == [2, 3, 4]
    assert sequential.Method(5).propose(2, made, VERIFIER, (), 1).tokens == [2, 3]
    assert tree.Method([1, 1, 1]).propose(2, made, VERIFIER, {4}, 10).tokens == [2, 3, 4]
    assert tree.Method([1, 1, 1]).propose(2, made, VERIFIER, (), 0).tokens == [2]


def test_a_tree_takes_the_best_nodes_whichever_their_parents():
    class Fixed:
        def expand(self, shape, nodes, width, verifier):
            # Below token 1 all is likely, below token 2 nothing is.
            table = {0: [(1, -0.1), (2, -3.0)], 1: [(3, -0.1), (4, -0.2)], 2: [(5, -0.1), (6, -0.2)]}
            return [table[shape.tokens[node]][:width] for node in nodes]

    shape = tree.Method([2, 2]).propose(0, Fixed(), VERIFIER, (), 10)
    assert shape.tokens == [0, 1, 2, 3, 4]
    assert shape.parents == [-1, 0, 0, 1, 1]
