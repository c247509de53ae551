"""The warm-up: what a process generates before its first measured sample, the same for every method.

Contract: it is not in the data and not in any figure; run.json records what it took.
"""

from __future__ import annotations

import time

from longspec.backends.base import Backend
from longspec.core.records import Prompt
from longspec.decoding.loop import Limits

NEW_TOKENS = 32
"""At most so many tokens each time."""


def warm_up(backend: Backend, limits: Limits, prompts: list[Prompt], times: int) -> list[dict[str, int | float]]:
    """Generate `times` times on a prompt that is not in the data; lengths and seconds of each.

    Its ids are those of the data's median-length prompt with its halves exchanged: as long, not the same.
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
