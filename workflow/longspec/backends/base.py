"""What a job times: our loop with a method and a drafter, or a peer's own loop. One shape for all.

Contract: loaded from a job's spec (load.py), a backend answers one prompt at a time and tells the conditions that its
loop adds. It does not know samples, files or warm-up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from longspec.core.records import Turn
from longspec.core.run_record import LoopFacts, Tuning
from longspec.decoding.loop import Limits

Texts = Callable[[], tuple[list[list[int]], str]]
"""Makes texts to tune on, and says what they are."""


class Backend(Protocol):
    """What the loop over the samples needs."""

    device: torch.device
    stop_ids: frozenset[int]
    context_tokens: int | None

    @property
    def engine(self) -> str:
        """How the model runs now."""
        ...

    @property
    def engine_note(self) -> str | None:
        """Why that is not what was to be expected."""
        ...

    def answer(self, ids: list[int], limits: Limits, sample_id: str, turn: int) -> Turn:
        """One turn of one sample, timed."""
        ...

    def facts(self) -> LoopFacts:
        """Conditions of the run that come from the loop."""
        ...

    def tune(self, texts: Texts, limits: Limits, known: Tuning | None) -> Tuning | None:
        """Choose what is left to `auto`; None where nothing is.

        `known`: what an earlier process chose for the same job; one job has one shape."""
        ...

    def profile(self, ids: list[int], limits: Limits, sample_id: str) -> dict[str, float] | None:
        """Where the time goes over one answer; None where the loop cannot be looked into."""
        ...

    def memory(self) -> dict[str, int] | None:
        """Bytes by what holds them; None where that cannot be known."""
        ...
