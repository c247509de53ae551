"""Runs a text by transformers' own attention and cache: the reference that our engine is compared with, and its noise.

The model is as transformers ships it, and is not changed.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from longspec.verify.engine.text import PATH, Table, Tables, Text

STEPS = "steps"
"""The way that all others are compared with; it has all rows."""


@torch.inference_mode()
def tables(model: Any, text: Text) -> Tables:
    """Run the text in transformers' own ways.

    "eager" and "sdpa" (those that the model has): the prompt and the path at once, without a cache. STEPS: the prompt
    at once and then each node alone after its ancestors, with the model's own cache and its default attention.
    """
    own = model.config._attn_implementation
    found = {}
    whole = text.prompt + text.ids[:PATH]
    for name in ("eager", "sdpa") if getattr(model, "_supports_sdpa", False) else ("eager",):
        model.set_attn_implementation(name)
        found[name] = Table()
        found[name].add(list(range(len(whole))), model(input_ids=_ids(model, whole), use_cache=False).logits[0])
    model.set_attn_implementation(own)
    return {**found, STEPS: _steps(model, text)}


def _steps(model: Any, text: Text) -> Table:
    table = Table()
    output = model(input_ids=_ids(model, text.prompt), use_cache=True)
    table.add(list(range(len(text.prompt))), output.logits[0])

    def walk(node: int, cache: Any) -> None:
        step = model(input_ids=_ids(model, [text.ids[node]]), past_key_values=cache, use_cache=True)
        table.add(text.rows([node]), step.logits[0, -1:])
        below(node, step.past_key_values)

    def below(node: int, cache: Any) -> None:
        children = [child for child, parent in enumerate(text.parents) if parent == node]
        for child in reversed(children):  # the path comes last, so that the cache need not be copied for it
            walk(child, cache if child == children[0] else copy.deepcopy(cache))

    below(-1, output.past_key_values)
    return table


def _ids(model: Any, ids: list[int]) -> torch.Tensor:
    return torch.tensor([ids], device=model.device)
