"""The Triton kernel in Triton's interpreter, and mutants of it. `test_tree_attention.py` runs this file, on its own:

    TRITON_INTERPRET=1 .venv/bin/python -m pytest tests/gpu/interpreted_kernel.py

A process of its own, since Triton decides at its import if kernels are interpreted.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import interpreter
import pytest
import torch
from attention_cases import CASES, HALF, assert_right, make
from steps import prompt, static
from tiny import ours

from longspec.models.attention import on_device, triton_kernel

interpreter.install()
SOURCE = Path(triton_kernel.__file__).read_text(encoding="utf-8")
MUTANTS = {
    "the mask is ignored": ("other=1) == 0", "other=1) < 2", "a star"),
    "one sibling is seen": ("other=1) == 0", "other=1) == (node[None, :] == 2)", "a star"),
    "a prefix one too short": ("tl.load(lengths_ptr).to(tl.int32)", "tl.load(lengths_ptr).to(tl.int32) - 1", "one row"),
    "a prefix one too long": ("tl.load(lengths_ptr).to(tl.int32)", "tl.load(lengths_ptr).to(tl.int32) + 1", "a chain"),
    "the tail's last node is lost": ("range(0, tail, BLOCK_N)", "range(0, tail - 1, BLOCK_N)", "one row"),
    "the whole bucket is the tail": (", tl.load(lengths_ptr + 1)", ", 3 + tl.load(lengths_ptr + 1)", "a star"),
    "a window one too wide": ("key[None, :] < window", "key[None, :] <= window", "window inside the prefix"),
    "no window in the tail": ("node_position < window", "node_position < 9", "window in the tail"),
    "parts weigh the same": ("tl.exp2(lse - tl.max(lse, 0))", "tl.where(lse > -1e9, 1.0, 0.0)", "a block and one"),
    "an empty part counts": ("weight > 0", "weight >= 0", "no prefix"),
    "heads in the wrong group": ("key_head * GROUPS + pair // rows", "key_head + pair // rows * 2", "one row"),
    "the cache's rows lie close": ("key[None, :] * k_row", "key[None, :] * D", "values of another size"),
    "softcap is not applied": ("SOFTCAP=softcap is not None", "SOFTCAP=False", "softcap"),
    "no decay of the earlier blocks": ("total * decay", "total", "many blocks in every part"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def memory_that_nobody_wrote_to_is_nan():
    """Not what happened to lie there."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


SHORT = ("one row", "no prefix", "a block and one", "many blocks in every part", "values of another size",
         "a tail longer than a block", "window in the tail", "softcap and window")  # fmt: skip
"""Cases that are also tried in bfloat16 where the time is short."""
IN_HALF = [pytest.param(name, marks=[pytest.mark.slow] * (name.split(",")[0] not in SHORT)) for name in HALF]


@pytest.mark.parametrize("name", [*CASES, *IN_HALF])
def test_the_kernel_is_a_softmax_over_what_each_row_sees(name):
    assert_right(on_device.attend, {**CASES, **HALF}[name])


def test_a_key_that_is_no_number_reaches_the_result():
    """Else a broken model would decode on, and its time would count."""
    for slot in (3, CASES["a chain"].prefix):
        inputs = make(CASES["a chain"])
        inputs.key[:, :, slot] = float("nan")
        assert on_device.attend(inputs.query, inputs.key, inputs.value, inputs.layout, 1.0).isnan().all()


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gemma3_text"])
@torch.inference_mode()
def test_the_kernel_inside_a_model_gives_the_plain_paths_logits(architecture):
    """Grouped heads, softcap and sliding windows, with the strides that a model and a cache really have."""
    torch.use_deterministic_algorithms(False)  # torch has no such index_copy_
    logits = []
    for target in (static(architecture), ours(architecture, engine="eager")):
        target.reserve(60, nodes=8)
        target.reset(60)
        target.append(prompt(20))
        in_tree = target.extend([4, 5, 6, 7, 8, 9, 10], [-1, 0, 0, 1, 2, 3, 3])
        target.commit([0, 2, 4])
        logits.append([in_tree, target.extend([11], [-1]), target.extend([3, 12, 13], [0, 1, 1])])
    for ours_, plain in zip(*logits, strict=True):
        torch.testing.assert_close(ours_, plain, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_kernel_is_caught(name, tmp_path, monkeypatch):
    right, wrong, case = MUTANTS[name]
    assert right in SOURCE
    (tmp_path / "mutant.py").write_text(SOURCE.replace(right, wrong), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mutant", tmp_path / "mutant.py")
    mutant = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutant)
    monkeypatch.setattr(triton_kernel, "attend", mutant.attend)
    with pytest.raises(AssertionError, match="errors of"):
        assert_right(on_device.attend, CASES[case])
