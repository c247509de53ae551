"""Methods of one job over one copy of the weights: they share the tensors and nothing else."""

from __future__ import annotations

import pytest
import torch
from tiny import ARCHITECTURES, CONTEXT, glide, hf_model, ours

from longspec.backends.peers import hf_generate
from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, vanilla
from longspec.decoding.sampling import GREEDY
from longspec.models.packed_linear import PackedLinear, SharedPart
from longspec.models.shared import Shared, with_shared_weights
from longspec.models.target import CausalLM

LIMITS = Limits(frozenset({2}), 30, CONTEXT)
PROMPTS = [[5, 9, 9, 9], [4, 7, 4, 7, 4, 7, 4], list(range(3, 24))]


def packed(model):
    """The layers that hold weights in oneDNN's layout."""
    parts = [part._shared.product for part in model.modules() if isinstance(part, SharedPart)]
    return [*parts, *(module for module in model.modules() if isinstance(module, PackedLinear))]


@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_weights_are_held_once(engine):
    first = ours("llama", engine=engine).model
    second = with_shared_weights(first)
    assert second is not first
    for (name, ours_), (_, theirs) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert ours_ is theirs, name
    assert [id(layer) for layer in packed(first)] == [id(layer) for layer in packed(second)]
    assert second.get_decoder().layers[0] is not first.get_decoder().layers[0]
    CausalLM(second, engine=engine)  # made ready once more
    assert [id(layer) for layer in packed(first)] == [id(layer) for layer in packed(second)]


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_answers_in_turn_are_those_of_each_alone(architecture):
    """A hybrid drafter watches layers of its own target; vanilla runs between its samples, and a peer."""
    shared = Shared()
    plain, watched = (CausalLM(shared.model("target", lambda: ours(architecture).model)) for _ in range(2))
    with_rotary = architecture not in ("gemma3_text", "gpt_neox")
    drafter = glide(watched, hybrid=True) if with_rotary else None
    peer = hf_generate.make(shared.model("plain", lambda: hf_model(architecture)))
    alone = [generate(ours(architecture), vanilla.Method(), None, prompt, LIMITS).output_ids for prompt in PROMPTS]
    for prompt, expected in zip(PROMPTS * 2, alone * 2, strict=True):
        assert generate(plain, vanilla.Method(), None, prompt, LIMITS).output_ids == expected
        if drafter:
            assert generate(watched, sequential.Method(3), drafter, prompt, LIMITS).output_ids == expected
        assert peer.answer(prompt, LIMITS, GREEDY, 0).output_ids == expected


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_nobody_pays_for_a_neighbour_that_watches():
    shared = Shared()
    watched = CausalLM(shared.model("target", lambda: ours("llama").model))
    glide(watched, hybrid=True)
    peer = hf_generate.make(shared.model("target", hf_model))
    beside = CausalLM(shared.model("target", hf_model))
    assert hooks(watched.model) > 0
    assert hooks(peer.model) > 0
    assert hooks(beside.model) == 0
    beside.reset(4)
    watched.reset(4)
    before = torch.cat([watched.extend([5], [-1]), watched.features([0, 2], 0)[:, :24]])
    beside.extend([7], [-1])
    assert torch.equal(before[1:], watched.features([0, 2], 0)[:, :24])
