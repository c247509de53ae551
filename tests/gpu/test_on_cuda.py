"""On a real GPU: the kernel, the fallback and captured steps give what the plain path and Hugging Face give.

.venv/bin/python -m pytest -m gpu
"""

from __future__ import annotations

import pytest
import torch
from attention_cases import CASES, HALF, assert_right
from steps import LIMITS, METHODS, hugging_faces_ids, prompt
from test_tree_attention import MERGED, merged
from tiny import ARCHITECTURES, CONTEXT, VOCAB, hf_model

from longspec.decoding.loop import Limits, generate
from longspec.decoding.methods import vanilla
from longspec.drafters.causal_lm import CausalLMDrafter
from longspec.drafters.ngram import NGramDrafter
from longspec.models.attention import on_device
from longspec.models.target import CausalLM

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


def on_gpu(architecture, engine="auto", seed=0):
    return CausalLM(hf_model(architecture, seed).to("cuda"), engine=engine)


@pytest.mark.parametrize("name", [*CASES, *HALF])
def test_the_kernel_is_a_softmax_over_what_each_row_sees(name):
    assert_right(on_device.attend, {**CASES, **HALF}[name], "cuda")


@pytest.mark.parametrize(
    "name", [name for name in MERGED if {**CASES, **HALF}[name].d % 8 == 0 and not {**CASES, **HALF}[name].dv]
)
def test_flash_and_a_masked_tail_merge_into_the_same(name):
    assert_right(merged, {**CASES, **HALF}[name], "cuda")


@pytest.mark.parametrize("engine", ["eager", "static", "graphs"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_method_gives_hugging_faces_ids(architecture, engine):
    target = on_gpu(architecture, engine)
    model = CausalLMDrafter(on_gpu(architecture, engine, seed=1), VOCAB)
    for length in (1, 20, CONTEXT - 8):
        ids = prompt(length)
        expected = hugging_faces_ids(architecture, ids, "cuda")
        assert generate(target, vanilla.Method(), None, ids, LIMITS).output_ids == expected
        for method in METHODS:
            for drafter in (NGramDrafter(3, 1), model):
                assert generate(target, method, drafter, ids, LIMITS).output_ids == expected, (length, method)
    assert (target.engine, target.engine_note) == (engine, None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_captured_steps_compute_what_plain_ones_do_in_half_precision(dtype):
    models = [hf_model("llama").to("cuda", dtype) for _ in range(2)]
    logits = []
    for model, engine in zip(models, ("graphs", "eager"), strict=True):
        target = CausalLM(model, engine=engine)
        target.reset(200)
        target.append(prompt(60))
        logits.append(target.extend([3, 4, 5, 6, 7], [-1, 0, 0, 1, 2]).float())
        assert target.engine == engine
    assert (logits[0] - logits[1]).abs().max() < 0.03 * logits[1].abs().max()


def test_a_step_waits_for_the_device_once(monkeypatch):
    """Reading the choices is the one synchronisation; whatever else asked the device would raise here."""
    target, method = on_gpu("llama", "graphs"), METHODS[1]
    generate(target, method, NGramDrafter(3, 1), prompt(20), LIMITS)
    real = CausalLM.extend

    def extend(self, ids, parents, keep=0):
        if len(ids) > 8:  # the prompt
            return real(self, ids, parents, keep)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return real(self, ids, parents, keep)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    commit = CausalLM.commit

    def committed(self, path):
        torch.cuda.set_sync_debug_mode("error")
        try:
            commit(self, path)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(CausalLM, "extend", extend)
    monkeypatch.setattr(CausalLM, "commit", committed)
    generate(target, method, NGramDrafter(3, 1), prompt(20), LIMITS)


def test_graphs_are_made_again_when_the_storage_moves():
    target = on_gpu("llama", "graphs", seed=3)
    plain = on_gpu("llama", "eager", seed=3)
    for room in (20, 2000, 40):
        limits = Limits(frozenset(), 30, None)
        target.reserve(room)
        for engine in (target, plain):
            engine.ids = generate(engine, METHODS[0], NGramDrafter(3, 1), prompt(20), limits).output_ids
        assert target.ids == plain.ids
