"""In which order a job measures its samples and methods. No torch.

Contract: each sample is answered by all methods of the job before the next sample is begun, in an order that is drawn
from the seed, so that the same configuration runs in the same order. It does not know what a method is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from longspec.core.draw import draw
from longspec.core.records import Prompt


class Line(NamedTuple):
    """One sample that a job measures; `method` is its number in the job."""

    method: int
    repeat: int
    prompt: Prompt


def lines(methods: Sequence[str], prompts: Sequence[Prompt], repeats: int, seed: int) -> list[Line]:
    """List every sample of a job in order: each is answered by all methods before the next begins, in an order that is
    drawn anew for each sample from the seed and the methods' names."""
    found = []
    for repeat in range(repeats):
        for prompt in prompts:
            drawn = sorted(range(len(methods)), key=lambda n: draw(seed, repeat, prompt.sample_id, methods[n]))
            found += [Line(number, repeat, prompt) for number in drawn]
    return found
