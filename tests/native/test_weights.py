"""Weights stay in the number format of their files, and in memory once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import zoo

from longspec.models import model_files
from longspec.models.native import architecture, build
from longspec.models.target import CausalLM

try:
    build.library()
except build.NotBuilt as error:
    pytest.skip(f"not built here: {error}", allow_module_level=True)

CPU = torch.device("cpu")
IDS = list(range(3, 60))


def saved(name, folder, **changes):
    config = zoo.config(name)
    for key, value in changes.items():
        setattr(config, key, value)
    torch.manual_seed(0)
    model = zoo.model(name) if not changes else type(zoo.model(name))(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


def logits(target):
    target.reset(100)
    return target.extend(IDS, list(range(-1, len(IDS) - 1)))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", sorted(architecture.FAMILIES))
def test_in_float32_weights_that_stay_bfloat16_are_the_same_function(name, compiled, tmp_path, monkeypatch):
    if not compiled:
        monkeypatch.setenv("CXX", "no-such-compiler")
        build.library.cache_clear()
    odd = {"hidden_size": 96} if name.startswith("gemma") else {}  # whose root, which scales embeddings, is no half
    folder = saved(name, tmp_path, **odd)
    widened = CausalLM(model_files.causal_lm(folder, torch.float32), engine="auto", numerics="fast")
    as_stored = CausalLM.from_folder(folder, CPU, torch.float32, "native" if compiled else "auto", "fast")
    assert as_stored.engine == widened.engine == ("native" if compiled else "packed")
    assert as_stored.dtype == torch.float32
    assert torch.equal(logits(as_stored), logits(widened))
    build.library.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="pages of a mapped file are counted by Linux alone")
def test_packed_weights_are_not_in_memory_a_second_time(tmp_path):
    folder = saved("llama", tmp_path, hidden_size=512, intermediate_size=2048, vocab_size=16384)
    target = CausalLM.from_folder(folder, CPU, torch.float32, "native")
    size = (folder / "model.safetensors").stat().st_size
    assert size > 2**25
    assert mapped_bytes(folder) < size / 10
    logits(target)
    assert mapped_bytes(folder) < size / 10


def mapped_bytes(folder):
    """Bytes of files in this folder that are mapped and in memory."""
    found, counts = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if "-" in line.split()[0] and not line.split()[0].endswith(":"):
            counts = str(folder) in line
        elif counts and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found
