"""Tree attention's fallbacks on a CPU, its kernel in Triton's interpreter, and its kernel compiled for real GPUs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from attention_cases import CASES, HALF, assert_right

from longspec.models.attention import on_device

MERGED = [name for name, case in {**CASES, **HALF}.items() if not (case.window or case.softcap)]


@pytest.mark.parametrize("name", [*CASES, *HALF])
def test_the_reference_is_a_softmax_over_what_each_row_sees(name):
    assert_right(on_device.reference, {**CASES, **HALF}[name])


def merged(query, key, value, layout, scaling, window, softcap):
    """The fallback in the reference's terms; where the host knows the lengths."""
    _, heads, n, d = query.shape
    kv_heads, (prefix, tail) = key.shape[1], layout.lengths.tolist()
    key, value = (states[:, :, : prefix + tail] for states in (key, value))
    added = torch.zeros(n, tail, dtype=query.dtype).masked_fill_(layout.hidden[:, :tail], float("-inf"))
    groups = heads // kv_heads
    rows = query.reshape(1, kv_heads, groups * n, d)
    mixed = on_device.prefix_and_tail(rows, key, value, added.repeat(groups, 1), scaling)
    return mixed.view(1, heads, n, -1).transpose(1, 2)


@pytest.mark.parametrize("name", MERGED)
def test_flash_and_a_masked_tail_merge_into_the_same(name):
    case = {**CASES, **HALF}[name]
    if case.dv:
        pytest.skip("torch's flash attention wants values as wide as keys")
    assert_right(merged, case)


MERGES = {
    "the log-sum-exps are exchanged": ("merge", lambda real: lambda a, x, b, y: real(a, y, b, x)),
    "the tail counts alone": ("merge", lambda real: lambda a, x, b, y: b),
    "parts weigh the same": ("merge", lambda real: lambda a, x, b, y: (a + b) / 2),
    "the prefix is one too short": ("flash", lambda real: lambda q, k, v, s: real(q, k[:, :, 1:], v[:, :, 1:], s)),
    "a log-sum-exp in base 2": ("merge", lambda real: lambda a, x, b, y: real(a, x * 1.4427, b, y * 1.4427)),
}


@pytest.mark.parametrize("name", MERGES)
def test_a_wrong_merge_is_caught(name, monkeypatch):
    function, planted = MERGES[name]
    monkeypatch.setattr(on_device, function, planted(getattr(on_device, function)))
    with pytest.raises(AssertionError, match="errors of"):
        assert_right(merged, CASES["a star"])


@pytest.mark.parametrize(("chosen", "cases"), [("not slow", 30), pytest.param("", 46, marks=pytest.mark.slow)])
def test_the_kernel_in_tritons_interpreter(chosen, cases):
    """In a process of its own: whether kernels are interpreted is settled when Triton is imported."""
    pytest.importorskip("triton")
    file = Path(__file__).with_name("interpreted_kernel.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", chosen, str(file)],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > cases


POINTERS = {"hidden_ptr": "*u8", "mixed_ptr": "*fp32", "lse_ptr": "*fp32", "q_ptr": "", "k_ptr": "", "v_ptr": ""}


@pytest.mark.parametrize(("capability", "shared_bytes"), [(90, 227 * 1024), (80, 163 * 1024), (89, 99 * 1024)])
def test_the_kernel_compiles_for_gpus_and_fits_their_memory(capability, shared_bytes):
    """Triton and ptxas need no GPU to compile for one. Shapes: Llama-3-8B's, one token and a tree of 69."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from longspec.models.attention import triton_kernel

    kernel = triton_kernel._parts_kernel
    for rows in (1, 80):
        m, n, warps = triton_kernel.blocks(4 * rows, 128, 2, large=capability == 90)
        constants = {
            "GROUPS": 4, "D": 128, "DV": 128, "PARTS": 32, "BLOCK_M": m, "BLOCK_N": n, "BLOCK_D": 128, "BLOCK_DV": 128,
            "SOFTCAP": False, "WINDOWED": False, "PRECISION": "tf32", "q_dim": 1, "k_dim": 1, "v_dim": 1,
        }  # fmt: skip
        signature = {}
        for name in kernel.arg_names:
            kind = POINTERS.get(name, "*i64") or "*bf16" if name.endswith("_ptr") else "i32"
            kind = "fp32" if name.endswith("_scale") else kind
            signature[name] = "constexpr" if name in constants else kind
        aligned = {
            (at,): [["tt.divisibility", 16]]
            for at, name in enumerate(kernel.arg_names)
            if name.endswith(("_ptr", "_head", "_row")) and name != "hidden_row"
        }
        made = triton.compile(
            ASTSource(kernel, signature, constants, aligned), GPUTarget("cuda", capability, 32),
            options={"num_warps": warps, "num_stages": 2},
        )  # fmt: skip
        assert made.asm["cubin"]
        assert made.metadata.shared <= shared_bytes
        assert re.search(r"wgmma|mma\.sync", made.asm["ptx"]), "tensor cores"
