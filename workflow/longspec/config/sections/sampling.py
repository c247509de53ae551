"""How the target's distribution is made from its logits, in transformers' order and meaning."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from longspec.config.sections.base import AS_GIVEN, NonNegativeNumber, Positive, PositiveNumber, Section, Share


class Sampling(Section):
    """How the target's distribution is made from its logits, in transformers' order and meaning."""

    temperature: NonNegativeNumber = 0.0
    """Divides the logits; 0 takes the best id (greedy)."""
    top_k: Positive | None = None
    """Only this many best ids may be sampled. All by default."""
    top_p: Annotated[float, Field(gt=0, le=1), AS_GIVEN] = 1.0
    """Only the smallest set of best ids with at least this probability may be sampled."""
    min_p: Share = 0.0
    """Only ids with at least this share of the best id's probability may be sampled."""
    repetition_penalty: PositiveNumber = 1.0
    """Divides (or, below zero, multiplies) the logits of ids that the text holds already. Works at temperature 0
    too."""
