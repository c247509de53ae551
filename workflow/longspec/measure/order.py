"""In which order a job measures its samples and methods. No torch.

Contract: each sample is answered by all methods of the job before the next sample is begun, in an order that is drawn
from the seed, so that the same configuration runs in the same order. It does not know what a method is.
"""

from __future__ import annotations

from collections.abc import Sequence

from longspec.core.draw import draw
from longspec.core.records import Prompt

Job = tuple[int, Prompt]
"""(repeat, prompt): one line of one samples.jsonl."""
Line = tuple[int, int, Prompt]
"""(number of the method in its job, repeat, prompt)."""


def jobs(prompts: Sequence[Prompt], repeats: int) -> list[Job]:
    """Every line of a complete samples.jsonl, in order."""
    return [(repeat, prompt) for repeat in range(repeats) for prompt in prompts]


def lines(methods: Sequence[str], prompts: Sequence[Prompt], repeats: int, seed: int) -> list[Line]:
    """Every line that a job writes: sample by sample, the methods in an order that is drawn anew for each."""
    found = []
    for repeat, prompt in jobs(prompts, repeats):
        drawn = sorted(range(len(methods)), key=lambda n: draw(seed, repeat, prompt.sample_id, methods[n]))
        found += [(number, repeat, prompt) for number in drawn]
    return found
