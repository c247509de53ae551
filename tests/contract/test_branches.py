"""A tree that is run one branch at a time gives what a tree in one forward gives, step after step."""

from __future__ import annotations

import random

import pytest
import torch
import zoo
from refusals import refused

from longspec.models import tails
from longspec.models.target import CausalLM

NODES = 12
STEPS = 4


@pytest.fixture(scope="module")
def targets():
    """By both engines: a model that takes positions as they are given, and has windows."""
    return [CausalLM(zoo.model("mistral"), engine=engine) for engine in ("branches", "eager")]


def tree(seed):
    """Parents of nodes whose first is a child of the prefix's end, in an order that a drafter may choose."""
    drawn = random.Random(seed)
    return [-1, *(drawn.randrange(-1, node) for node in range(1, NODES))]


@torch.inference_mode()
@pytest.mark.parametrize("seed", range(8))
def test_random_trees_in_several_parts(targets, seed):
    drawn = random.Random(seed)
    for target in targets:
        target.reset(80)
        target.append(list(range(3, 33)))
    for step in range(STEPS):
        parents, ids = tree(seed * STEPS + step), [drawn.randrange(3, zoo.VOCAB) for _ in range(NODES)]
        cut = drawn.randrange(1, NODES)
        kept = tails.path_to(drawn.randrange(-1, NODES), parents)
        rows = []
        for target in targets:
            rows.append(
                torch.cat([target.extend(ids[part], parents[part]) for part in (slice(cut), slice(cut, NODES))])
            )
            target.commit(kept)
        assert torch.allclose(*rows, atol=1e-4), step
    assert torch.allclose(targets[0].last_layer()[0], targets[1].last_layer()[0], atol=1e-4)


def test_a_chain_is_one_branch_and_a_branch_follows_its_parents():
    assert tails.branches([-1, 0, 1, 2], 0) == [[0, 1, 2, 3]]
    assert tails.branches([-1, 0, 1, 2], 2) == [[2, 3]]
    assert tails.branches([-1, 0, 0, 1, 2, -1], 0) == [[0, 1, 3], [2, 4], [5]]
    assert tails.branches([-1, 0, 0, 1, 1], 3) == [[3], [4]]


def test_a_drafter_that_reads_features_is_refused(targets):
    with refused("engine", "branches", "drafter"):
        targets[0].watch([0])
