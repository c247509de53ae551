"""The order in which a job measures its samples and methods. No torch.

Each sample is answered by all methods of the job before the next sample begins; the order of the methods is drawn from
the seed, so that one configuration always runs in one order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from longspec.core.draw import draw
from longspec.core.records import Prompt


class Line(NamedTuple):
    """Name one sample that a job measures; `method` is the method's number in the job."""

    method: int
    repeat: int
    prompt: Prompt


def lines(methods: Sequence[str], prompts: Sequence[Prompt], repeats: int, seed: int) -> list[Line]:
    """List every sample of a job in the order of measuring.

    For each sample, the order of the methods is drawn anew from the seed and the methods' names."""
    found = []
    for repeat in range(repeats):
        for prompt in prompts:
            drawn = sorted(range(len(methods)), key=lambda n: draw(seed, repeat, prompt.sample_id, methods[n]))
            found += [Line(number, repeat, prompt) for number in drawn]
    return found
