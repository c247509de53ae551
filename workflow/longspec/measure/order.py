"""The order in which a job measures its samples and methods. No torch.

At one request in flight, each sample is answered by all methods of the job before the next sample begins; the order of
the methods is drawn from the seed, so that one configuration always runs in one order. Under more load the samples of a
method share the engine, so that each method goes through all of them in one pass, one pass after another; the order of
a pass's samples is drawn for each load and repeat, and is the same for all methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from longspec.core.draw import draw
from longspec.core.records import Prompt
from longspec.core.spec import load_of


class Line(NamedTuple):
    """Name one sample that a job measures; `method` is the method's number in the job."""

    method: int
    repeat: int
    prompt: Prompt


def lines(methods: Sequence[str], prompts: Sequence[Prompt], repeats: int, seed: int) -> list[Line]:
    """List every sample of a job in the order of measuring; `methods`: labels (core/spec.py `labelled`).

    First come the methods at one request in flight, in an order that is drawn anew for each sample from the seed and
    the methods' names; then the passes under each load, from the least, in an order drawn for each load and repeat."""
    by_load: dict[int, list[int]] = {}
    for number, label in enumerate(methods):
        by_load.setdefault(load_of(label)[1], []).append(number)
    found = []
    for load, numbers in sorted(by_load.items()):
        for repeat in range(repeats):
            if load == 1:
                found += _in_turn(methods, numbers, prompts, repeat, seed)
            else:
                found += _passes(methods, numbers, prompts, (repeat, load), seed)
    return found


def _in_turn(
    methods: Sequence[str], numbers: list[int], prompts: Sequence[Prompt], repeat: int, seed: int
) -> list[Line]:
    found = []
    for prompt in prompts:
        drawn = sorted(numbers, key=lambda n: draw(seed, repeat, prompt.sample_id, methods[n]))
        found += [Line(number, repeat, prompt) for number in drawn]
    return found


def _passes(
    methods: Sequence[str], numbers: list[int], prompts: Sequence[Prompt], which: tuple[int, int], seed: int
) -> list[Line]:
    repeat, load = which
    shuffled = sorted(prompts, key=lambda prompt: draw(seed, "order", load, repeat, prompt.sample_id))
    drawn = sorted(numbers, key=lambda n: draw(seed, "pass", load, repeat, methods[n]))
    return [Line(number, repeat, prompt) for number in drawn for prompt in shuffled]
