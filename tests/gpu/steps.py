"""Steps of fixed shape on a CPU: recorded once and replayed, as CUDA does with a graph, or run anew each time."""

from __future__ import annotations

import random

import torch
from tiny import CONTEXT, VOCAB, hf_model, ours
from torch.fx.experimental.proxy_tensor import make_fx

from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import sequential, tree, vanilla
from longspec.drafters.causal_lm import CausalLMDrafter
from longspec.drafters.ngram import NGramDrafter
from longspec.models import cuda_graphs
from longspec.models.target import CausalLM

METHODS = (sequential.Method(5), tree.Method([3, 2, 2]))
NARROW = (sequential.Method(3), tree.Method([2, 2]))
"""For which few buckets are recorded."""
LIMITS = Limits({2}, 40, CONTEXT)


def recorded(forward, buffers):
    """Record the tensor operations of one run and replay them on the same tensors, as a CUDA graph does.

    Whatever the host knew is a constant of the recording, and asking the device for a number is an error.
    """
    forward(*buffers)
    graph = make_fx(forward)(*buffers)
    return lambda: graph(*buffers)


def static(architecture: str, seed: int = 0, capture: cuda_graphs.Capture | None = None) -> CausalLM:
    """Make a tiny model that runs over static buffers."""
    target = ours(architecture, seed, "static")
    target._steps = cuda_graphs.Steps(target.model, capture and (lambda: capture))
    return target


def prompt(length: int) -> list[int]:
    return random.Random(length).choices(range(3, VOCAB), k=length)


def assert_vanillas_ids(architecture, capture=None, lengths=(1, 20, CONTEXT - 8), new_tokens=40, methods=METHODS):
    """Check that vanilla and all methods with static steps, drafters' too, give the ids of the plain path."""
    limits = Limits(LIMITS.stop_ids, new_tokens, CONTEXT)
    plain, target = ours(architecture, engine="eager"), static(architecture, 0, capture)
    model = CausalLMDrafter(static(architecture), VOCAB)
    accepted = rejected = 0
    for length in lengths:
        ids = prompt(length)
        expected = generate(plain, vanilla.Method(), None, ids, limits).output_ids
        assert generate(target, vanilla.Method(), None, ids, limits).output_ids == expected
        for method in methods:
            for drafter in (NGramDrafter(3, 1), model):
                turn = generate(target, method, drafter, ids, limits)
                assert turn.output_ids == expected, (length, method, drafter)
                accepted += sum(a for _, _, a in turn.steps)
                rejected += sum(d - a for d, _, a in turn.steps)
    assert (target.engine, target.engine_note, model.lm.engine) == ("static", None, "static")
    assert accepted > 5
    assert rejected > 5


def hugging_faces_ids(architecture, ids, device):
    """Generate greedy ids by transformers' own loop."""
    model = hf_model(architecture).to(device)
    out = model.generate(
        torch.tensor([ids], device=device),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=device),
        max_new_tokens=LIMITS.room(len(ids))[0],
        do_sample=False,
        eos_token_id=2,
        pad_token_id=0,
    )
    return out[0, len(ids) :].tolist()
