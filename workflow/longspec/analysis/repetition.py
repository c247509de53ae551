"""Detect looping outputs: small models under greedy decoding repeat themselves, and any drafter looks brilliant there.

share of repeated 4-grams = 1 - different 4-grams / 4-grams, over the turns of a sample. An output whose share is at
least LOOPING is called looping: half of its 4-grams stood in it before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GRAM = 4
LOOPING = 0.5


def share(outputs: Iterable[Sequence[int]]) -> float | None:
    """Return the share of the outputs' 4-grams that stood there before; None where they are too short to have one."""
    grams = different = 0
    for ids in outputs:
        found = max(0, len(ids) - GRAM + 1)
        if found:
            grams += found
            different += len(set(zip(ids, ids[1:], ids[2:], ids[3:], strict=False)))
    return 1 - different / grams if grams else None
