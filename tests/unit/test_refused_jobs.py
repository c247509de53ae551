"""A generate job that cannot run is refused, with the key that is wrong, before any model runs."""

from __future__ import annotations

import pytest
import tiny_folder
import torch

from longspec.core.errors import UserError
from longspec.drafters import causal_lm
from longspec.models import machine
from longspec.models.target import CausalLM


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_where_there_is_none():
    with pytest.raises(UserError) as refused:
        machine.resolve_device("gpu")
    assert "device" in str(refused.value)
    assert "gpu" in str(refused.value)


def test_a_drafter_of_another_tokenizer(tmp_path):
    target = CausalLM.from_folder(tiny_folder.make(tmp_path / "target"), torch.device("cpu"), torch.float32)
    other = tiny_folder.make(tmp_path / "other", words=[*tiny_folder.WORDS, "!"])
    with pytest.raises(UserError) as refused:
        causal_lm.make(target, model={"path": str(other)}, shared_noise=True)
    assert str(other) in str(refused.value)
    assert f"{len(tiny_folder.WORDS) + 1}" in str(refused.value)
    causal_lm.make(target, model={"path": str(tiny_folder.make(tmp_path / "same", seed=1))}, shared_noise=True)
