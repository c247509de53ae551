"""One row of speedup.csv, typed: what the pairs of samples give, and what is said of the two jobs beside."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple


class Figure(NamedTuple):
    """A ratio and its interval; NaN where there is none. As columns: `name`, `name_low`, `name_high`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairFigures:
    """What a method's samples give that are paired with the baseline's."""

    samples_paired: int
    samples_missing: int
    samples_slower: int
    prompts_paired: int
    speedup: Figure  # of decode throughputs
    variants: int  # compared with this baseline
    simultaneous: Figure  # the same ratio, in an interval that holds for all variants at once
    end_to_end_speedup: Figure
    identical_outputs: int
    first_divergence_position: float  # NaN where no output parts
    equal_length_pairs: int
    equal_length_speedup: Figure
    looping_pairs: int  # either output loops (repetition.py)
    looping_speedup: Figure
    other_speedup: Figure
    looping_differs: int  # 1 if the two intervals do not touch
    tainted_pairs: int  # a side was timed while the machine was busy
    throughput_speedup: Figure  # of a served engine: tokens a second with all slots busy
    windows_paired: int | None  # in which they were on both sides; None with one request in flight


@dataclass(frozen=True)
class SpeedupRow:
    """A method over its baseline on one model and data set. A served engine's own baseline has itself as `baseline`,
    and no ratio but that over the reference, to which its counts of pairs belong."""

    model: str
    dataset: str
    method: str
    baseline: str
    figures: PairFigures
    verdict: str  # on the outputs, beside those of the same baseline (verdict.py)
    same_as_baseline: int  # 1 for a variant with the baseline's own entry
    peer: int
    machines: int  # that made the samples of the two
    number_format: str | None  # of a peer, where it is not the baseline's
    reference: str | None
    reference_format: str | None
    over_reference: Figure
    noise_floor: float = float("nan")  # of its baseline; NaN where it was not measured
    fastest: int = 0  # 1 for the variant that a reader takes for the result


def columns(part: SpeedupRow | PairFigures) -> dict[str, object]:
    """Lay a row, or its figures alone, out by the names of columns."""
    cells: dict[str, object] = {}
    for field in dataclasses.fields(part):
        name, value = field.name, getattr(part, field.name)
        if isinstance(value, PairFigures):
            cells |= columns(value)
        elif isinstance(value, Figure):
            cells |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        else:
            cells[name] = value
    return cells
