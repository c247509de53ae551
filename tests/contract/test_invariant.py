"""`numerics: invariant`: a token's logits are the same bits, whatever is run with it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused
from tiny import VOCAB, ours

from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import tree, vanilla
from longspec.drafters.causal_lm import CausalLMDrafter
from longspec.models import packed_linear
from longspec.models.tails import main_path_first

CPU = torch.device("cpu")
packs = pytest.mark.skipif(
    packed_linear.resolve("auto", CPU, torch.float32) != "packed", reason="no packed layers here"
)


@st.composite
def forests(draw):
    """Parents of up to 12 nodes; -1 is the text before them."""
    return [draw(st.integers(-1, node - 1)) for node in range(draw(st.integers(1, 12)))]


@given(forests())
def test_the_main_path_comes_first_and_no_node_before_its_parent(parents):
    order = main_path_first(parents)
    assert sorted(order) == list(range(len(parents)))
    place = {node: slot for slot, node in enumerate(order)}
    assert all(parent < 0 or place[parent] < place[node] for node, parent in enumerate(parents))
    node, length = order[0], 1
    assert node == 0
    while node in parents:
        node = parents.index(node)
        assert order[length] == node
        length += 1


@pytest.mark.parametrize("architecture", ["llama", "gemma3_text", "gpt_neox"])
@torch.inference_mode()
def test_a_reordered_tree_is_the_same_tree(architecture):
    """Main path 0 2 4 lies first; logits and committed nodes keep their numbers."""
    target, plain = ours(architecture), ours(architecture)
    target.numerics, plain.numerics = "invariant", "fast"
    ids, tokens, parents = [3, 9, 4, 11, 5], [4, 5, 6, 7, 8, 9], [-1, -1, 0, 0, 2, 1]
    seen = []
    for model in (target, plain):
        model.reset(40)
        model.append(ids)
        logits = model.extend(tokens, parents)
        model.commit([0, 3])
        seen.append((logits, model.extend([5], [-1])))
    for mine, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)


def test_output_is_vanillas_when_trees_are_reordered():
    target = ours("llama")
    target.numerics = "invariant"
    drafter, limits, accepted = CausalLMDrafter(ours("llama", seed=1), VOCAB), Limits((), 40, 96), 0
    for ids in ([3, 9, 4], [1, 7, 7, 2, 13]):
        turn = generate(target, tree.Method([3, 4, 2]), drafter, ids, limits)
        assert turn.output_ids == generate(target, vanilla.Method(), None, ids, limits).output_ids
        accepted += sum(step[2] for step in turn.steps)
    assert accepted > 10


def test_it_is_refused_where_nothing_sees_to_it():
    with refused("numerics", ("invariant", "eager", "float32", "cpu"), ("auto", "fast")):
        ours("llama", engine="eager", numerics="invariant")


@torch.inference_mode()
def test_what_a_broken_text_left_in_the_cache_reaches_no_other():
    """Keys are run in whole grains, and 0 * NaN is NaN."""
    target = ours("llama")
    target.reset(40)
    expected = target.append([3, 9, 4])
    for layer in target._cache.stack:
        layer.keys.fill_(float("nan"))
        layer.values.fill_(float("nan"))
    target.reset(40)
    assert torch.equal(target.append([3, 9, 4]), expected)


@packs
def test_a_model_that_depends_on_its_company_is_found_out():
    """The negative control of the check that is made when a model is loaded."""
    target = ours("llama")

    def leaky(module, args, output):
        return output + 1e-3 * output.shape[1]

    target.model.get_input_embeddings().register_forward_hook(leaky)
    assert not target._is_invariant()


@packs
@torch.inference_mode()
def test_least_rows_are_the_fewest_with_the_same_bits():
    """A lone row of a deep layer is computed in another order than two (oneDNN); where it isn't, 1 is right."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if packed_linear.resolve("auto", CPU, torch.bfloat16) == "packed" else torch.float32
    layer = packed_linear.PackedLinear(torch.nn.Linear(1536, 576, bias=False, dtype=dtype))
    x = torch.randn(200, 1536).to(dtype)
    layer.least_rows = layer.invariant_from(x) or 1
    together = layer(x[:64])
    alone = torch.cat([layer(x[row : row + 1]) for row in range(64)])
    if layer.least_rows > 1:
        assert torch.equal(alone, together)
        layer.least_rows = 1
        assert not torch.equal(torch.cat([layer(x[row : row + 1]) for row in range(64)]), together)
