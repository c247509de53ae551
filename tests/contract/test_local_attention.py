"""What a query sees, by attention's masks and by a loop over all pairs: windows, chunks, sinks, trees."""

from __future__ import annotations

import pytest
import torch

from longspec.models import tails
from longspec.models.attention import hybrid
from longspec.models.attention.hybrid import Local

CPU = torch.device("cpu")
HEADS, KV_HEADS, WIDTH, PREFIX = 4, 2, 8, 70
TREE = [-1, 0, 0, 1, 2, 3, 3, -1]
NEAR = {
    "all": (None, lambda q, k: True),
    "window": (Local(12), lambda q, k: q - k < 12),
    "chunk": (Local(16, chunked=True), lambda q, k: q // 16 == k // 16),
}


def ancestors(node):
    return {node} | (ancestors(TREE[node]) if TREE[node] >= 0 else set())


def depth(node):
    return len(ancestors(node)) - 1


@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize("near", NEAR)
@pytest.mark.parametrize("prefix", [0, 5, PREFIX])
def test_a_query_sees_its_own_path_as_near_as_the_layer_says(near, prefix, sinks):
    torch.manual_seed(0)
    local, seen = NEAR[near]
    keys = prefix + len(TREE)
    room = -(-keys // hybrid.GRAIN) * hybrid.GRAIN
    query = torch.randn(1, HEADS, len(TREE), WIDTH)
    key, value = torch.randn(2, 1, KV_HEADS, room, WIDTH)
    s_aux = torch.randn(HEADS) if sinks else None
    layout = tails.layout(TREE, 0, prefix, CPU)
    with hybrid.laid_out(layout):
        found, _ = hybrid.hybrid_attention(None, query, key, value, local, scaling=0.3, s_aux=s_aux)
    for node in range(len(TREE)):
        position = prefix + depth(node)
        slots = [(slot, slot) for slot in range(prefix)]
        slots += [(prefix + other, prefix + depth(other)) for other in ancestors(node)]
        mine = [slot for slot, at in slots if seen(position, at)]
        for head in range(HEADS):
            group = head // (HEADS // KV_HEADS)
            scores = key[0, group, mine] @ query[0, head, node] * 0.3
            if s_aux is not None:
                scores = torch.cat([scores, s_aux[head : head + 1]])
            expected = scores.softmax(-1)[: len(mine)] @ value[0, group, mine]
            assert torch.allclose(found[0, node, head], expected, atol=1e-5)


@pytest.mark.parametrize("chunk", [None, 12, 16])
def test_masks_are_read_as_what_they_leave_of_the_text(chunk):
    from transformers import LlamaConfig, masking_utils

    config = LlamaConfig(sliding_window=12, attention_chunk_size=chunk)
    config._attn_implementation = hybrid.NAME
    given = {"inputs_embeds": torch.zeros(1, 3, 8), "attention_mask": None, "past_key_values": None}
    assert masking_utils.create_causal_mask(config, **given) is None
    assert masking_utils.create_sliding_window_causal_mask(config, **given) == Local(12)
    if chunk is not None:
        assert masking_utils.create_chunked_causal_mask(config, **given) == Local(chunk, chunked=True)
