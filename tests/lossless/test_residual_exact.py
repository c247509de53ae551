"""The residual verifier's output has the distribution p: by enumeration of every random decision, not by sampling."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import pytest
import torch
from tables import CPU, Shape, Table, TableDrafter, TableTarget, outcomes, topologies

from longspec.decoding.methods import sequential, tree
from longspec.decoding.sampling import Settings
from longspec.decoding.tree import TokenTree
from longspec.decoding.verifiers import residual
from longspec.drafters.ngram_glide import NGramGlideDrafter

PROMPT = [0, 1]
TARGET = Table(3, seed=1)
SETTINGS = Settings(temperature=0.7)


class Cut(Table):
    """A drafter that never gives some ids; `allowed` None: the ids that the target gives least."""

    def __init__(self, vocab: int, seed: int, banned: set[int]) -> None:
        super().__init__(vocab, seed)
        self.banned = banned

    def logits(self, text: list[int]) -> torch.Tensor:
        logits = super().logits(text).clone()
        logits[list(self.banned)] = float("-inf")
        return logits


class Points:
    """A drafter that guesses and draws nothing: its q is a point at each guess."""

    def prefill(self, ids: list[int], capacity: int) -> None:
        pass

    def expand(self, tree: TokenTree, nodes: list[int], width: int, verifier: Any) -> Any:
        return [[((node + tree.tokens[node] + n) % 3, -float(n)) for n in range(min(width, 3))] for node in nodes]

    def commit(self, *_: Any) -> None:
        pass


class SomePoints(Points):
    """Knows nothing below every other token."""

    def expand(self, tree: TokenTree, nodes: list[int], width: int, verifier: Any) -> Any:
        found = super().expand(tree, nodes, width, verifier)
        return [below if tree.tokens[node] % 2 == 0 else [] for node, below in zip(nodes, found, strict=True)]


def disjoint_target() -> Table:
    """p lives on ids 0 and 1, so a drafter banned from them is disjoint."""
    return Cut(3, seed=1, banned={2})


DRAFTERS = {
    "equal": (TARGET, lambda: TableDrafter(TARGET)),
    "another": (TARGET, lambda: TableDrafter(Table(3, seed=2))),
    "sharp": (TARGET, lambda: TableDrafter(Table(3, seed=3, spread=6))),
    "partly disjoint": (TARGET, lambda: TableDrafter(Cut(3, seed=4, banned={1}))),
    "disjoint": (disjoint_target(), lambda: TableDrafter(Cut(3, seed=5, banned={0, 1}))),
    "a few ids, in an order of its own": (TARGET, lambda: TableDrafter(Table(3, seed=2), ids=[2, 0])),
    "points": (TARGET, Points),
    "points and draws": (TARGET, lambda: NGramGlideDrafter(SomePoints(), TableDrafter(Table(3, seed=2)))),
}


def probabilities(table: Table, text: list[int], settings: Settings) -> list[float]:
    """The reference, written apart from the product: softmax of the top_k logits over temperature."""
    logits = (table.logits(text) / settings.temperature).double()  # divided in float32, as transformers does
    weights = [math.exp(x) if x >= sorted(logits)[-(settings.top_k or 0)] else 0.0 for x in logits.tolist()]
    return [weight / sum(weights) for weight in weights]


def joint(method: Any, table: Table, make_drafter: Any, settings: Settings) -> dict[tuple[int, int], float]:
    """Exact distribution of the first two tokens that one verification step and what follows it emit."""
    vocab = table.vocab

    def one_step(oracle: Any) -> list[int]:
        verifier = residual.Verifier(settings, 0, vocab, CPU)
        verifier.draws = oracle
        verifier.start(PROMPT)
        drafter, target = make_drafter(), TableTarget(table)
        target.reset(99)
        target.append(PROMPT[:-1])
        drafter.prefill(PROMPT, 99)
        proposal = method.propose(PROMPT[-1], drafter, verifier, (), 9)
        return verifier.verify(proposal, target.extend(proposal.tokens, proposal.parents), (), 99).emitted

    found: dict[tuple[int, int], float] = defaultdict(float)
    for emitted, probability in outcomes(one_step):
        if len(emitted) > 1:
            found[emitted[0], emitted[1]] += probability
        else:
            for token, follows in enumerate(probabilities(table, [*PROMPT, *emitted], settings)):
                found[emitted[0], token] += probability * follows
    return found


def assert_exact(method: Any, table: Table, make_drafter: Any, settings: Settings = SETTINGS) -> None:
    """First tokens and pairs of tokens have the target's own probabilities."""
    found = joint(method, table, make_drafter, settings)
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)
    for first, p in enumerate(probabilities(table, PROMPT, settings)):
        assert sum(found[first, second] for second in range(table.vocab)) == pytest.approx(p, abs=1e-12)
        for second, follows in enumerate(probabilities(table, [*PROMPT, first], settings)):
            assert found[first, second] == pytest.approx(p * follows, abs=1e-12)


def assert_exact_at(settings: Settings) -> None:
    """The same for a chain under other settings."""
    assert_exact(sequential.Method(2), *DRAFTERS["another"], settings)


def assert_exact_tree(tree_shape: list[int]) -> None:
    """The same for LongSpec's tree."""
    assert_exact(tree.Method(tree_shape), *DRAFTERS["another"])


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("parents", topologies(5), ids=str)
def test_every_small_tree_is_exact(parents, drafter):
    assert_exact(Shape(parents), *DRAFTERS[drafter])


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize(
    "method", [sequential.Method(2), tree.Method([2, 2]), tree.Method([3, 1])], ids=["chain", "2-2", "3-1"]
)
def test_the_methods_are_exact(method, drafter):
    assert_exact(method, *DRAFTERS[drafter])


@pytest.mark.parametrize("parents", [[-1, 0, 0], [-1, 0, 0, 0], [-1, 0, 0, 1, 1]], ids=str)
def test_siblings_of_a_larger_vocabulary_are_exact(parents):
    """With three ids, what p has left after a rejection is often a point, and hides faults."""
    table, other = Table(5, seed=6), Table(5, seed=7)
    assert_exact(Shape(parents), table, lambda: TableDrafter(other))


@pytest.mark.parametrize("top_k", [1, 2])
def test_a_cut_distribution_is_exact(top_k):
    assert_exact_at(Settings(0.7, top_k=top_k))


def test_an_equal_drafter_is_never_rejected():
    def one_step(oracle):
        verifier = residual.Verifier(SETTINGS, 0, 3, CPU)
        verifier.draws = oracle
        verifier.start(PROMPT)
        drafter, target = TableDrafter(TARGET), TableTarget(TARGET)
        target.reset(99)
        target.append(PROMPT[:-1])
        drafter.prefill(PROMPT, 99)
        proposal = sequential.Method(2).propose(PROMPT[-1], drafter, verifier, (), 9)
        return verifier.verify(proposal, target.extend(proposal.tokens, proposal.parents), (), 99).accepted

    rejected = [probability for accepted, probability in outcomes(one_step) if accepted < 2 and probability > 1e-12]
    assert rejected == []
