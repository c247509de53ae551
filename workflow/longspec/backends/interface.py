"""The interface of a backend: our loop with a method and a drafter, or a peer's own loop.

A backend is loaded from a job's spec (load.py), answers one prompt at a time, and reports the conditions under which it
runs. Samples, files and warm-up are the work of `measure/`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import psutil
import torch

from longspec.core.records import Turn
from longspec.core.run_record import LoopFacts, Tuning
from longspec.decoding.loop import Limits

Texts = Callable[[], tuple[list[list[int]], str]]
"""Makes texts (token ids) to tune on, and names their kind."""


class Backend(Protocol):
    """Answer prompts under a clock, with a loaded model."""

    device: torch.device
    stop_ids: frozenset[int]
    context_tokens: int | None

    @property
    def engine(self) -> str:
        """Name the engine that runs the model now."""
        ...

    @property
    def engine_note(self) -> str | None:
        """Explain why another engine runs than was to be expected; None where it does not."""
        ...

    def answer(self, ids: list[int], limits: Limits, sample_id: str, turn: int) -> Turn:
        """Answer one turn of one sample, and time it."""
        ...

    def facts(self) -> LoopFacts:
        """Return the conditions of the run that the decoding loop decides."""
        ...

    def tune(self, texts: Texts, limits: Limits, known: Tuning | None) -> Tuning | None:
        """Choose the options that are left to `auto`; None where there are none.

        `known`: the choice of an earlier process of the same job, which is kept: a job measures one shape."""
        ...

    def profile(self, ids: list[int], limits: Limits, sample_id: str) -> dict[str, float] | None:
        """Measure the seconds of each part of the loop over one answer; None where the loop cannot be profiled."""
        ...

    def memory(self) -> dict[str, int] | None:
        """Count the bytes of weights and caches by part; None where they cannot be counted."""
        ...

    @property
    def command(self) -> list[str] | None:
        """Return the command line of the server that answers; None where none was started."""
        ...

    def processes(self) -> list[psutil.Process]:
        """List the other processes that make the answers; mostly none."""
        ...

    def end(self) -> None:
        """End what runs outside this process."""
        ...
