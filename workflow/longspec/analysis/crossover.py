"""Find the load at which an engine's speculation no longer pays, and say it in a sentence.

Contract: a speedup counts only where its whole interval lies above 1; a load without an interval says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SOUND = ("identical", "ties only", "same distribution")
"""Verdicts under which a speedup is one of the model."""


@dataclass(frozen=True)
class AtLoad:
    """A variant's throughput over its baseline's with so many requests in flight; None where it was not measured."""

    concurrency: int
    speedup: float | None
    low: float | None
    high: float | None
    verdict: str

    @property
    def faster(self) -> bool:
        """Whether the whole interval lies above 1."""
        return self.low is not None and self.low > 1

    def __str__(self) -> str:
        return f"{self.speedup:.2f}×, 95% interval {self.low:.2f} to {self.high:.2f}"


def measured(loads: Sequence[AtLoad]) -> list[AtLoad]:
    """Sort the loads that have an interval, the least first."""
    known = [load for load in loads if None not in (load.speedup, load.low, load.high)]
    return sorted(known, key=lambda load: load.concurrency)


def gone(loads: Sequence[AtLoad]) -> AtLoad | None:
    """Find the least load whose interval does not lie above 1; None where all do, or none has an interval."""
    return next((load for load in measured(loads) if not load.faster), None)


def sentence(name: str, baseline: str, loads: Sequence[AtLoad]) -> str:
    """Say up to which load a variant is faster than its engine without speculation, named `baseline`."""
    known, end = measured(loads), gone(loads)
    if not known:
        said = f"{name} over {baseline}: no load has an interval."
    elif end is None:
        most = known[-1]
        said = f"{name} is faster than {baseline} up to {in_flight(most)}, the most that were measured ({most})."
    elif end is known[0]:
        said = f"{name} shows no speedup over {baseline} with {in_flight(end)}, the fewest that were measured ({end})."
    else:
        before = known[known.index(end) - 1]
        said = (
            f"{name} is faster than {baseline} with {in_flight(before)} ({before}) "
            f"and no longer with {end.concurrency} ({end})."
        )
    return " ".join([said, *_unsound(known)])


def _unsound(known: Sequence[AtLoad]) -> list[str]:
    """Name the loads at which the output is not known to be the model's."""
    return [
        f"With {in_flight(load)} its output is not known to be the model's: {load.verdict}."
        for load in known
        if load.verdict not in SOUND
    ]


def in_flight(load: AtLoad) -> str:
    """Write a load in words."""
    return f"{load.concurrency} request{'s' * (load.concurrency > 1)} in flight"
