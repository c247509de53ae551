"""The warm-up: generations before the first measured sample, equal for every method.

They are in no figure; run.json records their lengths and seconds.
"""

from __future__ import annotations

import time

from longspec.backends.interface import Backend
from longspec.core.records import Prompt
from longspec.decoding.loop import Limits

NEW_TOKENS = 32
"""Most tokens of each generation."""


def warm_up(backend: Backend, limits: Limits, prompts: list[Prompt], times: int) -> list[dict[str, int | float]]:
    """Generate `times` times on a prompt that is not in the data; returns lengths and seconds of each.

    Its ids are those of the data's median-length prompt with the two halves exchanged.
    """
    ids = sorted((p.prompt_ids for p in prompts), key=len)[len(prompts) // 2]
    ids = (ids[len(ids) // 2 :] + ids[: len(ids) // 2])[: limits.context_tokens]
    limits = Limits((), min(NEW_TOKENS, limits.max_new_tokens), limits.context_tokens)
    done = []
    for number in range(times):
        started = time.perf_counter()
        turn = backend.answer(ids, limits, "", number)  # no sample has an empty name
        seconds = time.perf_counter() - started
        done.append({"prompt_tokens": len(ids), "output_tokens": len(turn.output_ids), "seconds": seconds})
    return done
