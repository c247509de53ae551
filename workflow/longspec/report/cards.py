"""The cards at the top of the report: of each model, data set and baseline the best method, and what is said of it.

Contract: a speedup stands large only where a claim of it stands; else the verdict does, and the measured ratio beside
its interval is small print.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from longspec.analysis.verdict import NOT_THE_MODEL
from longspec.report.results import Cell, Claim


@dataclass(frozen=True)
class Card:
    """One card: its headline is the speedup of a claim that stands, else a verdict, with the reason."""

    where: str
    headline: str
    claimed: bool
    reason: str
    details: list[str]
    method: str


def cards(judged: Iterable[Claim], cells: Collection[Cell]) -> list[Card]:
    """Make a card of the best method over each baseline, of these models and data sets."""
    best = [claim for claim in judged if claim.fastest and claim.speedup is not None]
    several = len({claim.baseline for claim in best}) > 1
    return [_card(claim, several) for claim in best if (claim.model, claim.dataset) in cells]


def _card(claim: Claim, several: bool) -> Card:
    claimed = claim.claim is not None
    figure, (low, high) = f"{claim.speedup:.2f}×", claim.interval
    interval = "" if low is None or high is None else f"95% interval {low:.2f} to {high:.2f}, "
    chosen = (
        f": the best of {claim.variants} methods, its interval widened for the choice" if claim.variants > 1 else ""
    )
    return Card(
        where=f"{claim.model} · {claim.dataset}" + (f" · over {claim.baseline}" if several else ""),
        headline=figure if claimed else _verdict(claim),
        claimed=claimed,
        reason=claim.reason or "",
        details=[
            f"{'' if claimed else f'measured {figure}, '}{interval}n\u00a0=\u00a0{claim.prompts_paired}",
            f"{claim.name}{chosen}",
            f"{claim.verdict}: {claim.identical_outputs} of {claim.samples_paired} outputs identical",
        ],
        method=claim.method,
    )


def _verdict(claim: Claim) -> str:
    """Write what stands in a claim's place."""
    if claim.verdict in NOT_THE_MODEL:
        return claim.verdict.capitalize()
    return "Claim withheld" if claim.kind == "withheld" else claim.kind.capitalize()
