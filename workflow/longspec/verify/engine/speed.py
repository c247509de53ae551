"""Measures which of two engines decodes a model faster here, by the seconds of a step of one row and of eight.

Steps run after the text that engines are compared on; each is timed several times, and the median is taken.
"""

from __future__ import annotations

import statistics
import time

import torch

from longspec.models.target import CausalLM
from longspec.verify.engine.text import ROOM, Text

Seconds = dict[str, float]
"""Seconds of a step, by its rows."""
ROWS = (1, 8)
TIMES = 7
ALIKE = 0.05
"""Steps of one row (vanilla's) within this share of each other count as equal; steps of eight rows decide then."""


@torch.inference_mode()
def seconds(target: CausalLM, text: Text) -> Seconds:
    """Time a target's steps by their rows; infinite for a step that fails."""
    found = {}
    for rows in (count for count in ROWS if count <= ROOM):
        try:
            target.reset(len(text.prompt) + ROOM)
            target.append(text.prompt)
            found[str(rows)] = statistics.median(_step(target, text, rows) for _ in range(TIMES))
        except Exception:  # the comparison with transformers reports the fault
            found[str(rows)] = float("inf")
    return found


def _step(target: CausalLM, text: Text, rows: int) -> float:
    target.rewind(len(text.prompt))
    begun = time.perf_counter()
    target.extend(text.ids[:rows], list(range(-1, rows - 1)))
    return time.perf_counter() - begun


def quicker(some: Seconds, other: Seconds) -> bool:
    """Tell if one engine decodes faster than another, by the seconds of their steps."""
    one, eight = (str(rows) for rows in ROWS)
    if some[one] < (1 - ALIKE) * other[one]:
        return True
    return some[one] < (1 + ALIKE) * other[one] and some[eight] < (1 - ALIKE) * other[eight]
