"""Judges if our engine's logits equal transformers', relative to how far transformers' own ways to run a text differ.

The distance of two rows of logits is the root mean square of their difference over that of the reference, each row
minus its mean, since a shift of all logits changes no probability. docs/losslessness.md explains the bounds, and has
the distances that were measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from longspec.verify.engine.text import PATH, Table, Tables, Text
from longspec.verify.engine.transformers_own import STEPS


@dataclass(frozen=True)
class Bounds:
    """Hold the bounds of a number format on distances: of most rows (the median of each way), and of any row.

    Each bound is the larger of a floor and a multiple of the distance between transformers' own ways. Where that
    distance of most rows exceeds `ceiling`, transformers is no reference."""

    most_floor: float
    most_times: float
    any_floor: float
    any_times: float
    ceiling: float


BOUNDS = {
    torch.float32: Bounds(1e-4, 4, 2e-4, 4, 1e-3),
    torch.bfloat16: Bounds(2e-2, 3, 5e-2, 3, 2e-1),
    torch.float16: Bounds(4e-3, 3, 1e-2, 3, 5e-2),
}
FLOAT32_ANY_CEILING = 1e-2
"""In float32 no row may differ by more between transformers' own ways: rounding does not flip a router's choice."""
SURE = 8.0
"""A first choice is sure if it leads by so many bounds: single logits differ by a few times the root mean square."""


@dataclass(frozen=True)
class Finding:
    """Hold the result of a comparison; `fault` is None where the engine computes what transformers does.

    Distances are the largest of any row; `max_difference` is in logits."""

    fault: str | None
    max_difference: float = 0.0
    distance: float = 0.0
    bound: float = 0.0
    noise: float = 0.0

    def figures(self) -> dict[str, float]:
        """Return the figures that are recorded of a check that passed."""
        return {key: value for key, value in asdict(self).items() if key != "fault"}


def judge(theirs: Tables, ours: Tables, text: Text, dtype: torch.dtype) -> Finding:
    """Compare every way of our engine with transformers' token by token, within bounds by transformers' own noise."""
    bounds, reference = BOUNDS[dtype], theirs[STEPS]
    others = [
        distances(table.of(table.rows), reference.of(table.rows)) for way, table in theirs.items() if way != STEPS
    ]
    noise_of_most = max(float(rows.median()) for rows in others)
    noise = max(float(rows.max()) for rows in others)
    if not noise_of_most <= bounds.ceiling or (dtype == torch.float32 and not noise <= FLOAT32_ANY_CEILING):
        return Finding(f"transformers' own logits depend on how the text is run (distance {noise:.2g})", noise=noise)
    most = max(bounds.most_floor, bounds.most_times * noise_of_most)
    of_any = max(bounds.any_floor, bounds.any_times * noise)
    distance, difference, faults = 0.0, 0.0, []
    for way, table in ours.items():
        for rows in _groups(table, text):
            logits, right = table.of(rows), reference.of(rows)
            far = distances(logits, right)
            typical, worst = float(far.median()), float(far.max())
            distance, difference = max(distance, worst), max(difference, _apart(logits, right))
            if not typical <= most:
                faults.append(f"{way}: distance {typical:.2g} of most rows, bound {most:.2g}")
            elif not worst <= of_any:
                faults.append(f"{way}: distance {worst:.2g}, bound {of_any:.2g}")
            elif wrong := _other_choices(logits, right, of_any):
                faults.append(f"{way}: {wrong} first choices differ that are sure")
    return Finding(faults[0] if faults else None, difference, distance, of_any, noise)


def distances(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Compute the distances [n] of logits [n, vocab] from a reference; infinite where only one side masks an id."""
    finite = reference.isfinite()
    if finite.all():
        difference, spread = logits - reference, reference - reference.mean(-1, keepdim=True)
        difference = difference - difference.mean(-1, keepdim=True)
        return _finite(difference.norm(dim=-1) / spread.norm(dim=-1).clamp(min=1e-30))
    found = []
    for ours, theirs, there in zip(logits, reference, finite, strict=True):
        same = bool((ours.isfinite() == there).all() and there.any())
        found.append(distances(ours[None, there], theirs[None, there]) if same else torch.tensor([float("inf")]))
    return torch.cat(found)


def _finite(rows: torch.Tensor) -> torch.Tensor:
    return rows.nan_to_num(float("inf"))


def _groups(table: Table, text: Text) -> list[list[int]]:
    """Split a way's rows into those of the text and those of rejected branches, which are few and judged apart."""
    first = len(text.prompt) + PATH
    return [rows for rows in ([r for r in table.rows if r < first], [r for r in table.rows if r >= first]) if rows]


def _other_choices(logits: torch.Tensor, reference: torch.Tensor, bound: float) -> int:
    """Count the rows that choose another token than a reference whose choice leads by SURE times the bound."""
    best = reference.topk(2).values
    spread = reference.where(reference.isfinite(), float("nan"))
    spread = (spread - spread.nanmean(-1, keepdim=True)).square().nanmean(-1).sqrt()
    sure = best[:, 0] - best[:, 1] > SURE * bound * spread
    return int((sure & (logits.argmax(-1) != reference.argmax(-1))).sum())


def _apart(logits: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the largest difference of two logits."""
    return float((logits - reference).where(reference.isfinite(), 0.0).abs().max())
