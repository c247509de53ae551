"""Greedy output in float32: Hugging Face's = vanilla's = every method's with every drafter, id for id."""

from __future__ import annotations

import random

import pytest
import torch
from refusals import refused
from tiny import ARCHITECTURES, CONTEXT, VOCAB, WHOLE_OR_CORNERS, glide, hf_model, ours, paired

from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.drafters.causal_lm import CausalLMDrafter
from longspec.drafters.ngram import NGramDrafter
from longspec.drafters.ngram_glide import NGramGlideDrafter
from longspec.models import packed_linear
from longspec.models.attention import hybrid

STOP = frozenset({2})
CPU = torch.device("cpu")
ENGINES = sorted({packed_linear.resolve(name, CPU, torch.float32) for name in ("eager", "auto")})
LENGTHS = [1, 2, 7, 20, CONTEXT - 24, CONTEXT - 2, CONTEXT]
CORNERS = [1, 20, CONTEXT - 10]


def prompt(length, seed=0):
    return random.Random(seed * 1000 + length).choices(range(3, VOCAB), k=length)


def hf_greedy(model, ids, limits):
    room, _ = limits.room(len(ids))
    out = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=room,
        do_sample=False,
        eos_token_id=list(limits.stop_ids),
        pad_token_id=0,
    )
    return out[0, len(ids) :].tolist()


NATIVE = {
    "llama": {"head_dim": 16},
    "qwen2": {"num_attention_heads": 2},
    "qwen3": {},
    "gemma2": {"head_dim": 16},
    "gemma3_text": {"head_dim": 16},
    "phi3": {"num_attention_heads": 2},
    "mistral": {"head_dim": 16},
}
"""Architectures that the native engine runs, and heads that are wide enough for it."""


def drafters(architecture, engine="auto", **changes):
    target = ours(architecture, engine=engine, **changes)
    return {
        "ngram": NGramDrafter(3, 1),
        "another model": CausalLMDrafter(ours(architecture, seed=1, engine=engine, **changes), VOCAB),
        "the target itself": CausalLMDrafter(ours(architecture, engine=engine, **changes), VOCAB),
        "hybrid": glide(target, hybrid=True),
        "n-grams and a layer": NGramGlideDrafter(NGramDrafter(3, 1), glide(target, hybrid=False)),
    }, target


METHODS = {
    "sequential": sequential.Method(5),
    "tree": tree.Method([3, 4, 4, 2]),
    "wide tree": tree.Method([VOCAB]),
}


@pytest.mark.parametrize(("architecture", "whole"), WHOLE_OR_CORNERS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_method_and_drafter_gives_hugging_faces_ids(architecture, whole, engine):
    assert_hugging_faces_ids(architecture, whole, engine)


@pytest.mark.parametrize("architecture", NATIVE)
def test_so_does_the_native_engine(architecture):
    assert_hugging_faces_ids(architecture, architecture in ("llama", "phi3"), "native", **NATIVE[architecture])


def assert_hugging_faces_ids(architecture, whole, engine, **changes):
    reference = hf_model(architecture, **changes)
    by_drafter, target = drafters(architecture, engine, **changes)
    assert target.engine == engine
    accepted = rejected = 0
    for number, length in enumerate(LENGTHS if whole else CORNERS):
        ids, limits = prompt(length), Limits(STOP, 40 if whole else 24, CONTEXT)
        expected = hf_greedy(reference, ids, limits)
        assert generate(target, vanilla.Method(), None, ids, limits).output_ids == expected
        for shape, method, name, drafter in paired(METHODS, by_drafter, number, whole):
            turn = generate(target, method, drafter, ids, limits)
            assert turn.output_ids == expected, (length, name, shape)
            accepted += sum(a for _, _, a in turn.steps)
            rejected += sum(d - a for d, _, a in turn.steps)
    # Without both, the comparison would prove nothing about caches after a rejection.
    assert accepted > 50
    assert rejected > 50


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("shape", ["sequential", "tree"])
def test_a_drafter_equal_to_the_target_is_always_right(architecture, shape):
    target, drafter = ours(architecture), CausalLMDrafter(ours(architecture), VOCAB)
    for length in (1, 9, 30):
        turn = generate(target, METHODS[shape], drafter, prompt(length), Limits(STOP, 30, CONTEXT))
        offered = sum(o for _, o, _ in turn.steps)
        accepted = sum(a for _, _, a in turn.steps)
        assert accepted == offered
        if shape == "sequential":
            assert accepted == sum(d for d, _, _ in turn.steps)


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("stop_ids", [frozenset({5}), frozenset({5, 7, 11}), frozenset()])
def test_stops_where_hugging_face_stops_whatever_the_eos(stop_ids, whole):
    reference = hf_model("llama")
    by_drafter, target = drafters("llama")
    stops = set()
    for seed in range(8):
        ids, limits = prompt(6, seed), Limits(stop_ids, 40 if whole else 24, CONTEXT)
        expected = hf_greedy(reference, ids, limits)
        for _, method, _, drafter in paired(METHODS, by_drafter, seed, whole):
            turn = generate(target, method, drafter, ids, limits)
            assert turn.output_ids == expected
            assert (turn.stop_reason == "eos") == (expected[-1] in stop_ids)
            stops.add(turn.stop_reason)
    assert "limit" in stops or stop_ids
    assert ("eos" in stops) == bool(stop_ids)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_small_limits(limit):
    reference = hf_model("llama")
    by_drafter, target = drafters("llama")
    limits = Limits(frozenset(), limit, CONTEXT)
    expected = hf_greedy(reference, prompt(5), limits)
    assert len(expected) == limit
    for drafter in by_drafter.values():
        for method in METHODS.values():
            turn = generate(target, method, drafter, prompt(5), limits)
            assert turn.output_ids == expected
            assert turn.stop_reason == "limit"


def test_the_context_is_used_to_its_last_position_and_no_further():
    target = ours("llama")
    turn = generate(target, vanilla.Method(), None, prompt(CONTEXT - 3), Limits(frozenset(), 40, CONTEXT))
    assert len(turn.output_ids) == 4
    assert turn.stop_reason == "context"


def test_eos_is_read_from_the_model_as_number_and_as_list():
    assert ours("llama", eos_token_id=2).stop_ids == {2}
    assert ours("llama", eos_token_id=[2, 5]).stop_ids == {2, 5}
    assert ours("llama", eos_token_id=0).stop_ids == {0}
    assert ours("llama", eos_token_id=None).stop_ids == frozenset()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_tree_scores_like_each_of_its_paths_alone(architecture, engine):
    target = ours(architecture, engine=engine)
    text = prompt(25)
    tokens, parents = [4, 5, 6, 7, 8, 9, 10], [-1, 0, 0, 1, 2, 3, 3]
    target.reset(60)
    target.append(text)
    in_tree = target.extend(tokens, parents)
    for node in range(len(tokens)):
        path, at = [], node
        while at >= 0:
            path.append(tokens[at])
            at = parents[at]
        target.reset(60)
        alone = target.append(text + path[::-1])
        torch.testing.assert_close(in_tree[node], alone, atol=2e-5, rtol=1e-4)


def test_a_wrong_mask_is_caught(monkeypatch):
    """The negative control: siblings that see each other change the output."""
    real = hybrid.Layout

    def blind(hidden, positions, tail_positions):
        open_mask = None if hidden is None else torch.zeros_like(hidden)
        return real(open_mask, positions, tail_positions)

    monkeypatch.setattr(hybrid, "Layout", blind)
    with pytest.raises(AssertionError):
        test_every_method_and_drafter_gives_hugging_faces_ids("llama", True, "eager")


def test_a_stale_cache_slot_is_caught(monkeypatch):
    """The negative control: accepted nodes left where they lay."""
    from longspec.models.cache.preallocated import PreallocatedLayer

    real = PreallocatedLayer.commit
    monkeypatch.setattr(PreallocatedLayer, "commit", lambda self, path, nodes: real(self, path, None))
    with pytest.raises(AssertionError):
        test_every_method_and_drafter_gives_hugging_faces_ids("llama", True, "eager")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_layers_compute_what_plain_ones_do(dtype):
    if packed_linear.resolve("auto", CPU, dtype) != "packed":
        pytest.skip(f"{dtype} weights cannot be packed here")
    torch.manual_seed(0)
    for bias, rows in [(False, 1), (True, 1), (True, 7), (True, 40)]:
        plain = torch.nn.Linear(48, 80, bias=bias, dtype=dtype)
        holder = torch.nn.Sequential(plain)
        packed_linear.pack(holder, lambda: None)
        assert type(holder[0]) is packed_linear.PackedLinear
        x = torch.randn(1, rows, 48, dtype=dtype)
        tolerance = 1e-5 if dtype is torch.float32 else 2e-2
        with torch.inference_mode():
            torch.testing.assert_close(holder[0](x), plain(x), atol=tolerance, rtol=tolerance)


class Fork(torch.nn.Module):
    """Two layers that share an input, and one that doesn't."""

    def __init__(self):
        super().__init__()
        self.left = torch.nn.Linear(16, 8)
        self.right = torch.nn.Linear(16, 24, bias=False)
        self.after = torch.nn.Linear(32, 4)

    def forward(self, x):
        return self.after(torch.cat([self.left(x), self.right(x)], dim=-1))


@pytest.mark.skipif(
    packed_linear.resolve("auto", CPU, torch.float32) != "packed", reason="float32 cannot be packed here"
)
@torch.inference_mode()
def test_layers_that_share_an_input_are_one_product():
    torch.manual_seed(0)
    fork, plain, inputs = Fork(), Fork(), [torch.randn(1, rows, 16) for rows in (1, 5, 1)]
    plain.load_state_dict(fork.state_dict())
    packed_linear.pack(fork, lambda: fork(inputs[0]))
    kinds = [type(fork.left), type(fork.right), type(fork.after)]
    assert kinds == [packed_linear.SharedPart, packed_linear.SharedPart, packed_linear.PackedLinear]
    for x in inputs:
        torch.testing.assert_close(fork(x), plain(x), atol=1e-5, rtol=1e-5)
    # Asked in another order or twice, a layer still computes its own output.
    x = inputs[1]
    for layer in ("right", "right", "left", "left"):
        torch.testing.assert_close(getattr(fork, layer)(x), getattr(plain, layer)(x), atol=1e-5, rtol=1e-5)


def test_an_engine_that_this_device_lacks_is_refused():
    with refused("engine", ("packed", "float64", "cpu"), "eager"):
        packed_linear.resolve("packed", CPU, torch.float64)
