"""Which of two engines decodes a model faster here: the seconds of a step of one row, and of eight.

Contract: steps behind the text that engines are compared on, each timed several times, of which the median counts.
"""

from __future__ import annotations

import statistics
import time

import torch

from longspec.models.target import CausalLM
from longspec.verify.engine.text import ROOM, Text

Seconds = dict[str, float]
"""Of a step, by its rows."""
ROWS = (1, 8)
TIMES = 7
ALIKE = 0.05
"""Vanilla decides: the engine whose step of one row is faster; within this share, that of eight rows."""


@torch.inference_mode()
def seconds(target: CausalLM, text: Text) -> Seconds:
    """Time a target's steps. One that fails takes forever."""
    found = {}
    for rows in (count for count in ROWS if count <= ROOM):
        try:
            target.reset(len(text.prompt) + ROOM)
            target.append(text.prompt)
            found[str(rows)] = statistics.median(_step(target, text, rows) for _ in range(TIMES))
        except Exception:  # what is wrong with it is said by the comparison
            found[str(rows)] = float("inf")
    return found


def _step(target: CausalLM, text: Text, rows: int) -> float:
    target.rewind(len(text.prompt))
    begun = time.perf_counter()
    target.extend(text.ids[:rows], list(range(-1, rows - 1)))
    return time.perf_counter() - begun


def quicker(some: Seconds, other: Seconds) -> bool:
    """Tell whether an engine decodes faster than another."""
    one, eight = (str(rows) for rows in ROWS)
    if some[one] < (1 - ALIKE) * other[one]:
        return True
    return some[one] < (1 + ALIKE) * other[one] and some[eight] < (1 - ALIKE) * other[eight]
