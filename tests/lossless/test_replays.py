"""The ways in which a peer's own code runs a known text: each gives the logits after the same text."""

from __future__ import annotations

import pytest
import torch
import zoo

from longspec.verify import replays


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3_text"])  # the last two forget what lies outside windows
@pytest.mark.parametrize(("prompt", "answer"), [(40, 7), (40, 0), (1, 3), (1, 0)])
def test_every_way_of_a_peer_gives_the_logits_behind_the_whole_text(name, prompt, answer):
    model = zoo.model(name)
    text = torch.randint(zoo.VOCAB, (prompt + answer,), generator=torch.Generator().manual_seed(3)).tolist()
    with torch.inference_mode():
        behind = model(torch.tensor([text])).logits[0, -1]
        ways = list(replays.plainly(model, text[:prompt], text[prompt:]))
    assert len(ways) == 4
    for way in ways:
        assert torch.allclose(way, behind, atol=1e-4 * float(behind.abs().max()))
