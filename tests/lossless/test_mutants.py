"""Each fault that has been made in this field, planted by name, is caught by a test of this suite."""

from __future__ import annotations

import pytest
import test_keyed
import test_residual_exact
import test_sampled
import test_warp
import torch
from tables import Shape

from longspec.decoding import sampling
from longspec.decoding.sampling import Settings
from longspec.decoding.verifiers import keyed, residual
from longspec.models import tails
from longspec.models.attention import hybrid
from longspec.models.cache.preallocated import PreallocatedLayer
from longspec.models.native import engine

MUTANTS = {}


def mutant(check):
    """Register a planter of a fault together with the check that must see it."""

    def register(plant):
        MUTANTS[plant.__name__] = (plant, check)
        return plant

    return register


def exact(parents=(-1, 0, 0, 1)):
    drafter = test_residual_exact.DRAFTERS["another"][1]
    test_residual_exact.assert_exact(Shape(list(parents)), test_residual_exact.TARGET, drafter)


def vanillas_ids():
    """Every method with every drafter, each at one temperature."""
    test_keyed.assert_all_methods_give_vanillas_ids(whole=False, warps=test_keyed.WARPS[:3])


def natively():
    """The same over the native engine, which qwen3's heads are wide enough for."""
    test_keyed.assert_all_methods_give_vanillas_ids("qwen3", warps=test_keyed.WARPS[:2])


def vanillas_ids_of_all():
    """Every method with every drafter at two temperatures: what few outputs show."""
    test_keyed.assert_all_methods_give_vanillas_ids(warps=[Settings(0.0), Settings(1.0)])


def sampled():
    test_sampled.test_the_keyed_rule_samples_p_whatever_the_warping(10, 100_000, Settings(0.3, top_k=4), share=5)


@mutant(exact)
def probabilities_indexed_by_node_number(monkeypatch):
    real, nodes = residual.Verifier._token, {}

    def token(self, p, node, below):
        nodes.update(below)
        return real(self, p, node, below)

    monkeypatch.setattr(residual.Verifier, "_token", token)
    monkeypatch.setattr(
        residual, "acceptance_probability", lambda p, q, t: min(1.0, p[nodes[t] % 3].item() / q[t].item())
    )


@mutant(vanillas_ids)
def the_root_counted_as_accepted(monkeypatch):
    real = keyed.descend

    def descend(*arguments):
        got = real(*arguments)
        return type(got)(got.path, got.emitted, got.accepted + 1, got.offered, got.stop_reason)

    monkeypatch.setattr(keyed, "descend", descend)


@mutant(exact)
def children_taken_by_top_k_but_tested_as_if_sampled(monkeypatch):
    real = residual.Verifier.draft

    def draft(self, logits, tree, nodes, width, informed=True, ids=None):
        real(self, logits, tree, nodes, width, informed, ids)
        for node, row in zip(nodes, logits, strict=True):
            self._drawn[node] = (row.topk(min(width, 3)).indices.tolist(), self._drawn[node][1])
        return [[(token, 0.0) for token in self._drawn[node][0]] for node in nodes]

    monkeypatch.setattr(residual.Verifier, "draft", draft)


@mutant(exact)
def the_chain_resampled_from_p(monkeypatch):
    monkeypatch.setattr(residual, "residual", lambda p, q: p)


@mutant(sampled)
def temperature_ignored(monkeypatch):
    real = sampling.warp
    monkeypatch.setattr(sampling, "warp", lambda x, s: real(x, Settings(1.0, s.top_k, s.top_p, s.min_p)))


@mutant(exact)
def p_and_q_swapped(monkeypatch):
    def swapped(p, q, token):
        return min(1.0, q[token].item() / max(p[token].item(), 1e-9))

    monkeypatch.setattr(residual, "acceptance_probability", swapped)


@mutant(lambda: test_residual_exact.assert_exact_at(Settings(0.7, top_k=2)))
def q_reported_before_it_was_cut(monkeypatch):
    real = residual.Verifier.draft

    def draft(self, logits, tree, nodes, width, informed=True, ids=None):
        drawn = real(self, logits, tree, nodes, width, informed, ids)
        for node, row in zip(nodes, logits, strict=True):
            self._drawn[node] = (self._drawn[node][0], (row / 0.7).double().softmax(-1))
        return drawn

    monkeypatch.setattr(residual.Verifier, "draft", draft)


@mutant(lambda: test_residual_exact.test_siblings_of_a_larger_vocabulary_are_exact([-1, 0, 0]))
def rejected_ids_stay_in_q(monkeypatch):
    monkeypatch.setattr(residual, "without", lambda q, token: q)


@mutant(lambda: test_residual_exact.assert_exact_tree([2, 2, 1]))
def children_kept_for_what_they_are(monkeypatch):
    """A beam chooses the likeliest of all that were drawn."""
    monkeypatch.setattr(residual.Verifier, "breadths", lambda self, scores, width: [width] * len(scores))


@mutant(vanillas_ids)
def noise_keyed_by_step(monkeypatch):
    def grow(self, emitted):
        self.position += 1

    monkeypatch.setattr(sampling.Text, "grow", grow)


@mutant(vanillas_ids)
def siblings_see_each_other(monkeypatch):
    real = hybrid.Layout

    def layout(hidden, positions, tail_positions):
        return real(None if hidden is None else torch.zeros_like(hidden), positions, tail_positions)

    monkeypatch.setattr(hybrid, "Layout", layout)


@mutant(vanillas_ids)
def positions_by_node_number(monkeypatch):
    real = tails.layout

    def layout(parents, first, prefix, device):
        made = real(parents, first, prefix, device)
        positions = torch.arange(prefix, prefix + len(parents))
        return hybrid.Layout(made.hidden, positions[first:], positions)

    monkeypatch.setattr(tails, "layout", layout)


@mutant(natively)
def natively_a_tree_taken_for_a_chain(monkeypatch):
    real = engine.Where.of.__func__

    def of(cls, parents, first, prefix):
        return real(cls, list(range(-1, len(parents) - 1)), first, prefix)

    monkeypatch.setattr(engine.Where, "of", classmethod(of))


@mutant(natively)
def natively_a_branch_that_sees_the_main_path(monkeypatch):
    real = engine.Where.of.__func__

    def of(cls, parents, first, prefix):
        made = real(cls, parents, first, prefix)
        made.shared = made.positions + 1
        return made

    monkeypatch.setattr(engine.Where, "of", classmethod(of))


@mutant(natively)
def natively_a_stale_slot_after_a_rejected_branch(monkeypatch):
    monkeypatch.setattr(engine.Steps, "move", lambda self, cache, path: None)


@mutant(vanillas_ids)
def a_stale_slot_after_a_rejected_branch(monkeypatch):
    real = PreallocatedLayer.commit
    monkeypatch.setattr(PreallocatedLayer, "commit", lambda self, path, nodes: real(self, path, None))


@mutant(vanillas_ids)
def a_cache_one_too_long_after_a_rejection(monkeypatch):
    real = PreallocatedLayer.commit

    def commit(self, path, nodes):
        rejected = self.written - self.committed > len(path)
        real(self, path, nodes)
        if rejected:
            self.committed += 1
            self.written += 1

    monkeypatch.setattr(PreallocatedLayer, "commit", commit)


@mutant(vanillas_ids_of_all)
def eos_inside_an_accepted_path_ignored(monkeypatch):
    real = keyed.descend

    def descend(tree, chosen, finite, stop_ids, room):
        return real(tree, chosen, finite, stop_ids if len(tree) == 1 else (), room)

    monkeypatch.setattr(keyed, "descend", descend)


@mutant(lambda: test_warp.test_the_repetition_penalty_sees_the_path_of_each_node(0.8))
def a_penalty_that_sees_the_text_and_not_the_path(monkeypatch):
    monkeypatch.setattr(sampling.TokenTree, "path", lambda self, node: [0])


@pytest.fixture(scope="module")
def passed():
    """Runs a check without a fault, once."""
    done = set()

    def once(check):
        if check not in done:
            check()
            done.add(check)

    return once


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_caught(name, passed, monkeypatch):
    plant, check = MUTANTS[name]
    passed(check)
    plant(monkeypatch)
    with pytest.raises((AssertionError, IndexError)):
        check()
