"""Runs known texts by one engine in several ways, to measure its rounding: for the gate, and to derive its bounds.

All ways compute a text's logits by the same engine, so that they differ by its rounding alone. No position is run that
lies beyond the model's context.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

from longspec.models.target import CausalLM

SOME = (2, 8)
"""Tokens a step, beside the method's own most: kernels differ by shape, and each shape is a sample of rounding."""
BRANCHED = ((2, 1), (3, 2), (4, 4), (4, 9))
"""Pairs (tokens of the path a step, branches before it)."""


def chained(target: CausalLM, ids: list[int], step: int) -> Iterator[torch.Tensor]:
    """Yield logits [k, vocab] after each of `ids`, run `step` tokens at a time after what the cache holds."""
    for start in range(0, len(ids), step):
        some = ids[start : start + step]
        yield target.extend(some, list(range(-1, len(some) - 1)))
        target.commit(list(range(len(some))))


def branched(target: CausalLM, ids: list[int], step: int, branches: int) -> Iterator[torch.Tensor]:
    """Yield logits [k, vocab] after each of `ids`, run in trees whose first `branches` children are not the text's.

    Each step has `step` tokens of the text; if need be the first has fewer."""
    first = len(ids) % step
    for start in range(first - step if first else 0, len(ids), step):
        root, *rest = ids[max(0, start) : start + step]
        others = [(rest[0] + 1 + n) % target.vocab_size for n in range(branches)] if rest else []
        path = [0, *range(len(others) + 1, len(others) + 1 + len(rest))]
        logits = target.extend([root, *others, *rest], [-1, *(0 for _ in others), *path[:-1]])
        target.commit(path)
        yield logits[path]


def after(target: CausalLM, ids: list[int], step: int) -> torch.Tensor:
    """Compute the logits [vocab] after the last of `ids`, run `step` tokens at a time.

    The last token is the first of its step, as the root of a draft is. The tokens after it (as far as the model's
    context allows) change its logits by rounding alone.
    """
    for _ in chained(target, ids[:-1], step):
        pass
    room = (target.context_tokens or target.length + step) - target.length
    nodes = max(1, min(step, room))
    return target.extend(ids[-1:] * nodes, list(range(-1, nodes - 1)))[0]


def plainly(model: Any, prompt_ids: list[int], ids: list[int]) -> Iterator[torch.Tensor]:
    """Yield the logits [vocab] after a prompt and `ids`, run by a transformers model in four ways.

    First as its `generate` does, one forward for the prompt and one for each token; then the answer in one forward, as
    it verifies drafts; prompt and answer in one; and the last token by itself after all others."""
    after_prompt, cache = _forward(model, prompt_ids)
    of_prompt, alone = copy.deepcopy(cache), after_prompt
    for token in ids:
        alone, cache = _forward(model, [token], cache)
    yield alone
    yield _forward(model, ids, of_prompt)[0] if ids else after_prompt
    text = prompt_ids + ids
    at_once, cache = _forward(model, text)
    yield at_once
    yield _forward(model, text[-1:], _without_last(model, text, cache))[0]


def _forward(model: Any, ids: list[int], cache: Any = None) -> tuple[torch.Tensor, Any]:
    """Run `ids` in one forward after a cache; returns the logits [vocab] after the last, and the cache with them."""
    given = torch.tensor([ids], device=model.device)
    output = model(given, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return output.logits[0, -1], output.past_key_values


def _without_last(model: Any, text: list[int], cache: Any) -> Any:
    """Remove a text's last token from its cache; the text is run anew where layers do not simply keep all keys."""
    if len(text) > 1 and all(type(layer) is DynamicLayer for layer in cache.layers):
        cache.crop(-1)
        return cache
    return _forward(model, text[:-1])[1] if text[1:] else None


def scale(logits: torch.Tensor) -> torch.Tensor:
    """Measure how large the scores of a row [.., vocab] are, to which rounding is proportional: [..].

    It is the best one's absolute value or its distance from the median, whichever is larger. A few ids that a model
    masks with a large negative number do not change it."""
    best = logits.float().amax(-1)
    return torch.maximum(best.abs(), best - logits.float().median(-1).values)


def warped(scale: float, repetition_penalty: float, temperature: float) -> float:
    """Convert the scale of logits to that of the scores made of them by penalty and temperature."""
    return scale * max(1.0, repetition_penalty) / (temperature or 1.0)


def moved(some: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Measure how far any two scores of a row [.., vocab] move against each other between two runs: [..].

    It is the largest minus the least of the differences, over the ids that both can sample."""
    both = some.isfinite() & others.isfinite()
    difference = some.float() - others.float()
    high = difference.masked_fill(~both, float("-inf")).amax(-1)
    return high - difference.masked_fill(~both, float("inf")).amin(-1)
