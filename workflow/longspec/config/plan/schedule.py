"""Which methods one generate job measures, where it keeps its log and lock, and which job runs first. No torch.

Contract: `blocked` gives every method a job of its own, the baseline's first; `interleaved` gives the methods of a
model and data set one job together, in which each sample is answered by all of them before the next sample is begun
(measure/order.py). What is not fixed so is drawn from the seed, so that the same configuration runs in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

from longspec.config.sections.top_level import Config
from longspec.core.draw import draw
from longspec.core.spec import Grid, baseline_of, load_of


def interleaved(config: Config) -> bool:
    """Check whether one job measures all methods of a model and data set."""
    return config.schedule == "interleaved"


def together(config: Config, methods: Sequence[str], method: str | None) -> list[str]:
    """List the methods that one generate job measures: the one that its wildcard names, or where it has none, all."""
    assert (method is None) == interleaved(config)
    return list(methods) if method is None else [method]


def place(config: Config, *names: str) -> str:
    """Name the folder of a generate job's log and lock; `names`: results folder, model, data set, one method."""
    return "/".join(names[:-1] if interleaved(config) else names)


def priority(config: Config, grid: Grid, method: str | None) -> int:
    """Rank a generate job, the highest first: the baseline's of a model and data set, then the others in an order
    that the seed decides, then the variants that are the baseline over again, so that both ends of a run are held
    together."""
    if method is None or method == (baseline := baseline_of(grid, method)):
        return 100
    mine, theirs = (config.methods[load_of(label)[0]] for label in (method, baseline))
    if mine == theirs:
        return 1
    return 2 + draw(config.seed, method)[0] % 97
